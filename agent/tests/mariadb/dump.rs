//! The logical copy between real servers: every value arrives as it was, a copy that was interrupted goes on where it was, and one
//! that cannot be trusted is not kept.

use std::{
    collections::BTreeSet,
    fs,
    path::Path,
    time::{Duration, Instant},
};

use flytt_agent::{
    change::{Change, Load},
    engine::{Engine as _, Intent, Origin, SeedOrder, Upstream, Way},
};
use mysql_async::{Conn, prelude::Queryable as _};
use tokio::sync::mpsc;

use crate::{
    apply::{apply, one, shop, take_back},
    everything,
    server::{Server, value},
    tunnel,
    user::as_server_user,
    writers::{Writers, rows},
};

const LONG: Duration = Duration::from_secs(60);

async fn fill(source: &Server) -> Conn {
    source.root_session().await.query_drop("set global max_allowed_packet = 134217728").await.unwrap();
    let mut root = source.root_session().await;
    everything::with_rows(&mut root).await;
    root
}

/// Each value of each row, and all that is no row.
async fn same(source: &Server, target: &Server) {
    let (mut here, mut there) = (source.root_session().await, target.root_session().await);
    let (here, there) = (everything::copied(&mut here).await, everything::copied(&mut there).await);
    for (here, there) in here.iter().zip(&there) {
        assert_eq!(here, there);
    }
    assert_eq!(here.len(), there.len());
}

pub(crate) fn load(max_rate: u64) -> Load {
    Load { origin: Some(Origin { migration: shop(), host: "db-old".parse().unwrap(), address: "in the test".into() }), max_rate }
}

pub(crate) async fn pair(base: &Path) -> (Server, Server) {
    let source = Server::source(base).await;
    source.root_session().await.query_drop("insert into app.writes values (99, 1)").await.unwrap();
    tunnel::agent(base, &source);
    (source, Server::target(base).await)
}

/// Transactions that stand open on this server. Not from `information_schema.INNODB_TRX`: asked more often than every 100 ms, that
/// shows the same old picture for ever.
pub(crate) async fn snapshots(server: &Server) -> usize {
    let status: Option<(String, String, String)> =
        server.root_session().await.query_first("show engine innodb status").await.unwrap();
    status.unwrap().2.matches(", ACTIVE ").count()
}

