//! A commit waits for the disk. Where it waits much longer on the target, an application that commits one thing after another
//! gets slower by as much, whatever the IOPS are.

use flytt_proto::{
    gate::Gate,
    v1::{Finding, ProbeResult},
};

use super::{Sides, device, fails, holds, method, result, words};

const JOB: &str = "commit-8k";
/// Latencies of a flush vary by tens of percent from run to run on one and the same disk.
const TIMES: f64 = 2.0;
/// Microseconds. Below this no application notices, whatever the ratio.
const NOTICED: f64 = 500.0;

pub(super) fn look(sides: &Sides<'_>) -> Vec<Finding> {
    let Some((theirs, probe)) = result(sides.target, JOB).zip(sides.target.probe.as_ref()) else { return Vec::new() };
    let Some((slower, source)) = against(sides, theirs) else { return Vec::new() };
    let host = &sides.target.host;
    let sentence = format!(
        "a commit (8 KiB write and fdatasync) takes {} on {} (p99 {}; {}), and {source}: one connection commits at most {} times a second",
        words::latency(theirs.p50_us as f64),
        device(&probe.device.clone().unwrap_or_default()),
        words::latency(theirs.p99_us as f64),
        method(probe),
        words::count(1e6 / (theirs.p50_us as f64).max(1.0)),
    );
    if !slower {
        return vec![holds(Gate::Commit, host, sentence)];
    }
    let remedy = format!(
        "expect commits that take so long, or ask for storage with a write cache that survives a power cut; \
         go on with `--accept {}` where this blocks",
        Gate::Commit
    );
    vec![fails(sides.gates, Gate::Commit, host, sentence, remedy)]
}

/// Whether the target is slower, and what the source takes. The source's own probe is the better witness; else what its database
/// was seen to wait, of which only the median is known.
fn against(sides: &Sides<'_>, theirs: &ProbeResult) -> Option<(bool, String)> {
    let host = &sides.source.host;
    let slower = |target: u64, source: f64| target as f64 > source * TIMES && target as f64 - source > NOTICED;
    if let Some(ours) = result(sides.source, JOB) {
        // Both, so that one bad second in a tail decides nothing.
        let both = slower(theirs.p50_us, ours.p50_us as f64) && slower(theirs.p99_us, ours.p99_us as f64);
        let source = format!("{} on {host} (p99 {})", words::latency(ours.p50_us as f64), words::latency(ours.p99_us as f64));
        return Some((both, source));
    }
    let waits = sides.source.peak.as_ref()?.commit_await_ms * 1_000.0;
    if waits < 0.0 {
        return None;
    }
    Some((slower(theirs.p50_us, waits), format!("a flush of {host} was seen to wait {}", words::latency(waits))))
}

#[cfg(test)]
mod tests {
    use flytt_proto::v1::{Measured, finding::Level};

    use super::{super::sample, *};

    fn set(measured: &mut Measured, p50_us: u64, p99_us: u64) {
        let results = &mut measured.probe.as_mut().unwrap().results;
        let result = results.iter_mut().find(|result| result.job == JOB).unwrap();
        (result.p50_us, result.p99_us) = (p50_us, p99_us);
    }

    fn levels(spoil: impl FnOnce(&mut Measured, &mut Measured)) -> Vec<Level> {
        sample::found(look, spoil).iter().map(Finding::level).collect()
    }

    #[test]
    fn twice_the_sources_in_median_and_tail_is_slower() {
        let at = |p50, p99| {
            levels(|source, target| {
                set(source, 1_000, 8_000);
                set(target, p50, p99);
            })
        };
        assert_eq!(at(2_000, 16_000), [Level::Ok]);
        assert_eq!(at(2_001, 16_001), [Level::Warn]);
        assert_eq!(at(2_001, 16_000), [Level::Ok], "a median alone is noise");
        assert_eq!(at(1_000, 90_000), [Level::Ok], "so is a tail alone");
    }

    #[test]
    fn what_nobody_notices_is_not_slower() {
        let at = |p50, p99| {
            levels(|source, target| {
                set(source, 30, 60);
                set(target, p50, p99);
            })
        };
        assert_eq!(at(400, 500), [Level::Ok]);
        assert_eq!(at(600, 900), [Level::Warn]);
    }

    #[test]
    fn without_a_probe_of_the_source_its_own_waits_count() {
        let at = |await_ms: f64| {
            levels(|source, target| {
                source.probe = None;
                source.peak.as_mut().unwrap().commit_await_ms = await_ms;
                set(target, 5_000, 5_000);
            })
        };
        assert_eq!(at(2.5), [Level::Ok]);
        assert_eq!(at(2.4), [Level::Warn]);
        assert_eq!(at(-1.0), [], "not seen");
        assert_eq!(levels(|source, _| (source.probe, source.peak) = (None, None)), []);
        assert_eq!(levels(|_, target| target.probe = None), []);
    }
}
