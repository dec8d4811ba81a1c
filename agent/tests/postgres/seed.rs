//! The copy: broken off it leaves nothing, and it never takes the place of what nobody allowed it to replace.

use std::{fs, time::Duration};

use flytt_agent::{
    change::{Backup, Change},
    command,
    engine::{Engine as _, Intent, SeedOrder},
};

use nix::unistd::Pid;

use crate::{
    apply::{apply, one, shop, undo},
    cutover::order,
    server::{Server, value},
    user::as_server_user,
};

fn processes(backup: &Backup) -> Vec<Pid> {
    let into = backup.into.display().to_string();
    let mut all = command::processes(|line| line.contains(&backup.slot) && line.contains(&into));
    all.sort();
    all
}

fn copies(backup: &Backup) -> usize {
    processes(backup).len()
}

/// A copy so slow that it does not end by itself.
async fn slow(source: &Server, target: &Server) -> (Vec<Change>, Backup) {
    let verifier = target.engine.credential(&shop()).await.unwrap();
    let admission = apply(source, &Intent::Admit { verifier, peer_address: None }).await;
    let order = SeedOrder { max_rate: 64 << 10, ..order(source).await };
    let changes = target.engine.recipe(&shop(), &Intent::Seed(order)).await.unwrap();
    match changes.as_slice() {
        [Change::Backup(backup)] => (admission, backup.clone()),
        other => panic!("{other:?}"),
    }
}