pub(crate) async fn none_is_left(server: &Server) {
    let begun = Instant::now();
    while snapshots(server).await > 0 {
        assert!(begun.elapsed() < LONG / 4, "transactions are left");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Whoever else is logged in here is this test, or the server's own.
pub(crate) async fn no_session_is_left(server: &Server) {
    let others = "select count(*) from information_schema.PROCESSLIST where ID <> connection_id() and COMMAND not in ('Daemon', 'Binlog Dump')";
    let begun = Instant::now();
    while value(&mut server.root_session().await, others).await != "0" {
        assert!(begun.elapsed() < LONG / 4, "sessions are left");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

pub(crate) async fn pieces(target: &Server) -> u64 {
    let count: Result<Option<u64>, _> =
        target.root_session().await.query_first("select count(*) from flytt_shop_copy.loaded where bytes > 0").await;
    count.ok().flatten().unwrap_or(0)
}

/// The name of the snapshot that a copy is of.
pub(crate) fn snapshot(target: &Server) -> Option<String> {
    let record = fs::read(target.root.join("state/seed/flytt_shop.dump")).ok()?;
    let record: serde_json::Value = serde_json::from_slice(&record).unwrap();
    Some(record["manifest"]["snapshot"].as_str().unwrap().to_owned())
}

#[test]
fn every_value_arrives_and_replication_goes_on_where_the_snapshot_was() {
    as_server_user("dump::every_value_arrives_and_replication_goes_on_where_the_snapshot_was", |base| async move {
        let (source, target) = pair(&base).await;
        fill(&source).await;
        target.root_session().await.query_drop(everything::SHUT).await.unwrap();
        let verifier = target.engine.credential(&shop()).await.unwrap();
        apply(&source, &Intent::Admit { verifier, peer_address: None }).await;
        apply(&source, &Intent::Ready).await;
        let writers = Writers::start(4, source.port);
        let facts = source.engine.facts().await.unwrap();
        let tunnelled = Upstream::Tunnel { directory: base.clone(), port: 0 };
        let order = SeedOrder {
            upstream: tunnelled.clone(),
            max_rate: 0,
            fast_checkpoint: true,
            system: facts.system,
            replace_system: String::new(),
            expected_bytes: facts.data_bytes,
            way: Way::Dump,
            origin: load(0).origin,
        };
        let changes = apply(&target, &Intent::Seed(order)).await;
        let [_, Change::ImportSettings(before), Change::Load(_), Change::ImportOver(after)] = changes.as_slice() else {
            panic!("{changes:?}")
        };
        assert_eq!(before, after);
        none_is_left_but(&source).await;
        let record = fs::read(target.root.join("state/seed/flytt_shop.dump")).unwrap();
        let record: serde_json::Value = serde_json::from_slice(&record).unwrap();
        let cut = record["manifest"]["pieces"].as_array().unwrap().iter().filter(|piece| piece["is_whole"] == false).count();
        assert!(cut > 20, "no table was cut: {cut}");

        let _tunnel = tunnel::through(&base, &target).await;
        apply(&target, &Intent::Follow(tunnelled)).await;
        let before = writers.count();
        while writers.count() < before + 100 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        let acknowledged = writers.stop().await;
        let end = source.engine.position().await.unwrap();
        tokio::time::timeout(LONG, target.engine.caught_up(&end)).await.unwrap().unwrap();
        let arrived = rows(&mut target.root_session().await).await;
        assert_eq!(acknowledged.difference(&arrived).collect::<BTreeSet<_>>(), BTreeSet::new(), "acknowledged and not there");
        same(&source, &target).await;
    });
}

/// A table in many pieces.
pub(crate) async fn fill_pieces(source: &Server) {
    let mut root = source.root_session().await;
    for sql in everything::PIECES {
        root.query_drop(*sql).await.unwrap();
    }
}

pub(crate) async fn digest(server: &Server) -> String {
    let sql = "select concat_ws(' ', count(*), sum(crc32(concat(id, pad)))) from app.many";
    value(&mut server.root_session().await, sql).await
}

/// Nothing of the copy, nor of its source's snapshot.
async fn nothing_is_left(source: &Server, target: &Server) {
    none_is_left(source).await;
    let mut root = target.root_session().await;
    assert_eq!(
        value(&mut root, "select count(*) from information_schema.SCHEMATA where SCHEMA_NAME in ('app', 'flytt_shop_copy')")
            .await,
        "0"
    );
    assert_eq!(value(&mut root, "select count(*) from mysql.user where User = 'app'").await, "0");
    assert_eq!(snapshot(target), None);
}

#[test]
fn a_copy_that_is_interrupted_goes_on_with_the_same_snapshot() {
    as_server_user("dump::a_copy_that_is_interrupted_goes_on_with_the_same_snapshot", |base| async move {
        let (source, target) = pair(&base).await;
        fill_pieces(&source).await;
        let (mut there, mut of) = (0, None);
        for round in 0..12_u64 {
            // Dropped at a moment that nobody chose: as an agent that is told to stop, and as one whose link is gone.
            let slowly = load(1 << 20);
            let work = target.engine.load(&slowly, mpsc::channel(1).0);
            if let Ok(done) = tokio::time::timeout(Duration::from_millis(150 + 97 * round), work).await {
                done.unwrap();
                break;
            }
            // Its server, too, every third time.
            if round % 3 == 2 {
                target.kill().await;
                target.start().await;
            }
            let now = pieces(&target).await;
            assert!(now >= there, "{now} pieces, and there were {there}");
            assert!(of.is_none() || of == snapshot(&target), "another snapshot");
            (there, of) = (now, snapshot(&target));
        }
        assert!(there > 2, "it was never interrupted in the middle");
        // Whoever loaded these again would change the numbers.
        target.root_session().await.query_drop("update flytt_shop_copy.loaded set count = count + 1000000").await.unwrap();
        target
            .root_session()
            .await
            .query_drop("create table flytt_shop_copy.seen as select * from flytt_shop_copy.loaded")
            .await
            .unwrap();
        let again = in_the_middle_from(&target, there + 2).await;
        again.abort();
        let _ = again.await;
        let kept = "select count(*) from flytt_shop_copy.loaded a join flytt_shop_copy.seen b using (snapshot, piece, count)";
        assert_eq!(value(&mut target.root_session().await, kept).await, there.to_string(), "a piece was loaded twice");
        // What comes meanwhile is replication's.
        source.root_session().await.query_drop("insert into app.many values (0, 'later')").await.unwrap();
        one(&target, &Change::Load(load(0))).await.unwrap();
        assert_eq!(of, snapshot(&target));
        source.root_session().await.query_drop("delete from app.many where id = 0").await.unwrap();
        assert_eq!(digest(&source).await, digest(&target).await);
        one(&target, &Change::Load(load(0))).await.expect("what is there stays");
        none_is_left(&source).await;
        for _ in 0..2 {
            take_back(&target, &Change::Load(load(0))).await.unwrap();
        }
        nothing_is_left(&source, &target).await;
    });
}

/// A copy that is slow enough to be met in the middle, once it is there.
pub(crate) async fn in_the_middle(target: &Server) -> Loading {
    in_the_middle_from(target, 3).await
}

pub(crate) type Loading = tokio::task::JoinHandle<Result<(), flytt_proto::failure::Failure>>;

pub(crate) async fn in_the_middle_from(target: &Server, count: u64) -> Loading {
    let engine = target.engine.clone();
    let work = tokio::spawn(async move { engine.load(&load(1 << 20), mpsc::channel(1).0).await });
    let begun = Instant::now();
    while pieces(target).await < count {
        if work.is_finished() {
            panic!("it does not come to its middle: {:?}", work.await);
        }
        assert!(begun.elapsed() < LONG, "it does not come to its middle");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    work
}

#[test]
fn rows_of_two_moments_are_never_in_one_copy() {
    as_server_user("dump::rows_of_two_moments_are_never_in_one_copy", |base| async move {
        let (source, target) = pair(&base).await;
        fill_pieces(&source).await;
        let work = in_the_middle(&target).await;
        let first = snapshot(&target);
        source.kill().await;
        let failure = tokio::time::timeout(LONG, work).await.unwrap().unwrap().unwrap_err();
        assert!(["SERVER_GONE", "SNAPSHOT_GONE"].contains(&&*failure.code), "{failure:?}");
        source.start().await;
        source.root_session().await.query_drop("update app.many set pad = concat('second ', left(pad, 400))").await.unwrap();
        one(&target, &Change::Load(load(0))).await.unwrap();
        assert_ne!(first, snapshot(&target), "a snapshot that is gone");
        assert_eq!(digest(&source).await, digest(&target).await);
        take_back(&target, &Change::Load(load(0))).await.unwrap();

        // A table that can be read on, and one that cannot.
        for alter in ["add more int default 7, algorithm = instant", "engine = InnoDB, algorithm = inplace"] {
            let work = in_the_middle(&target).await;
            source.root_session().await.query_drop(format!("alter table app.many {alter}")).await.unwrap();
            let failure = tokio::time::timeout(LONG, work).await.unwrap().unwrap().unwrap_err();
            assert_eq!(failure.code, "SCHEMA_CHANGED", "{alter}");
            nothing_is_left(&source, &target).await;
        }

        let work = in_the_middle(&target).await;
        work.abort();
        assert!(work.await.is_err());
        take_back(&target, &Change::Load(load(0))).await.unwrap();
        nothing_is_left(&source, &target).await;
    });
}

#[test]
fn what_has_no_snapshot_or_no_room_is_refused_before_anything_is_written() {
    as_server_user("dump::what_has_no_snapshot_or_no_room_is_refused_before_anything_is_written", |base| async move {
        let (source, target) = pair(&base).await;
        let mut root = source.root_session().await;
        root.query_drop("create table app.old (id int) engine = MyISAM").await.unwrap();
        assert_eq!(one(&target, &Change::Load(load(0))).await.unwrap_err().code, "NOT_TRANSACTIONAL");
        nothing_is_left(&source, &target).await;
        root.query_drop("drop table app.old").await.unwrap();
        target.root_session().await.query_drop("create database app").await.unwrap();
        assert_eq!(one(&target, &Change::Load(load(0))).await.unwrap_err().code, "DATABASE_EXISTS");
        take_back(&target, &Change::Load(load(0))).await.unwrap();
        assert_eq!(
            value(&mut target.root_session().await, "select count(*) from information_schema.SCHEMATA where SCHEMA_NAME = 'app'")
                .await,
            "1",
            "it is not ours"
        );
    });
}

#[test]
fn a_snapshot_that_nobody_asks_for_ends() {
    as_server_user("dump::a_snapshot_that_nobody_asks_for_ends", |base| async move {
        let source = Server::source(&base).await;
        source.root_session().await.query_drop("insert into app.writes values (99, 1)").await.unwrap();
        let source = source.lending(&base, Duration::from_millis(1500));
        tunnel::agent(&base, &source);
        let target = Server::target(&base).await;
        fill_pieces(&source).await;
        let work = in_the_middle(&target).await;
        let first = snapshot(&target);
        // At work it goes on for longer than the lease.
        tokio::time::sleep(Duration::from_millis(3000)).await;
        assert!(!work.is_finished() && snapshots(&source).await > 0, "it did not last");
        work.abort();
        let _ = work.await;
        none_is_left(&source).await;
        no_session_is_left(&source).await;
        one(&target, &Change::Load(load(0))).await.unwrap();
        assert_ne!(first, snapshot(&target));
        assert_eq!(digest(&source).await, digest(&target).await);
    });
}

/// Only the engine's own reads may still be at work.
async fn none_is_left_but(source: &Server) {
    let sql = "select count(*) from information_schema.PROCESSLIST where USER = 'flytt_agent' and COMMAND = 'Sleep'";
    let begun = Instant::now();
    while value(&mut source.root_session().await, sql).await.parse::<u64>().unwrap() > 1 {
        assert!(begun.elapsed() < LONG, "a session of the snapshot is left");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
