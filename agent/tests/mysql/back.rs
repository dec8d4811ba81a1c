//! The way back: armed while the source serves, proven, still at the fence, and followed once the target is the primary.

use std::time::{Duration, Instant};

use flytt_agent::{
    change::Change,
    engine::{Engine as _, Intent, Serving, Upstream},
    link::Tunnel,
};
use flytt_proto::{name::Position, v1};
use mysql_async::{Conn, Row, prelude::Queryable as _};

use crate::{
    apply::{apply, shop, undo},
    cutover::{following, streams},
    server::{Server, value},
    tunnel,
    user::as_server_user,
    writers::{Writers, rows},
};

const READY: v1::Ready = v1::Ready { lag_bytes: 1 << 30, long_transaction_ms: 60_000, role: 0, lag_ms: 1_000 };

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

/// As the agent, whom no fence shuts out; as the tests' own user before there is one.
async fn inside(server: &Server) -> Conn {
    let Ok(passfile) = std::fs::read_to_string(server.root.join("state/secret/_agent.pgpass")) else {
        return server.root_session().await;
    };
    server.by_socket("flytt_agent", passfile.trim_end().rsplit(':').next()).await.unwrap()
}

/// What the channel of the way back says of itself; empty where there is none.
async fn channel(source: &Server, column: &str) -> String {
    let mut root = inside(source).await;
    let rows: Vec<Row> = root.query("show replica status").await.unwrap();
    let ours = rows.iter().find(|row| row.get::<String, _>("Channel_Name").unwrap() == "flytt_shop_back");
    ours.map(|row| row.get::<Option<String>, _>(column).flatten().unwrap_or_default()).unwrap_or_default()
}

