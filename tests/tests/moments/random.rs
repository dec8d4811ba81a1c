//! Kills at random moments, there and back, for as long as somebody wants to watch: `make test-faults`. Each ends as an operator would
//! end it, and the same is asserted as after a kill at a chosen moment.

use std::time::{SystemTime, UNIX_EPOCH};

use ::flytt::{spec::Engine, stage::MIGRATION};

use super::{pair::Pair, pause};

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

async fn kills(engine: Engine) {
    let kills: u32 = std::env::var_os(KILLS).and_then(|text| text.to_str()?.parse().ok()).unwrap_or(20);
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let seed = now.as_nanos() as u64 | 1;
    println!("{kills} kills of {}, seed {seed}", engine.name());
    let mut chance = Chance(seed);
    let mut pair = Pair::fresh(engine).await;
    for kill in 1..=kills {
        let verb = pair.verb();
        let (after, victim) = (chance.below(LATEST_MS), VICTIMS[chance.below(VICTIMS.len() as u64) as usize]);
        let what = format!("kill {kill}: {victim} {after} ms into {verb}");
        let command = pair.scene.flytt(&[verb, MIGRATION]);
        pause(after).await;
        let agents = pair.scene.agents();
        match victim {
            "controller" => command.kill_if_there(),
            "source's agent" => agents.source.process.kill_hard(),
            "target's agent" => agents.target.process.kill_hard(),
            "router's agent" => agents.router.process.kill_hard(),
            _ => {}
        }
        let ended = command.end().await;
        pair.scene.recovered(&pair.canary).await;
        pair.scene.holder().await;
        pair.comes_to_rest(&ended).await;
        println!("{what}: {:?}", pair.at);
        pair = pair.goes_on().await;
    }
    pair.ends().await;
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
