//! What is set for an import: after a trial, told, and set back exactly; what somebody else has set, or the server refuses, is told
//! and no failure. What happens when agent and server die is `killed`'s.

use std::collections::BTreeMap;

use flytt_agent::{
    change::{Change, Import, When},
    engine::Engine as _,
};
use flytt_proto::v1::finding::Level;
use mysql_async::{Conn, prelude::Queryable as _};

use crate::{
    apply::{hands, one, shop, take_back},
    server::{Server, value},
    user::as_server_user,
};

const FLUSH: &str = "select @@global.innodb_flush_log_at_trx_commit";

/// How this vendor calls the size of the redo log.
pub(crate) const REDO_SIZE: &str = "innodb_log_file_size";

/// All settings but those that go by themselves.
pub(crate) async fn settings(conn: &mut Conn) -> BTreeMap<String, String> {
    let all: Vec<(String, String)> = conn.query("show global variables").await.unwrap();
    all.into_iter().filter(|(name, _)| !name.starts_with("gtid_") && !name.ends_with("_pos")).collect()
}

/// What is not as it was before, as far as there is any.
pub(crate) async fn differences(conn: &mut Conn, before: &BTreeMap<String, String>) -> Vec<String> {
    let now = settings(conn).await;
    assert_eq!(now.len(), before.len());
    let other = before.iter().filter(|(name, value)| now.get(*name) != Some(*value));
    other.map(|(name, value)| format!("{name} was {value}, and is {}", now.get(name).map_or("gone", String::as_str))).collect()
}

/// What this server is offered, with sizes that a test can afford.
pub(crate) async fn plan(server: &Server) -> Import {
    let mut import = server.engine.import(&shop()).await.unwrap();
    for setting in &mut import.settings {
        if setting.name.ends_with("_size") {
            setting.want = (64 << 20).to_string();
        }
    }
    import
}

/// All of it set whether it helps or not.
async fn needed(server: &Server) -> Import {
    let mut import = plan(server).await;
    import.settings.iter_mut().for_each(|setting| setting.when = When::Needed);
    import
}

async fn apply(server: &Server, import: &Import) -> Vec<String> {
    let change = Change::ImportSettings(import.clone());
    hands(server).apply(&shop(), &change, tokio::sync::mpsc::channel(1).0).await.unwrap()
}

#[test]
fn each_setting_is_tried_and_what_does_not_help_is_not_set() {
    as_server_user("import::each_setting_is_tried_and_what_does_not_help_is_not_set", |base| async move {
        let server = Server::source(&base).await;
        let mut root = server.root_session().await;
        let before = settings(&mut root).await;
        let position = value(&mut root, "select @@gtid_binlog_pos").await;
        let import = plan(&server).await;
        let names: Vec<_> = import.settings.iter().map(|setting| setting.name.as_str()).collect();
        let offered = ["innodb_flush_log_at_trx_commit", "innodb_io_capacity", "innodb_log_file_size", "innodb_buffer_pool_size"];
        assert_eq!(names, offered);
        let origins: Vec<_> = import.settings.iter().map(|setting| setting.origin.clone()).collect();
        let file = format!("option file {}", server.root.join("etc/my.cnf").display());
        assert_eq!(origins, ["compiled default", "compiled default", &file, &file]);

        let said = apply(&server, &import).await;
        assert_eq!(said.len(), import.settings.len(), "{said:?}");
        for (setting, said) in import.settings.iter().zip(&said) {
            let now = value(&mut root, &format!("select @@global.{}", setting.name)).await;
            let helps = said.contains("%, set while") || said.contains("themselves, set while");
            assert!(said.starts_with(&setting.name) && said.contains(&setting.origin), "{said}");
            assert!(helps || said.contains("not set"), "{said}");
            assert_eq!(now, if helps { &*setting.want } else { &*setting.had }, "{said}");
        }
        assert_eq!(
            value(&mut root, "select count(*) from information_schema.SCHEMATA where SCHEMA_NAME like 'flytt%'").await,
            "0"
        );
        assert_eq!(value(&mut root, "select @@gtid_binlog_pos").await, position, "the trial was logged");

        let change = Change::ImportSettings(import.clone());
        for _ in 0..2 {
            assert_eq!(take_back(&server, &change).await.unwrap(), None);
            assert_eq!(differences(&mut root, &before).await, [""; 0]);
        }
        assert_eq!(server.engine.left_of_import(&import).await.unwrap(), []);
    });
}

