//! The last resort: the old source can follow no more, so the way back is a move of its own, with a copy in the place of the old data.

use flytt::{
    spec::Engine,
    stage::{MIGRATION, SOURCE, TARGET},
};
use flytt_proto::durable;

use super::{FAST, Holder, Scene, UNLIMITED, pause};

/// What the follower would need next is gone from the new primary.
async fn forget_the_log(scene: &Scene) {
    let (old, new) = (&scene.stage.source, &scene.stage.target);
    scene.agents().source.process.keep_down();
    old.kill_hard();
    match scene.stage.engine {
        Engine::Postgres => {
            let drop = "SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE NOT active";
            while new.sql("postgres", "SELECT count(*) FROM pg_replication_slots").await.unwrap().trim() != "0" {
                new.sql("postgres", drop).await.unwrap();
                pause(100).await;
            }
            for _ in 0..3 {
                new.sql("postgres", "SELECT pg_switch_wal()").await.unwrap();
                new.sql("postgres", "CHECKPOINT").await.unwrap();
            }
        }
        Engine::Mariadb | Engine::Mysql => {
            new.sql("", "FLUSH BINARY LOGS").await.unwrap();
            let logs = new.sql("", "SHOW BINARY LOGS").await.unwrap();
            let last = logs.lines().last().and_then(|line| line.split(['|', '\t']).next()).expect("a log").to_owned();
            new.sql("", &format!("PURGE BINARY LOGS TO '{last}'")).await.unwrap();
        }
    }
    while old.is_running() {
        pause(50).await;
    }
    // One that waits for its log accepts no connections, and is up.
    let _ = old.start().await;
    scene.agents().source.process.bring_back();
}

/// The same move with its ends exchanged.
fn the_other_way(scene: &Scene, replace: Option<&str>) -> String {
    let text = std::fs::read_to_string(&scene.file).unwrap();
    let line = |text: &str| match text.split_once(" = ") {
        Some((key, value)) if key.trim() == "source" => format!("target = {value}"),
        Some((key, value)) if key.trim() == "target" => format!("source = {value}"),
        _ => text.to_owned(),
    };
    let hosts = text.replace(&format!("\"{SOURCE}\""), "\"X\"").replace(&format!("\"{TARGET}\""), &format!("\"{SOURCE}\""));
    let text: Vec<String> = hosts.replace("\"X\"", &format!("\"{TARGET}\"")).lines().map(line).collect();
    let text = text.join("\n").replace(&format!("name   = \"{MIGRATION}\""), "name = \"home\"");
    match replace {
        Some(system) => text.replace(
            &format!("host = \"{SOURCE}\"\n\n[tuning]"),
            &format!("host = \"{SOURCE}\"\nreplace = \"{system}\"\n\n[tuning]"),
        ),
        None => text,
    }
}

/// The owner of the old host says so in its `agent.toml`.
async fn allows_its_data_to_be_replaced(scene: &Scene) {
    let agent = &scene.agents().source;
    let text = std::fs::read_to_string(&agent.config).unwrap().replace("may_replace_data = false", "may_replace_data = true");
    durable::write(&agent.config, text.as_bytes(), 0o644).unwrap();
    agent.process.keep_down();
    agent.process.bring_back();
    while tokio::net::TcpStream::connect(agent.address).await.is_err() {
        pause(50).await;
    }
}

async fn last_resort(engine: Engine) {
    let scene = Scene::of(engine, 5, if engine == Engine::Postgres { FAST } else { UNLIMITED }).await;
    let canary = scene.canary().await;
    scene.following().await;
    scene.must(&["cutover", MIGRATION]).await;
    scene.recovered(&canary).await;
    forget_the_log(&scene).await;

    // There is no way back, and it is said.
    let mut looks = 0;
    while scene.must(&["status", MIGRATION]).await.answer()["hosts"]["way_back"]["ready"] != false {
        looks += 1;
        assert!(looks < 100, "it is not noticed\n{}", scene.logs());
        pause(100).await;
    }
    let refused = scene.flytt(&["rollback", MIGRATION]).end().await;
    assert_eq!(refused.code, Some(6), "{refused}");
    scene.recovered(&canary).await;
    scene.assert_holder(Holder::Target).await;
    scene.must(&["finish", MIGRATION]).await;

    // A copy of what serves now, in the place of what cannot follow it.
    allows_its_data_to_be_replaced(&scene).await;
    scene.stage.source.kill_hard();
    let file = scene.stage.home.join("home.toml");
    durable::write(&file, the_other_way(&scene, None).as_bytes(), 0o600).unwrap();
    let system = scene.whose_data(&file).await;
    durable::write(&file, the_other_way(&scene, Some(&system)).as_bytes(), 0o600).unwrap();
    scene.must(&["start", file.to_str().unwrap()]).await;
    scene.must(&["cutover", "home"]).await;
    scene.recovered(&canary).await;
    scene.assert_holder(Holder::Source).await;
    scene.must(&["finish", "home"]).await;
    scene.assert_holder(Holder::Source).await;
    scene.assert_nothing_lost(canary, Holder::Source).await;
    scene.stage.tear_down().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_way_back_that_is_lost_is_made_again_by_a_copy() {
    last_resort(Engine::Postgres).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_way_back_that_is_lost_is_made_again_by_a_copy_of_mariadb() {
    last_resort(Engine::Mariadb).await;
}
