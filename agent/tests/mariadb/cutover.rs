//! The whole way: admit, follow through a real tunnel, gate, fence, promote, open, retire, finish – under eight writers.

use std::time::Duration;

use flytt_agent::{
    change::Verb,
    engine::{Engine as _, Intent, Serving, Upstream},
    link::Tunnel,
};
use flytt_proto::v1;
use mysql_async::prelude::Queryable as _;

use crate::{
    apply::{apply, shop, undo},
    server::{Server, user, value},
    tunnel,
    user::as_server_user,
    writers::{Writers, rows},
};

/// A source, and a target that replicates from it through a tunnel.
pub(crate) async fn following(base: &std::path::Path) -> (Server, Server, Tunnel) {
    let source = Server::source(base).await;
    // The password is made on the target; only its hash is told.
    let target = Server::prepare(base, "target", 2);
    let verifier = target.engine.credential(&shop()).await.unwrap();
    apply(&source, &Intent::Admit { verifier, peer_address: None }).await;
    apply(&source, &Intent::Ready).await;
    tick(&source, "copied", COPIED).await;
    drop(target);
    let target = Server::copy(base, &source).await;
    let tunnel = tunnel::between(base, &source, &target).await;
    let upstream = Upstream::Tunnel { directory: base.to_owned(), port: 0 };
    apply(&target, &Intent::Follow(upstream)).await;
    for _ in 0..500 {
        if target.engine.replication(&shop()).await.unwrap().streaming {
            return (source, target, tunnel);
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("it does not replicate: {:?}; tunnel: {:?}", target.engine.replication(&shop()).await, tunnel.trouble());
}

/// The writers whose rows are an event's.
const COPIED: i32 = 200;
const REPLICATED: i32 = 201;

async fn tick(source: &Server, name: &str, writer: i32) {
    let sql = format!(
        "create event app.{name} on schedule every 1 second do insert into app.writes \
         select {writer}, coalesce(max(number), 0) + 1 from app.writes where writer = {writer}"
    );
    source.root_session().await.query_drop(sql).await.unwrap();
}

#[test]
fn no_acknowledged_write_is_lost() {
    as_server_user("cutover::no_acknowledged_write_is_lost", |base| async move {
        let (source, target, _tunnel) = following(&base).await;
        let migration = shop();
        assert_eq!(source.engine.serving().await.unwrap(), Serving::Writable);
        assert_eq!(target.engine.serving().await.unwrap(), Serving::Standby);

        tick(&source, "replicated", REPLICATED).await;
        let writers = Writers::start(8, source.port);
        while writers.count() < 200 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        let ready = v1::Ready { lag_bytes: 1 << 30, long_transaction_ms: 60_000, role: 0, lag_ms: 1_000 };
        assert_eq!(source.engine.obstacles(&migration, &ready).await.unwrap(), []);
        assert_eq!(target.engine.obstacles(&migration, &ready).await.unwrap(), []);
        // While the source writes on, a target that is beyond what was asked for is no fault; at the end it would be.
        let earlier = source.engine.position().await.unwrap();
        while source.engine.position().await.unwrap() == earlier {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        target.engine.caught_up(&source.engine.position().await.unwrap()).await.unwrap();
        assert_eq!(target.engine.caught_up(&earlier).await.unwrap().covers(&earlier), Some(true));
        assert_eq!(target.engine.has_no_more_than(&earlier).await.unwrap_err().code, "ERRANT_TRANSACTIONS");
        for side in [&source, &target] {
            apply(side, &Intent::Ready).await;
            assert!(!side.engine.is_closed(&migration).await.unwrap());
        }

        let mut reader = target.by_tcp("app", "app").await.unwrap();
        apply(&target, &Intent::Gate).await;
        assert!(target.engine.is_closed(&migration).await.unwrap());
        assert!(reader.query_drop("select 1").await.is_err(), "a session outlives the gate");
        assert!(target.engine.replication(&migration).await.unwrap().streaming, "the gate cuts the stream");

        apply(&source, &Intent::Fence { drain_ms: 200 }).await;
        let end = source.engine.final_position(&migration).await.unwrap();
        assert!(source.engine.is_closed(&migration).await.unwrap());
        let reached = target.engine.caught_up(&end).await.unwrap();
        assert_eq!(reached.covers(&end), Some(true));
        target.engine.has_no_more_than(&end).await.unwrap();

        let early = target.engine.proven_primary(&migration, &end).await.unwrap_err();
        assert_eq!(early.code, "NOT_THE_PRIMARY", "a replica is taken for the primary");
        apply(&target, &Intent::Promote).await;
        assert!(target.engine.is_closed(&migration).await.unwrap(), "the promotion opens the gate");
        let beyond = "mariadb:1-1-9999999".parse().unwrap();
        assert_eq!(target.engine.proven_primary(&migration, &beyond).await.unwrap_err().code, "NOT_THE_PRIMARY");
        let position = target.engine.proven_primary(&migration, &end).await.unwrap();
        assert_eq!(position.covers(&end), Some(true));

        apply(&source, &Intent::Surrender).await;
        apply(&target, &Intent::Open).await;
        assert_eq!(target.engine.serving().await.unwrap(), Serving::Writable);
        assert!(!target.engine.is_closed(&migration).await.unwrap());
        let (here, there) = (format!("127.0.0.1:{}", target.port), format!("127.0.0.1:{}", source.port));
        target.engine.reached_through(&migration, &here).await.unwrap();
        assert_eq!(target.engine.reached_through(&migration, &there).await.unwrap_err().code, "NOT_REACHED");

        let acknowledged = writers.stop().await;
        assert!(acknowledged.len() >= 200);
        let arrived = rows(&mut target.by_tcp("app", "app").await.unwrap()).await;
        let lost: Vec<_> = acknowledged.difference(&arrived).collect();
        assert_eq!(lost, Vec::<&(i32, i32)>::new());
        let mut app = target.by_tcp("app", "app").await.unwrap();
        app.query_drop("insert into app.writes values (100, 1)").await.expect("the target takes writes");

        // An event that came with the copy and one that came by replication go on here, and there no more.
        for writer in [COPIED, REPLICATED] {
            let sql = format!("select max(number) from app.writes where writer = {writer}");
            let before = value(&mut app, &sql).await;
            let begun = std::time::Instant::now();
            while value(&mut app, &sql).await == before {
                assert!(begun.elapsed() < Duration::from_secs(10), "the event of {writer} does not run");
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
        assert_eq!(source.engine.position().await.unwrap(), end, "something was written on the old source");
        let sql =
            "select group_concat(distinct concat(definer, ' ', replace(sql_mode, ',', ' '))) from mysql.event where db = 'app'";
        let events = value(&mut target.root_session().await, sql).await;
        assert!(!events.contains("flytt") && events.contains("STRICT_TRANS_TABLES") && !events.contains(','), "{events}");

        apply(&source, &Intent::Retire).await;
        source.kill().await;
        source.engine.tell(&migration, &Verb::Start).await.unwrap();
        assert_eq!(source.engine.serving().await.unwrap(), Serving::Standby, "the old source comes up writable");
        assert!(source.engine.is_closed(&migration).await.unwrap());

        apply(&target, &Intent::Finish { role: v1::Role::Target }).await;
        apply(&source, &Intent::Finish { role: v1::Role::Source }).await;
        let mut root = target.root_session().await;
        assert_eq!(value(&mut root, "select count(*) from mysql.global_priv where User like 'flytt%'").await, "0");
        assert_eq!(
            value(&mut root, "select count(*) from information_schema.SCHEMATA where SCHEMA_NAME like 'flytt%'").await,
            "0"
        );
        assert_eq!(value(&mut root, "select @@global.event_scheduler").await, "ON", "as its own option file says");
        assert_eq!(std::fs::read_dir(target.root.join("drop-in")).unwrap().count(), 0);
        assert_eq!(std::fs::read_dir(target.root.join("state/secret")).unwrap().count(), 0);
        assert!(source.engine.is_closed(&migration).await.unwrap(), "the old source loses its fence");
    });
}

#[test]
fn before_the_promotion_the_gate_goes_and_the_replica_stays_one() {
    as_server_user("cutover::before_the_promotion_the_gate_goes_and_the_replica_stays_one", |base| async move {
        let (source, target, _tunnel) = following(&base).await;
        let gate = apply(&target, &Intent::Gate).await;
        let fence = apply(&source, &Intent::Fence { drain_ms: 0 }).await;
        let end = source.engine.final_position(&shop()).await.unwrap();
        target.engine.caught_up(&end).await.unwrap();
        undo(&source, &fence).await;
        undo(&target, &gate).await;
        assert_eq!(target.engine.serving().await.unwrap(), Serving::Standby);
        let mut reader = target.by_tcp("app", "app").await.unwrap();
        reader.query_drop("select 1 from app.writes").await.unwrap();
        assert!(reader.query_drop("insert into app.writes values (1, 1)").await.is_err(), "a replica takes writes");
        let mut writer = source.by_tcp("app", "app").await.unwrap();
        writer.query_drop("insert into app.writes values (1, 1)").await.unwrap();
        let now = source.engine.position().await.unwrap();
        let ahead = "mariadb:1-1-9999999".parse().unwrap();
        assert_eq!(target.engine.caught_up(&now).await.unwrap().covers(&now), Some(true));
        let waits = tokio::time::timeout(Duration::from_secs(2), target.engine.caught_up(&ahead)).await;
        assert!(waits.is_err(), "it says that it has what was never written: {waits:?}");

        // Somebody with all privileges writes on the replica, in the source's own domain: the sets differ from then on.
        let mut root = target.root_session().await;
        root.query_drop("set session gtid_domain_id = 1").await.unwrap();
        root.query_drop("insert into app.writes values (66, 66)").await.unwrap();
        let mut writer = source.by_tcp("app", "app").await.unwrap();
        writer.query_drop("insert into app.writes values (1, 2)").await.unwrap();
        let now = source.engine.position().await.unwrap();
        let outcome = tokio::time::timeout(Duration::from_secs(10), target.engine.caught_up(&now)).await.unwrap();
        assert_eq!(outcome.unwrap_err().code, "APPLIER_STOPPED", "strict mode refuses the source's transaction");
    });
}

#[test]
fn a_source_that_says_nothing_is_noticed_before_its_connection_breaks() {
    as_server_user("cutover::a_source_that_says_nothing_is_noticed_before_its_connection_breaks", |base| async move {
        let (source, target, _tunnel) = following(&base).await;
        let streams = async || target.engine.replication(&shop()).await.unwrap();
        for _ in 0..50 {
            assert!(streams().await.streaming, "an idle source is there: it says so every second");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        let stopped = source.stopped();
        let begun = std::time::Instant::now();
        while streams().await.streaming {
            assert!(begun.elapsed() < Duration::from_secs(9), "the connection would break by itself after ten");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        assert!(streams().await.trouble.contains("nothing was heard"), "{:?}", streams().await);
        drop(stopped);
        while !streams().await.streaming {
            assert!(begun.elapsed() < Duration::from_secs(60), "it never comes back");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    });
}

#[test]
fn nobody_but_this_move_s_replica_passes_the_tunnel() {
    as_server_user("cutover::nobody_but_this_move_s_replica_passes_the_tunnel", |base| async move {
        let (source, target, tunnel) = following(&base).await;
        let port = target.engine.tunnel_port().unwrap();
        for (name, password) in [(user().as_str(), ""), ("root", ""), ("app", "app"), ("flytt_agent", "x")] {
            let login = mysql_async::Conn::new(crate::server::by_tcp(port, name, password)).await;
            assert!(login.is_err(), "{name} gets through the tunnel");
        }
        assert_eq!(tunnel::trouble(&tunnel).await.code, "LINK_REFUSED");
        // The replica's own password, and then another account: at its end the tunnel is the server's own user, whom the
        // server takes for an administrator without a password.
        let passfile = std::fs::read_to_string(target.root.join("state/secret/shop.pgpass")).unwrap();
        let password = passfile.trim_end().rsplit(':').next().unwrap().to_owned();
        let settings = crate::server::by_tcp(port, "flytt_shop_repl", &password);
        let mut conn = mysql_async::Conn::new(settings).await.expect("a replica passes");
        let to = mysql_async::ChangeUserOpts::new().with_user(Some(user())).with_pass(Some(String::new()));
        assert!(conn.change_user(to).await.is_err(), "a replica becomes an administrator");

        // What is on record anywhere: the password is in the server's own file of its source, and in ours.
        let logs: String = ["log", "general.log"]
            .iter()
            .flat_map(|log| [&source, &target].map(|side| std::fs::read_to_string(side.root.join(log)).unwrap_or_default()))
            .collect();
        assert!(logs.contains("flytt_shop_repl"), "the logs are loud enough to show it");
        assert!(!logs.contains(&password), "a log tells the password");
    });
}