#[test]
fn what_is_set_stands_until_it_is_set_back_and_nothing_else_has_changed() {
    as_server_user("import::what_is_set_stands_until_it_is_set_back_and_nothing_else_has_changed", |base| async move {
        let server = Server::source(&base).await;
        let mut root = server.root_session().await;
        root.query_drop("set global local_infile = 0").await.unwrap();
        let before = settings(&mut root).await;
        let import = needed(&server).await;
        assert_eq!(import.settings[0].name, "local_infile");
        assert_eq!(import.settings[0].origin, "by SET");
        for _ in 0..2 {
            apply(&server, &import).await;
            let mut wanted = before.clone();
            for setting in &import.settings {
                wanted.insert(setting.name.clone(), setting.want.clone());
            }
            assert_eq!(differences(&mut root, &wanted).await, [""; 0]);
        }
        let left = server.engine.left_of_import(&import).await.unwrap();
        assert_eq!(left.len(), import.settings.len());
        assert!(left.iter().all(|finding| finding.code == "IMPORT_SETTING_STANDS" && finding.level() == Level::Block));
        let flush = left.iter().find(|finding| finding.sentence.starts_with("innodb_flush")).unwrap();
        assert!(flush.sentence.contains("is 2") && flush.sentence.contains("it was 1 (compiled default)"), "{flush:?}");
        assert!(flush.remedy.contains("SET GLOBAL innodb_flush_log_at_trx_commit = 1"), "{flush:?}");

        one(&server, &Change::ImportOver(import.clone())).await.unwrap();
        assert_eq!(differences(&mut root, &before).await, [""; 0]);
        assert_eq!(server.engine.left_of_import(&import).await.unwrap(), []);
    });
}

#[test]
fn what_somebody_else_has_set_meanwhile_is_left_and_told() {
    as_server_user("import::what_somebody_else_has_set_meanwhile_is_left_and_told", |base| async move {
        let server = Server::source(&base).await;
        let mut root = server.root_session().await;
        let import = needed(&server).await;
        apply(&server, &import).await;
        root.query_drop("set global innodb_io_capacity = 700").await.unwrap();
        let said = take_back(&server, &Change::ImportSettings(import.clone())).await.unwrap().unwrap();
        assert!(said.contains("innodb_io_capacity is 700: somebody else"), "{said}");
        assert_eq!(value(&mut root, "select @@global.innodb_io_capacity").await, "700");
        assert_eq!(value(&mut root, FLUSH).await, "1", "the others are set back all the same");
        let left = server.engine.left_of_import(&import).await.unwrap();
        assert_eq!(
            left.iter().map(|finding| (finding.code.as_str(), finding.level())).collect::<Vec<_>>(),
            [("IMPORT_SETTING_CHANGED", Level::Warn)]
        );
        // Nor is it taken for the server's own by the next try.
        let said = apply(&server, &import).await;
        assert!(said.iter().any(|said| said.contains("not set (it is 700 by now")), "{said:?}");
        assert_eq!(value(&mut root, "select @@global.innodb_io_capacity").await, "700");
        take_back(&server, &Change::ImportSettings(import)).await.unwrap();
    });
}

