//! The seed through a pipe: the copy is the whole server, replication begins where it ends, and nothing is left of one that was
//! interrupted, whoever dies.

use std::{
    fs,
    path::Path,
    process::Command,
    sync::atomic::{AtomicU64, Ordering},
    time::{Duration, Instant},
};

use flytt_agent::{
    change::{Backup, Change, Verb},
    engine::{Engine as _, Intent, Origin, Progress, SeedOrder, Upstream, Way},
};
use mysql_async::prelude::Queryable as _;
use tokio::sync::mpsc;

use crate::{
    apply::{apply, one, shop, take_back, undo},
    everything,
    server::{Server, value},
    tunnel,
    user::{as_server_user, as_server_user_with},
    writers::{Writers, rows},
};

const LONG: Duration = Duration::from_secs(30);

async fn order(base: &Path, source: &Server) -> SeedOrder {
    let facts = source.engine.facts().await.unwrap();
    let address = base.join("agent").display().to_string();
    SeedOrder {
        upstream: tunnelled(base),
        max_rate: 0,
        fast_checkpoint: true,
        system: facts.system,
        replace_system: String::new(),
        expected_bytes: facts.data_bytes,
        way: Way::Physical,
        origin: Some(Origin { migration: shop(), host: "db-old".parse().unwrap(), address }),
    }
}

fn tunnelled(base: &Path) -> Upstream {
    Upstream::Tunnel { directory: base.to_owned(), port: 0 }
}

/// A source that has written its binary log, its agent, and a target without data.
async fn pair(base: &Path) -> (Server, Server) {
    let source = Server::source(base).await;
    source.root_session().await.query_drop("insert into app.writes values (99, 1)").await.unwrap();
    tunnel::agent(base, &source);
    (source, Server::prepare(base, "target", 2))
}

async fn backup(target: &Server, order: SeedOrder) -> Backup {
    let changes = target.engine.recipe(&shop(), &Intent::Seed(order)).await.unwrap();
    let [Change::Backup(backup)] = changes.as_slice() else { panic!("{changes:?}") };
    backup.clone()
}

/// Command lines below `base`, the servers' own and this test's apart.
fn programs(base: &Path) -> Vec<String> {
    let all = procfs::process::all_processes().unwrap().flatten();
    let lines =
        all.filter(|process| process.stat().is_ok_and(|stat| stat.state != 'Z')).filter_map(|process| process.cmdline().ok());
    let lines = lines.map(|line| line.join(" ")).filter(|line| line.contains(&base.display().to_string()));
    lines.filter(|line| !line.starts_with("/usr/sbin/mariadbd") || line.contains("--bootstrap")).collect()
}

