//! What preflight sees of real hosts, and what stands in the way of a window.

use flytt_agent::engine::{Engine as _, Intent, Serving};
use flytt_proto::v1::{Check, Ready, finding::Level};

use crate::{
    apply::{apply, shop},
    cutover::following,
    server::Server,
    user::as_server_user,
};

#[test]
fn a_fresh_target_beside_a_live_source_has_no_blocker_but_this_machines_own() {
    as_server_user("facts::a_fresh_target_beside_a_live_source_has_no_blocker_but_this_machines_own", |base| async move {
        let source = Server::source(&base).await;
        let target = Server::prepare(&base, "target");
        let (here, there) = (source.engine.facts().await.unwrap(), target.engine.facts().await.unwrap());
        assert_eq!((here.serving, there.serving), (Serving::Writable, Serving::Down));
        assert!(here.system.parse::<u64>().is_ok() && there.system.is_empty());
        assert!(here.data_bytes > 1 << 20);
        assert_eq!(here.address, format!("127.0.0.1:{}", source.port));
        assert_ne!(here.place, there.place);

        let codes = |source: &_, target: &_| -> Vec<(Level, String)> {
            let found = judge(&base).findings(source, target, &Check::default());
            found
                .into_iter()
                .map(|finding| (finding.level(), finding.code))
                .filter(|(_, code)| code != "OTHER_TOOL_RUNS")
                .collect()
        };
        let blockers: Vec<_> = codes(&here, &there).into_iter().filter(|(level, _)| *level == Level::Block).collect();
        // An old package or a small disk of the machine that runs this is a finding about it, and right.
        assert!(blockers.iter().all(|(_, code)| ["VERSION_NOT_SUPPORTED", "NO_SPACE"].contains(&code.as_str())), "{blockers:?}");
        let same: Vec<_> = codes(&here, &here).into_iter().map(|(_, code)| code).collect();
        assert!(same.contains(&"SAME_SERVER".to_owned()) && same.contains(&"TARGET_RUNS".to_owned()), "{same:?}");

        let detail: serde_json::Value = serde_json::from_str(&here.detail).unwrap();
        assert!(detail["control"]["Database system identifier"] == here.system.as_str());
        assert!(detail["available"]["plpgsql"].is_array() && detail["libraries"].as_array().is_some_and(|l| !l.is_empty()));
        assert_eq!(detail["live"]["databases"][0]["name"], "postgres");
        assert!(detail["host"]["data_free"].as_u64().is_some_and(|free| free > 0));
    });
}

/// A fence would go into the files of one server, and its proof be asked of another.
#[test]
fn an_agent_that_was_told_of_two_servers_is_found_out() {
    as_server_user("facts::an_agent_that_was_told_of_two_servers_is_found_out", |base| async move {
        let source = Server::source(&base).await;
        let target = Server::prepare(&base, "target");
        let elsewhere = base.join("another");
        std::fs::create_dir(&elsewhere).unwrap();
        let by_another_path = base.join("linked");
        std::os::unix::fs::symlink(&source.root, &by_another_path).unwrap();
        let claim = async |data: std::path::PathBuf, file: std::path::PathBuf, run: std::path::PathBuf| -> Vec<String> {
            let config = flytt_agent::config::Postgres {
                data_directory: data,
                config_file: Some(file),
                socket: run,
                port: source.port,
                ..source.settings()
            };
            let told = flytt_agent::engine::postgres::Postgres::new(config, base.join("none"), false);
            let (here, there) = (told.facts().await.unwrap(), target.engine.facts().await.unwrap());
            let found = judge(&base).findings(&here, &there, &Check::default());
            let found = found.into_iter().filter(|finding| finding.code == "AGENT_CONFIG_DIFFERS");
            found.map(|finding| finding.sentence).collect()
        };
        let (data, file, run) = (source.data(), source.root.join("etc/postgresql.conf"), source.root.join("run"));
        assert_eq!(claim(data.clone(), file.clone(), run.clone()).await, [""; 0]);
        let linked = |part: &str| by_another_path.join(part);
        assert_eq!(claim(linked("data"), linked("etc/postgresql.conf"), linked("run")).await, [""; 0]);
        let found = claim(elsewhere.clone(), file.clone(), run.clone()).await;
        assert!(found.len() == 1 && found[0].contains("data_directory") && found[0].contains("another"), "{found:?}");
        let found = claim(data, target.root.join("etc/postgresql.conf"), run).await;
        assert!(found.len() == 1 && found[0].contains("config_file"), "{found:?}");
    });
}

/// Any engine can judge facts; it need not be one of the two sides'.
fn judge(base: &std::path::Path) -> flytt_agent::engine::postgres::Postgres {
    let config = flytt_agent::config::Postgres {
        data_directory: base.join("none"),
        config_file: None,
        bin: base.join("none"),
        socket: base.join("none"),
        port: 1,
        start: Vec::new(),
        stop: Vec::new(),
        log: None,
        role: "postgres".into(),
        database: "postgres".into(),
    };
    flytt_agent::engine::postgres::Postgres::new(config, base.join("none"), false)
}

#[test]
fn what_would_make_the_window_long_is_named() {
    as_server_user("facts::what_would_make_the_window_long_is_named", |base| async move {
        let source = Server::source(&base).await;
        let target = Server::prepare(&base, "target");
        following(&source, &target).await;
        let ready = Ready { role: 0, lag_bytes: 0, long_transaction_ms: 50, lag_ms: 1_000 };
        let codes = async |server: &Server| -> Vec<String> {
            let found = server.engine.obstacles(&shop(), &ready).await.unwrap();
            assert!(found.iter().all(|finding| finding.level() == Level::Block));
            found.into_iter().map(|finding| finding.code).collect()
        };
        assert_eq!(codes(&source).await, [""; 0]);
        let (open, prepared) = (source.client("app").await, source.client("app").await);
        open.batch_execute("begin; insert into writes values (1, 1)").await.unwrap();
        prepared.batch_execute("begin; insert into writes values (2, 2); prepare transaction 'x'").await.unwrap();
        tokio::time::sleep(std::time::Duration::from_millis(120)).await;
        assert_eq!(codes(&source).await, ["LONG_TRANSACTION", "PREPARED_TRANSACTIONS"]);

        let client = target.client("postgres").await;
        client.batch_execute("select pg_wal_replay_pause()").await.unwrap();
        open.batch_execute("insert into writes select 3, n from generate_series(1, 5000) n").await.unwrap();
        let mut seen = Vec::new();
        for _ in 0..300 {
            seen = codes(&target).await;
            if seen == ["LAG"] {
                break;
            }
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
        assert_eq!(seen, ["LAG"]);
        apply(&source, &Intent::Ready).await;
    });
}
