//! `flytt bench probe`: the probe's own worth. The same jobs by fio and by us, in turn, on one file system, and the medians.

use std::{path::PathBuf, time::Duration};

use flytt_proto::failure::Failure;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use super::{median, round, show};
use crate::{demo, halt::Halt, stage::Disk, verb::Answer, view::View};

#[derive(Debug, clap::Args)]
pub(crate) struct ProbeOptions {
    /// Runs of each job and kind.
    #[arg(long, default_value_t = 7, value_parser = clap::value_parser!(u32).range(1..=100))]
    runs: u32,
    /// Of each run.
    #[arg(long, default_value_t = 5)]
    seconds: u64,
    #[arg(long, default_value_t = 1024)]
    mib: u64,
    /// Only this one of the jobs, by the name of its lines; may be given several times [default: all].
    #[arg(long = "job", value_parser = clap::builder::PossibleValuesParser::new(JOBS.map(|(name, ..)| name)))]
    jobs: Vec<String>,
    /// The directory whose disk is measured.
    #[arg(long, default_value = "/tmp")]
    base: PathBuf,
}

/// The line's name, our job, and the same in fio's words. Buffers and file are registered in both, and both pick blocks without
/// keeping a map. Commits a second time with fio on plain calls, as ours are: io_uring has `fdatasync` done by a thread of the
/// kernel's.
const JOBS: [(&str, &str, &[&str], &[&str]); 5] = [
    ("randwrite-4k-qd1", "randwrite-4k-qd1", &[RANDOM, "--bs=4k", "--iodepth=1", "--norandommap"], URING),
    ("randwrite-4k-qd8", "randwrite-4k-qd8", &[RANDOM, "--bs=4k", "--iodepth=8", "--norandommap"], URING),
    ("randwrite-4k-qd32", "randwrite-4k-qd32", &[RANDOM, "--bs=4k", "--iodepth=32", "--norandommap"], URING),
    ("commit-8k", "commit-8k", COMMIT, URING),
    ("commit-8k-psync", "commit-8k", COMMIT, &["--ioengine=psync"]),
];
const RANDOM: &str = "--rw=randwrite";
const COMMIT: &[&str] = &["--rw=write", "--bs=8k", "--iodepth=1", "--fdatasync=1"];
const URING: &[&str] = &["--ioengine=io_uring", "--fixedbufs", "--registerfiles"];

/// What one run came to.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Run {
    iops: f64,
    p99_us: f64,
    cpu_us: f64,
}

pub(crate) async fn run(options: ProbeOptions, stop: &CancellationToken, view: &mut dyn View) -> Result<Answer, Halt> {
    let disk = Disk::new(&options.base, options.mib << 20)?;
    let mut lines = Vec::new();
    for (name, job, words, by) in JOBS {
        if !options.jobs.is_empty() && !options.jobs.iter().any(|asked| asked == name) {
            continue;
        }
        let words = [words, by].concat();
        let measured = demo::unless_stopped(stop, in_turn(&options, &disk, job, &words)).await??;
        let of_job = compared(name, &measured);
        of_job.iter().for_each(|line| show(line, view));
        lines.extend(of_job);
    }
    let value = json!({ "bench": "probe", "lines": lines.len() });
    Ok(crate::verb::answer(value.to_string(), value))
}

/// Pairs of (ours, fio's); who begins changes with each.
async fn in_turn(options: &ProbeOptions, disk: &Disk, job: &str, words: &[&str]) -> Result<Vec<(Run, Run)>, Failure> {
    let time = Duration::from_secs(options.seconds);
    let start = disk.fio_start(words).await?;
    let mut pairs = Vec::new();
    for turn in 0..options.runs {
        let (ours, peer);
        if turn % 2 == 0 {
            ours = disk.probe(job, time).await?;
            peer = disk.fio(words, time).await?;
        } else {
            peer = disk.fio(words, time).await?;
            ours = disk.probe(job, time).await?;
        }
        pairs.push((of_probe(&ours), of_fio(&peer.0, peer.1.saturating_sub(start))));
    }
    Ok(pairs)
}

fn of_probe(result: &Value) -> Run {
    let number = |key: &str| result[key].as_f64().unwrap_or_default();
    Run { iops: number("iops"), p99_us: number("p99_us"), cpu_us: number("cpu_us_per_io") }
}

