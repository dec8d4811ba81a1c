//! `flytt bench seed`: a dump of ours beside the pipeline that everybody types, and beside mydumper, in turn on the same servers.

use std::{
    collections::BTreeSet,
    path::PathBuf,
    time::{Duration, Instant},
};

use flytt_proto::{failure::Failure, name::Migration};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use super::{Silent, agents_cpu, median, round, show};
use crate::{
    demo,
    halt::Halt,
    session::Session,
    spec::Engine,
    stage::{self, Peer, Peers, Stage},
    verb::{self, Answer},
    view::View,
};

#[derive(Debug, clap::Args)]
pub(crate) struct SeedOptions {
    #[arg(long, value_enum, default_value_t = Engine::Mariadb)]
    engine: Engine,
    /// Copies of each kind.
    #[arg(long, default_value_t = 3)]
    runs: usize,
    /// Of rows, as texts.
    #[arg(long, default_value_t = 1280, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    mib: u32,
    /// Leave mydumper out, where it does not know the server.
    #[arg(long)]
    no_mydumper: bool,
    /// Where the throw-away servers live.
    #[arg(long, default_value = "/tmp")]
    base: PathBuf,
}

pub(crate) async fn run(options: SeedOptions, stop: &CancellationToken, view: &mut dyn View) -> Result<Answer, Halt> {
    let scene = demo::Options {
        engine: options.engine,
        writers: 1,
        way: stage::Way::Dump,
        data_mib: 1,
        seconds: 1,
        base: options.base.clone(),
    };
    let stage = demo::unless_stopped(stop, demo::set(&scene)).await??;
    let measured = demo::unless_stopped(stop, Box::pin(in_turn(&options, &stage, stop))).await;
    stage.tear_down().await;
    let lines = compared(&options, &measured??);
    lines.iter().for_each(|line| show(line, view));
    let value = json!({ "bench": "seed", "lines": lines.len() });
    Ok(verb::answer(value.to_string(), value))
}

/// What one round came to, in MiB/s of the same rows.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Round {
    ours: f64,
    pipeline: f64,
    mydumper: Option<f64>,
    agents_cpu_s: f64,
}

/// Who begins changes with each round.
async fn in_turn(options: &SeedOptions, stage: &Stage, stop: &CancellationToken) -> Result<Vec<Round>, Halt> {
    let peers = Peers::find(options.engine, &stage.place, &stage.source)?;
    stage.source.fill_tables(options.mib).await?;
    stage.target.set_for_import(options.engine).await?;
    let session = Session::open(&stage.home, stop.clone())?;
    let (name, file) = (stage::MIGRATION.parse().expect("a literal of the right form"), demo::migration_file(stage)?);
    let expected = stage.source.rows_of_tables().await?;
    let mut rounds = Vec::new();
    for turn in 0..options.runs {
        let (mut round, mut bytes) = (Round::default(), 0);
        let mut took = [Duration::ZERO; 3];
        for at in (0..3).map(|at| (at + turn) % 3) {
            took[at] = match at {
                0 => {
                    let before = agents_cpu(stage);
                    let (copied, took) = ours(&session, &name, &file, stage, &expected).await?;
                    round.agents_cpu_s = (agents_cpu(stage) - before).as_secs_f64();
                    bytes = copied;
                    took
                }
                1 => theirs(&peers, Peer::Pipeline, options.engine, stage, &expected).await?,
                _ if options.no_mydumper => Duration::ZERO,
                _ => theirs(&peers, Peer::Mydumper, options.engine, stage, &expected).await?,
            };
        }
        let rate = |took: Duration| demo::mib_s(bytes, took.as_millis().try_into().unwrap_or(u64::MAX));
        (round.ours, round.pipeline) = (rate(took[0]), rate(took[1]));
        round.mydumper = (!options.no_mydumper).then(|| rate(took[2]));
        rounds.push(round);
    }
    Ok(rounds)
}

