//! `flytt demo`: a whole move on this machine, under load, with throw-away servers; and what it measured.
//!
//! The stage sets the scene, the move is played by the same verbs as anywhere, and the canary is the witness.

use std::{collections::BTreeSet, path::PathBuf, time::Duration};

use flytt_proto::{
    durable,
    failure::{Effect, Failure},
    name::{HostName, Migration},
    v1,
};
use jiff::Timestamp;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use crate::{
    canary::{self, Canary, Record, Verification},
    enrol,
    halt::{Exit, Halt},
    home::Home,
    journal::StepState,
    plan::{self, Phase},
    session::Session,
    spec::Engine,
    stage::{self, Stage},
    verb::{self, Answer},
    view::{Line, View},
};

#[derive(Clone, Debug, clap::Args)]
pub struct Options {
    /// What is moved.
    #[arg(long, value_enum, default_value_t)]
    pub(crate) engine: Engine,
    /// Clients that write all the time.
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u16).range(1..=64))]
    pub(crate) writers: u16,
    /// Initial data of the source, in MiB.
    #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub(crate) data_mib: u32,
    /// How the copy is made: into an empty data directory, or by a dump into a server that runs. MariaDB alone has the second.
    #[arg(long, value_enum, default_value_t)]
    pub(crate) way: stage::Way,
    /// Seconds of load before and after the cutover.
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u64).range(1..=600))]
    pub(crate) seconds: u64,
    /// Where the throw-away servers live. Short: a socket's path has at most 107 bytes.
    #[arg(long, default_value = "/tmp")]
    pub(crate) base: PathBuf,
}

pub(crate) async fn run(options: Options, stop: CancellationToken, view: &mut dyn View) -> Result<Answer, Halt> {
    stage::clear_stale(&options.base);
    let title = options.engine.title();
    note(view, &format!("setting the stage: two {title} servers, HAProxy, three agents, one authority"));
    let stage = unless_stopped(&stop, set(&options)).await??;
    let result = play(&stage, &options, stop, view).await;
    let result = match result {
        // What a halt advises is for hosts that stay; these go.
        Err(halt) if halt.exit() == Exit::Interrupted => Err(interrupted()),
        Err(halt) => {
            for log in stage.logs() {
                note(view, &log);
            }
            Err(halt)
        }
        measured => measured,
    };
    note(view, "removing everything");
    stage.tear_down().await;
    result.and_then(|measured| tell(&options, &measured))
}

fn interrupted() -> Halt {
    Halt::new(Exit::Interrupted, []).now("the stage is removed with everything on it")
}

/// Ctrl-C ends it.
pub(crate) async fn unless_stopped<T>(stop: &CancellationToken, work: impl Future<Output = T>) -> Result<T, Halt> {
    stop.run_until_cancelled(work).await.ok_or_else(interrupted)
}

pub(crate) async fn set(options: &Options) -> Result<Stage, Failure> {
    let agent = Some(stage::agent_beside_us()?);
    let scene = stage::Options {
        engine: options.engine,
        way: options.way,
        base: options.base.clone(),
        data_mib: options.data_mib,
        agent,
    };
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
    Box::pin(stage).await
}

fn bad_name(error: flytt_proto::name::BadName) -> Failure {
    Failure::refused("BAD_NAME", error.to_string(), "report this as a defect")
}

/// What the demo says last.
struct Measured {
    record: Record,
    verification: Verification,
    /// Of the cutover: id, what it does, milliseconds; in the plan's order.
    steps: Vec<(String, &'static str, f64)>,
    seeded: v1::outcome::Seeded,
    /// When the cutover was asked for, since the load began.
    asked_ms: f64,
}

/// The move of this stage, as a file; copied as fast as it goes.
pub(crate) fn migration_file(stage: &Stage) -> Result<PathBuf, Failure> {
    let file = stage.home.join("demo.toml");
    let checkpoint = if stage.engine == Engine::Postgres { "checkpoint = \"fast\"\n" } else { "" };
    let text = format!("{}\n[seed]\n{checkpoint}max_rate = \"none\"\n", stage.migration);
    durable::write(&file, text.as_bytes(), 0o600)
        .map_err(|error| Failure::refused("DISK", error.to_string(), "free some space"))?;
    Ok(file)
}

/// What the newest seed of this migration came to.
pub(crate) fn seeded(session: &Session, name: &Migration) -> Result<v1::outcome::Seeded, Failure> {
    let (_, status) = session.read(name)?;
    let outcome = status.outcomes.get(&"seed".parse().map_err(bad_name)?).and_then(|outcome| outcome.kind.clone());
    Ok(if let Some(v1::outcome::Kind::Seeded(seeded)) = outcome { seeded } else { v1::outcome::Seeded::default() })
}

async fn play(stage: &Stage, options: &Options, stop: CancellationToken, view: &mut dyn View) -> Result<Measured, Halt> {
    let session = Session::open(&stage.home, stop.clone())?;
    let name: Migration = stage::MIGRATION.parse().map_err(bad_name)?;
    let file = migration_file(stage)?;
    let load = || tokio::time::sleep(Duration::from_secs(options.seconds));

    note(view, &format!("{} clients write through HAProxy from now on, each write is noted before it is sent", options.writers));
    let clients = canary::Options { clients: options.writers, ..canary::Options::default() };
    let canary = unless_stopped(&stop, Canary::start(stage.connection()?, clients)).await??;
    verb::start(&session, &file, BTreeSet::new(), view).await?;
    let seeded = seeded(&session, &name)?;
    unless_stopped(&stop, load()).await?;
    let asked = Timestamp::now();
    verb::cutover(&session, &name, std::collections::BTreeSet::new(), view).await?;
    unless_stopped(&stop, load()).await?;
    let record = canary.stop().await;

    note(view, "every acknowledged write is looked up on the new server");
    let target = stage.connection()?.at("127.0.0.1", stage.target.port());
    let verification = record.verify(&target).await?;
    record.clean_up().await?;
    let (spec, status) = session.read(&name)?;
    let plan = plan::move_over(&spec);
    let steps = plan.steps.iter().filter(|step| step.phase == Phase::Cutover);
    let steps = steps.filter_map(|step| match status.steps.get(&step.id) {
        Some(StepState::Done { elapsed_us }) => Some((step.id.to_string(), step.what, *elapsed_us as f64 / 1e3)),
        Some(StepState::Began | StepState::Failed(_) | StepState::Undoing(_) | StepState::Undone) | None => None,
    });
    let steps = steps.collect();
    verb::finish(&session, &name, verb::Settings::Keep, view).await?;
    let asked_ms = asked.duration_since(record.report.started).as_secs_f64() * 1e3;
    Ok(Measured { record, verification, steps, seeded, asked_ms })
}

pub(crate) fn mib_s(bytes: u64, ms: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20) / (ms.max(1) as f64 / 1e3)
}

