//! `flytt bench`: what `make bench` runs. Demos in a row for the window, seeds in turn with plain `pg_basebackup`, agents at
//! rest. One JSON line per comparison; the measuring itself is the demo's, the canary's and the kernel's.

mod probe;
mod seed;
mod verify;

use std::{
    collections::BTreeSet,
    path::PathBuf,
    time::{Duration, Instant},
};

use flytt_proto::{failure::Failure, name::Migration, v1};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use crate::{
    demo,
    halt::Halt,
    session::Session,
    spec::Engine,
    stage::{self, Stage},
    verb::{self, Answer},
    view::{Line, View},
};

#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// What is moved. Copies are compared with plain ones for PostgreSQL alone.
    #[arg(long, value_enum, default_value_t)]
    engine: Engine,
    /// Whole moves under load.
    #[arg(long, default_value_t = 20)]
    cutovers: usize,
    /// Copies of each kind.
    #[arg(long, default_value_t = 5)]
    seeds: usize,
    /// Data that each of them copies.
    #[arg(long, default_value_t = 1024, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    seed_mib: u32,
    /// Seconds for which the agents are watched at rest; 0 = not at all.
    #[arg(long, default_value_t = 30)]
    rest: u64,
    /// Seconds for which the agents are watched while each sends its samples; 0 = not at all.
    #[arg(long, default_value_t = 0)]
    samples: u64,
    /// Where the throw-away servers live.
    #[arg(long, default_value = "/tmp")]
    base: PathBuf,
    #[command(subcommand)]
    only: Option<Only>,
}

#[derive(Debug, clap::Subcommand)]
enum Only {
    /// The probe beside fio.
    Probe(probe::ProbeOptions),
    /// A dump beside the vendor's own pipeline and mydumper.
    Seed(seed::SeedOptions),
    /// A comparison beside counting the rows, and beside pt-table-checksum.
    Verify(verify::VerifyBench),
}

/// What the moves and seeds themselves say is not for here.
#[derive(Debug)]
struct Silent;