/// The whole step, with the trial of settings before and all that comes after the rows.
async fn ours(
    session: &Session,
    name: &Migration,
    file: &std::path::Path,
    stage: &Stage,
    expected: &str,
) -> Result<(u64, Duration), Halt> {
    verb::start(session, file, BTreeSet::new(), &mut Silent).await?;
    let seeded = demo::seeded(session, name)?;
    is_whole(stage, expected).await?;
    verb::rollback(session, name, &mut Silent).await?;
    Ok((seeded.bytes, Duration::from_millis(seeded.elapsed_ms)))
}

async fn theirs(peers: &Peers, by: Peer, engine: Engine, stage: &Stage, expected: &str) -> Result<Duration, Halt> {
    stage.target.open_to_copies(engine).await?;
    let begun = Instant::now();
    peers.copy(by, &stage.source, &stage.target).await?;
    let took = begun.elapsed();
    is_whole(stage, expected).await?;
    stage.target.drop_tables().await?;
    stage.target.shut_to_copies(engine).await?;
    Ok(took)
}

/// A rate of a copy that is not whole would be none.
async fn is_whole(stage: &Stage, expected: &str) -> Result<(), Failure> {
    let there = stage.target.rows_of_tables().await?;
    if there == expected {
        return Ok(());
    }
    let sentence = format!("the copy has {there} rows, and there are {expected}");
    Err(Failure::refused("ROWS_DIFFER", sentence, "report this"))
}

fn compared(options: &SeedOptions, rounds: &[Round]) -> Vec<Value> {
    let all = |of: fn(&Round) -> Option<f64>| rounds.iter().filter_map(of).collect::<Vec<f64>>();
    let (ours, cpu) = (all(|round| Some(round.ours)), all(|round| Some(round.agents_cpu_s)));
    let line = |peer: &str, of: fn(&Round) -> Option<f64>, note: &str| {
        let theirs = all(of);
        let ratios = ours.iter().zip(&theirs).map(|(ours, peer)| ours / peer.max(1e-9) * 1e3).collect();
        let (ours, peer_rate) = (median(ours.clone()), median(theirs.clone()));
        (!theirs.is_empty()).then(|| {
            json!({
                "bench": format!("seed/{}/{peer}", options.engine.name()), "ours": ours, "peer": peer_rate,
                "ratio": round(ours / peer_rate.max(1e-9), 3), "unit": "MiB/s", "runs": rounds.len(),
                "median_of_ratios": round(median(ratios) / 1e3, 3), "data_mib": options.mib,
                "agents_cpu_s": median(cpu.clone()), "note": note,
            })
        })
    };
    let lines = [
        line(
            "vs-plain-pipeline",
            |round| Some(round.pipeline),
            "the whole step, through TLS 1.3; peer: the vendor's dump | zstd -1 | zstd -d | client",
        ),
        line(
            "vs-mydumper",
            |round| round.mydumper,
            "peer: mydumper and myloader of the distribution, four threads, files between them uncompressed",
        ),
    ];
    lines.into_iter().flatten().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peer_that_was_left_out_has_no_line() {
        let options = |no_mydumper| SeedOptions { engine: Engine::Mysql, runs: 1, mib: 1, no_mydumper, base: "/tmp".into() };
        let round = Round { ours: 50.0, pipeline: 20.0, mydumper: Some(40.0), agents_cpu_s: 1.0 };
        let lines = compared(&options(false), &[round, round]);
        assert_eq!((&lines[0]["bench"], &lines[0]["ratio"]), (&json!("seed/mysql/vs-plain-pipeline"), &json!(2.5)));
        assert_eq!((&lines[1]["bench"], &lines[1]["median_of_ratios"]), (&json!("seed/mysql/vs-mydumper"), &json!(1.25)));
        assert_eq!(compared(&options(true), &[Round { mydumper: None, ..round }]).len(), 1);
    }
}
