//! What preflight sees of real hosts.

use flytt_agent::engine::{Engine as _, Serving};
use flytt_proto::v1::{Check, finding::Level};
use mysql_async::prelude::Queryable as _;

use crate::{server::Server, user::as_server_user};

#[test]
#[cfg_attr(without_mysql, ignore = "no MySQL server here: see packaging/mysql.sh")]
fn a_fresh_target_beside_a_live_source_has_no_blocker() {
    as_server_user("facts::a_fresh_target_beside_a_live_source_has_no_blocker", |base| async move {
        let source = Server::source(&base).await;
        let target = Server::prepare(&base, "target", 2);
        let (here, there) = (source.engine.facts().await.unwrap(), target.engine.facts().await.unwrap());
        assert_eq!((here.serving, there.serving), (Serving::Writable, Serving::Down));
        assert!(here.data_bytes > 10 << 20, "{}", here.data_bytes);
        assert_eq!(here.address, format!("127.0.0.1:{}", source.port));
        let found = |from: &_, to: &_| -> Vec<String> {
            let all = target.engine.findings(from, to, &Check::default());
            let blocks = all.into_iter().filter(|finding| finding.level() == Level::Block);
            blocks.map(|finding| format!("{}: {}", finding.code, finding.sentence)).collect()
        };
        assert_eq!(found(&here, &there), [""; 0]);
        let same = found(&here, &here);
        for code in ["SAME_SERVER:", "SAME_SERVER_UUID:", "SAME_SERVER_ID:"] {
            assert!(same.iter().any(|found| found.starts_with(code)), "{code} {same:?}");
        }
    });
}

#[test]
#[cfg_attr(without_mysql, ignore = "no MySQL server here: see packaging/mysql.sh")]
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
            "create user certified@localhost require x509",
            "set persist partial_revokes = on",
            "create user restricted@localhost",
            "grant select on *.* to restricted@localhost",
            "revoke select on app.* from restricted@localhost",
            "set global gtid_mode = ON_PERMISSIVE",
            "set global binlog_row_image = MINIMAL",
            "set global binlog_expire_logs_seconds = 60",
            "create event app.tick on schedule every 1 hour do select 1",
            "install plugin rewriter soname 'rewriter.so'",
            "create table app.large (b longblob)",
            "insert into app.large values (repeat('x', 30000000))",
            "insert into app.large select b from app.large union all select b from app.large union all select b from app.large",
        ] {
            root.query_drop(sql).await.unwrap_or_else(|error| panic!("{sql}: {error}"));
        }
        let mut other = source.root_session().await;
        for sql in ["xa start 'a'", "insert into app.writes values (5, 5)", "xa end 'a'", "xa prepare 'a'"] {
            other.query_drop(sql).await.unwrap();
        }
        let file = target.root.join("etc/my.cnf");
        let text = std::fs::read_to_string(&file).unwrap();
        let bad = "\nlog_replica_updates = 0\nmax_allowed_packet = 1M\nlower_case_table_names = 1\nevent_scheduler = OFF\n\
                   innodb_undo_directory = /elsewhere\n";
        std::fs::write(&file, format!("{text}{bad}")).unwrap();

        let (here, there) = (source.engine.facts().await.unwrap(), target.engine.facts().await.unwrap());
        let found = target.engine.findings(&here, &there, &Check::default());
        let codes: Vec<&str> = found.iter().map(|finding| finding.code.as_str()).collect();
        for code in [
            "NO_PRIMARY_KEY",
            "NOT_TRANSACTIONAL",
            "LOST_DEFINER",
            "OTHER_CERTIFICATES",
            "PARTIAL_REVOKES",
            "PERSISTED_SETTINGS",
            "NO_GTIDS",
            "BINLOG_ROW_IMAGE",
            "BINLOG_EXPIRES",
            "LARGE_TRANSACTIONS",
            "PREPARED_TRANSACTIONS",
            "EVENTS_STOP",
            "NO_LOG_SLAVE_UPDATES",
            "PACKET_TOO_SMALL",
            "FIXED_SETTING_DIFFERS",
            "OUTSIDE_FILES",
        ] {
            assert!(codes.contains(&code), "{code} is not among {codes:?}");
        }
        let sentence = |code: &str| &found.iter().find(|finding| finding.code == code).unwrap().sentence;
        let lost = sentence("LOST_DEFINER");
        assert!(lost.contains("view app.seen") && lost.contains("routine app.called") && !lost.contains("app.fine"), "{lost}");
        let keyless = sentence("NO_PRIMARY_KEY");
        assert!(keyless.contains("no key") && !keyless.contains("app.writes"), "{keyless}");
        assert!(sentence("LARGE_TRANSACTIONS").contains("85 MiB"), "{}", sentence("LARGE_TRANSACTIONS"));
        assert!(!codes.contains(&"LIBRARY_MISSING"), "{codes:?}");
    });
}
