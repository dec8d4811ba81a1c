//! Gates on real disks and servers: a target that is too slow is refused before a byte is moved, in words for its provider; one
//! that cannot take the copy ends it; what an operator accepts goes on, on record; and a catch-up that never ends is not waited for.

use std::{fs, time::Duration};

use flytt::journal::{Event, Journal, Milestone};
use flytt_proto::{durable, gate::Gate};
use serde_json::Value;

use super::{
    FAST, Holder, Scene,
    flytt::{Ended, Moment},
    pause,
    slow::{BusyDisk, SlowDisk},
};

/// The scene's file with other gates.
fn with_gates(scene: &Scene, name: &str, gates: &str) -> String {
    let text = fs::read_to_string(&scene.file).unwrap();
    let edited = text.replace("[gates]\nblock = []\n", &format!("[gates]\n{gates}\n"));
    assert_ne!(text, edited);
    let file = scene.stage.home.join(name);
    durable::write(&file, edited.as_bytes(), 0o600).unwrap();
    file.to_str().unwrap().to_owned()
}

/// Level, sentence and remedy of the last finding with this code.
fn found(ended: &Ended, code: &str) -> (String, String, String) {
    let mut findings = ended.heard.iter().filter(|line| line["finding"]["code"] == code);
    let Some(last) = findings.next_back() else { panic!("no {code}: {ended}") };
    let text = |key: &str| last["finding"][key].as_str().unwrap().to_owned();
    (text("level"), text("sentence"), text("remedy"))
}

fn warned(ended: &Ended, what: &str) -> bool {
    ended.heard.iter().any(|line| line["warning"].as_str().is_some_and(|text| text.contains(what)))
}

