//! `flytt demo`: a whole move on this machine, under load, with throw-away servers; and what it measured.
//!
//! The stage sets the scene, the move is played by the same verbs as anywhere, and the canary is the witness.

use std::{path::PathBuf, time::Duration};

use flytt_proto::{
    durable,
    failure::{Effect, Failure},
    name::{HostName, Migration},
    v1,
};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use crate::{
    canary::{self, Canary, Record, Verification},
    enrol,
    halt::{Exit, Halt},
    home::Home,
    journal::StepState,
    session::Session,
    stage::{self, Stage},
    verb::{self, Answer},
    view::{Line, View},
};

#[derive(Debug, clap::Args)]
pub struct Options {
    /// Clients that write all the time.
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u16).range(1..=64))]
    writers: u16,
    /// Initial data of the source, in MiB.
    #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    data_mib: u32,
    /// Seconds of load before and after the cutover.
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u64).range(1..=600))]
    seconds: u64,
    /// Where the throw-away servers live. Short: a socket's path has at most 107 bytes.
    #[arg(long, default_value = "/tmp")]
    base: PathBuf,
}

pub(crate) async fn run(options: Options, stop: CancellationToken, view: &mut dyn View) -> Result<Answer, Halt> {
    stage::clear_stale(&options.base);
    note(view, "setting the stage: two PostgreSQL servers, HAProxy, three agents, one authority");
    let stage = tokio::select! {
        stage = set(&options) => stage?,
        () = stop.cancelled() => return Err(Halt::new(Exit::Interrupted, []).now("the stage is removed")),
    };
    let result = play(&stage, &options, stop, view).await;
    if result.is_err() {
        for log in stage.logs() {
            note(view, &log);
        }
    }
    note(view, "removing everything");
    stage.tear_down().await;
    result
}

async fn set(options: &Options) -> Result<Stage, Failure> {
    let scene = stage::Options { base: options.base.clone(), data_mib: options.data_mib, agent: Some(stage::agent_beside_us()?) };
    // The stage makes its directory only now; the home inside it is founded with the first host.
    let mut home: Option<Home> = None;
    let stage = Stage::build(&scene, async |path: &std::path::Path, name: &str, address: std::net::SocketAddr, code: &str| {
        if home.is_none() {
            home = Some(Home::init(path, "demo".parse().map_err(bad_name)?)?);
        }
        let home = home.as_ref().expect("made just above");
        let (name, address): (HostName, String) = (name.parse().map_err(bad_name)?, address.to_string());
        let host = enrol::add_host(home.authority(), &name, &address, &code.parse()?).await?;
        home.add(&name, host)
    });
    stage.await
}

fn bad_name(error: flytt_proto::name::BadName) -> Failure {
    Failure::refused("BAD_NAME", error.to_string(), "report this as a defect")
}

/// What the demo says last.
struct Measured {
    record: Record,
    verification: Verification,
    steps: Vec<(String, f64)>,
    seeded: v1::outcome::Seeded,
}

async fn play(stage: &Stage, options: &Options, stop: CancellationToken, view: &mut dyn View) -> Result<Answer, Halt> {
    let session = Session::open(&stage.home, stop)?;
    let name: Migration = stage::MIGRATION.parse().map_err(bad_name)?;
    let file = stage.home.join("demo.toml");
    let text = format!("{}\n[seed]\ncheckpoint = \"fast\"\nmax_rate = \"none\"\n", stage.migration);
    durable::write(&file, text.as_bytes(), 0o600)
        .map_err(|error| Failure::refused("DISK", error.to_string(), "free some space"))?;

    note(view, &format!("{} clients write through HAProxy from now on", options.writers));
    let canary =
        Canary::start(stage.connection()?, canary::Options { clients: options.writers, ..canary::Options::default() }).await?;
    verb::start(&session, &file, view).await?;
    tokio::time::sleep(Duration::from_secs(options.seconds)).await;
    verb::cutover(&session, &name, view).await?;
    tokio::time::sleep(Duration::from_secs(options.seconds)).await;
    let record = canary.stop().await;

    let target = stage.connection()?.at("127.0.0.1", stage.target.port());
    let verification = record.verify(&target).await?;
    record.clean_up().await?;
    let (_, status) = session.read(&name)?;
    let steps = status.steps.iter().filter_map(|(step, state)| match state {
        StepState::Done { elapsed_us } => Some((step.to_string(), *elapsed_us as f64 / 1e3)),
        StepState::Began | StepState::Failed(_) | StepState::Undoing | StepState::Undone => None,
    });
    let steps = steps.filter(|(step, _)| step.starts_with("cut-")).collect();
    let seed = status.outcomes.get(&"seed".parse().map_err(bad_name)?).and_then(|outcome| outcome.kind.clone());
    let seeded = if let Some(v1::outcome::Kind::Seeded(seeded)) = seed { seeded } else { v1::outcome::Seeded::default() };
    verb::finish(&session, &name, view).await?;
    tell(&Measured { record, verification, steps, seeded })
}

fn tell(measured: &Measured) -> Result<Answer, Halt> {
    let Measured { record, verification, steps, seeded } = measured;
    let report = &record.report;
    let lost = verification.lost.len();
    let rate = seeded.bytes as f64 / f64::from(1 << 20) / (seeded.elapsed_ms.max(1) as f64 / 1e3);
    let round = |ms: f64| (ms * 10.0).round() / 10.0;
    let times: serde_json::Map<String, Value> = steps.iter().map(|(step, ms)| (step.clone(), json!(round(*ms)))).collect();
    let value = json!({
        "engine": "postgres",
        "writes_acknowledged": report.acknowledged,
        "writes_lost": lost,
        "longest_gap_ms": round(report.longest_gap.ms),
        "connections_refused": report.connects.failed(),
        "sessions_cut": report.sessions_cut,
        "cutover_ms": times,
        "seed_mib_s": round(rate),
        "seed_bytes": seeded.bytes,
        "latency_ms": report.latency,
        "latency_around_gap_ms": report.latency_around_gap,
        "server_changes": report.server_changes,
        "verification": verification,
    });
    let mut text = format!(
        "\nwhat the application saw\n\
         \x20 writes acknowledged   {}\n\
         \x20 of these lost         {lost}\n\
         \x20 longest gap           {:.1} ms\n\
         \x20 connections refused   {}\n\
         \x20 sessions cut          {}\n\
         \x20 latency p50 / p99     {:.1} / {:.1} ms\n\
         what flytt did\n\
         \x20 seed                  {rate:.0} MiB/s\n",
        report.acknowledged,
        report.longest_gap.ms,
        report.connects.failed(),
        report.sessions_cut,
        report.latency.p50,
        report.latency.p99,
    );
    for (step, ms) in steps {
        text.push_str(&format!("  {step:<21} {ms:.1} ms\n"));
    }
    if verification.is_clean() {
        return Ok(Answer { text, value });
    }
    let failure =
        Failure::unknown("WRITES_LOST", format!("the target does not hold what was acknowledged: {value}"), "report this")
            .with_effect(Effect::Done);
    Err(Halt::new(Exit::Unknown, [failure]))
}

fn note(view: &mut dyn View, text: &str) {
    view.show(Line::Note(text));
}
