//! `flytt bench verify`: a comparison of two servers beside counting the rows of one, and beside `pt-table-checksum`, in turn on the same
//! tables; what it sends, what the agents take for it, and what the application feels of it.

use std::{
    collections::BTreeSet,
    path::PathBuf,
    time::{Duration, Instant},
};

use flytt_proto::failure::Failure;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use super::{Silent, median, peak_kib, round, show};
use crate::{
    canary::{self, Canary},
    demo,
    halt::Halt,
    session::Session,
    spec::Engine,
    stage::{self, Stage},
    verb::{self, Answer, VerifyOptions},
    view::View,
};

#[derive(Debug, clap::Args)]
pub(crate) struct VerifyBench {
    #[arg(long, value_enum, default_value_t)]
    engine: Engine,
    /// Comparisons of each kind.
    #[arg(long, default_value_t = 5)]
    runs: usize,
    /// Of a narrow table: four numbers each.
    #[arg(long, default_value_t = 4_000_000, value_parser = clap::value_parser!(u64).range(1_000..=100_000_000))]
    rows: u64,
    /// Of a table of rows of 1 KiB.
    #[arg(long, default_value_t = 1_024, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    mib: u32,
    /// Seconds for which writers are watched with and without a comparison; 0 = not at all.
    #[arg(long, default_value_t = 20)]
    seconds: u64,
    /// Where the throw-away servers live.
    #[arg(long, default_value = "/tmp")]
    base: PathBuf,
}

pub(crate) async fn run(options: VerifyBench, stop: &CancellationToken, view: &mut dyn View) -> Result<Answer, Halt> {
    let scene = demo::Options {
        engine: options.engine,
        writers: 1,
        way: stage::Way::Physical,
        data_mib: options.mib,
        seconds: 1,
        base: options.base.clone(),
    };
    let stage = demo::unless_stopped(stop, demo::set(&scene)).await??;
    let measured = demo::unless_stopped(stop, Box::pin(measure(&options, &stage, stop))).await;
    stage.tear_down().await;
    let lines = measured??;
    lines.iter().for_each(|line| show(line, view));
    let value = json!({ "bench": "verify", "lines": lines.len() });
    Ok(verb::answer(value.to_string(), value))
}

async fn measure(options: &VerifyBench, stage: &Stage, stop: &CancellationToken) -> Result<Vec<Value>, Halt> {
    stage.source.fill_narrow(options.engine, options.rows).await?;
    let session = Session::open(&stage.home, stop.clone())?;
    verb::start(&session, &demo::migration_file(stage)?, BTreeSet::new(), &mut Silent).await?;
    let mut lines = Vec::new();
    let mut sent = Vec::new();
    for (table, what, of) in [("narrow", "rows/s", options.rows as f64), ("orders", "MiB/s", f64::from(options.mib))] {
        let (mut ours, mut peer) = (Vec::new(), Vec::new());
        for turn in 0..options.runs {
            for at in [turn % 2, 1 - turn % 2] {
                if at == 0 {
                    let before = stage.carried().await?;
                    ours.push(of / compare(&session, options.engine, &[table], true).await?.as_secs_f64());
                    if table == "narrow" {
                        let sent_now = stage.carried().await?.saturating_sub(before);
                        sent.push(sent_now as f64 / 1024.0 / (of / 1e6));
                    }
                } else {
                    let begun = Instant::now();
                    stage.source.count(table).await?;
                    peer.push(of / begun.elapsed().as_secs_f64());
                }
            }
        }
        let name = if table == "narrow" { "vs-count" } else { "vs-count-wide" };
        let note = "ours digests on two servers, two parts at a time, all on this machine; peer: count(*) on one";
        lines.push(line(options, name, &ours, &peer, what, note));
    }
    lines.push(line(
        options,
        "network",
        &sent,
        &[],
        "KiB per million rows",
        "between controller and both agents, with their TLS",
    ));
    if options.engine != Engine::Postgres {
        let rows = options.rows as f64 + f64::from(options.mib) * 1024.0;
        let (mut ours, mut peer) = (Vec::new(), Vec::new());
        for turn in 0..options.runs.min(3) {
            for at in [turn % 2, 1 - turn % 2] {
                if at == 0 {
                    ours.push(rows / compare(&session, options.engine, &["narrow", "orders"], true).await?.as_secs_f64());
                } else {
                    let begun = Instant::now();
                    stage::checksum(&stage.source, &["narrow", "orders"]).await?;
                    peer.push(rows / begun.elapsed().as_secs_f64());
                }
            }
        }
        let note =
            "peer: its own time, without what the replica has still to apply then, and without the question whether it differs";
        lines.push(line(options, "vs-pt-table-checksum", &ours, &peer, "rows/s", note));
    }
    if options.seconds > 0 {
        lines.push(felt(options, stage, &session).await?);
    }
    let pids = stage.agents.iter().flat_map(|agents| [&agents.source, &agents.target]).filter_map(|agent| agent.process.pid());
    let peaks: Vec<f64> = pids.map(|pid| round(peak_kib(pid) as f64 / 1024.0, 1)).collect();
    lines.push(line(
        options,
        "agents-peak-rss",
        &[peaks.into_iter().fold(0.0, f64::max)],
        &[],
        "MiB",
        "the larger of the two, since its start",
    ));
    Ok(lines)
}

