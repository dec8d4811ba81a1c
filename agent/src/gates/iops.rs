//! The target sustains more random writes than the source was ever seen to need. The sentence is one that can be sent to whoever
//! runs the storage: what was measured, where and how, what is needed, and where that number comes from.

use flytt_proto::{
    gate::Gate,
    v1::{Finding, Peak, ProbeReport, ProbeResult},
};

use super::{Sides, device, fails, holds, method, words};

/// 4 KiB random writes: what a checkpoint does to a disk. Of several depths the one counts at which the storage does most.
const JOB: &str = "randwrite-4k-qd";

pub(super) fn look(sides: &Sides<'_>) -> Vec<Finding> {
    let (Some(probe), Some(peak)) = (&sides.target.probe, &sides.source.peak) else { return Vec::new() };
    let host = &sides.target.host;
    let measured = probe.results.iter().filter(|result| result.job.starts_with(JOB));
    let Some(best) = measured.max_by(|a, b| a.iops.total_cmp(&b.iops)) else {
        let why = if probe.stopped.is_empty() { "random writes were not among its jobs" } else { &probe.stopped };
        let sentence = format!("its probe of {} says nothing of random writes: {why}", words::time(probe.at_ms));
        return vec![fails(sides.gates, Gate::Iops, host, sentence, format!("run `flytt probe {host}` again"))];
    };
    let needed = peak.write_iops * sides.gates.iops_headroom;
    let (does, wants) = (sustains(probe, best), needs(sides, peak, needed));
    if best.iops >= needed {
        return vec![holds(Gate::Iops, host, format!("{does}; {wants}"))];
    }
    let remedy = format!(
        "ask for storage that sustains {} random writes a second (these two lines say all that its provider needs to know), then run \
         `flytt probe {host}`; or go on with `--accept {}`",
        words::count(needed.ceil()),
        Gate::Iops
    );
    vec![fails(sides.gates, Gate::Iops, host, format!("{does}; {wants}"), remedy)]
}

/// `vdb (…) sustains 98 random 4 KiB writes a second at queue depth 32 (p50 310 ms, p99 500 ms; O_DIRECT by …)`
fn sustains(probe: &ProbeReport, best: &ProbeResult) -> String {
    format!(
        "{} sustains {} random 4 KiB writes a second at queue depth {} (p50 {}, p99 {}; {})",
        device(&probe.device.clone().unwrap_or_default()),
        words::count(best.iops),
        best.job.trim_start_matches(JOB),
        words::latency(best.p50_us as f64),
        words::latency(best.p99_us as f64),
        method(probe)
    )
}

fn needs(sides: &Sides<'_>, peak: &Peak, needed: f64) -> String {
    format!(
        "{} are needed: {} times the {} writes a second that {} of {} did at its peak on {}, in {} of observation since {}",
        words::count(needed.ceil()),
        sides.gates.iops_headroom,
        words::count(peak.write_iops),
        peak.device,
        sides.source.host,
        words::time(peak.at_ms),
        words::span(peak.observed_s),
        words::time(peak.since_ms)
    )
}

#[cfg(test)]
mod tests {
    use flytt_proto::v1::{Measured, finding::Level};

    use super::{super::sample, *};

    fn found(spoil: impl FnOnce(&mut Measured, &mut Measured)) -> Vec<(Level, String)> {
        sample::found(look, spoil).into_iter().map(|finding| (finding.level(), finding.sentence)).collect()
    }

    fn at(target: f64, peak: f64) -> Level {
        let found = found(|from, to| {
            from.peak.as_mut().unwrap().write_iops = peak;
            for result in to.probe.as_mut().unwrap().results.iter_mut().filter(|result| result.job.starts_with(JOB)) {
                result.iops = target;
            }
        });
        assert_eq!(found.len(), 1);
        found[0].0
    }

    #[test]
    fn the_threshold_is_the_headroom_times_the_peak() {
        assert_eq!(
            [at(1_300.0, 1_000.0), at(1_299.9, 1_000.0), at(0.0, 0.0), at(0.0, 1.0)],
            [Level::Ok, Level::Block, Level::Ok, Level::Block]
        );
    }

    #[test]
    fn the_sentence_can_be_sent_to_the_provider() {
        let found = found(|_, target| {
            let results = &mut target.probe.as_mut().unwrap().results;
            for result in results.iter_mut() {
                (result.iops, result.p50_us, result.p99_us) = (98.0, 310_000, 500_000);
            }
            results.retain(|result| result.job.ends_with("qd32"));
        });
        assert_eq!(
            found[0].1,
            "vdb (Cheap Disk, virtio, xfs, under /var/lib/postgresql/15/main) sustains 98 random 4 KiB writes a second at queue \
             depth 32 (p50 310 ms, p99 500 ms; O_DIRECT by io_uring in a file of 1 GiB, 2026-07-01 23:00:05 UTC); 1,590 are \
             needed: 1.3 times the 1,223 writes a second that vda of db-old did at its peak on 2026-07-01 22:00:05 UTC, in 3 d 4 h \
             of observation since 2026-06-28 18:58:25 UTC"
        );
    }

    #[test]
    fn a_probe_that_ended_before_it_measured_holds_nothing() {
        let found = found(|_, target| {
            let probe = target.probe.as_mut().unwrap();
            probe.results.retain(|result| result.job == "commit-8k");
            probe.stopped = "the disk gave an error".into();
        });
        assert_eq!(found[0].0, Level::Block);
        assert!(found[0].1.contains("the disk gave an error"), "{found:?}");
        assert_eq!(self::found(|source, _| source.peak = None), []);
        assert_eq!(self::found(|_, target| target.probe = None), []);
    }
}
