//! Everything but rows goes from one server to another and is there the same.

use flytt_agent::engine::mysql_family::{
    dump::schema::{AccountName, Ours, Schema, Vendor, after, before, give, obstacles, read},
    session::{Login, Session},
};

use crate::{
    everything::digests,
    peculiar::{self, ROWS},
    server::{Server, user, value},
    user::as_server_user,
};

async fn session(server: &Server) -> Session {
    let login = Login { socket: &server.socket(), account: &user(), password: None, setup: &["set session sql_mode = ''"] };
    login.open().await.unwrap()
}

async fn schema(server: &Server) -> Schema {
    read(&session(server).await, &Ours::default()).await.unwrap()
}

fn keep() -> [AccountName; 2] {
    [user(), "root".into()].map(|user| AccountName { user, host: "localhost".into() })
}

/// What stands before the rows, the rows, what stands after them.
async fn write(target: &Server, wanted: &Schema) {
    let session = session(target).await;
    let have = schema(target).await;
    give(&session, Vendor::Mariadb, &before(wanted, &have)).await.unwrap();
    peculiar::run(&mut target.root_session().await, ROWS).await;
    rest(target, wanted).await;
}

async fn rest(target: &Server, wanted: &Schema) {
    let session = session(target).await;
    let after = after(wanted, &schema(target).await, &keep());
    for (_, indexes) in &after.indexes {
        give(&session, Vendor::Mariadb, indexes).await.unwrap();
    }
    for part in [&after.foreign_keys, &after.objects] {
        give(&session, Vendor::Mariadb, part).await.unwrap();
    }
}

#[test]
fn a_schema_with_everything_in_it_is_the_same_on_the_other_side() {
    as_server_user("schema::a_schema_with_everything_in_it_is_the_same_on_the_other_side", |base| async move {
        let source = Server::empty(&base, "source", 1).await;
        let target = Server::empty(&base, "target", 2).await;
        let mut there = source.root_session().await;
        peculiar::create(&mut there).await;
        peculiar::run(&mut there, ROWS).await;
        let wanted = schema(&source).await;
        let taken = serde_json::from_str::<Schema>(&serde_json::to_string(&wanted).unwrap()).unwrap();
        assert_eq!(taken, wanted, "it travels as it is");
        assert_eq!(wanted.tables.iter().filter(|table| !table.indexes.is_empty()).count(), 11, "indexes come later");

        write(&target, &taken).await;
        let have = schema(&target).await;
        assert_eq!(wanted.differences(&have, &keep()), [""; 0]);
        let mut here = target.root_session().await;
        for (what, sql) in [
            ("2", "select count(*) from information_schema.EVENTS where STATUS = 'SLAVESIDE_DISABLED'"),
            ("0", "select count(*) from information_schema.EVENTS where STATUS = 'ENABLED'"),
        ] {
            assert_eq!(value(&mut here, sql).await, what, "{sql}");
        }
        for sql in [
            "select concat(next_not_cached_value, '/', cycle_count) from k.steps",
            "select concat(next_not_cached_value, '/', cycle_count) from k.ends",
            "select group_concat(concat_ws('/', Host, User, Role, Admin_option) order by 1) from mysql.roles_mapping",
            "select AUTO_INCREMENT from information_schema.TABLES where TABLE_SCHEMA = 'k' and TABLE_NAME = 'numbers'",
        ] {
            assert_eq!(value(&mut there, sql).await, value(&mut here, sql).await, "{sql}");
        }
        let (there, here) = (digests(&mut there).await, digests(&mut here).await);
        for (there, here) in there.iter().zip(&here) {
            assert_eq!(there, here);
        }
        assert_eq!(there.len(), here.len());
    });
}

#[test]
fn what_an_earlier_try_left_is_completed() {
    as_server_user("schema::what_an_earlier_try_left_is_completed", |base| async move {
        let source = Server::empty(&base, "source", 1).await;
        let target = Server::empty(&base, "target", 2).await;
        peculiar::create(&mut source.root_session().await).await;
        let wanted = schema(&source).await;
        let writer = session(&target).await;
        let logged = "select @@global.gtid_binlog_pos";
        let before_all = value(&mut target.root_session().await, logged).await;
        let first = before(&wanted, &Schema::default());
        give(&writer, Vendor::Mariadb, &first[..first.len() / 2]).await.unwrap();
        give(&writer, Vendor::Mariadb, &before(&wanted, &schema(&target).await)).await.unwrap();
        assert!(!wanted.differences(&schema(&target).await, &keep()).is_empty());
        // It ends in the middle, again and again; each time what is there is looked at anew.
        for part in [8, 4, 2] {
            let later = after(&wanted, &schema(&target).await, &keep());
            let all = later.indexes.iter().flat_map(|(_, indexes)| indexes).chain(&later.foreign_keys).chain(&later.objects);
            let all: Vec<_> = all.cloned().collect();
            give(&writer, Vendor::Mariadb, &all[..all.len() / part]).await.unwrap();
        }
        rest(&target, &wanted).await;
        assert_eq!(wanted.differences(&schema(&target).await, &keep()), [""; 0]);
        rest(&target, &wanted).await;
        assert_eq!(wanted.differences(&schema(&target).await, &keep()), [""; 0], "once more is no harm");
        assert_eq!(value(&mut target.root_session().await, logged).await, before_all, "nothing of it is replicated");
    });
}