fn tell(options: &Options, measured: &Measured) -> Result<Answer, Halt> {
    let Measured { record, verification, steps, seeded, asked_ms } = measured;
    let report = &record.report;
    let lost = verification.lost.len();
    let (copied, verified) = (mib_s(seeded.bytes, seeded.copy_ms), mib_s(seeded.bytes, seeded.elapsed_ms));
    let round = |ms: f64| (ms * 10.0).round() / 10.0;
    let times: serde_json::Map<String, Value> = steps.iter().map(|(step, _, ms)| (step.clone(), json!(round(*ms)))).collect();
    let value = json!({
        "engine": options.engine,
        "writes_acknowledged": report.acknowledged,
        "writes_lost": lost,
        "longest_gap_ms": round(report.longest_gap.ms),
        "longest_gap_from_ms": round(report.longest_gap.from_ms),
        "cutover_asked_ms": round(*asked_ms),
        "connections_refused": report.connects.failed(),
        "sessions_cut": report.sessions_cut,
        "cutover_ms": times,
        "seed_mib_s": round(copied),
        "seed_verified_mib_s": round(verified),
        "seed_bytes": seeded.bytes,
        "latency_ms": report.latency,
        "latency_around_gap_ms": report.latency_around_gap,
        "server_changes": report.server_changes,
        "verification": verification,
    });
    if !verification.is_clean() {
        let sentence = format!("the target does not hold what was acknowledged: {value}");
        let failure = Failure::unknown("WRITES_LOST", sentence, "report this").with_effect(Effect::Done);
        return Err(Halt::new(Exit::Unknown, [failure]));
    }
    let unanswered = verification.maybe_present + verification.maybe_absent;
    let gap = &report.longest_gap;
    let rows = [
        ("writes acknowledged", format!("{} in {:.1} s, by {} clients", report.acknowledged, report.seconds, report.clients)),
        ("of these lost", format!("{lost}   all {} rows were found on the new server, each once", verification.acknowledged)),
        ("answer never came", format!("{unanswered} rows, {} of them written", verification.maybe_present)),
        ("longest gap", format!("{:.1} ms without an acknowledgement, {:.1} s after the start", gap.ms, gap.from_ms / 1e3)),
        ("servers that wrote", format!("{}, one after the other: {} change", report.servers.len(), report.server_changes)),
        ("sessions cut", report.sessions_cut.to_string()),
        ("connections refused", report.connects.failed().to_string()),
        (
            "latency",
            format!("p50 {:.1} ms, p99 {:.1} ms, max {:.1} ms", report.latency.p50, report.latency.p99, report.latency.max),
        ),
    ];
    let mut text = String::from("\nwhat the application saw\n");
    for (what, found) in rows {
        text.push_str(&format!("  {what:<20} {found}\n"));
    }
    text.push_str(&format!(
        "\nthe copy\n  {:<42} {copied:>7.0} MiB/s\n  {:<42} {verified:>7.0} MiB/s\n",
        "between the agents, TLS 1.3",
        after_the_copy(options)
    ));
    text.push_str("\nthe cutover\n");
    for (_, what, ms) in steps {
        text.push_str(&format!("  {what:<42} {ms:>7.1} ms\n"));
    }
    Ok(verb::answer(text, value))
}

/// What a seed does before it counts as whole.
fn after_the_copy(options: &Options) -> &'static str {
    match options.engine {
        _ if options.way == stage::Way::Dump => "with its indexes and all that is no row",
        Engine::Postgres => "with pg_verifybackup after it",
        Engine::Mariadb => "with mariadb-backup --prepare after it",
        Engine::Mysql => "with all that follows the copy",
    }
}

fn note(view: &mut dyn View, text: &str) {
    view.show(Line::Note(text));
}
