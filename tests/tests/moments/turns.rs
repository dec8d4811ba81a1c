//! There and back, again and again on the same pair, each side writing while it serves: in the end all of it is on the source.

use flytt::{spec::Engine, stage::MIGRATION};
use flytt_proto::durable;

use super::{FAST, Holder, Scene, UNLIMITED, flytt::Ended, left::Trace};

/// How many rounds, from the environment of `make test-faults`.
const TURNS: &str = "FLYTT_TURNS";

impl Scene {
    /// What was on the target may be replaced: it is what an earlier round left there.
    async fn start_over(&self) -> Ended {
        let system = match self.stage.engine {
            Engine::Postgres => self.stage.source.sql("postgres", "SELECT system_identifier FROM pg_control_system()").await,
            Engine::Mariadb | Engine::Mysql => self.stage.target.sql("mysql", "SELECT @@global.server_uid").await,
        };
        let system = system.unwrap();
        let replace = format!("host = \"db-new\"\nreplace = \"{}\"", system.trim());
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
        for (server, side, command) in
            [(&scene.stage.source, "source", "cutover"), (&scene.stage.target, "target", "rollback")]
        {
            let insert = format!("INSERT INTO made VALUES ({turn}, '{side}')");
            server.sql("app", &insert).await.unwrap();
            scene.must(&[command, MIGRATION]).await;
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
#[ignore = "long: make test-faults"]
async fn there_and_back_many_times_on_the_same_pair_of_postgres() {
    turns(Engine::Postgres, asked_for()).await;
}