/// fio measures a write and the `fdatasync` after it apart. A commit is both; since nearly all of it is the latter, its 99th
/// percentile is taken as that of the `fdatasync` plus an average write. `cpu` is what its processes have used: what it says of
/// itself leaves out the threads that the kernel starts for it (half of the whole, for commits through io_uring; for the other
/// jobs the two agree within 1 %).
fn of_fio(job: &Value, cpu: Duration) -> Run {
    let number = |value: &Value| value.as_f64().unwrap_or_default();
    let (write, sync) = (&job["write"], &job["sync"]["lat_ns"]);
    let p99_ns = match number(&sync["N"]) {
        0.0 => number(&write["lat_ns"]["percentile"]["99.000000"]),
        _ => number(&sync["percentile"]["99.000000"]) + number(&write["lat_ns"]["mean"]),
    };
    let cpu_us = cpu.as_secs_f64() * 1e6 / number(&write["total_ios"]).max(1.0);
    Run { iops: number(&write["iops"]), p99_us: p99_ns / 1e3, cpu_us }
}

fn compared(job: &str, pairs: &[(Run, Run)]) -> Vec<Value> {
    let line = |what: &str, unit: &str, of: fn(&Run) -> f64| {
        let ours = pairs.iter().map(|(ours, _)| of(ours)).collect::<Vec<_>>();
        let peer = pairs.iter().map(|(_, peer)| of(peer)).collect::<Vec<_>>();
        // Of each pair by itself, too: what the machine did meanwhile touched both. Half of the pairs lie between the quartiles: a
        // ratio whose quartiles lie far apart, or on both sides of 1, says little.
        let mut ratios: Vec<f64> = ours.iter().zip(&peer).map(|(ours, peer)| ours / peer.max(1e-9)).collect();
        ratios.sort_by(f64::total_cmp);
        let at = |share: f64| round(ratios[((ratios.len() - 1) as f64 * share).round() as usize], 3);
        let (quartiles, middle) = ([at(0.25), at(0.75)], median(ratios.iter().map(|ratio| ratio * 1e3).collect()));
        let (ours, peer) = (median(ours), median(peer));
        json!({
            "bench": format!("probe/{job}/{what}"), "ours": ours, "peer": peer, "ratio": round(ours / peer.max(1e-9), 3),
            "unit": unit, "runs": pairs.len(), "median_of_ratios": round(middle / 1e3, 3), "quartiles_of_ratios": quartiles,
            "peer_is": "fio",
        })
    };
    vec![line("iops", "1/s", |run| run.iops), line("p99", "us", |run| run.p99_us), line("cpu-per-io", "us", |run| run.cpu_us)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fios_figures_are_read() {
        let job = json!({
            "write": { "iops": 4000.0, "total_ios": 20_000, "lat_ns": { "mean": 200_000.0, "percentile": { "99.000000": 900_000 } } },
            "sync": { "lat_ns": { "N": 0 } },
        });
        let cpu = Duration::from_secs(2);
        assert_eq!(of_fio(&job, cpu), Run { iops: 4000.0, p99_us: 900.0, cpu_us: 100.0 });
        let mut commits = job;
        commits["sync"]["lat_ns"] = json!({ "N": 20_000, "percentile": { "99.000000": 3_000_000 } });
        assert_eq!(of_fio(&commits, cpu).p99_us, 3200.0);
    }

    #[test]
    fn medians_are_compared_and_each_pair_by_itself() {
        let run = |iops| Run { iops, p99_us: 10.0, cpu_us: 1.0 };
        let lines = compared("commit-8k", &[(run(100.0), run(50.0)), (run(300.0), run(100.0)), (run(200.0), run(100.0))]);
        assert_eq!((&lines[0]["bench"], &lines[0]["ratio"]), (&json!("probe/commit-8k/iops"), &json!(2.0)));
        assert_eq!((&lines[0]["median_of_ratios"], &lines[2]["ratio"]), (&json!(2.0), &json!(1.0)));
        let far = compared("commit-8k", &[1.0, 2.0, 3.0, 4.0, 5.0].map(|iops| (run(iops), run(1.0))));
        assert_eq!(far[0]["quartiles_of_ratios"], json!([2.0, 4.0]));
    }
}