/// Nothing of the copy: no program on either side, no file, no mark.
async fn nothing_is_left(base: &Path, target: &Server) {
    let begun = Instant::now();
    while !programs(base).is_empty() {
        assert!(begun.elapsed() < LONG, "{:?}", programs(base));
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let files = fs::read_dir(target.data()).map_or(0, Iterator::count);
    assert_eq!(files, 0, "files are left");
    assert_eq!(fs::read_dir(target.root.join("state/seed")).map_or(0, Iterator::count), 0, "a mark is left");
}

/// A copy that is slow enough to be caught in the middle, once it is there.
async fn in_the_middle(progress: &mut mpsc::Receiver<Progress>, base: &Path) {
    while progress.recv().await.expect("the copy ends before its middle").done < 2 << 20 {}
    let running = programs(base);
    for program in ["mariadb-backup", "mbstream"] {
        assert!(running.iter().any(|line| line.contains(program)), "no {program}: {running:?}");
    }
}

/// Milliseconds in which nothing was acknowledged, at most.
async fn longest_wait(writers: &Writers, longest: &AtomicU64) {
    let (mut last, mut since) = (0, Instant::now());
    loop {
        tokio::time::sleep(Duration::from_millis(2)).await;
        if writers.count() > last {
            longest.fetch_max(since.elapsed().as_millis().try_into().unwrap(), Ordering::Relaxed);
            (last, since) = (writers.count(), Instant::now());
        }
    }
}

#[test]
fn a_copy_is_the_whole_server_and_replication_goes_on_where_it_ends() {
    as_server_user("seed::a_copy_is_the_whole_server_and_replication_goes_on_where_it_ends", |base| async move {
        let (source, target) = pair(&base).await;
        let mut root = source.root_session().await;
        everything::create(&mut root).await;
        // As one that was a replica once: what it has in this table is not where its own copy ends.
        root.query_drop("insert into mysql.gtid_slave_pos values (1, 900, 1, 1), (77, 1, 5, 5)").await.unwrap();
        let verifier = target.engine.credential(&shop()).await.unwrap();
        apply(&source, &Intent::Admit { verifier, peer_address: None }).await;
        apply(&source, &Intent::Ready).await;

        let writers = Writers::start(4, source.port);
        let order = order(&base, &source).await;
        let system = order.system.clone();
        let backup = backup(&target, order).await;
        let (sender, mut progress) = mpsc::channel(4096);
        let waited = AtomicU64::new(0);
        tokio::select! {
            done = target.engine.back_up(&backup, sender) => done.unwrap(),
            () = longest_wait(&writers, &waited) => {}
        }
        let mut told = Vec::new();
        while let Some(Progress { done, total, .. }) = progress.recv().await {
            assert!(done <= total);
            told.push(done);
        }
        assert!(told.is_sorted() && told.last().is_some_and(|done| *done > 10 << 20), "{told:?}");
        let waited = waited.into_inner();
        assert!(waited < 20_000, "a commit waited {waited} ms for the copy");
        assert_eq!(target.engine.facts().await.unwrap().system, system, "the copy is the source's, seen at rest");
        assert!(programs(&base).is_empty(), "{:?}", programs(&base));

        let _tunnel = tunnel::through(&base, &target).await;
        apply(&target, &Intent::Follow(tunnelled(&base))).await;
        while writers.count() < 300 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        let acknowledged = writers.stop().await;
        let end = source.engine.position().await.unwrap();
        let reached = tokio::time::timeout(LONG, target.engine.caught_up(&end)).await.unwrap().unwrap();
        assert_eq!(reached.covers(&end), Some(true));
        let mut there = target.root_session().await;
        let arrived = rows(&mut there).await;
        assert!(acknowledged.is_subset(&arrived), "acknowledged and not there");
        let (here, there) = (everything::digests(&mut root).await, everything::digests(&mut there).await);
        for (here, there) in here.iter().zip(&there) {
            assert_eq!(here, there);
        }
        assert_eq!(here.len(), there.len());
        let secret = fs::read_to_string(target.root.join("state/secret/shop.pgpass")).unwrap();
        assert!(!secret.is_empty());
        undo(&target, &[Change::Backup(backup), Change::Server(Verb::Start)]).await;
        nothing_is_left(&base, &target).await;
    });
}

#[test]
fn only_what_its_owner_named_is_replaced() {
    as_server_user("seed::only_what_its_owner_named_is_replaced", |base| async move {
        let (source, target) = pair(&base).await;
        let seed = order(&base, &source).await;
        let refused = async |server: &Server, order: &SeedOrder| {
            let recipe = server.engine.recipe(&shop(), &Intent::Seed(order.clone())).await;
            recipe.expect_err("it is not refused").code
        };
        assert_eq!(refused(&source, &seed).await, "TARGET_RUNS");
        let direct = SeedOrder { upstream: Upstream::Direct { host: "db-old".into(), port: 3306 }, ..seed.clone() };
        assert_eq!(refused(&target, &direct).await, "NO_DIRECT_TRANSPORT");
        let copy = backup(&target, seed.clone()).await;

        source.engine.tell(&shop(), &Verb::Stop { was_running: true }).await.unwrap();
        assert_eq!(source.engine.facts().await.unwrap().system, seed.system, "at rest it is the same");
        assert_eq!(refused(&source, &seed).await, "DIRECTORY_NOT_EMPTY");
        assert_eq!(refused(&source, &SeedOrder { replace_system: "7".into(), ..seed.clone() }).await, "DIRECTORY_NOT_EMPTY");
        let named = SeedOrder { replace_system: seed.system.clone(), ..seed.clone() };
        let changes = source.engine.recipe(&shop(), &Intent::Seed(named)).await.unwrap();
        let [Change::DataDir(dir), Change::Backup(back)] = changes.as_slice() else { panic!("{changes:?}") };
        assert_eq!((&dir.path, &dir.trash), (&back.into, &source.root.join(".flytt-trash-shop")));

        // Taken back although never done: the data is not ours, so nothing of it goes.
        source.engine.end_backup(back).await.unwrap();
        let error = source.engine.back_up(back, mpsc::channel(1).0).await.unwrap_err();
        assert_eq!(error.code, "DIRECTORY_NOT_EMPTY");
        source.start().await;
        assert_eq!(value(&mut source.root_session().await, "select count(*) from app.writes").await, "1");

        let error = one(&target, &Change::Backup(Backup { system: "7".into(), ..copy.clone() })).await.unwrap_err();
        assert_eq!(error.code, "WRONG_CLUSTER");
        nothing_is_left(&base, &target).await;
        source.root_session().await.query_drop("reset master").await.unwrap();
        let error = one(&target, &Change::Backup(copy)).await.unwrap_err();
        assert_eq!(error.code, "NO_START_POSITION", "a copy that nothing could follow");
        nothing_is_left(&base, &target).await;
    });
}

#[test]
fn a_copy_that_is_cancelled_or_loses_its_source_leaves_nothing() {
    as_server_user("seed::a_copy_that_is_cancelled_or_loses_its_source_leaves_nothing", |base| async move {
        let (source, target) = pair(&base).await;
        let copy = Backup { max_rate: 4 << 20, ..backup(&target, order(&base, &source).await).await };
        let change = Change::Backup(copy.clone());
        let (sender, mut progress) = mpsc::channel(64);
        let work = target.engine.back_up(&copy, sender);
        tokio::select! {
            done = work => panic!("{done:?}"),
            () = in_the_middle(&mut progress, &base) => {}
        }
        // Dropped: both process groups are gone before anything is taken back.
        let begun = Instant::now();
        while !programs(&base).is_empty() {
            assert!(begun.elapsed() < LONG, "{:?}", programs(&base));
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        assert!(fs::read_dir(target.data()).unwrap().count() > 0, "it was in the middle");
        for _ in 0..2 {
            take_back(&target, &change).await.unwrap();
        }
        nothing_is_left(&base, &target).await;

        // The source's server is restarted under it.
        let (sender, mut progress) = mpsc::channel(64);
        let engine = target.engine.clone();
        let again = copy.clone();
        let work = tokio::spawn(async move { engine.back_up(&again, sender).await });
        in_the_middle(&mut progress, &base).await;
        source.kill().await;
        source.start().await;
        let failure = tokio::time::timeout(LONG, work).await.expect("it ends").unwrap().unwrap_err();
        assert_eq!(failure.code, "PRODUCER_FAILED");
        nothing_is_left(&base, &target).await;

        // Its agent's programs are ended, as by an agent that starts anew.
        let (sender, mut progress) = mpsc::channel(64);
        let engine = target.engine.clone();
        let again = copy.clone();
        let work = tokio::spawn(async move { engine.back_up(&again, sender).await });
        in_the_middle(&mut progress, &base).await;
        source.engine.end_producers().await;
        let failure = tokio::time::timeout(LONG, work).await.expect("it ends").unwrap().unwrap_err();
        assert_eq!(failure.code, "PRODUCER_FAILED");
        nothing_is_left(&base, &target).await;

        one(&target, &Change::Backup(Backup { max_rate: 0, ..copy })).await.expect("and once more, in peace");
        assert_eq!(value(&mut source.root_session().await, "select count(*) from app.writes").await, "1");
    });
}

/// The process that this test starts and kills: both agents at once.
const VICTIM: &str = "FLYTT_TEST_VICTIM";

#[test]
fn agents_that_are_killed_leave_what_the_next_ones_take_away() {
    as_server_user("seed::agents_that_are_killed_leave_what_the_next_ones_take_away", |base| async move {
        if let Some(base) = std::env::var_os(VICTIM) {
            let base = std::path::PathBuf::from(base);
            let (source, target) = (Server::attach(&base, "source", 0), Server::attach(&base, "target", 0));
            tunnel::agent(&base, &source);
            let copy = Backup { max_rate: 4 << 20, ..backup(&target, order(&base, &source).await).await };
            let outcome = target.engine.back_up(&copy, mpsc::channel(1).0).await;
            panic!("it lives: {outcome:?}");
        }
        let source = Server::source(&base).await;
        let target = Server::prepare(&base, "target", 2);
        let copy = backup(&target, order(&base, &source).await).await;
        let mut victim = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "seed::agents_that_are_killed_leave_what_the_next_ones_take_away", "--nocapture"])
            .env(VICTIM, &base)
            .current_dir("/")
            .spawn()
            .unwrap();
        let begun = Instant::now();
        while fs::metadata(target.data().join("ibdata1")).map_or(0, |file| file.len()) < 2 << 20 {
            assert!(begun.elapsed() < LONG && victim.try_wait().unwrap().is_none(), "the copy does not come to its middle");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        victim.kill().unwrap();
        victim.wait().unwrap();
        // What the two agents do when they start.
        source.engine.end_producers().await;
        target.engine.end_backup(&copy).await.unwrap();
        nothing_is_left(&base, &target).await;
        assert_eq!(value(&mut source.root_session().await, "select 1").await, "1");
    });
}

/// Where root has mounted a small disk.
const SMALL: &str = "FLYTT_TEST_SMALL_DISK";

/// Unmounted also when the test fails.
struct Mounted(tempfile::TempDir);

impl Drop for Mounted {
    fn drop(&mut self) {
        let _ = Command::new("/usr/bin/umount").arg("--lazy").arg(self.0.path()).status();
    }
}

/// Only root can make a disk that is small.
#[test]
fn a_disk_that_fills_ends_the_copy_and_is_empty_again() {
    let name = "seed::a_disk_that_fills_ends_the_copy_and_is_empty_again";
    let mounted = nix::unistd::geteuid().is_root().then(|| {
        let place = tempfile::Builder::new().prefix("flytt-small").tempdir_in("/tmp").unwrap();
        let run =
            Command::new("/usr/bin/mount").args(["-t", "tmpfs", "-o", "size=10m,mode=0777", "tmpfs"]).arg(place.path()).status();
        assert!(run.unwrap().success());
        Mounted(place)
    });
    let known: Vec<(&str, &Path)> = mounted.iter().map(|mounted| (SMALL, mounted.0.path())).collect();
    as_server_user_with(name, &known, |base| async move {
        let Some(small) = std::env::var_os(SMALL) else { return };
        let small = std::path::PathBuf::from(small);
        let source = Server::source(&base).await;
        source.root_session().await.query_drop("insert into app.writes values (99, 1)").await.unwrap();
        tunnel::agent(&small, &source);
        let target = Server::prepare(&small, "target", 2);
        let copy = backup(&target, order(&small, &source).await).await;
        let failure = one(&target, &Change::Backup(copy)).await.unwrap_err();
        assert_eq!(failure.code, "NO_SPACE");
        assert!(failure.sentence.contains("mbstream"), "{}", failure.sentence);
        nothing_is_left(&small, &target).await;
        let free = nix::sys::statvfs::statvfs(&small).unwrap();
        assert!(free.blocks_available() * 10 > free.blocks() * 9, "the disk is not empty again");
    });
}