impl View for Silent {
    fn show(&mut self, _: Line<'_>) {}
}

pub(crate) async fn run(options: Options, stop: CancellationToken, view: &mut dyn View) -> Result<Answer, Halt> {
    match options.only {
        Some(Only::Probe(options)) => return probe::run(options, &stop, view).await,
        Some(Only::Seed(options)) => return seed::run(options, &stop, view).await,
        Some(Only::Verify(options)) => return verify::run(options, &stop, view).await,
        None => {}
    }
    // Only PostgreSQL's copies have a peer here.
    let options = if options.engine == Engine::Postgres { options } else { Options { seeds: 0, ..options } };
    let mut lines = Vec::new();
    if options.cutovers > 0 {
        lines.push(cutovers(&options, &stop).await?);
    }
    if options.seeds > 0 || options.rest > 0 || options.samples > 0 {
        // What took minutes is not kept back until the rest is there, or fails.
        lines.drain(..).for_each(|line| show(&line, view));
        let scene = demo::Options {
            engine: options.engine,
            writers: 1,
            way: stage::Way::Physical,
            data_mib: options.seed_mib,
            seconds: 1,
            base: options.base.clone(),
        };
        let stage = demo::unless_stopped(&stop, demo::set(&scene)).await??;
        let measured = demo::unless_stopped(&stop, at_leisure(&options, &stage, &stop)).await;
        stage.tear_down().await;
        lines.extend(measured??);
    }
    let value = lines.pop().unwrap_or_default();
    lines.iter().for_each(|line| show(line, view));
    Ok(verb::answer(value.to_string(), value))
}

fn show(line: &Value, view: &mut dyn View) {
    view.show(Line::Answer { text: &line.to_string(), value: line });
}

async fn at_leisure(options: &Options, stage: &Stage, stop: &CancellationToken) -> Result<Vec<Value>, Halt> {
    let mut lines = Vec::new();
    if options.rest > 0 {
        // Enrolment and the first checks are over by then.
        tokio::time::sleep(Duration::from_secs(3)).await;
        lines.extend(watched(stage, Duration::from_secs(options.rest), "agent/rest").await);
    }
    if options.samples > 0 {
        lines.extend(streaming(stage, Duration::from_secs(options.samples), stop).await?);
    }
    if options.seeds > 0 {
        lines.extend(Box::pin(seeds(options, stage, stop)).await?);
    }
    Ok(lines)
}

async fn cutovers(options: &Options, stop: &CancellationToken) -> Result<Value, Halt> {
    let scene = demo::Options {
        engine: options.engine,
        writers: 8,
        data_mib: 50,
        seconds: 2,
        way: stage::Way::Physical,
        base: options.base.clone(),
    };
    let mut runs = Vec::new();
    for _ in 0..options.cutovers {
        runs.push(Box::pin(demo::run(scene.clone(), stop.clone(), &mut Silent)).await?.value);
    }
    let all = |key: &str| runs.iter().filter_map(|run| run[key].as_f64()).collect::<Vec<_>>();
    let sum = |key: &str| runs.iter().filter_map(|run| run[key].as_u64()).sum::<u64>();
    let steps = runs[0]["cutover_ms"].as_object().into_iter().flatten().map(|(step, _)| {
        let times = runs.iter().filter_map(|run| run["cutover_ms"][step].as_f64()).collect();
        (step.clone(), json!(median(times)))
    });
    let steps: serde_json::Map<String, Value> = steps.collect();
    // When it was, beside when the cutover was asked for, and where its time went.
    let gap = |run: &Value| run["longest_gap_ms"].as_f64().unwrap_or_default();
    let worst = runs.iter().max_by(|a, b| gap(a).total_cmp(&gap(b)));
    let keys = ["longest_gap_from_ms", "cutover_asked_ms", "cutover_ms"];
    let worst = worst.map(|run| keys.iter().map(|key| ((*key).to_owned(), run[*key].clone())).collect::<serde_json::Map<_, _>>());
    Ok(json!({
        "bench": format!("cutover/{}/longest-gap", options.engine.name()), "ours": median(all("longest_gap_ms")), "peer": null, "ratio": null,
        "unit": "ms", "runs": runs.len(), "worst": all("longest_gap_ms").into_iter().fold(0.0, f64::max),
        "writers": scene.writers, "writes_acknowledged": sum("writes_acknowledged"), "writes_lost": sum("writes_lost"),
        "connections_refused": sum("connections_refused"), "sessions_cut": sum("sessions_cut"), "cutover_ms": steps, "worst_run": worst,
    }))
}

/// Copies of one source, ours and plain ones in turn. Ours is also verified, which the other is not: told apart.
async fn seeds(options: &Options, stage: &Stage, stop: &CancellationToken) -> Result<Vec<Value>, Halt> {
    const SLOT: &str = "bench_peer";
    let session = Session::open(&stage.home, stop.clone())?;
    let name: Migration = stage::MIGRATION.parse().expect("a literal of the right form");
    let file = demo::migration_file(stage)?;
    stage.source.admit_base_backup(SLOT).await?;
    let (mut copied, mut verified, mut plain): (Vec<f64>, Vec<f64>, Vec<f64>) = Default::default();
    let mut used = Vec::new();
    for _ in 0..options.seeds {
        let before = agents_cpu(stage);
        verb::start(&session, &file, BTreeSet::new(), &mut Silent).await?;
        used.push((agents_cpu(stage) - before).as_secs_f64());
        let v1::outcome::Seeded { bytes, elapsed_ms, copy_ms } = demo::seeded(&session, &name)?;
        verb::rollback(&session, &name, &mut Silent).await?;
        copied.push(demo::mib_s(bytes, copy_ms));
        verified.push(demo::mib_s(bytes, elapsed_ms));
        let took = stage.source.base_backup(SLOT).await?;
        plain.push(demo::mib_s(bytes, took.as_millis().try_into().unwrap_or(u64::MAX)));
    }
    let cpu = round(median(used) / f64::from(options.seed_mib) * 1024.0, 2);
    let (peer, runs) = (median(plain), options.seeds);
    let line = |bench: &str, ours: f64, note: &str| {
        json!({
            "bench": bench, "ours": ours, "peer": peer, "ratio": round(ours / peer, 3), "unit": "MiB/s", "runs": runs,
            "data_mib": options.seed_mib, "agents_cpu_s_per_gib": cpu, "note": note,
        })
    };
    Ok(vec![
        line(
            "seed/postgres/vs-pg_basebackup",
            median(copied),
            "the copy, through the tunnel with TLS 1.3; peer on the source's own socket",
        ),
        line("seed/postgres/verified-vs-pg_basebackup", median(verified), "ours with pg_verifybackup, the peer without"),
    ])
}

/// The same, while each agent sends its samples once a second.
async fn streaming(stage: &Stage, length: Duration, stop: &CancellationToken) -> Result<Vec<Value>, Failure> {
    let session = Session::open(&stage.home, stop.clone())?;
    let mut streams = tokio::task::JoinSet::new();
    for host in [stage::SOURCE, stage::TARGET, stage::ROUTER] {
        let host = host.parse().expect("a literal of the right form");
        let request = v1::SamplesRequest { live: true, ..v1::SamplesRequest::default() };
        let mut samples = session.observer.samples(&host, request).await?;
        // Connecting is over once the first is here.
        samples.next().await?;
        streams.spawn(async move {
            let mut count = 0_u64;
            while let Ok(Some(_)) = samples.next().await {
                count += 1;
            }
            count
        });
    }
    let lines = watched(stage, length, "samples/stream-1hz").await;
    // A stream that ended has not been measured.
    if let Some(Ok(count)) = streams.try_join_next() {
        let sentence = format!("a stream of samples ended after {count}");
        return Err(Failure::refused("UNREACHABLE", sentence, "look at the agents' logs"));
    }
    Ok(lines)
}

/// Memory and processor time of each agent while HAProxy checks it and nothing else happens; the largest counts.
async fn watched(stage: &Stage, length: Duration, bench: &str) -> Vec<Value> {
    let Some(agents) = &stage.agents else { return Vec::new() };
    let pids: Vec<u32> =
        [&agents.source, &agents.target, &agents.router].iter().filter_map(|agent| agent.process.pid()).collect();
    let before: Vec<u64> = pids.iter().map(|pid| cpu_ns(*pid)).collect();
    let begun = Instant::now();
    tokio::time::sleep(length).await;
    let percent = |(pid, before): (&u32, &u64)| {
        let used = Duration::from_nanos(cpu_ns(*pid).saturating_sub(*before));
        round(used.as_secs_f64() / begun.elapsed().as_secs_f64() * 100.0, 3)
    };
    let cpu: Vec<f64> = pids.iter().zip(&before).map(percent).collect();
    let rss: Vec<f64> = pids.iter().map(|pid| round(rss_kib(*pid) as f64 / 1024.0, 1)).collect();
    let line = |what: &str, each: Vec<f64>, unit: &str| {
        let worst = each.iter().copied().fold(0.0, f64::max);
        json!({
            "bench": format!("{bench}/{what}"), "ours": worst, "peer": null, "ratio": null, "unit": unit, "runs": 1, "seconds": length.as_secs(),
            "source_target_router": each,
        })
    };
    vec![line("rss", rss, "MiB"), line("cpu", cpu, "% of a core")]
}

/// Processor time of source's and target's agent so far.
fn agents_cpu(stage: &Stage) -> Duration {
    let agents = stage.agents.iter().flat_map(|agents| [&agents.source, &agents.target]);
    Duration::from_nanos(agents.filter_map(|agent| agent.process.pid()).map(cpu_ns).sum())
}

fn rss_kib(pid: u32) -> u64 {
    memory_kib(pid, "VmRSS:")
}

/// The most that it ever had.
fn peak_kib(pid: u32) -> u64 {
    memory_kib(pid, "VmHWM:")
}

/// proc(5), a line of `status`.
fn memory_kib(pid: u32, name: &str) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix(name));
    line.and_then(|line| line.split_whitespace().next()?.parse().ok()).unwrap_or(0)
}

/// proc(5): the first number in each thread's `schedstat` is its time on a processor. Ticks would be too coarse.
fn cpu_ns(pid: u32) -> u64 {
    let threads = std::fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    let used = threads.filter_map(|thread| {
        std::fs::read_to_string(thread.path().join("schedstat")).ok()?.split_whitespace().next()?.parse::<u64>().ok()
    });
    used.sum()
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    match values.len() {
        0 => 0.0,
        odd if odd % 2 == 1 => round(values[middle], 1),
        _ => round((values[middle - 1] + values[middle]) / 2.0, 1),
    }
}

fn round(value: f64, digits: i32) -> f64 {
    let scale = 10_f64.powi(digits);
    (value * scale).round() / scale
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_the_middle_one_or_between_the_two() {
        assert_eq!(median(vec![3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(vec![4.0, 1.0, 2.0, 3.0]), 2.5);
        assert_eq!(median(Vec::new()), 0.0);
    }

    #[test]
    fn we_use_memory_and_time() {
        assert!(rss_kib(std::process::id()) > 100);
        assert!(cpu_ns(std::process::id()) > 0);
        assert_eq!((rss_kib(u32::MAX), cpu_ns(u32::MAX)), (0, 0));
    }
}
