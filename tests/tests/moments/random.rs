//! Kills at random moments, there and back, for as long as somebody wants to watch: `make test-faults`. Each ends as an operator would
//! end it, and the same is asserted as after a kill at a chosen moment.

use std::time::{SystemTime, UNIX_EPOCH};

use ::flytt::{canary::Canary, spec::Engine, stage::MIGRATION};

use super::{FAST, Holder, Scene, UNLIMITED, left::Trace, pause};

/// How many kills, from the environment of `make test-faults`.
const KILLS: &str = "FLYTT_KILLS";
/// A window takes some hundred milliseconds, and what comes before it as long.
const LATEST_MS: u64 = 1_500;

/// Who may be killed. Agents are started anew by their supervisor.
const VICTIMS: [&str; 5] = ["controller", "source's agent", "target's agent", "router's agent", "nobody"];

/// Numbers that look like chance (xorshift), from a seed that is shown.
struct Chance(u64);

impl Chance {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % limit
    }
}

/// Where a migration stands, once nothing of it is under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Following,
    Moved,
    /// As moved, but that the old source can follow no more.
    Stranded,
    MovedBack,
}

async fn place(scene: &Scene) -> Option<Place> {
    let status = scene.must(&["status", MIGRATION]).await;
    match status.answer()["milestone"].as_str()? {
        "following" => Some(Place::Following),
        "moved" if status.answer()["hosts"]["way_back"]["ready"] == true => Some(Place::Moved),
        "moved_back" => Some(Place::MovedBack),
        _ => None,
    }
}

/// Tells where it comes to rest, as an operator would bring it there.
async fn settled(scene: &Scene, what: &str) -> Place {
    let mut said = Vec::new();
    for _ in 0..8 {
        if let Some(place) = place(scene).await {
            return place;
        }
        let resume = scene.flytt(&["resume", MIGRATION]).end().await;
        said.push(resume.to_string());
        pause(500).await;
    }
    if scene.stage.engine != Engine::Postgres && scene.holder().await == Holder::Target {
        return Place::Stranded;
    }
    panic!("{what}: comes to no rest: {}\n{}", said.join("\n"), scene.logs());
}

async fn scene(engine: Engine) -> (Scene, Canary) {
    let settings = if engine == Engine::Postgres { FAST } else { UNLIMITED };
    let scene = Scene::of(engine, 2, settings).await;
    let canary = scene.canary().await;
    scene.following().await;
    (scene, canary)
}

/// It is over: what is left is taken away, and every write is there.
async fn ends(scene: Scene, canary: Canary, place: Place) {
    if place == Place::Moved {
        return scene.ends(canary, Holder::Target).await;
    }
    scene.must(&["finish", MIGRATION]).await;
    scene.recovered(&canary).await;
    let holder = if place == Place::MovedBack { Holder::Source } else { Holder::Target };
    scene.assert_holder(holder).await;
    if place == Place::MovedBack {
        Trace::of(&scene.stage).await.assert_moved_back_from(&scene.before);
    }
    scene.assert_nothing_lost(canary, holder).await;
    scene.stage.tear_down().await;
}

async fn kills(engine: Engine) {
    let kills: u32 = std::env::var_os(KILLS).and_then(|text| text.to_str()?.parse().ok()).unwrap_or(20);
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let seed = now.as_nanos() as u64 | 1;
    println!("{kills} kills of {}, seed {seed}", engine.name());
    let mut chance = Chance(seed);
    let (mut now, mut canary) = scene(engine).await;
    let mut at = Place::Following;
    for kill in 1..=kills {
        let verb = if at == Place::Following { "cutover" } else { "rollback" };
        let (after, victim) = (chance.below(LATEST_MS), VICTIMS[chance.below(VICTIMS.len() as u64) as usize]);
        let what = format!("kill {kill}: {victim} {after} ms into {verb}");
        let command = now.flytt(&[verb, MIGRATION]);
        pause(after).await;
        let agents = now.agents();
        match victim {
            "controller" => command.kill_if_there(),
            "source's agent" => agents.source.process.kill_hard(),
            "target's agent" => agents.target.process.kill_hard(),
            "router's agent" => agents.router.process.kill_hard(),
            _ => {}
        }
        command.end().await;
        now.recovered(&canary).await;
        now.holder().await;
        at = settled(&now, &what).await;
        println!("{what}: {at:?}");
        if matches!(at, Place::MovedBack | Place::Stranded) {
            ends(now, canary, at).await;
            (now, canary) = scene(engine).await;
            at = Place::Following;
        }
    }
    match at {
        Place::Following => now.ends(canary, Holder::Source).await,
        Place::Moved | Place::Stranded | Place::MovedBack => ends(now, canary, at).await,
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "long: make test-faults"]
async fn kills_at_random_moments_of_postgres() {
    kills(Engine::Postgres).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "long: make test-faults"]
async fn kills_at_random_moments_of_mariadb() {
    kills(Engine::Mariadb).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "long: make test-faults"]
async fn kills_at_random_moments_of_mysql() {
    kills(Engine::Mysql).await;
}
