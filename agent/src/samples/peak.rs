//! The most that the data directory's device was seen to do. Over which time that was seen is part of it.

use flytt_proto::v1::{Peak, Sample};

/// Longer intervals are means over more than a second, and shorter ones hold a burst: they say nothing of a peak, and do not
/// count as observed.
const SECOND: std::ops::Range<f64> = 0.9..2.0;

/// A peak that nothing was seen of.
pub(super) fn none() -> Peak {
    Peak { commit_await_ms: -1.0, ..Peak::default() }
}

/// What one sample says of `device`; `None` where it says nothing of a second of its load.
pub(super) fn of(sample: &Sample, device: &str) -> Option<Peak> {
    let disk = sample.disks.iter().find(|disk| disk.name == device)?;
    (SECOND.contains(&sample.seconds) && !sample.own).then(|| Peak {
        device: device.to_owned(),
        write_iops: disk.w_s,
        read_iops: disk.r_s,
        write_mb_s: disk.w_mb_s,
        at_ms: sample.at_ms,
        observed_s: sample.seconds,
        since_ms: sample.at_ms,
        commit_await_ms: -1.0,
    })
}

/// Both together; `later` names the device. What a commit waits comes from the one that has it, the earlier first: it is
/// summed up from minutes.
pub(super) fn together(earlier: Peak, later: Peak) -> Peak {
    if later.observed_s <= 0.0 {
        return earlier;
    }
    if earlier.observed_s <= 0.0 {
        return later;
    }
    let at_ms = if later.write_iops > earlier.write_iops { later.at_ms } else { earlier.at_ms };
    Peak {
        device: later.device,
        write_iops: earlier.write_iops.max(later.write_iops),
        read_iops: earlier.read_iops.max(later.read_iops),
        write_mb_s: earlier.write_mb_s.max(later.write_mb_s),
        at_ms,
        observed_s: earlier.observed_s + later.observed_s,
        since_ms: earlier.since_ms.min(later.since_ms),
        commit_await_ms: if earlier.commit_await_ms < 0.0 { later.commit_await_ms } else { earlier.commit_await_ms },
    }
}

/// Of many samples.
pub(super) fn over<'a>(samples: impl Iterator<Item = &'a Sample>, device: &str) -> Peak {
    samples.filter_map(|sample| of(sample, device)).fold(none(), together)
}

#[cfg(test)]
mod tests {
    use flytt_proto::v1::sample::Disk;

    use super::*;

    #[test]
    fn a_long_interval_is_no_second() {
        let sample = |at_ms, seconds, w_s, r_s| Sample {
            at_ms,
            seconds,
            disks: vec![Disk { name: "sda".into(), w_s, r_s, ..Disk::default() }],
            ..Sample::default()
        };
        let samples =
            [sample(1, 1.0, 50.0, 9.0), sample(9, 8.0, 900.0, 0.0), sample(10, 1.01, 60.0, 0.0), sample(11, 1.0, 60.0, 1.0)];
        let peak = over(samples.iter(), "sda");
        assert_eq!((peak.write_iops, peak.at_ms, peak.read_iops, peak.since_ms), (60.0, 10, 9.0, 1), "{peak:?}");
        assert_eq!(peak.observed_s, 3.01, "eight seconds in one are not observed second by second");
        assert_eq!(peak.commit_await_ms, -1.0);
        assert_eq!(over(samples.iter(), "sdb"), none());
    }

    #[test]
    fn what_the_agent_did_itself_is_no_load() {
        let disks = |w_s| vec![Disk { name: "sda".into(), w_s, ..Disk::default() }];
        let probed = Sample { at_ms: 2, seconds: 1.0, own: true, disks: disks(50_000.0), ..Sample::default() };
        let samples = [Sample { at_ms: 1, seconds: 1.0, disks: disks(40.0), ..Sample::default() }, probed];
        let peak = over(samples.iter(), "sda");
        assert_eq!((peak.write_iops, peak.observed_s), (40.0, 1.0));
        assert_eq!(over(samples[1..].iter(), "sda"), none(), "a second of it is not one of observation");
    }
}
