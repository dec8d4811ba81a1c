//! No controller is left: each host says what flytt has on it, and takes it back by itself.

use std::{
    os::unix::{fs::MetadataExt as _, process::CommandExt as _},
    path::Path,
    process::{Command, Output},
};

use flytt::stage::{Agent, MIGRATION};

use super::{FAST, Holder, Scene};

/// `flytt-agent revert`, as the owner of its ledger or as whoever runs this test.
#[allow(clippy::disallowed_methods, reason = "the program under test is a process of its own")]
fn revert(scene: &Scene, agent: &Agent, as_owner: bool, migration: Option<&str>) -> Output {
    let owner = agent.config.parent().unwrap().join("state").metadata().unwrap();
    let mut command = Command::new(scene.stage.place.path().join("flytt-agent"));
    command.arg("--config").arg(&agent.config).arg("revert").args(migration).current_dir("/").env_clear();
    if as_owner {
        command.uid(owner.uid()).gid(owner.gid());
    }
    command.output().unwrap()
}

fn said(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

#[tokio::test(flavor = "multi_thread")]
async fn what_flytt_has_on_a_host_is_told_and_taken_back_without_a_controller() {
    let scene = Scene::set(10, FAST).await;
    let canary = scene.canary().await;
    scene.following().await;
    let told = scene.must(&["doctor", "db-old"]).await;
    let answer = told.heard.last().unwrap();
    let shop = &answer["moves"][0];
    assert!(shop["baton"] == "serving" && shop["peer"] == "db-new" && shop["kept"].is_null(), "{answer}");
    let admit = shop["operations"].as_array().unwrap().iter().find(|operation| operation["step"] == "admit").unwrap();
    assert!(admit["changes"].to_string().contains("create role"), "{admit}");

    let agents = scene.agents();
    let in_use = revert(&scene, &agents.source, true, Some(MIGRATION));
    assert!(!in_use.status.success() && said(&in_use).contains("RECORD_IN_USE"), "{}", said(&in_use));
    for agent in [&agents.source, &agents.target] {
        agent.process.keep_down();
        if nix::unistd::geteuid().is_root() {
            let other = revert(&scene, agent, false, Some(MIGRATION));
            assert!(!other.status.success() && said(&other).contains("OTHER_USER"), "{}", said(&other));
        }
        let stands = revert(&scene, agent, true, None);
        assert!(
            stands.status.success() && said(&stands).contains(&format!("flytt-agent revert {MIGRATION}")),
            "{}",
            said(&stands)
        );
        for _ in 0..2 {
            let reverted = revert(&scene, agent, true, Some(MIGRATION));
            let last = format!("nothing of {MIGRATION} is left on {}\n", agent.name);
            assert!(reverted.status.success() && said(&reverted).contains(&last), "{}", said(&reverted));
        }
        assert!(owned_by_one(agent.config.parent().unwrap().join("state").as_path()), "somebody else wrote beside the ledger");
        agent.process.bring_back();
    }
    scene.assert_nothing_left(Holder::Source).await;
    // A controller that is found again finds nothing to do, and may begin anew.
    scene.must(&["rollback", MIGRATION]).await;
    scene.following().await;
    scene.must(&["rollback", MIGRATION]).await;
    let told = scene.must(&["doctor", "db-new"]).await;
    assert_eq!(told.heard.last().unwrap()["moves"], serde_json::json!([]));
    scene.ends(canary, Holder::Source).await;
}

fn owned_by_one(directory: &Path) -> bool {
    let owner = directory.metadata().unwrap().uid();
    std::fs::read_dir(directory).unwrap().flatten().all(|entry| entry.metadata().unwrap().uid() == owner)
}