async fn comes_to(source: &Server, column: &str, wanted: impl Fn(&str) -> bool) {
    let begun = Instant::now();
    while !wanted(&channel(source, column).await) {
        assert!(begun.elapsed() < Duration::from_secs(30), "{column} is {}", channel(source, column).await);
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// The names of all that is a way back's on a server.
async fn traces(server: &Server) -> String {
    let mut root = inside(server).await;
    let accounts = value(&mut root, "select group_concat(User) from mysql.user where User like 'flytt%back'").await;
    let kept = "select concat(group_concat(Channel_name), '') from mysql.slave_master_info where Channel_name <> '' union all \
                select concat(group_concat(Channel_name), '') from mysql.slave_relay_log_info where Channel_name <> ''";
    let channels: Vec<Option<String>> = root.query(kept).await.unwrap();
    let secrets = std::fs::read_dir(server.root.join("state/secret")).unwrap();
    let files = secrets.chain(std::fs::read_dir(server.data()).unwrap()).flatten().map(|entry| entry.file_name());
    let files: Vec<String> = files.filter_map(|name| name.into_string().ok()).filter(|name| name.contains("back")).collect();
    format!("{accounts}{}{}", channels.into_iter().flatten().collect::<String>(), files.concat())
}

#[test]
#[cfg_attr(without_mysql, ignore = "no MySQL server here: see packaging/mysql.sh")]
fn it_is_armed_under_load_goes_round_once_and_is_taken_back() {
    as_server_user("back::it_is_armed_under_load_goes_round_once_and_is_taken_back", |base| async move {
        let (source, target, _tunnel) = following(&base).await;
        let writers = Writers::start(4, source.port);
        // Behind, as a target under load is: it is waited for.
        target.root_session().await.query_drop("stop replica sql_thread").await.unwrap();
        while writers.count() < 50 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        let late = async {
            tokio::time::sleep(Duration::from_secs(2)).await;
            target.root_session().await.query_drop("start replica sql_thread").await.unwrap();
        };
        let all = async {
            let armed = arm(&base, &source, &target).await;
            assert_eq!(source.engine.serving().await.unwrap(), Serving::Writable, "the source serves no more");
            (armed, prove(&source, &target).await)
        };
        let (((back, welcome, armed), first), ()) = tokio::join!(all, late);
        let second = prove(&source, &target).await;
        assert_eq!((second.covers(&first), first.covers(&second)), (Some(true), Some(false)));
        let mut there = target.root_session().await;
        assert_eq!(value(&mut there, "select @@super_read_only").await, "1", "a mark leaves the target writable");
        let acknowledged = writers.stop().await;

        // Round and round would show: nothing moves while nobody writes, and each transaction is there once.
        let mut root = source.root_session().await;
        root.query_drop("drop event app.copied").await.unwrap();
        let still = level(&source, &target).await;
        tokio::time::sleep(Duration::from_secs(3)).await;
        assert_eq!(level(&source, &target).await, still, "the ring loops");
        assert_eq!(rows(&mut root).await.intersection(&acknowledged).count(), acknowledged.len());
        assert_eq!(source.engine.obstacles(&shop(), &READY).await.unwrap(), []);
        let facts = source.engine.facts().await.unwrap();
        let found = source.engine.findings(&facts, &target.engine.facts().await.unwrap(), &v1::Check::default());
        assert!(!found.iter().any(|finding| finding.code == "SOURCE_IS_STANDBY"), "our own way back is taken for a replica's");

        // The password stands in the server's own table of its sources and in our file, nowhere else.
        let passfile = std::fs::read_to_string(source.root.join("state/secret/shop.back.pgpass")).unwrap();
        let password = passfile.trim_end().rsplit(':').next().unwrap().to_owned();
        let logs =
            ["log.err", "general.log"].map(|log| std::fs::read_to_string(source.root.join(log)).unwrap_or_default()).concat();
        assert!(logs.contains("flytt_shop_back") && !logs.contains(&password), "a log tells the password");

        // One whose tunnel is gone is not ready.
        drop(back);
        let threads: Vec<u64> =
            there.query("select ID from information_schema.PROCESSLIST where USER = 'flytt_shop_back'").await.unwrap();
        for thread in threads {
            there.query_drop(format!("kill {thread}")).await.unwrap();
        }
        let begun = Instant::now();
        loop {
            let found = source.engine.obstacles(&shop(), &READY).await.unwrap();
            if found.iter().any(|finding| finding.code == "WAY_BACK_DOWN") {
                break;
            }
            assert!(begun.elapsed() < Duration::from_secs(20), "a way back that is down is not noticed: {found:?}");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }

        undo(&source, &armed).await;
        undo(&target, &welcome).await;
        apply(&source, &Intent::Forget { role: v1::Role::Source }).await;
        assert_eq!((traces(&source).await.as_str(), traces(&target).await.as_str()), ("", ""));
        root.query_drop("insert into app.writes values (70, 1)").await.unwrap();
        let now = source.engine.position().await.unwrap();
        target.engine.caught_up(&now).await.expect("the way there stays");
    });
}

#[test]
#[cfg_attr(without_mysql, ignore = "no MySQL server here: see packaging/mysql.sh")]
fn what_somebody_writes_on_the_target_never_reaches_a_source_that_serves() {
    as_server_user("back::what_somebody_writes_on_the_target_never_reaches_a_source_that_serves", |base| async move {
        let (source, target, tunnel) = following(&base).await;
        let (back, ..) = arm(&base, &source, &target).await;
        prove(&source, &target).await;
        // A mark that was not waited for is no stranger's.
        target.engine.mark_own(&shop()).await.unwrap();
        let last = prove(&source, &target).await;

        let mut there = target.root_session().await;
        there.query_drop("set global super_read_only = off").await.unwrap();
        there.query_drop("insert into app.writes values (66, 66)").await.unwrap();
        there.query_drop("set global super_read_only = on").await.unwrap();
        let errant = target.engine.position().await.unwrap();
        let absent = async |when: &str| {
            let mut root = source.root_session().await;
            assert_eq!(value(&mut root, "select count(*) from app.writes where writer = 66").await, "0", "{when}");
        };
        comes_to(&source, "Retrieved_Gtid_Set", |fetched| !fetched.is_empty()).await;
        absent("while it rests").await;
        // A server that starts begins every channel.
        source.kill().await;
        source.start().await;
        comes_to(&source, "Replica_SQL_Running", |state| state == "Yes").await;
        streams(&target).await;
        absent("after a restart").await;
        let begun = Instant::now();
        while channel(&source, "Replica_SQL_Running").await != "No" {
            assert!(begun.elapsed() < Duration::from_secs(30), "nobody brings it to rest again");
            source.engine.beat(&shop()).await.unwrap();
            tokio::time::sleep(Duration::from_millis(50)).await;
        }

        let refused = target.engine.mark_own(&shop()).await.unwrap_err();
        assert_eq!(refused.code, "ERRANT_TRANSACTIONS", "{refused:?}");
        // Whatever is asked for, what else there is is named and left there.
        there.query_drop("set global super_read_only = off").await.unwrap();
        there.query_drop("insert into app.writes values (66, 67)").await.unwrap();
        there.query_drop("set global super_read_only = on").await.unwrap();
        let own = value(&mut there, "select @@server_uuid").await;
        let wanted: Position = format!("mysql:{own}:5").parse().unwrap();
        let refused = source.engine.has_come_back(&shop(), &wanted).await.unwrap_err();
        assert!(refused.code == "ERRANT_TRANSACTIONS" && refused.sentence.contains(&format!("{own}:4")), "{refused:?}");
        absent("after a proof that was refused").await;
        assert_eq!(channel(&source, "SQL_Delay").await, "2147483647", "it rests no more");
        assert_eq!(source.engine.position().await.unwrap().covers(&last), Some(true));
        assert_eq!(source.engine.position().await.unwrap().covers(&errant), Some(false));

        // Seeded again, while the source's channel stands: the copy brings it along, and must not follow itself.
        let (root, port) = (target.root.clone(), target.engine.tunnel_port().unwrap());
        target.kill().await;
        drop((target, tunnel, back));
        std::fs::remove_dir_all(root.join("data")).unwrap();
        let target = Server::copy(&base, &source).await;
        assert_ne!(port, target.engine.tunnel_port().unwrap());
        let _tunnel = tunnel::through(&base, &target).await;
        apply(&target, &Intent::Follow(Upstream::Tunnel { directory: base.clone(), port: 0 })).await;
        streams(&target).await;
        assert_eq!(channel(&target, "Channel_Name").await, "", "the copy follows itself");
    });
}

#[test]
#[cfg_attr(without_mysql, ignore = "no MySQL server here: see packaging/mysql.sh")]
fn the_fence_stills_it_and_the_old_source_follows_the_new_primary() {
    as_server_user("back::the_fence_stills_it_and_the_old_source_follows_the_new_primary", |base| async move {
        let (source, target, _tunnel) = following(&base).await;
        let (_back, ..) = arm(&base, &source, &target).await;
        prove(&source, &target).await;
        apply(&target, &Intent::Gate).await;
        prove(&source, &target).await;

        // Taken back, it is as it was.
        let fence = apply(&source, &Intent::Fence { drain_ms: 0 }).await;
        let end = source.engine.final_position(&shop()).await.unwrap();
        let late = target.engine.mark_own(&shop()).await.unwrap();
        comes_to(&source, "Retrieved_Gtid_Set", |fetched| !fetched.is_empty()).await;
        assert_eq!(source.engine.position().await.unwrap(), end, "the final position moves");
        target.engine.caught_up(&end).await.unwrap();
        let errant = target.engine.has_no_more_than(&end).await.unwrap_err();
        assert_eq!(errant.code, "ERRANT_TRANSACTIONS", "a write of the target that the source has not: {errant:?}");
        source.kill().await;
        source.start().await;
        comes_to(&source, "Replica_SQL_Running", |state| state == "Yes").await;
        assert_eq!(source.engine.position().await.unwrap(), end, "the final position moves with a restart");
        undo(&source, &fence).await;
        assert_eq!(channel(&source, "Replica_SQL_Running").await, "No", "un-fenced, it applies");
        source.engine.has_come_back(&shop(), &late).await.expect("it goes on");

        apply(&source, &Intent::Fence { drain_ms: 0 }).await;
        let end = source.engine.final_position(&shop()).await.unwrap();
        target.engine.caught_up(&end).await.unwrap();
        target.engine.has_no_more_than(&end).await.unwrap();
        apply(&target, &Intent::Promote).await;
        target.engine.proven_primary(&shop(), &end).await.unwrap();
        apply(&source, &Intent::Surrender).await;
        comes_to(&source, "Retrieved_Gtid_Set", |fetched| !fetched.is_empty()).await;
        assert_eq!(source.engine.position().await.unwrap(), end, "what could still be burned is here");
        apply(&target, &Intent::Open).await;
        let mut app = target.by_tcp("app", "app").await.unwrap();
        app.query_drop("insert into app.writes values (100, 1)").await.unwrap();

        apply(&source, &Intent::Retire).await;
        let said = source.engine.follows_back(&shop(), &end).await.unwrap().unwrap();
        assert!(said.contains("follows the target: at"), "{said}");
        let now = target.engine.position().await.unwrap();
        source.engine.has_come_back(&shop(), &now).await.unwrap();
        assert!(source.engine.is_closed(&shop()).await.unwrap() && source.engine.serving().await.unwrap() == Serving::Standby);

        // It comes up closed, and follows; a broken link is mended by itself.
        source.kill().await;
        source.start().await;
        app.query_drop("insert into app.writes values (100, 2)").await.unwrap();
        let now = target.engine.position().await.unwrap();
        source.engine.has_come_back(&shop(), &now).await.unwrap();
        assert!(source.engine.is_closed(&shop()).await.unwrap(), "it comes up open");

        apply(&source, &Intent::Finish { role: v1::Role::Source }).await;
        apply(&target, &Intent::Finish { role: v1::Role::Target }).await;
        assert_eq!((traces(&source).await.as_str(), traces(&target).await.as_str()), ("", ""));
        assert!(source.engine.is_closed(&shop()).await.unwrap());
    });
}

#[test]
#[cfg_attr(without_mysql, ignore = "no MySQL server here: see packaging/mysql.sh")]
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
        root.query_drop("stop replica sql_thread").await.unwrap();
        root.query_drop("set global time_zone = '+09:00'").await.unwrap();
        tokio::time::sleep(Duration::from_millis(1100)).await;
        beat().await;
        let (there, here, streaming) = beats().await;
        assert!(!streaming && here == first && there - here >= 1_000_000, "{there} there, {here} here");
        root.query_drop("start replica sql_thread").await.unwrap();
        assert_eq!(level().await, there);

        // It writes to a replica alone, and nothing once nobody reads.
        root.query_drop("stop replica").await.unwrap();
        let mut source_root = source.root_session().await;
        let readers = "select ID from information_schema.PROCESSLIST where USER = 'flytt_shop_repl'";
        for thread in source_root.query::<u64, _>(readers).await.unwrap() {
            let _ = source_root.query_drop(format!("kill {thread}")).await;
        }
        tokio::time::sleep(Duration::from_millis(300)).await;
        beat().await;
        assert_eq!(beats().await.0, there);
    });
}