/// Nothing of an object that a copy would lose, spoil or stumble over goes by in silence.
#[test]
fn what_cannot_be_copied_is_refused_by_name() {
    as_server_user("schema::what_cannot_be_copied_is_refused_by_name", |base| async move {
        let source = Server::empty(&base, "source", 1).await;
        let mut root = source.root_session().await;
        peculiar::run(&mut root, &["create database k", "create table k.t (i int)"]).await;
        let refused = async |make: &[&str], undo: &[&str]| {
            let mut root = source.root_session().await;
            peculiar::run(&mut root, make).await;
            let failure = read(&session(&source).await, &Ours::default()).await.unwrap_err();
            peculiar::run(&mut root, undo).await;
            (failure.code, failure.sentence)
        };
        for (code, named, make, undo) in [
            (
                "SCHEMA_NOT_UNDERSTOOD",
                "`k`.`v`",
                "create view k.v as select i from k.t; alter table k.t rename column i to j",
                "drop view k.v",
            ),
            ("SCHEMA_NOT_COPIED", "`k`.`m`", "create table k.m (j int) engine = MRG_MyISAM", "drop table k.m"),
            (
                "SCHEMA_NOT_COPIED",
                "far",
                "create server far foreign data wrapper mysql options (host 'h', password 'hunter2')",
                "drop server far",
            ),
            ("SCHEMA_NOT_UNDERSTOOD", "`k`.`b`", "create table k.b (x varbinary(4) default 0x00ff1a27)", "drop table k.b"),
        ] {
            let make: Vec<&str> = make.split("; ").collect();
            let (said, sentence) = refused(&make, &[undo]).await;
            assert_eq!(said, code, "{sentence}");
            assert!(sentence.contains(named) && !sentence.contains("hunter2"), "{sentence}");
        }
        let in_database = session(&source).await;
        in_database.run("use k").await.unwrap();
        assert_eq!(read(&in_database, &Ours::default()).await.unwrap_err().code, "SCHEMA_NOT_UNDERSTOOD");

        peculiar::run(
            &mut root,
            &["create user flytt_shop_repl@localhost", "create database flytt_shop", "create database flytt_blog"],
        )
        .await;
        let name = AccountName { user: "flytt_shop_repl".into(), host: "localhost".into() };
        let ours = Ours { databases: vec!["flytt_shop".into()], accounts: vec![name.clone()] };
        let rest = read(&session(&source).await, &ours).await.unwrap();
        let databases: Vec<&str> = rest.databases.iter().map(|database| database.name.as_str()).collect();
        assert_eq!(databases, ["flytt_blog", "k"], "only what is the move's stays behind");
        assert!(!rest.accounts.iter().any(|account| account.name == name));
    });
}

#[test]
fn what_the_target_would_refuse_is_known_before() {
    as_server_user("schema::what_the_target_would_refuse_is_known_before", |base| async move {
        let server = Server::empty(&base, "source", 1).await;
        let mut root = server.root_session().await;
        let kept = base.join("password");
        let verifier = flytt_agent::secret::keep_native(&kept, "weak").unwrap();
        peculiar::run(
            &mut root,
            &[
                "create database k",
                "set global log_bin_trust_function_creators = 1",
                "create function k.f() returns int return 'DETERMINISTIC'",
                "create user app@'%'",
                "grant proxy on app@'%' to app@'%'",
                &format!("create user weak@localhost identified via mysql_native_password using '{verifier}'"),
                "grant all privileges on *.* to weak@localhost with grant option",
            ],
        )
        .await;
        let wanted = schema(&server).await;
        let here = session(&server).await;
        obstacles(&here, &wanted, &[]).await.unwrap();
        peculiar::run(&mut root, &["set global log_bin_trust_function_creators = 0"]).await;
        assert_eq!(obstacles(&here, &wanted, &[]).await.unwrap_err().code, "FUNCTIONS_NOT_TRUSTED");
        peculiar::run(&mut root, &["drop function k.f"]).await;
        let weak = AccountName { user: "weak".into(), host: "localhost".into() };
        let keep = [keep().to_vec(), vec![weak]].concat();
        let refused = give(&here, Vendor::Mariadb, &after(&wanted, &Schema::default(), &keep).objects).await.unwrap_err();
        assert!(refused.sentence.contains("error 1418") && refused.sentence.contains("`k`.`f`"), "{}", refused.sentence);

        let wanted = Schema { routines: Vec::new(), ..wanted };
        let password = flytt_agent::secret::password(&kept, "weak").unwrap();
        let login = Login { socket: &server.socket(), account: "weak", password: Some(&password), setup: &[] };
        let weak = login.open().await.unwrap();
        assert_eq!(obstacles(&weak, &wanted, &keep).await.unwrap_err().code, "PROXY_NOT_GRANTED");
        let have = read(&weak, &Ours::default()).await.unwrap();
        let refused = give(&weak, Vendor::Mariadb, &after(&wanted, &have, &keep).objects).await.unwrap_err();
        assert!(refused.sentence.starts_with("grant to account app@%"), "{}", refused.sentence);

        let other = Schema { vendor: Vendor::Mysql, ..wanted };
        assert_eq!(obstacles(&here, &other, &[]).await.unwrap_err().code, "OTHER_VENDOR");
    });
}
