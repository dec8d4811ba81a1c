//! The way back: armed while the source serves, proven, still at the fence, and followed once the target is the primary.

use std::time::{Duration, Instant};

use flytt_agent::{
    change::{Change, Verb},
    engine::{Engine as _, Intent, Serving},
    link::Tunnel,
};
use flytt_proto::{name::Position, v1};
use mysql_async::prelude::Queryable as _;

use crate::{
    apply::{apply, one, shop, undo},
    cutover::following,
    server::{Server, value},
    tunnel,
    user::as_server_user,
    writers::{Writers, rows},
};

/// What the plan does after `follow`. The tunnel lasts as long as it is held.
async fn arm(base: &std::path::Path, source: &Server, target: &Server) -> (Tunnel, Vec<Change>, Vec<Change>) {
    let verifier = source.engine.back_credential(&shop()).await.unwrap();
    let welcome = apply(target, &Intent::Welcome { verifier }).await;
    let tunnel = tunnel::back(base, source, target).await;
    let arm = apply(source, &Intent::Arm).await;
    (tunnel, welcome, arm)
}

async fn prove(source: &Server, target: &Server) -> Position {
    let position = target.engine.mark_own(&shop()).await.unwrap();
    source.engine.has_come_back(&shop(), &position).await.unwrap();
    position
}

