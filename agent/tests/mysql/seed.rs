//! The seed by CLONE through a real tunnel: the copy is the whole server, replication begins where it ends, and nothing is left of
//! one that was interrupted, on either side.

use std::{
    fs,
    io::Write as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use flytt_agent::{
    change::{Backup, Change, Verb},
    engine::{Engine as _, Intent, Origin, Progress, SeedOrder, Upstream},
    link::Tunnel,
};
use mysql_async::prelude::Queryable as _;
use tokio::sync::mpsc;

use crate::{
    apply::{apply, one, shop, take_back, undo},
    server::{Server, value},
    tunnel,
    user::{as_server_user, as_server_user_with},
    writers::{Writers, rows},
};

const LONG: Duration = Duration::from_secs(60);
/// Slow enough to be caught in the middle. Bytes a second.
const SLOW: u64 = 8 << 20;

async fn order(base: &Path, source: &Server) -> SeedOrder {
    let facts = source.engine.facts().await.unwrap();
    let address = base.join("agent").display().to_string();
    SeedOrder {
        way: flytt_agent::engine::Way::Physical,
        upstream: tunnelled(base),
        max_rate: 0,
        fast_checkpoint: true,
        system: facts.system,
        replace_system: String::new(),
        expected_bytes: facts.data_bytes,
        origin: Some(Origin { migration: shop(), host: "db-old".parse().unwrap(), address }),
    }
}

fn tunnelled(base: &Path) -> Upstream {
    Upstream::Tunnel { directory: base.to_owned(), port: 0 }
}

/// A source without the plugin, whose agent has let the target in, and a target without data.
async fn pair(base: &Path) -> (Server, Server, Vec<Change>, Tunnel) {
    pair_in(base, base).await
}

async fn pair_in(base: &Path, targets: &Path) -> (Server, Server, Vec<Change>, Tunnel) {
    let source = Server::source(base).await;
    let mut root = source.root_session().await;
    let _ = root.query_drop("uninstall plugin clone").await;
    assert!(!has_plugin(&source).await);
    root.query_drop("insert into app.writes values (99, 1)").await.unwrap();
    let target = Server::prepare(targets, "target", 2);
    let verifier = target.engine.credential(&shop()).await.unwrap();
    let admitted = apply(&source, &Intent::Admit { verifier, peer_address: None }).await;
    let tunnel = tunnel::between(base, &source, &target).await;
    (source, target, admitted, tunnel)
}

async fn has_plugin(server: &Server) -> bool {
    let sql = "select count(*) from information_schema.PLUGINS where PLUGIN_NAME = 'clone'";
    value(&mut server.root_session().await, sql).await != "0"
}

async fn has_account(server: &Server) -> bool {
    value(&mut server.root_session().await, "select count(*) from mysql.user where User like '%clone'").await != "0"
}

/// Sessions of the copy on the source.
async fn donors(source: &Server) -> String {
    let sql = "select count(*) from performance_schema.processlist where USER like '%clone'";
    value(&mut source.root_session().await, sql).await
}

async fn backup(base: &Path, source: &Server, target: &Server) -> Backup {
    let changes = target.engine.recipe(&shop(), &Intent::Seed(order(base, source).await)).await.unwrap();
    let [Change::Backup(backup)] = changes.as_slice() else { panic!("{changes:?}") };
    backup.clone()
}

fn receivers(target: &Server) -> usize {
    let home = target.data().join(".flytt-receiver").display().to_string();
    let all = procfs::process::all_processes().unwrap().flatten();
    let alive = all.filter(|process| process.stat().is_ok_and(|stat| stat.state != 'Z'));
    alive.filter_map(|process| process.cmdline().ok()).filter(|line| line.iter().any(|word| word.contains(&home))).count()
}

/// Nothing of the copy: no process, no file, no mark.
fn nothing_is_left(target: &Server) {
    assert_eq!(receivers(target), 0, "a receiver runs");
    assert_eq!(fs::read_dir(target.data()).map_or(0, Iterator::count), 0, "files are left");
    assert_eq!(fs::read_dir(target.root.join("state/seed")).map_or(0, Iterator::count), 0, "a mark is left");
}

async fn no_donor_is_left(source: &Server) {
    let begun = Instant::now();
    while donors(source).await != "0" {
        assert!(begun.elapsed() < Duration::from_secs(10), "the source waits for a copy that is over");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

async fn in_the_middle(progress: &mut mpsc::Receiver<Progress>) {
    while progress.recv().await.expect("the copy ends before its middle").done < 8 << 20 {}
}

/// Files below `directory` that hold `secret`, which stands in no command line for that.
fn files_with(directory: &Path, secret: &str) -> Vec<PathBuf> {
    let mut search = Command::new("/usr/bin/grep");
    search
        .args(["-rlF", "--devices=skip", "--file=-"])
        .arg(directory)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null());
    let mut search = search.spawn().unwrap();
    search.stdin.take().unwrap().write_all(secret.as_bytes()).unwrap();
    let found = search.wait_with_output().unwrap().stdout;
    String::from_utf8(found).unwrap().lines().map(PathBuf::from).collect()
}

#[test]
#[cfg_attr(without_mysql, ignore = "no MySQL server here: see packaging/mysql.sh")]
fn a_copy_is_the_whole_server_and_replication_goes_on_where_it_ends() {
    as_server_user("seed::a_copy_is_the_whole_server_and_replication_goes_on_where_it_ends", |base| async move {
        let (source, target, _, _tunnel) = pair(&base).await;
        let mut root = source.root_session().await;
        for sql in [
            "create table app.`a`` \"b\n\u{1f600}` (id int primary key, j json, t text generated always as (j->>'$.a') virtual)",
            "insert into app.`a`` \"b\n\u{1f600}` (id, j) values (1, '{\"a\": 1}')",
            "create procedure app.p() select 1",
            "create table app.bulk (id int primary key auto_increment, filler varchar(2000))",
        ] {
            root.query_drop(sql).await.unwrap();
        }
        for _ in 0..12 {
            root.query_drop("insert into app.bulk (filler) select repeat('x', 2000) from information_schema.COLLATIONS")
                .await
                .unwrap();
        }
        assert!(has_plugin(&source).await, "it was loaded for the copy");

        let writers = Writers::start(4, source.port);
        let copy = Backup { max_rate: 16 << 20, ..backup(&base, &source, &target).await };
        let (sender, mut progress) = mpsc::channel(4096);
        // DDL goes on while it is copied.
        let ddl = async {
            in_the_middle(&mut progress).await;
            let at = |receiver: &str| target.data().join(receiver);
            assert!(at(".flytt-copy").exists() && at(".flytt-receiver").exists());
            let secret = secret(&target);
            for process in procfs::process::all_processes().unwrap().flatten() {
                let words = process.cmdline().unwrap_or_default();
                assert!(!words.iter().any(|word| word.contains(&secret)), "{words:?}");
            }
            assert_eq!(
                files_with(&base, &secret),
                [target.root.join("state/secret/shop.pgpass")],
                "the password, while it is used"
            );
            for sql in ["alter table app.bulk add column late int", "create table app.later (id int primary key)"] {
                root.query_drop(sql).await.unwrap();
            }
            let mut told = Vec::new();
            while let Some(Progress { done, total, .. }) = progress.recv().await {
                assert!(done <= total);
                told.push(done);
            }
            told
        };
        let (done, told) = tokio::join!(target.engine.back_up(&copy, sender), ddl);
        done.unwrap();
        assert!(told.is_sorted() && told.last().is_some_and(|done| *done > 40 << 20), "{told:?}");
        assert_eq!(receivers(&target), 0);
        no_donor_is_left(&source).await;
        assert!(!target.data().join("auto.cnf").exists(), "it gets a UUID of its own");

        apply(&source, &Intent::Ready).await;
        assert!(!has_plugin(&source).await && !has_account(&source).await, "what was for the copy is left on the source");
        apply(&target, &Intent::Follow(tunnelled(&base))).await;
        assert!(!has_plugin(&target).await && !has_account(&target).await, "what was for the copy is left on the target");
        while writers.count() < 300 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        let acknowledged = writers.stop().await;
        let end = source.engine.position().await.unwrap();
        let reached = tokio::time::timeout(LONG, target.engine.caught_up(&end)).await.unwrap().unwrap();
        assert_eq!(reached.covers(&end), Some(true));
        let mut there = target.root_session().await;
        assert!(acknowledged.is_subset(&rows(&mut there).await), "acknowledged and not there");
        for sql in [
            "select group_concat(id, ':', t) from app.`a`` \"b\n\u{1f600}`",
            "select concat(count(*), ' ', sum(crc32(filler)), ' ', count(late)) from app.bulk",
            "select count(*) from app.later",
            "select count(*) from information_schema.ROUTINES where ROUTINE_SCHEMA = 'app'",
            "select group_concat(User, Host order by User) from mysql.user where User like 'app%'",
        ] {
            let here = value(&mut root, sql).await;
            assert_eq!(value(&mut there, sql).await, here, "{sql}");
            assert!(!here.is_empty());
        }
        assert_ne!(value(&mut there, "select @@server_uuid").await, value(&mut root, "select @@server_uuid").await);
        let found = files_with(&source.root, &secret(&target));
        assert!(found.is_empty(), "the password on the source: {found:?}");

        undo(&target, &[Change::Backup(copy), Change::Server(Verb::Start)]).await;
        nothing_is_left(&target);
    });
}

/// The move's password.
fn secret(target: &Server) -> String {
    let text = fs::read_to_string(target.root.join("state/secret/shop.pgpass")).unwrap();
    text.lines().nth(1).unwrap().rsplit(':').next().unwrap().to_owned()
}

#[test]
#[cfg_attr(without_mysql, ignore = "no MySQL server here: see packaging/mysql.sh")]
fn only_what_its_owner_named_is_replaced() {
    as_server_user("seed::only_what_its_owner_named_is_replaced", |base| async move {
        let source = Server::source(&base).await;
        let target = Server::prepare(&base, "target", 2);
        let seed = order(&base, &source).await;
        let refused = async |server: &Server, order: &SeedOrder| {
            let recipe = server.engine.recipe(&shop(), &Intent::Seed(order.clone())).await;
            recipe.expect_err("it is not refused").code
        };
        assert_eq!(refused(&source, &seed).await, "TARGET_RUNS");
        let direct = SeedOrder { upstream: Upstream::Direct { host: "db-old".into(), port: 3306 }, ..seed.clone() };
        assert_eq!(refused(&target, &direct).await, "NO_DIRECT_TRANSPORT");

        source.engine.tell(&shop(), &Verb::Stop { was_running: true }).await.unwrap();
        assert_eq!(source.engine.facts().await.unwrap().system, seed.system, "at rest it is the same");
        assert_eq!(refused(&source, &seed).await, "DIRECTORY_NOT_EMPTY");
        let named = SeedOrder { replace_system: seed.system.clone(), ..seed.clone() };
        let changes = source.engine.recipe(&shop(), &Intent::Seed(named)).await.unwrap();
        let [Change::DataDir(dir), Change::Backup(back)] = changes.as_slice() else { panic!("{changes:?}") };
        assert_eq!((&dir.path, &dir.trash), (&back.into, &source.root.join(".flytt-trash-shop")));
        // Taken back although never done: the data is not ours, so nothing of it goes.
        source.engine.end_backup(back).await.unwrap();
        let error = source.engine.back_up(back, mpsc::channel(1).0).await.unwrap_err();
        assert_eq!(error.code, "DIRECTORY_NOT_EMPTY");
        source.start().await;
        assert_eq!(value(&mut source.root_session().await, "select count(*) from app.writes").await, "0");
    });
}

#[test]
#[cfg_attr(without_mysql, ignore = "no MySQL server here: see packaging/mysql.sh")]
fn a_copy_that_is_cancelled_or_loses_its_source_leaves_nothing() {
    as_server_user("seed::a_copy_that_is_cancelled_or_loses_its_source_leaves_nothing", |base| async move {
        let (source, target, admitted, _tunnel) = pair(&base).await;
        let copy = Backup { max_rate: SLOW, ..backup(&base, &source, &target).await };
        let change = Change::Backup(copy.clone());
        let (sender, mut progress) = mpsc::channel(64);
        tokio::select! {
            done = target.engine.back_up(&copy, sender) => panic!("{done:?}"),
            () = in_the_middle(&mut progress) => {}
        }
        for _ in 0..2 {
            take_back(&target, &change).await.unwrap();
        }
        nothing_is_left(&target);
        no_donor_is_left(&source).await;

        // The agent is killed: nothing of it is polled or dropped any more. The next one takes away what it left.
        let (sender, mut progress) = mpsc::channel(64);
        {
            let mut work = Box::pin(target.engine.back_up(&copy, sender));
            tokio::select! {
                done = &mut work => panic!("{done:?}"),
                () = in_the_middle(&mut progress) => {}
            }
            std::mem::forget(work);
        }
        assert_ne!(receivers(&target), 0, "it is gone by itself, so that what follows shows nothing");
        target.engine.end_backup(&copy).await.unwrap();
        nothing_is_left(&target);
        no_donor_is_left(&source).await;

        // The receiver dies without a word: the source waits for it, until what was admitted is taken back.
        let (sender, mut progress) = mpsc::channel(64);
        let (engine, again) = (target.engine.clone(), copy.clone());
        let work = tokio::spawn(async move { engine.back_up(&again, sender).await });
        in_the_middle(&mut progress).await;
        let home = target.data().join(".flytt-receiver/data");
        flytt_agent::command::end_all(|line| line.contains(&format!("--datadir={}", home.display())), LONG).await;
        let failure = tokio::time::timeout(LONG, work).await.expect("it ends").unwrap().unwrap_err();
        assert_eq!(failure.code, "SEED_FAILED");
        nothing_is_left(&target);
        assert_ne!(donors(&source).await, "0", "nobody waits, so that what follows shows nothing");
        undo(&source, &admitted).await;
        assert!(!has_plugin(&source).await && !has_account(&source).await);
        no_donor_is_left(&source).await;

        let verifier = target.engine.credential(&shop()).await.unwrap();
        apply(&source, &Intent::Admit { verifier, peer_address: None }).await;
        // The source's server is restarted under it.
        let (sender, mut progress) = mpsc::channel(64);
        let (engine, again) = (target.engine.clone(), copy.clone());
        let work = tokio::spawn(async move { engine.back_up(&again, sender).await });
        in_the_middle(&mut progress).await;
        source.kill().await;
        source.start().await;
        let failure = tokio::time::timeout(LONG, work).await.expect("it ends").unwrap().unwrap_err();
        assert_eq!(failure.code, "SEED_FAILED");
        nothing_is_left(&target);

        one(&target, &Change::Backup(Backup { max_rate: 0, ..copy })).await.expect("and once more, in peace");
        assert_eq!(value(&mut source.root_session().await, "select count(*) from app.writes").await, "1");
    });
}

#[test]
#[cfg_attr(without_mysql, ignore = "no MySQL server here: see packaging/mysql.sh")]
fn a_copy_goes_on_when_its_connection_comes_back() {
    as_server_user("seed::a_copy_goes_on_when_its_connection_comes_back", |base| async move {
        let (source, target, _, tunnel) = pair(&base).await;
        let copy = Backup { max_rate: SLOW, ..backup(&base, &source, &target).await };
        let (sender, mut progress) = mpsc::channel(64);
        let (engine, again) = (target.engine.clone(), copy.clone());
        let work = tokio::spawn(async move { engine.back_up(&again, sender).await });
        in_the_middle(&mut progress).await;
        drop(tunnel);
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert!(!work.is_finished(), "it gives up at once");
        let _tunnel = tunnel::through(&base, &target).await;
        tokio::time::timeout(LONG, work).await.expect("it ends").unwrap().unwrap();
        no_donor_is_left(&source).await;
        target.start().await;
        assert_eq!(value(&mut target.root_session().await, "select count(*) from app.writes").await, "1");
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
#[cfg_attr(without_mysql, ignore = "no MySQL server here: see packaging/mysql.sh")]
fn a_disk_that_fills_ends_the_copy_and_is_empty_again() {
    let name = "seed::a_disk_that_fills_ends_the_copy_and_is_empty_again";
    let mounted = nix::unistd::geteuid().is_root().then(|| {
        let place = tempfile::Builder::new().prefix("flytt-small").tempdir_in("/tmp").unwrap();
        let run =
            Command::new("/usr/bin/mount").args(["-t", "tmpfs", "-o", "size=240m,mode=0777", "tmpfs"]).arg(place.path()).status();
        assert!(run.unwrap().success());
        Mounted(place)
    });
    let known: Vec<(&str, &Path)> = mounted.iter().map(|mounted| (SMALL, mounted.0.path())).collect();
    as_server_user_with(name, &known, |base| async move {
        let Some(small) = std::env::var_os(SMALL) else { return };
        let small = PathBuf::from(small);
        let (source, target, _, _tunnel) = pair_in(&base, &small).await;
        let copy = Backup { max_rate: SLOW, ..backup(&base, &source, &target).await };
        // Seen beforehand, and then when somebody else fills it meanwhile.
        let other = small.join("other");
        fs::write(&other, vec![0; 100 << 20]).unwrap();
        let failure = one(&target, &Change::Backup(copy.clone())).await.unwrap_err();
        assert_eq!(failure.code, "NO_SPACE", "{failure:?}");
        nothing_is_left(&target);
        fs::remove_file(&other).unwrap();
        let (sender, mut progress) = mpsc::channel(64);
        let (engine, again) = (target.engine.clone(), copy.clone());
        let work = tokio::spawn(async move { engine.back_up(&again, sender).await });
        in_the_middle(&mut progress).await;
        // To the last byte, whatever the copy has taken.
        assert!(fs::write(&other, vec![0; 240 << 20]).is_err());
        let failure = tokio::time::timeout(LONG, work).await.expect("it ends").unwrap().unwrap_err();
        fs::remove_file(&other).unwrap();
        assert_eq!(failure.code, "NO_SPACE", "{failure:?}");
        nothing_is_left(&target);
        no_donor_is_left(&source).await;
        let free = nix::sys::statvfs::statvfs(&small).unwrap();
        assert!(free.blocks_available() * 10 > free.blocks() * 9, "the disk is not empty again");
    });
}