/// A whole one, of these tables.
async fn compare(session: &Session, engine: Engine, tables: &[&str], full_speed: bool) -> Result<Duration, Halt> {
    let schema = if engine == Engine::Postgres { "public" } else { "app" };
    let tables = tables.iter().map(|table| format!("{schema}.{table}")).collect();
    let begun = Instant::now();
    let name = stage::MIGRATION.parse().expect("a literal of the right form");
    let answer = Box::pin(verb::verify(session, VerifyOptions::of(name, tables, full_speed), &mut Silent)).await?;
    if answer.value["clean"] != true {
        return Err(Failure::refused("ROWS_DIFFER", "the two sides are not the same", "report this").into());
    }
    Ok(begun.elapsed())
}

/// Slowest hundredth of the writes of eight clients, without and with a comparison that never ends, in turn.
async fn felt(options: &VerifyBench, stage: &Stage, session: &Session) -> Result<Value, Halt> {
    let (mut alone, mut beside) = (Vec::new(), Vec::new());
    for _ in 0..options.runs {
        for busy in [false, true] {
            let canary = Canary::start(stage.connection()?, canary::Options::default()).await?;
            let length = tokio::time::sleep(Duration::from_secs(options.seconds));
            let works = async {
                if !busy {
                    return std::future::pending().await;
                }
                loop {
                    compare(session, options.engine, &["narrow", "orders"], false).await?;
                }
            };
            let ended: Result<(), Halt> = tokio::select! { () = length => Ok(()), ended = works => ended };
            let p99 = canary.stop().await.report.latency.p99;
            canary::clean_up(&stage.connection()?).await?;
            ended?;
            if busy { beside.push(p99) } else { alone.push(p99) }
        }
    }
    Ok(line(
        options,
        "writers-p99",
        &beside,
        &alone,
        "ms",
        "with and without a comparison; servers, writers and all else share this machine's cores",
    ))
}

fn line(options: &VerifyBench, name: &str, ours: &[f64], peer: &[f64], unit: &str, note: &str) -> Value {
    let peer = (!peer.is_empty()).then(|| median(peer.to_vec()));
    let ours_is = median(ours.to_vec());
    json!({
        "bench": format!("verify/{}/{name}", options.engine.name()), "ours": ours_is, "peer": peer,
        "ratio": peer.map(|peer| round(ours_is / peer.max(1e-9), 3)), "unit": unit, "runs": ours.len(),
        "rows": options.rows, "wide_mib": options.mib, "note": note,
    })
}