async fn until_streaming(backup: &Backup) {
    for _ in 0..1000 {
        if copies(backup) == 2 && backup.into.join("pg_wal").exists() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("the copy does not get under way");
}

async fn nothing_left(source: &Server, backup: &Backup, admission: &[Change]) {
    assert_eq!(copies(backup), 0, "a process of the copy lives on");
    assert_eq!(fs::read_dir(&backup.into).unwrap().count(), 0, "files of the copy are left");
    let client = source.client("postgres").await;
    for _ in 0..500 {
        if value(&client, "select count(*) from pg_replication_slots where active").await == "0" {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    undo(source, admission).await;
    assert_eq!(value(&client, "select count(*) from pg_replication_slots").await, "0");
}

#[test]
fn a_copy_broken_off_leaves_nothing() {
    as_server_user("seed::a_copy_broken_off_leaves_nothing", |base| async move {
        let source = Server::source(&base).await;
        let target = Server::prepare(&base, "target");
        let (admission, backup) = slow(&source, &target).await;
        let (sender, mut progress) = tokio::sync::mpsc::channel(64);
        tokio::select! {
            came = target.engine.back_up(&backup, sender) => panic!("it ends by itself: {came:?}"),
            seen = async { until_streaming(&backup).await; progress.recv().await } => {
                assert!(seen.is_some_and(|progress| progress.total > 0), "{seen:?}");
            }
        }
        target.engine.end_backup(&backup).await.unwrap();
        target.engine.end_backup(&backup).await.unwrap();
        nothing_left(&source, &backup, &admission).await;
    });
}

#[test]
fn a_copy_whose_first_process_is_killed_leaves_no_second() {
    as_server_user("seed::a_copy_whose_first_process_is_killed_leaves_no_second", |base| async move {
        let source = Server::source(&base).await;
        let target = Server::prepare(&base, "target");
        let (admission, backup) = slow(&source, &target).await;
        let kill = async {
            until_streaming(&backup).await;
            let mut all =
                command::processes(|line| line.contains(&backup.slot) && line.contains(&backup.into.display().to_string()));
            all.sort();
            nix::sys::signal::kill(all[0], nix::sys::signal::Signal::SIGKILL).unwrap();
        };
        let (came, ()) = tokio::join!(target.engine.back_up(&backup, tokio::sync::mpsc::channel(64).0), kill);
        assert_eq!(came.unwrap_err().code, "SEED_FAILED");
        target.engine.end_backup(&backup).await.unwrap();
        nothing_left(&source, &backup, &admission).await;
    });
}

#[test]
fn a_copy_that_outlived_its_agent_is_found_and_ended() {
    as_server_user("seed::a_copy_that_outlived_its_agent_is_found_and_ended", |base| async move {
        let source = Server::source(&base).await;
        let target = Server::prepare(&base, "target");
        let (admission, backup) = slow(&source, &target).await;
        let line = tokio::select! {
            came = target.engine.back_up(&backup, tokio::sync::mpsc::channel(64).0) => panic!("it ends by itself: {came:?}"),
            line = async {
                until_streaming(&backup).await;
                procfs::process::Process::new(processes(&backup)[0].as_raw()).unwrap().cmdline().unwrap()
            } => line,
        };
        while copies(&backup) > 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        // The same again, as a child of nobody the engine knows.
        for entry in fs::read_dir(&backup.into).unwrap().map(Result::unwrap) {
            if entry.path().is_dir() { fs::remove_dir_all(entry.path()).unwrap() } else { fs::remove_file(entry.path()).unwrap() }
        }
        let client = source.client("postgres").await;
        while value(&client, "select count(*) from pg_replication_slots where active").await != "0" {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let mut orphan =
            std::process::Command::new(&line[0]).args(&line[1..]).stderr(std::process::Stdio::null()).spawn().unwrap();
        until_streaming(&backup).await;
        target.engine.end_backup(&backup).await.unwrap();
        let left = copies(&backup);
        assert!(!orphan.wait().unwrap().success());
        assert_eq!(left, 0, "it runs on after it was said to have ended");
        nothing_left(&source, &backup, &admission).await;
    });
}

#[test]
fn a_copy_is_made_again_over_its_own_remains() {
    as_server_user("seed::a_copy_is_made_again_over_its_own_remains", |base| async move {
        let source = Server::source(&base).await;
        let target = Server::prepare(&base, "target");
        let (_, backup) = slow(&source, &target).await;
        let fast = Backup { max_rate: 0, ..backup };
        for _ in 0..2 {
            target.engine.back_up(&fast, tokio::sync::mpsc::channel(64).0).await.unwrap();
        }
        let other = Backup { system: "1".into(), ..fast.clone() };
        let error = target.engine.back_up(&other, tokio::sync::mpsc::channel(64).0).await.unwrap_err();
        assert_eq!(error.code, "WRONG_CLUSTER");
        target.engine.end_backup(&fast).await.unwrap();
        assert_eq!(fs::read_dir(&fast.into).unwrap().count(), 0);
    });
}

#[test]
fn what_nobody_named_is_not_replaced() {
    as_server_user("seed::what_nobody_named_is_not_replaced", |base| async move {
        let source = Server::source(&base).await;
        let seed = Intent::Seed(order(&source).await);
        let refused = async |server: &Server, intent: &Intent| -> String {
            server.engine.recipe(&shop(), intent).await.expect_err("it is not refused").code
        };
        assert_eq!(refused(&source, &seed).await, "TARGET_RUNS");
        let stop = flytt_agent::change::Verb::Stop { was_running: true };
        source.engine.tell(&shop(), &stop).await.unwrap();
        assert_eq!(refused(&source, &seed).await, "DIRECTORY_NOT_EMPTY");

        let system = source.engine.facts().await.unwrap().system;
        let mut named = SeedOrder {
            upstream: source.upstream(),
            max_rate: 0,
            fast_checkpoint: true,
            system: "1".into(),
            replace_system: system,
            expected_bytes: 0,
            way: flytt_agent::engine::Way::Physical,
            origin: None,
        };
        let changes = source.engine.recipe(&shop(), &Intent::Seed(named.clone())).await.unwrap();
        let [Change::DataDir(dir), Change::Backup(backup)] = changes.as_slice() else { panic!("{changes:?}") };
        assert_eq!(dir.trash, source.root.join(".flytt-trash-shop"));
        assert_eq!(dir.path, backup.into);
        named.replace_system = "1".into();
        assert_eq!(refused(&source, &Intent::Seed(named)).await, "DIRECTORY_NOT_EMPTY");

        // Taken back although never done: the cluster is not ours, so nothing of it goes.
        source.engine.end_backup(backup).await.unwrap();
        let error = one(&source, &Change::Backup(Backup { into: source.data().join("base"), ..backup.clone() })).await;
        assert_eq!(error.unwrap_err().code, "NOT_OUR_DIRECTORY");
        let error = source.engine.back_up(backup, tokio::sync::mpsc::channel(1).0).await;
        assert_eq!(error.unwrap_err().code, "DIRECTORY_NOT_EMPTY");
        source.start();
        assert_eq!(value(&source.client("postgres").await, "select 1").await, "1");
    });
}
