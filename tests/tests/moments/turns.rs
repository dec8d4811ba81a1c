//! There and back, again and again on the same pair, each side writing while it serves: in the end all of it is on the source.

use std::path::Path;

use flytt::{spec::Engine, stage::MIGRATION};
use flytt_proto::durable;

use super::{FAST, Holder, Scene, UNLIMITED, flytt::Ended, left::Trace, pause};

/// How many rounds, from the environment of `make test-faults`.
const TURNS: &str = "FLYTT_TURNS";

impl Scene {
    /// As a move with this file says that is refused: whose data its target has.
    pub(super) async fn whose_data(&self, file: &Path) -> String {
        let ended = self.flytt(&["start", file.to_str().unwrap()]).end().await;
        assert_eq!((ended.code, ended.failures()), (Some(4), vec!["DIRECTORY_NOT_EMPTY"]), "{ended}");
        let sentence = ended.answer()["failures"][0]["sentence"].as_str().expect("a sentence");
        let said = sentence.split_once(", which nobody named").expect("as it is said").0;
        said.rsplit(' ').next().expect("a name").to_owned()
    }

    /// What an earlier round left on the target may be replaced: its owner stops that server, reads whose data it is, and says so.
    async fn start_over(&self) -> Ended {
        self.stage.target.kill_hard();
        let system = self.whose_data(&self.file).await;
        let replace = format!("host = \"db-new\"\nreplace = \"{system}\"");
        let text = std::fs::read_to_string(&self.file).unwrap().replace("host = \"db-new\"", &replace);
        let file = self.stage.home.join("again.toml");
        durable::write(&file, text.as_bytes(), 0o600).unwrap();
        self.must(&["start", file.to_str().unwrap()]).await
    }
}

async fn turns(engine: Engine, turns: u32) {
    let settings = if engine == Engine::Postgres { FAST } else { UNLIMITED };
    let scene = Scene::of(engine, 2, settings).await;
    let canary = scene.canary().await;
    scene.stage.source.sql("app", "CREATE TABLE made (turn int, side text)").await.unwrap();
    for turn in 1..=turns {
        match turn {
            1 => scene.following().await,
            _ => drop(scene.start_over().await),
        }
        for (server, side, command) in [(&scene.stage.source, "source", "cutover"), (&scene.stage.target, "target", "rollback")] {
            let insert = format!("INSERT INTO made VALUES ({turn}, '{side}')");
            server.sql("app", &insert).await.unwrap();
            scene.must(&[command, MIGRATION]).await;
            // Whatever earlier rounds left on its host, the new primary is one after a restart, too.
            let primary = if command == "cutover" { &scene.stage.target } else { &scene.stage.source };
            primary.kill_hard();
            let mut tries = 0;
            while let Err(failure) = primary.start().await {
                // Its last process may not be gone yet.
                tries += 1;
                assert!(tries < 20, "{failure}");
                pause(200).await;
            }
            scene.recovered(&canary).await;
        }
        scene.must(&["finish", MIGRATION]).await;
        Trace::of(&scene.stage).await.assert_moved_back_from(&scene.before);
        println!("turn {turn}");
    }
    let made = scene.stage.source.sql("app", "SELECT count(*) FROM made").await.unwrap();
    assert_eq!(made.trim(), (2 * turns).to_string());
    scene.assert_holder(Holder::Source).await;
    scene.assert_nothing_lost(canary, Holder::Source).await;
    scene.stage.tear_down().await;
}

fn asked_for() -> u32 {
    std::env::var_os(TURNS).and_then(|text| text.to_str()?.parse().ok()).unwrap_or(25)
}

#[tokio::test(flavor = "multi_thread")]
async fn there_and_back_again_on_the_same_pair() {
    turns(Engine::Postgres, 2).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn there_and_back_again_on_the_same_pair_of_mariadb() {
    turns(Engine::Mariadb, 2).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "long: make test-faults"]
async fn there_and_back_many_times_on_the_same_pair_of_mariadb() {
    turns(Engine::Mariadb, asked_for()).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "long: make test-faults"]
async fn there_and_back_many_times_on_the_same_pair_of_postgres() {
    turns(Engine::Postgres, asked_for()).await;
}
