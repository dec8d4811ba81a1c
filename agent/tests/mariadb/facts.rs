//! What preflight sees of real hosts.

use flytt_agent::engine::{Engine as _, Serving};
use flytt_proto::v1::{Check, finding::Level};
use mysql_async::prelude::Queryable as _;

use crate::{server::Server, user::as_server_user};

#[test]
fn a_fresh_target_beside_a_live_source_has_no_blocker() {
    as_server_user("facts::a_fresh_target_beside_a_live_source_has_no_blocker", |base| async move {
        let source = Server::source(&base).await;
        let target = Server::prepare(&base, "target", 2);
        let (here, there) = (source.engine.facts().await.unwrap(), target.engine.facts().await.unwrap());
        assert_eq!((here.serving, there.serving), (Serving::Writable, Serving::Down));
        assert!(here.data_bytes > 0);
        assert_eq!(here.address, format!("127.0.0.1:{}", source.port));
        let found = |from: &_, to: &_, level: Level| -> Vec<String> {
            let all = target.engine.findings(from, to, &Check::default());
            all.into_iter().filter(|finding| finding.level() == level).map(|f| format!("{}: {}", f.code, f.sentence)).collect()
        };
        assert_eq!(found(&here, &there, Level::Block), [""; 0]);
        let same = found(&here, &here, Level::Block);
        assert!(same.iter().any(|code| code.starts_with("SAME_SERVER:")), "{same:?}");
        assert!(same.iter().any(|code| code.starts_with("SAME_GTID_DOMAIN:")), "{same:?}");
    });
}

#[test]
fn what_is_wrong_with_a_source_is_seen() {
    as_server_user("facts::what_is_wrong_with_a_source_is_seen", |base| async move {
        let source = Server::source(&base).await;
        let target = Server::prepare(&base, "target", 2);
        let mut root = source.root_session().await;
        for sql in [
            "create table app.`no key, \"really\" \u{e9}` (a int)",
            "create table app.old (a int primary key) engine = MyISAM",
            "create definer = gone@nowhere view app.seen as select 1",
            "create definer = gone@nowhere procedure app.called() select 1",
            "create user kept@localhost",
            "create definer = kept@localhost procedure app.fine() select 1",
            "set global binlog_format = MIXED",
            "set global binlog_expire_logs_seconds = 60",
            "set global event_scheduler = on",
            "create event app.tick on schedule every 1 hour do select 1",
        ] {
            root.query_drop(sql).await.unwrap_or_else(|error| panic!("{sql}: {error}"));
        }
        let mut other = source.root_session().await;
        for sql in ["xa start 'a'", "insert into app.writes values (5, 5)", "xa end 'a'", "xa prepare 'a'"] {
            other.query_drop(sql).await.unwrap();
        }
        let cnf = std::fs::read_to_string(target.root.join("etc/my.cnf")).unwrap();
        let cnf = cnf.replace("log_slave_updates = 1", "max_allowed_packet = 1M\nlower_case_table_names = 1");
        std::fs::write(target.root.join("etc/my.cnf"), cnf.replace("event_scheduler = ON", "")).unwrap();

        let (here, there) = (source.engine.facts().await.unwrap(), target.engine.facts().await.unwrap());
        let found = target.engine.findings(&here, &there, &Check::default());
        let codes: Vec<&str> = found.iter().map(|finding| finding.code.as_str()).collect();
        for code in [
            "NO_PRIMARY_KEY",
            "NOT_TRANSACTIONAL",
            "LOST_DEFINER",
            "BINLOG_FORMAT",
            "BINLOG_EXPIRES",
            "PREPARED_TRANSACTIONS",
            "EVENTS_STOP",
            "NO_LOG_SLAVE_UPDATES",
            "PACKET_TOO_SMALL",
            "FIXED_SETTING_DIFFERS",
        ] {
            assert!(codes.contains(&code), "{code} is not among {codes:?}");
        }
        let lost = &found.iter().find(|finding| finding.code == "LOST_DEFINER").unwrap().sentence;
        assert!(lost.contains("view app.seen") && lost.contains("routine app.called") && !lost.contains("app.fine"), "{lost}");
        let keyless = &found.iter().find(|finding| finding.code == "NO_PRIMARY_KEY").unwrap().sentence;
        assert!(keyless.contains("no key") && !keyless.contains("app.writes"), "{keyless}");
    });
}
