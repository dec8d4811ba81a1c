//! What is set for an import on MySQL, and set back exactly; and a server without its redo log. The rest is as on MariaDB.

use std::collections::BTreeMap;

use flytt_agent::{
    change::{Change, Import, When},
    engine::Engine as _,
};
use flytt_proto::v1::finding::Level;
use mysql_async::{Conn, prelude::Queryable as _};

use crate::{
    apply::{one, shop, take_back},
    server::{Server, value},
    user::as_server_user,
};

/// How this vendor calls the size of the redo log.
pub(crate) const REDO_SIZE: &str = "innodb_redo_log_capacity";

/// All settings but those that go by themselves.
pub(crate) async fn settings(conn: &mut Conn) -> BTreeMap<String, String> {
    let all: Vec<(String, String)> = conn.query("show global variables").await.unwrap();
    // The first start of a test's server reads a file that makes its accounts.
    all.into_iter().filter(|(name, _)| !name.starts_with("gtid_") && name != "init_file").collect()
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
        if setting.name.ends_with("_size") || setting.name == REDO_SIZE {
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

#[test]
#[cfg_attr(without_mysql, ignore = "no MySQL server here: see packaging/mysql.sh")]
fn what_is_set_stands_until_it_is_set_back_and_nothing_else_has_changed() {
    as_server_user("import::what_is_set_stands_until_it_is_set_back_and_nothing_else_has_changed", |base| async move {
        let server = Server::source(&base).await;
        let mut root = server.root_session().await;
        let before = settings(&mut root).await;
        let position = value(&mut root, "select @@gtid_executed").await;
        let import = needed(&server).await;
        let names: Vec<_> = import.settings.iter().map(|setting| setting.name.as_str()).collect();
        let offered = ["local_infile", "innodb_flush_log_at_trx_commit", "sync_binlog", "innodb_io_capacity", REDO_SIZE];
        assert_eq!(names[..5], offered);
        let change = Change::ImportSettings(import.clone());
        for _ in 0..2 {
            one(&server, &change).await.unwrap();
            let mut wanted = before.clone();
            wanted.extend(import.settings.iter().map(|setting| (setting.name.clone(), setting.want.clone())));
            assert_eq!(differences(&mut root, &wanted).await, [""; 0]);
        }
        let left = server.engine.left_of_import(&import).await.unwrap();
        assert!(left.len() == names.len() && left.iter().all(|finding| finding.level() == Level::Block), "{left:?}");
        root.query_drop("set global innodb_io_capacity = 12345").await.unwrap();
        let said = take_back(&server, &change).await.unwrap().unwrap();
        assert!(said.contains("innodb_io_capacity is 12345: somebody else"), "{said}");
        root.query_drop("set global innodb_io_capacity = 10000").await.unwrap();
        assert_eq!(differences(&mut root, &before).await, [""; 0]);
        assert_eq!(value(&mut root, "select @@gtid_executed").await, position, "what was done is in the binary log");
    });
}

#[test]
#[cfg_attr(without_mysql, ignore = "no MySQL server here: see packaging/mysql.sh")]
fn a_server_that_dies_without_its_redo_log_refuses_to_serve_and_is_not_forgotten() {
    as_server_user("import::a_server_that_dies_without_its_redo_log_refuses_to_serve_and_is_not_forgotten", |base| async move {
        let server = Server::source(&base).await;
        let redo_log = flytt_agent::change::Setting {
            name: "innodb_redo_log".into(),
            want: "OFF".into(),
            had: "ON".into(),
            origin: "compiled default".into(),
            when: When::Needed,
        };
        let import = Import { settings: vec![redo_log], ..plan(&server).await };
        let change = Change::ImportSettings(import.clone());
        let enabled =
            "select VARIABLE_VALUE from performance_schema.global_status where VARIABLE_NAME = 'Innodb_redo_log_enabled'";
        for restarted in [false, true] {
            one(&server, &change).await.unwrap();
            if restarted {
                // An orderly stop does not bring it back; what asks the server finds it.
                server.engine.tell(&crate::apply::shop(), &flytt_agent::change::Verb::Stop { was_running: true }).await.unwrap();
                assert_eq!(take_back(&server, &change).await.unwrap_err().code, "IMPORT_SETTING_NOT_RESTORED");
                server.start().await;
            }
            assert_eq!(value(&mut server.root_session().await, enabled).await, "OFF");
            assert_eq!(server.engine.left_of_import(&import).await.unwrap()[0].code, "IMPORT_SETTING_STANDS");
            take_back(&server, &change).await.unwrap();
            assert_eq!(value(&mut server.root_session().await, enabled).await, "ON");
        }
        one(&server, &change).await.unwrap();
        server.kill().await;
        let start = server.engine.tell(&crate::apply::shop(), &flytt_agent::change::Verb::Start).await;
        assert_eq!(start.unwrap_err().code, "START_FAILED");
        assert_eq!(take_back(&server, &change).await.unwrap_err().code, "IMPORT_SETTING_NOT_RESTORED");
        std::fs::remove_dir_all(server.data()).unwrap();
        std::fs::create_dir(server.data()).unwrap();
        take_back(&server, &change).await.unwrap();
    });
}