fn events(scene: &Scene) -> Vec<Event> {
    let (_, rows) = Journal::read(&scene.stage.home.join("migrations/demo")).unwrap();
    rows.into_iter().map(|row| row.event).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_that_is_too_slow_is_refused_before_a_byte_is_moved_and_says_why() {
    let scene = Scene::set(2, FAST).await;
    let slow = SlowDisk::under(&scene.stage.target, &scene.agents().target, 100).await;
    let file = with_gates(&scene, "gates.toml", "block = [\"iops\"]");
    let canary = scene.canary().await;
    // The agent of the source sees the load, second by second.
    pause(5_000).await;

    let check = scene.flytt(&["check", &file]).end().await;
    assert_eq!(check.code, Some(10), "never probed is no reason to refuse: {check}");
    assert!(found(&check, "NO_PROBE").2.contains("flytt probe db-new"));
    assert_eq!((check.answer()["name"].as_str(), check.answer()["blocks"].as_u64()), (Some("warned"), Some(0)), "{check}");

    // What the kernels lack is found beforehand as well; this stage's are not to be touched, and `check` touches nothing.
    let text = fs::read_to_string(&file).unwrap().replace("kernel = \"off\"", "kernel = \"auto\"");
    let tuned = scene.stage.home.join("tuned.toml");
    durable::write(&tuned, text.as_bytes(), 0o600).unwrap();
    let check = scene.flytt(&["check", tuned.to_str().unwrap()]).end().await;
    assert!(["PATH_MEASURED", "PATH_NOT_MEASURED"].iter().any(|code| check.to_string().contains(code)), "{check}");

    let start = scene.flytt(&["start", &file]).end().await;
    assert_eq!((start.code, start.failures()), (Some(4), vec!["GATE_IOPS"]), "{start}\n{}", scene.logs());
    let (level, sentence, remedy) = found(&start, "GATE_IOPS");
    println!("{sentence}\n→ {remedy}");
    assert_eq!(level, "block");
    let data = scene.stage.target.data().display().to_string();
    for part in
        [&slow.device, "ext4", &data, "random 4 KiB writes a second at queue depth 32", "p50 ", "p99 ", "O_DIRECT by ", "16 MiB"]
    {
        assert!(sentence.contains(part), "{part}: {sentence}");
    }
    for part in [" UTC", "are needed: 1.3 times the ", " of db-old did at its peak on ", " of observation since "] {
        assert!(sentence.contains(part), "{part}: {sentence}");
    }
    assert!(remedy.contains("--accept GATE_IOPS"), "{remedy}");
    let measured = |line: &&Value| line["step"] == "probe-target" && line["done"] == true;
    let result = &start.heard.iter().find(measured).unwrap()["outcome"]["kind"]["Probed"]["results"][0];
    let iops = result["iops"].as_f64().unwrap_or_else(|| panic!("{result}"));
    assert!((10.0..250.0).contains(&iops), "the throttle allows a hundred, in bursts: {iops}");
    assert_eq!(found(&start, "PEAK_SHORT").0, "warn");
    assert_eq!(fs::read_dir(scene.stage.target.data()).unwrap().count(), 0, "before a byte is moved");
    let begun =
        |event: &Event| matches!(event, Event::Began { step } if ["credential", "admit", "seed"].contains(&step.as_str()));
    let record = events(&scene);
    assert!(!record.iter().any(begun), "{record:?}");
    assert_eq!(record.last(), Some(&Event::Reached { milestone: Milestone::AsItWas }));
    scene.assert_nothing_left(Holder::Source).await;

    // `check` goes by that probe, and by what the operator accepts of it.
    let check = scene.flytt(&["check", &file]).end().await;
    assert_eq!((check.code, check.failures()), (Some(4), vec!["GATE_IOPS"]), "{check}");
    let first = check.heard.iter().find(|line| line["finding"].is_object()).unwrap();
    assert_eq!(first["finding"]["code"], "GATE_IOPS", "the worst comes first: {check}");
    let check = scene.flytt(&["check", &file, "--accept", "GATE_IOPS", "--accept", "GATE_STEAL"]).end().await;
    assert_eq!((check.code, found(&check, "GATE_IOPS").0.as_str()), (Some(10), "accepted"), "{check}");
    assert!(warned(&check, "nothing needed --accept GATE_STEAL"), "{check}");
    for verb in ["check", "start"] {
        let refused = scene.flytt(&[verb, &file, "--accept", "SAME_SERVER"]).end().await;
        assert_eq!((refused.code, refused.failures()), (Some(2), vec!["NOT_ACCEPTABLE"]), "{refused}");
        assert!(refused.to_string().contains("GATE_COMMIT"), "{refused}");
    }
    scene.assert_nothing_left(Holder::Source).await;

    // A disk that is fast, and a headroom that no disk has: accepted, it goes on and on record.
    slow.allow(0);
    let file = with_gates(&scene, "accepted.toml", "block = [\"iops\"]\niops_headroom = 100");
    let start = scene.flytt(&["start", &file, "--accept", "GATE_IOPS", "--accept", "GATE_COMMIT"]).end().await;
    assert_eq!(start.code, Some(0), "{start}\n{}", scene.logs());
    assert_eq!(found(&start, "GATE_IOPS").0, "accepted");
    assert!(warned(&start, "nothing needed --accept GATE_COMMIT"), "{start}");
    let record = events(&scene);
    assert!(record.contains(&Event::Accepted { gates: vec![Gate::Iops, Gate::Commit] }), "{record:?}");
    let accepted =
        |event: &Event| matches!(event, Event::Found { findings, .. } if findings.iter().any(|it| it.code == "GATE_IOPS"));
    assert!(record.iter().any(accepted), "{record:?}");
    scene.must(&["rollback", "demo"]).await;
    scene.ends(canary, Holder::Source).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_that_cannot_take_the_copy_ends_it_and_is_gone_on_with_where_that_is_accepted() {
    let scene = Scene::set(50, FAST).await;
    let busy = BusyDisk::under(&scene.stage.target, &scene.agents().target, 3 << 20).await;
    let file = with_gates(&scene, "gates.toml", "block = [\"storage\"]");
    let canary = scene.canary().await;
    let start = scene.flytt(&["start", &file]).ends_within(Duration::from_secs(240)).await;
    assert_eq!((start.code, start.failures()), (Some(6), vec!["GATE_STORAGE"]), "{start}\n{}", scene.logs());
    assert!(start.began("seed") && !start.began("follow"), "while the copy is made, which is not whole: {start}");
    let (level, sentence, remedy) = found(&start, "GATE_STORAGE");
    println!("{sentence}\n→ {remedy}");
    assert_eq!(level, "block");
    for part in [&busy.device, "was busy all the time and a write waited ", "(10 ms at most is asked for)", " a second"] {
        assert!(sentence.contains(part), "{part}: {sentence}");
    }
    assert!(remedy.contains("max_rate") && remedy.contains("--accept GATE_STORAGE"), "{remedy}");
    scene.recovered(&canary).await;
    scene.assert_nothing_left(Holder::Source).await;

    let mut start = scene.flytt(&["start", &file, "--accept", "GATE_STORAGE"]);
    let heard = start.within(Duration::from_secs(240), "the finding", |line| line["finding"]["code"] == "GATE_STORAGE").await;
    assert_eq!(heard["finding"]["level"], "accepted", "{heard}");
    // Enough seen: the rest of the copy need not take its time.
    busy.allow(0);
    let start = start.end().await;
    assert_eq!(start.code, Some(0), "{start}\n{}", scene.logs());
    scene.must(&["rollback", "demo"]).await;
    scene.ends(canary, Holder::Source).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_catch_up_that_never_ends_is_called_early_with_the_arithmetic() {
    let scene = Scene::set(2, FAST).await;
    let file = with_gates(&scene, "gates.toml", "block = [\"converge\"]\nlag_bytes = \"8KiB\"");
    let canary = scene.canary().await;
    let mut start = scene.flytt(&["start", &file]);
    start.comes_to(Moment::Begins("follow")).await;
    // Before its agent looks for the first time, the target receives much and applies nothing of it.
    let agent = &scene.agents().target.process;
    while !scene.stage.target.is_running() {
        pause(2).await;
    }
    agent.pause();
    while scene.stage.target.sql("postgres", "SELECT pg_wal_replay_pause()").await.is_err() {
        pause(20).await;
    }
    pause(500).await;
    agent.resume();
    // Two minutes are what the gate looks at.
    let start = start.ends_within(Duration::from_secs(240)).await;
    assert_eq!((start.code, start.failures()), (Some(7), vec!["GATE_CONVERGE"]), "{start}\n{}", scene.logs());
    let (level, sentence, remedy) = found(&start, "GATE_CONVERGE");
    assert_eq!(level, "block");
    for part in ["db-old writes ", " of WAL, the target applies ", " grows by ", " a minute and never ends"] {
        assert!(sentence.contains(part), "{part}: {sentence}");
    }
    assert!(remedy.contains("--accept GATE_CONVERGE"), "{remedy}");
    scene.recovered(&canary).await;

    // Waited for all the same, it comes to its end once the target applies again.
    scene.stage.target.sql("postgres", "SELECT pg_wal_replay_resume()").await.unwrap();
    scene.must(&["resume", "demo", "--accept", "GATE_CONVERGE"]).await;
    assert!(events(&scene).contains(&Event::Accepted { gates: vec![Gate::Converge] }));
    scene.ends(canary, Holder::Source).await;
}