/// Both have all of each other's.
async fn level(source: &Server, target: &Server) -> Position {
    let begun = Instant::now();
    loop {
        let (here, there) = (source.engine.position().await.unwrap(), target.engine.position().await.unwrap());
        if here == there {
            return here;
        }
        assert!(begun.elapsed() < Duration::from_secs(20), "{here} here, {there} there");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// The names of all that is a way back's on a server.
async fn traces(server: &Server) -> String {
    let mut root = server.root_session().await;
    let accounts = value(&mut root, "select group_concat(User) from mysql.global_priv where User like 'flytt%back'").await;
    let connections: Vec<mysql_async::Row> = root.query("show all slaves status").await.unwrap();
    let names: Vec<String> = connections.iter().map(|row| row.get::<String, _>("Connection_name").unwrap()).collect();
    let secrets = std::fs::read_dir(server.root.join("state/secret")).unwrap().flatten().map(|entry| entry.file_name());
    let secrets: Vec<String> = secrets.filter_map(|name| name.into_string().ok()).filter(|name| name.contains("back")).collect();
    format!("{accounts}{}{}", names.concat(), secrets.concat())
}

#[test]
fn it_is_armed_under_load_goes_round_once_and_goes_again() {
    as_server_user("back::it_is_armed_under_load_goes_round_once_and_goes_again", |base| async move {
        let (source, target, _tunnel) = following(&base).await;
        let writers = Writers::start(4, source.port);
        // Behind, as a target under load is: it is waited for.
        target.root_session().await.query_drop("stop slave sql_thread").await.unwrap();
        while writers.count() < 50 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        let late = async {
            tokio::time::sleep(Duration::from_secs(2)).await;
            target.root_session().await.query_drop("start slave sql_thread").await.unwrap();
        };
        let ((back, welcome, armed), ()) = tokio::join!(arm(&base, &source, &target), late);
        assert_eq!(source.engine.serving().await.unwrap(), Serving::Writable, "the source serves no more");
        let first = prove(&source, &target).await;
        let second = prove(&source, &target).await;
        assert_eq!((second.covers(&first), first.covers(&second)), (Some(true), Some(false)));
        let acknowledged = writers.stop().await;

        // Round and round would show: nothing moves while nobody writes, and each transaction is there once.
        let mut root = source.root_session().await;
        root.query_drop("drop event app.copied").await.unwrap();
        let still = level(&source, &target).await;
        tokio::time::sleep(Duration::from_secs(3)).await;
        assert_eq!(level(&source, &target).await, still, "the ring loops");
        assert_eq!(rows(&mut root).await.intersection(&acknowledged).count(), acknowledged.len());
        let ready = v1::Ready { lag_bytes: 1 << 30, long_transaction_ms: 60_000, role: 0, lag_ms: 1_000 };
        assert_eq!(source.engine.obstacles(&shop(), &ready).await.unwrap(), []);

        // A source that restarts in between follows by itself, and one whose tunnel is gone is not ready.
        source.kill().await;
        source.start().await;
        prove(&source, &target).await;
        drop(back);
        target.root_session().await.query_drop("kill user flytt_shop_back").await.unwrap();
        let begun = Instant::now();
        loop {
            let found = source.engine.obstacles(&shop(), &ready).await.unwrap();
            if found.iter().any(|finding| finding.code == "WAY_BACK_DOWN") {
                break;
            }
            assert!(begun.elapsed() < Duration::from_secs(20), "a way back that is down is not noticed: {found:?}");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }

        undo(&source, &armed).await;
        undo(&target, &welcome).await;
        apply(&source, &Intent::Forget).await;
        assert_eq!((traces(&source).await.as_str(), traces(&target).await.as_str()), ("", ""));
        root = source.root_session().await;
        root.query_drop("insert into app.writes values (70, 1)").await.unwrap();
        let now = source.engine.position().await.unwrap();
        target.engine.caught_up(&now).await.expect("the way there stays");
    });
}

#[test]
fn the_fence_stills_it_and_the_old_source_follows_the_new_primary() {
    as_server_user("back::the_fence_stills_it_and_the_old_source_follows_the_new_primary", |base| async move {
        let (source, target, _tunnel) = following(&base).await;
        let (_back, ..) = arm(&base, &source, &target).await;
        prove(&source, &target).await;
        let gate = apply(&target, &Intent::Gate).await;
        prove(&source, &target).await;

        // Taken back, it is as it was.
        let fence = apply(&source, &Intent::Fence { drain_ms: 0 }).await;
        let end = source.engine.final_position(&shop()).await.unwrap();
        let late = target.engine.mark_own(&shop()).await.unwrap();
        tokio::time::sleep(Duration::from_secs(2)).await;
        assert_eq!(source.engine.position().await.unwrap(), end, "the final position moves");
        let errant = target.engine.has_no_more_than(&end).await.unwrap_err();
        assert_eq!(errant.code, "ERRANT_TRANSACTIONS", "a write of the target that the source has not: {errant:?}");
        source.kill().await;
        source.start().await;
        tokio::time::sleep(Duration::from_secs(2)).await;
        assert_eq!(source.engine.position().await.unwrap(), end, "the final position moves with a restart");
        undo(&source, &fence).await;
        source.engine.has_come_back(&shop(), &late).await.expect("it goes on");

        apply(&source, &Intent::Fence { drain_ms: 0 }).await;
        let end = source.engine.final_position(&shop()).await.unwrap();
        target.engine.caught_up(&end).await.unwrap();
        apply(&target, &Intent::Promote).await;
        target.engine.proven_primary(&shop(), &end).await.unwrap();
        apply(&source, &Intent::Surrender).await;
        tokio::time::sleep(Duration::from_millis(1500)).await;
        assert_eq!(source.engine.position().await.unwrap(), end, "what could still be burned is here");
        apply(&target, &Intent::Open).await;
        drop(gate);
        let mut app = target.by_tcp("app", "app").await.unwrap();
        app.query_drop("insert into app.writes values (100, 1)").await.unwrap();

        apply(&source, &Intent::Retire).await;
        let said = source.engine.follows_back(&shop(), &end).await.unwrap().unwrap();
        assert!(said.contains("follows the target: at"), "{said}");
        let now = target.engine.position().await.unwrap();
        source.engine.has_come_back(&shop(), &now).await.unwrap();
        assert!(source.engine.is_closed(&shop()).await.unwrap() && source.engine.serving().await.unwrap() == Serving::Standby);
        let agent = source.engine.position().await.unwrap();
        assert_eq!(agent, now);

        // It comes up closed, and follows.
        source.kill().await;
        source.start().await;
        app.query_drop("insert into app.writes values (100, 2)").await.unwrap();
        let now = target.engine.position().await.unwrap();
        source.engine.has_come_back(&shop(), &now).await.unwrap();
        assert!(source.engine.is_closed(&shop()).await.unwrap(), "it comes up open");

        apply(&source, &Intent::Finish { role: v1::Role::Source }).await;
        apply(&target, &Intent::Finish { role: v1::Role::Target }).await;
        assert_eq!(traces(&target).await, "");
        assert!(!source.root.join("state/secret/shop.back.pgpass").exists());
        assert!(source.engine.is_closed(&shop()).await.unwrap());
    });
}

#[test]
fn the_heartbeat_tells_a_lag_by_the_sources_clock_alone() {
    as_server_user("back::the_heartbeat_tells_a_lag_by_the_sources_clock_alone", |base| async move {
        let (source, target, _tunnel) = following(&base).await;
        let beats = async || {
            let (there, here) =
                (source.engine.replication(&shop()).await.unwrap(), target.engine.replication(&shop()).await.unwrap());
            (there.beat_us, here.beat_us, here.streaming)
        };
        assert_eq!(beats().await, (0, 0, true), "nobody has written one");
        let beat = async || source.engine.beat(&shop()).await.unwrap();
        let level = async || {
            for _ in 0..200 {
                let (there, here, _) = beats().await;
                if there == here {
                    return there;
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            panic!("it does not arrive: {:?}", beats().await)
        };
        beat().await;
        let first = level().await;
        assert!(first > 1_500_000_000_000_000, "microseconds since 1970: {first}");

        // A target that has stopped applying, whatever its server calls that; and its operating system's clock is not asked.
        let mut root = target.root_session().await;
        root.query_drop("stop slave sql_thread").await.unwrap();
        root.query_drop("set global time_zone = '+09:00'").await.unwrap();
        tokio::time::sleep(Duration::from_millis(1100)).await;
        beat().await;
        let (there, here, streaming) = beats().await;
        assert!(!streaming && here == first && there - here >= 1_000_000, "{there} there, {here} here");
        root.query_drop("start slave sql_thread").await.unwrap();
        assert_eq!(level().await, there);

        // It writes to a replica alone, and nothing once nobody reads.
        root.query_drop("stop slave").await.unwrap();
        source.root_session().await.query_drop("kill user flytt_shop_repl").await.unwrap();
        tokio::time::sleep(Duration::from_millis(300)).await;
        beat().await;
        assert_eq!(beats().await.0, there);
    });
}

#[test]
fn a_source_that_logs_nothing_of_others_has_one_too() {
    as_server_user("back::a_source_that_logs_nothing_of_others_has_one_too", |base| async move {
        let (source, target, _tunnel) = following(&base).await;
        let options = source.root.join("etc/my.cnf");
        let text = std::fs::read_to_string(&options).unwrap().replace("log_slave_updates = 1", "log_slave_updates = 0");
        std::fs::write(&options, text).unwrap();
        source.kill().await;
        source.start().await;
        let (_back, ..) = arm(&base, &source, &target).await;
        prove(&source, &target).await;
        apply(&target, &Intent::Gate).await;
        apply(&source, &Intent::Fence { drain_ms: 0 }).await;
        let end = source.engine.final_position(&shop()).await.unwrap();
        target.engine.caught_up(&end).await.unwrap();
        apply(&target, &Intent::Promote).await;
        target.engine.proven_primary(&shop(), &end).await.unwrap();
        apply(&source, &Intent::Surrender).await;
        apply(&target, &Intent::Open).await;
        apply(&source, &Intent::Retire).await;
        let said = source.engine.follows_back(&shop(), &end).await.unwrap().unwrap();
        assert!(said.contains("follows the target: at"), "{said}");
        one(&source, &Change::Server(Verb::DetachBack)).await.unwrap();
    });
}
