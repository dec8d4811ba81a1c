//! What was not measured, or not for long enough: said, because a gate that compares with nothing holds nothing.

use flytt_proto::v1::{Finding, Measured};

use super::{Sides, warn, words};

/// Loads have a day: what happened at night or at noon is not in less.
const DAY: f64 = 86_400.0;
/// A probe says what the storage was; a volume is resized, and a neighbour moves in.
const OLD_MS: i64 = 7 * 86_400_000;

pub(super) fn look(sides: &Sides<'_>) -> Vec<Finding> {
    let mut found = Vec::new();
    if sides.target.probe.is_none() {
        found.push(no_probe(sides.target, "what its storage sustains is not known"));
    }
    if let Some(probe) = &sides.target.probe {
        let newest = [sides.source.probe.as_ref().map_or(0, |probe| probe.at_ms), newest(sides.source), newest(sides.target)];
        if newest.into_iter().max().unwrap_or(0) - probe.at_ms > OLD_MS {
            found.push(warn(
                "PROBE_OLD",
                &sides.target.host,
                format!("the last probe of its storage was made on {}", words::time(probe.at_ms)),
                format!("run `flytt probe {}` again", sides.target.host),
            ));
        }
        if let Some(storage) = &sides.target.storage
            && let Some(device) = &probe.device
            && storage.name != device.name
        {
            found.push(warn(
                "PROBE_OF_ANOTHER_DEVICE",
                &sides.target.host,
                format!("its last probe was of {}, and the data directory lies on {}", device.name, storage.name),
                format!("run `flytt probe {}` again", sides.target.host),
            ));
        }
    }
    match &sides.source.peak {
        None => found.push(warn(
            "NO_PEAK",
            &sides.source.host,
            "no load of its disk was observed yet, so nothing is known of the peak that the target must sustain".into(),
            "let its agent run for a day of ordinary load, then `flytt check` again",
        )),
        Some(peak) if peak.observed_s < DAY => found.push(warn(
            "PEAK_SHORT",
            &sides.source.host,
            format!(
                "its peak of {} writes a second was observed for {} only: the load of a whole day may be higher",
                words::count(peak.write_iops),
                words::span(peak.observed_s)
            ),
            "let its agent run for a day of ordinary load, with backups and nightly jobs, then `flytt check` again",
        )),
        Some(_) => {}
    }
    found
}

fn no_probe(measured: &Measured, what: &str) -> Finding {
    let sentence = format!("its storage was never probed: {what}");
    warn("NO_PROBE", &measured.host, sentence, format!("run `flytt probe {}`; `flytt start` does it, too", measured.host))
}

/// The newest moment that this side knows of, by its own clock.
fn newest(measured: &Measured) -> i64 {
    measured.peak.as_ref().map_or(0, |peak| peak.since_ms.saturating_add((peak.observed_s * 1_000.0) as i64))
}

#[cfg(test)]
mod tests {
    use flytt_proto::v1;

    use super::{super::sample, *};

    fn codes(spoil: impl FnOnce(&mut v1::Measured, &mut v1::Measured)) -> Vec<String> {
        sample::found(look, spoil).into_iter().map(|finding| finding.code).collect()
    }

    #[test]
    fn what_is_missing_is_said() {
        assert_eq!(codes(|_, _| {}), [""; 0]);
        assert_eq!(codes(|_, target| target.probe = None), ["NO_PROBE"]);
        assert_eq!(codes(|source, _| source.peak = None), ["NO_PEAK"]);
        assert_eq!(codes(|source, _| source.probe = None), [""; 0], "the peak knows of a commit's wait, too");
        let observed = |seconds: f64| codes(|source, _| source.peak.as_mut().unwrap().observed_s = seconds);
        assert_eq!(observed(86_399.0), ["PEAK_SHORT"]);
        assert_eq!(observed(86_400.0), [""; 0]);
    }

    #[test]
    fn a_probe_of_another_time_or_device_is_said() {
        assert_eq!(codes(|_, target| target.probe.as_mut().unwrap().at_ms -= 8 * 86_400_000), ["PROBE_OLD"]);
        assert_eq!(codes(|_, target| target.probe.as_mut().unwrap().at_ms -= 6 * 86_400_000), [""; 0]);
        assert_eq!(codes(|_, target| target.storage.as_mut().unwrap().name = "sdb".into()), ["PROBE_OF_ANOTHER_DEVICE"]);
        assert_eq!(codes(|_, target| target.storage = None), [""; 0], "not known is not another");
    }
}