#[test]
fn what_the_server_refuses_is_told_and_is_no_failure() {
    as_server_user("import::what_the_server_refuses_is_told_and_is_no_failure", |base| async move {
        let server = Server::source(&base).await;
        let mut root = server.root_session().await;
        let before = settings(&mut root).await;
        let mut import = plan(&server).await;
        let read_only = flytt_agent::change::Setting {
            name: "innodb_doublewrite".into(),
            want: "OFF".into(),
            had: "ON".into(),
            origin: "compiled default".into(),
            when: When::Faster,
        };
        let beyond = flytt_agent::change::Setting {
            name: "innodb_flush_log_at_trx_commit".into(),
            want: "9".into(),
            had: "1".into(),
            ..read_only.clone()
        };
        import.settings = vec![read_only, beyond];
        let said = apply(&server, &import).await;
        assert!(
            said[0].contains("innodb_doublewrite") && said[0].contains("not set") && said[0].contains("read only"),
            "{said:?}"
        );
        assert!(said[1].contains("not set") && said[1].contains("the server makes \"3\" of it"), "{said:?}");
        assert_eq!(differences(&mut root, &before).await, [""; 0]);

        // An agent's account that may not make the trial's table.
        let import = plan(&server).await;
        let me = format!("{}@localhost", crate::server::user());
        root.query_drop("create user admin@localhost identified by 'a'").await.unwrap();
        root.query_drop("grant all privileges on *.* to admin@localhost with grant option").await.unwrap();
        let mut admin = server.by_socket("admin", Some("a")).await.unwrap();
        admin.query_drop(format!("revoke create on *.* from {me}")).await.unwrap();
        let said = apply(&server, &import).await;
        assert!(
            said.len() == import.settings.len()
                && said.iter().all(|said| said.contains("not set (the trial cannot be made here")),
            "{said:?}"
        );
        assert_eq!(differences(&mut admin, &before).await, [""; 0]);
    });
}

#[test]
fn a_set_that_an_earlier_agent_left_on_its_way_does_not_come_after_the_setting_back() {
    as_server_user(
        "import::a_set_that_an_earlier_agent_left_on_its_way_does_not_come_after_the_setting_back",
        |base| async move {
            let server = Server::source(&base).await;
            let mut root = server.root_session().await;
            let import = needed(&server).await;
            // As a session whose agent is gone while the server is at work for it.
            let mut late = server.root_session().await;
            assert_eq!(value(&mut late, "select get_lock('flytt_import', 0)").await, "1");
            let late =
                tokio::spawn(
                    async move { late.query_drop("set global innodb_flush_log_at_trx_commit = 2 + sleep(3) * 0").await },
                );
            tokio::time::sleep(std::time::Duration::from_millis(500)).await;
            take_back(&server, &Change::ImportSettings(import)).await.unwrap();
            let _ = late.await.unwrap();
            assert_eq!(value(&mut root, FLUSH).await, "1");
        },
    );
}

#[test]
fn a_server_that_is_down_has_nothing_to_set_back() {
    as_server_user("import::a_server_that_is_down_has_nothing_to_set_back", |base| async move {
        let server = Server::source(&base).await;
        let before = settings(&mut server.root_session().await).await;
        let import = needed(&server).await;
        apply(&server, &import).await;
        server.kill().await;
        assert_eq!(take_back(&server, &Change::ImportSettings(import.clone())).await.unwrap(), None);
        server.start().await;
        assert_eq!(server.engine.left_of_import(&import).await.unwrap(), []);
        assert_eq!(differences(&mut server.root_session().await, &before).await, [""; 0]);
    });
}

#[test]
fn a_setting_that_makes_a_load_faster_beyond_doubt_is_set() {
    as_server_user("import::a_setting_that_makes_a_load_faster_beyond_doubt_is_set", |base| async move {
        let server = Server::source(&base).await;
        let mut root = server.root_session().await;
        let timeout = "select @@global.innodb_flush_log_at_timeout";
        let setting = flytt_agent::change::Setting {
            name: "innodb_flush_log_at_timeout".into(),
            want: "2".into(),
            had: "1".into(),
            origin: "compiled default".into(),
            when: When::Faster,
        };
        // A server that stands still most of the time, unless this is set.
        let mut brake = server.root_session().await;
        let brake = tokio::spawn(async move {
            loop {
                if value(&mut brake, timeout).await == "1" {
                    for sql in ["flush tables with read lock", "do sleep(0.03)", "unlock tables"] {
                        brake.query_drop(sql).await.unwrap();
                    }
                }
                tokio::time::sleep(std::time::Duration::from_millis(10)).await;
            }
        });
        let import = Import { settings: vec![setting], ..plan(&server).await };
        let said = apply(&server, &import).await;
        assert!(said[0].contains(": +") && said[0].ends_with(", set while the import runs"), "{said:?}");
        assert_eq!(value(&mut root, timeout).await, "2");
        take_back(&server, &Change::ImportSettings(import)).await.unwrap();
        assert_eq!(value(&mut root, timeout).await, "1");
        brake.abort();
    });
}
