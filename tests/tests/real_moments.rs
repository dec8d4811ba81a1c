//! The bad moments, on real servers under load: each part is killed, frozen, starved or misled where it hurts most, and
//! afterwards nothing acknowledged is lost, one server holds, and nothing is left behind.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test that cannot go on ends there; what it measured is shown on request"
)]

mod moments;

use flytt::stage::{MIGRATION, Server};
use moments::{
    FAST, Holder, SLOW, Scene,
    flytt::Moment::{Begins, Does, Ends},
    pause,
    shell::{Disk, sql_as},
    stalled::Stalled,
};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

const CUTOVER: [&str; 2] = ["cutover", MIGRATION];
const RESUME: [&str; 2] = ["resume", MIGRATION];
const ROLLBACK: [&str; 2] = ["rollback", MIGRATION];
const MIB: u64 = 1 << 20;

#[tokio::test(flavor = "multi_thread")]
async fn the_controller_dies_after_the_surrender() {
    let scene = Scene::set(10, FAST).await;
    let canary = scene.canary().await;
    scene.following().await;
    let mut cutover = scene.flytt(&CUTOVER);
    cutover.comes_to(Ends("cut-surrender")).await;
    cutover.kill_hard().await;
    // Without a person: the agents complete it between themselves.
    scene.recovered(&canary).await;
    scene.assert_holder(Holder::Target).await;
    let said = std::fs::read_to_string(scene.agents().router.process.log()).unwrap();
    assert!(!said.contains("nobody renewed the hold"), "the router waited for its lease\n{said}");
    scene.must(&RESUME).await;
    scene.ends(canary, Holder::Target).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn somebody_dies_during_the_seed() {
    let scene = Scene::set(20, SLOW).await;
    let canary = scene.canary().await;
    let mut start = scene.start();
    start.copies(4 * MIB).await;
    start.kill_hard().await;
    // The copy went on without its controller, or is begun again: either way the target follows.
    scene.must(&RESUME).await;
    scene.must(&ROLLBACK).await;
    scene.assert_nothing_left(Holder::Source).await;

    for part in [|s: &Scene| s.agents().target.process.kill_hard(), |s: &Scene| s.agents().source.process.kill_hard()] {
        let mut start = scene.start();
        start.copies(4 * MIB).await;
        part(&scene);
        let ended = start.end().await;
        println!("exit {:?} {:?}", ended.code, ended.failures());
        match ended.code {
            Some(0) => drop(scene.must(&ROLLBACK).await),
            Some(6) => {}
            _ => panic!("{ended}\n{}", scene.logs()),
        }
        scene.assert_nothing_left(Holder::Source).await;
    }
    scene.ends(canary, Holder::Source).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_is_away_for_longer_than_the_lease() {
    let scene = Scene::set(10, FAST).await;
    let canary = scene.canary().await;
    scene.following().await;

    // Without its target the move is over, and the source serves before the target comes back.
    let mut cutover = scene.flytt(&CUTOVER);
    cutover.comes_to(Begins("cut-catch-up")).await;
    scene.agents().target.process.keep_down();
    scene.recovered(&canary).await;
    scene.agents().target.process.bring_back();
    let ended = cutover.end().await;
    println!("target: exit {:?} {:?}", ended.code, ended.failures());
    if scene.settle(&ended).await == Holder::Target {
        return scene.ends(canary, Holder::Target).await;
    }
    scene.carry_on().await;

    // Nobody but the source's own agent can un-fence it: it does so as soon as it is back.
    let mut cutover = scene.flytt(&CUTOVER);
    cutover.comes_to(Ends("cut-fence")).await;
    scene.agents().source.process.keep_down();
    pause(4_000).await;
    scene.agents().source.process.bring_back();
    scene.recovered(&canary).await;
    let ended = cutover.end().await;
    println!("source: exit {:?} {:?}", ended.code, ended.failures());
    let holder = scene.settle(&ended).await;
    if holder == Holder::Source {
        scene.carry_on().await;
    }
    scene.ends(canary, holder).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_that_hangs_keeps_nobody_else_waiting() {
    let scene = Scene::set(2, FAST).await;
    let canary = scene.canary().await;
    scene.following().await;
    let mut cutover = scene.flytt(&CUTOVER);
    cutover.comes_to(Ends("cut-catch-up")).await;
    scene.agents().target.process.pause();
    cutover.comes_to(Begins("cut-promote")).await;
    cutover.interrupt();
    // Its own steps come before and after these, and wait for it.
    for step in ["cut-fence", "cut-hold-1"] {
        cutover.until(step, |line| line["step"] == step && line["taking_back"] == true).await;
    }
    scene.recovered(&canary).await;
    scene.agents().target.process.resume();
    let ended = cutover.end().await;
    assert_eq!(ended.code, Some(130), "{ended}");
    scene.assert_holder(Holder::Source).await;
    scene.carry_on().await;
    scene.ends(canary, Holder::Source).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_operator_interrupts() {
    let scene = Scene::set(20, SLOW).await;
    let canary = scene.canary().await;
    let mut start = scene.start();
    start.copies(4 * MIB).await;
    start.interrupt();
    let ended = start.end().await;
    assert_eq!(ended.code, Some(130), "{ended}");
    scene.assert_nothing_left(Holder::Source).await;

    scene.following().await;
    for moment in [Does("cut-hold-1"), Does("cut-fence"), Begins("cut-promote")] {
        let mut cutover = scene.flytt(&CUTOVER);
        cutover.comes_to(moment).await;
        cutover.interrupt();
        let ended = cutover.end().await;
        assert_eq!(ended.code, Some(130), "{moment:?}: {ended}");
        scene.recovered(&canary).await;
        scene.assert_holder(Holder::Source).await;
        scene.carry_on().await;
    }
    // Past the point of no return a Ctrl-C changes nothing.
    let mut cutover = scene.flytt(&CUTOVER);
    cutover.comes_to(Ends("cut-surrender")).await;
    cutover.interrupt();
    let ended = cutover.end().await;
    assert_eq!(ended.code, Some(0), "{ended}");
    scene.ends(canary, Holder::Target).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_targets_disk_fills_up_during_the_seed() {
    let scene = Scene::set(30, SLOW).await;
    let canary = scene.canary().await;
    let disk = Disk::over(&scene.stage.target.data(), 4_000);
    let mut start = scene.start();
    start.copies(4 * MIB).await;
    disk.fill_up_to(3);
    let ended = start.end().await;
    assert_eq!((ended.code, ended.failures()), (Some(6), vec!["SEED_FAILED"]), "{ended}");
    assert!(ended.to_string().contains("No space left on device"), "{ended}");
    scene.assert_nothing_left(Holder::Source).await;
    // With room it goes through.
    disk.resize(4_000);
    scene.following().await;
    scene.must(&ROLLBACK).await;
    drop(disk);
    scene.ends(canary, Holder::Source).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_controller_is_refused() {
    let scene = Scene::set(20, SLOW).await;
    let canary = scene.canary().await;
    let file = scene.file.to_str().unwrap();
    let mut start = scene.start();
    start.copies(4 * MIB).await;
    for second in [vec!["start", file], RESUME.to_vec(), ROLLBACK.to_vec(), CUTOVER.to_vec()] {
        let ended = scene.flytt(&second).end().await;
        assert_eq!(ended.code, Some(9), "{second:?}: {ended}");
    }
    let ended = start.end().await;
    assert_eq!(ended.code, Some(0), "{ended}");

    let mut cutover = scene.flytt(&CUTOVER);
    cutover.comes_to(Does("cut-hold-1")).await;
    let ended = scene.flytt(&ROLLBACK).end().await;
    assert_eq!(ended.code, Some(9), "{ended}");
    let ended = cutover.end().await;
    assert_eq!(ended.code, Some(0), "{ended}");
    scene.ends(canary, Holder::Target).await;
}

/// Its journal is a copy, so no lock keeps the two apart: the agents do.
#[tokio::test(flavor = "multi_thread")]
async fn a_stale_controller_wakes_up_and_changes_nothing() {
    let scene = Scene::set(10, FAST).await;
    let canary = scene.canary().await;
    scene.following().await;
    let elsewhere = scene.copy_of_home();
    let mut first = scene.flytt(&CUTOVER);
    first.comes_to(Ends("cut-fence")).await;
    first.freeze();
    // Nobody renews the lease any more: the source serves again by itself, and somebody else takes over.
    scene.recovered(&canary).await;
    let second = moments::flytt::Flytt::start(&elsewhere, &RESUME).end().await;
    assert_eq!(second.code, Some(0), "{second}");
    let second = moments::flytt::Flytt::start(&elsewhere, &CUTOVER).end().await;
    println!("the second: exit {:?} {:?}", second.code, second.failures());
    scene.recovered(&canary).await;
    let held = scene.holder().await;

    first.thaw();
    let ended = first.end().await;
    assert_eq!(ended.code, Some(9), "{ended}");
    scene.recovered(&canary).await;
    scene.assert_holder(held).await;
    let last = if held == Holder::Target { "finish" } else { "rollback" };
    let end = moments::flytt::Flytt::start(&elsewhere, &[last, MIGRATION]).end().await;
    assert_eq!(end.code, Some(0), "{end}");
    scene.assert_nothing_left(held).await;
    scene.assert_nothing_lost(canary, held).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_router_cannot_be_reached_when_it_should_hold() {
    type Fault = fn(&Scene);
    let faults: [(&str, Fault, Fault); 3] = [
        ("its agent is frozen", |s| s.agents().router.process.pause(), |s| s.agents().router.process.resume()),
        ("its agent is down", |s| s.agents().router.process.keep_down(), |s| s.agents().router.process.bring_back()),
        ("HAProxy is frozen", |s| s.stage.proxy.process().pause(), |s| s.stage.proxy.process().resume()),
    ];
    let scene = Scene::set(10, FAST).await;
    let canary = scene.canary().await;
    scene.following().await;
    for (what, begin, end) in faults {
        let mut cutover = scene.flytt(&CUTOVER);
        cutover.comes_to(Begins("gate")).await;
        begin(&scene);
        let ended = cutover.end().await;
        println!("{what}: exit {:?} {:?}", ended.code, ended.failures());
        assert!(!ended.began("cut-fence") && matches!(ended.code, Some(6 | 7)), "{what}: {ended}");
        end(&scene);
        scene.recovered(&canary).await;
        scene.assert_holder(Holder::Source).await;
        scene.carry_on().await;
    }
    scene.must(&CUTOVER).await;
    scene.ends(canary, Holder::Target).await;
}

/// The cutover cannot go on without it. The source serves before HAProxy is back, and then there is nothing to take back there.
#[tokio::test(flavor = "multi_thread")]
async fn a_router_that_restarts_in_the_window_does_not_need_a_person() {
    let scene = Scene::set(2, FAST).await;
    let canary = scene.canary().await;
    scene.following().await;
    for moment in [Ends("cut-hold-1"), Ends("cut-fence")] {
        let mut cutover = scene.flytt(&CUTOVER);
        cutover.comes_to(moment).await;
        scene.stage.proxy.process().keep_down();
        pause(1_500).await;
        assert!(scene.accepts_writes(&scene.stage.source).await, "{moment:?}: the source waits for the router");
        scene.stage.proxy.process().bring_back();
        let ended = cutover.end().await;
        assert_eq!((ended.code, ended.failures()), (Some(6), vec!["ROUTER_UNREACHABLE"]), "{moment:?}: {ended}");
        scene.recovered(&canary).await;
        scene.assert_holder(Holder::Source).await;
        scene.carry_on().await;
    }
    scene.ends(canary, Holder::Source).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_target_that_does_not_catch_up_is_given_up_within_the_budget() {
    let scene = Scene::set(10, &format!("{FAST}[cutover]\nmax_outage = \"4s\"\n")).await;
    let canary = scene.canary().await;
    scene.following().await;
    let mut cutover = scene.flytt(&CUTOVER);
    cutover.comes_to(Ends("gate")).await;
    cutover.freeze();
    // Behind the gate nobody gets in who could pause it.
    let replays = replaying(&scene.stage.target);
    kill(replays, Signal::SIGSTOP).unwrap();
    cutover.thaw();
    let ended = cutover.end().await;
    assert_eq!((ended.code, ended.failures()), (Some(6), vec!["TOO_LATE"]), "{ended}");
    assert!(ended.began("cut-catch-up") && !ended.began("cut-stage-1"), "{ended}");
    scene.recovered(&canary).await;
    scene.assert_holder(Holder::Source).await;
    kill(replays, Signal::SIGCONT).unwrap();
    scene.must(&CUTOVER).await;
    scene.ends(canary, Holder::Target).await;
}

/// The process of a standby that replays its log.
fn replaying(server: &Server) -> Pid {
    let mut all = procfs::process::all_processes().unwrap().flatten();
    let is_it = |process: &procfs::process::Process| {
        let line = process.cmdline().unwrap_or_default().join(" ");
        line.contains("startup recovering") && process.cwd().is_ok_and(|cwd| cwd == server.data())
    };
    Pid::from_raw(all.find(is_it).expect("a standby replays").pid())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_happens_on_the_source_after_the_final_position_changes_nothing() {
    let scene = Scene::set(10, FAST).await;
    let canary = scene.canary().await;
    scene.following().await;
    let stalled = Stalled::begin(&scene.stage, "CREATE TABLE after_the_fence ()").await;
    let mut cutover = scene.flytt(&CUTOVER);
    cutover.comes_to(Ends("cut-fence")).await;
    cutover.freeze();
    // A login from before the fence goes on, and the server writes WAL of its own, as autovacuum would.
    let refused = stalled.go_on().await;
    let wal = |sql: &str| sql_as(&scene.stage.source, "flytt_demo_agent", sql);
    let before = wal("SELECT pg_current_wal_lsn()");
    wal("ANALYZE orders");
    let written = wal(&format!("SELECT pg_wal_lsn_diff(pg_current_wal_lsn(), '{before}') > 0"));
    cutover.thaw();
    let ended = cutover.end().await;
    assert!(refused.is_err(), "a login that was stalled in the fence wrote after it");
    assert_eq!(written, "t", "ANALYZE was to write WAL");
    assert_eq!(ended.code, Some(0), "{ended}");
    let tables = "SELECT count(*) FROM pg_class WHERE relname = 'after_the_fence'";
    assert_eq!(scene.stage.target.sql("app", tables).await.unwrap(), "0");
    pause(100).await;
    scene.ends(canary, Holder::Target).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_probe_of_a_host_gives_way_to_whoever_comes() {
    let scene = Scene::set(10, FAST).await;
    let (target, long) = (flytt::stage::TARGET, ["--seconds", "50", "--job", "randwrite-4k-qd8"]);
    let probe = |more: &[&str]| scene.flytt(&[&["probe", target, "--size", "32MiB"], more].concat());
    let measures = |line: &serde_json::Value| line["note"].as_str().is_some_and(|text| text.starts_with("randwrite-4k-qd8"));

    let ended = probe(&["--seconds", "1"]).end().await;
    assert_eq!(ended.code, Some(0), "{ended}\n{}", scene.logs());
    let report = &ended.answer()["report"];
    assert_eq!((report["results"].as_array().map(Vec::len), &report["stopped"]), (Some(6), &"".into()), "{ended}");

    // One at a time; and the first one goes on.
    let mut first = probe(&long);
    first.until("it measures", measures).await;
    let ended = probe(&long).end().await;
    assert_eq!((ended.code, ended.failures()), (Some(5), vec!["PROBE_RUNNING"]), "{ended}");
    first.until("it measures still", measures).await;

    // Ctrl-C ends it on the host, too: soon there is room for another.
    first.interrupt();
    assert_eq!(first.end().await.code, Some(130));
    let mut next = probe(&long);
    next.until("it measures", measures).await;

    // A controller that dies is nobody who listens.
    next.kill_hard().await;
    let mut next = probe(&long);
    next.until("it measures", measures).await;

    // A move comes first.
    scene.following().await;
    let ended = next.end().await;
    assert_eq!((ended.code, ended.failures()), (Some(5), vec!["PROBE_GIVES_WAY"]), "{ended}");
    scene.must(&ROLLBACK).await;
    scene.assert_nothing_left(Holder::Source).await;

    // A mistake is told before anything is measured.
    for (more, code) in [
        (&["--job", "randwrite"][..], "PROBE_JOB"),
        (&["--device", "/dev/null", "--again", "/dev/zero"], "RAW_NAMED_ONCE"),
        (&["--device", "/dev/null", "--again", "/dev/null"], "RAW_NOT_A_DISK"),
    ] {
        let ended = probe(more).end().await;
        assert_eq!((ended.code, ended.failures()), (Some(5), vec![code]), "{ended}");
    }
    scene.stage.tear_down().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_probe_of_the_serving_source_goes_easy() {
    let scene = Scene::set(10, FAST).await;
    let canary = scene.canary().await;
    let asked = ["probe", flytt::stage::SOURCE, "--size", "32MiB", "--seconds", "2", "--job", "commit-8k"];
    let ended = scene.flytt(&asked).end().await;
    assert_eq!(ended.code, Some(0), "{ended}\n{}", scene.logs());
    // Beside an application that writes as fast as it can it may well end early, and says so.
    let report = &ended.answer()["report"];
    let has_measured = report["results"][0]["operations"].as_u64().is_some_and(|operations| operations > 0);
    assert!(has_measured || report["stopped"].as_str().is_some_and(|why| why.starts_with("the host comes first")), "{ended}");
    scene.recovered(&canary).await;
    scene.assert_nothing_lost(canary, Holder::Source).await;
    scene.stage.tear_down().await;
}
