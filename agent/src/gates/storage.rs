//! The target's disk while it is written to: busy all the time, and every write waits. One of the two alone says little: many
//! disks serve requests side by side, so they are "100 % busy" long before they are slow (iostat(1), `%util`).

use flytt_proto::{
    gate::Gate,
    v1::{self, Finding},
};

use super::{Reading, fails, sustained::Sustained, words};

/// Percent. The kernel counts in ticks, so a disk that is busy all the time seldom shows the full hundred.
const BUSY: f64 = 98.0;

#[derive(Debug, Default)]
pub(crate) struct Storage(Sustained);

impl Storage {
    /// The finding, once each time that it becomes true.
    pub(crate) fn look(&mut self, readings: &[Reading], host: &str, gates: &v1::Gates) -> Option<Finding> {
        let bad =
            |reading: &Reading| reading.disk.as_ref().is_some_and(|disk| disk.util >= BUSY && disk.w_await > gates.await_ms);
        if gates.await_ms <= 0.0 || !self.0.rises(readings, bad) {
            return None;
        }
        let mean = |of: fn(&v1::sample::Disk) -> f64| self.0.mean(bad, |reading| reading.disk.as_ref().map_or(0.0, of));
        let name = readings.iter().rev().find_map(|reading| reading.disk.as_ref()).map_or("its disk", |disk| &disk.name);
        let sentence = format!(
            "the storage is too slow for what is written to it: {name} was busy all the time and a write waited {} in {} ({} at most \
             is asked for), at {} writes and {} a second",
            words::latency(mean(|disk| disk.w_await) * 1_000.0),
            self.0.how_long(bad),
            words::latency(gates.await_ms * 1_000.0),
            words::count(mean(|disk| disk.w_s)),
            words::bytes(mean(|disk| disk.w_mb_s) * 1_048_576.0),
        );
        let remedy = format!(
            "choose faster storage, or copy more slowly with `max_rate` where it is too slow for the copy alone; or go on with \
             `--accept {}`",
            Gate::Storage
        );
        Some(fails(gates, Gate::Storage, host, sentence, remedy))
    }
}

#[cfg(test)]
mod tests {
    use super::{super::sample, *};

    fn readings(seconds: std::ops::Range<i64>, util: f64, w_await: f64) -> Vec<Reading> {
        let disk =
            v1::sample::Disk { name: "vdb".into(), util, w_await, w_s: 98.0, w_mb_s: 12.0, data: true, ..Default::default() };
        let reading = |second| Reading { at_ms: second * 1_000, seconds: 1.0, steal: 0.0, disk: Some(disk.clone()) };
        seconds.map(reading).collect()
    }

    fn said(util: f64, w_await: f64) -> Option<String> {
        Storage::default().look(&readings(1..16, util, w_await), "db-new", &sample::gates()).map(|finding| finding.sentence)
    }

    #[test]
    fn it_takes_both_busy_and_slow() {
        assert_eq!(said(100.0, 10.0), None);
        assert_eq!(said(97.0, 500.0), None);
        let sentence = said(98.0, 23.0).expect("too slow");
        assert!(
            sentence.contains("vdb was busy all the time and a write waited 23 ms in 15 of the last 15 s (10 ms"),
            "{sentence}"
        );
        assert!(sentence.contains("at 98 writes and 12 MiB a second"), "{sentence}");
    }

    #[test]
    fn without_a_disk_or_a_threshold_there_is_no_verdict() {
        let none: Vec<Reading> =
            (1..60).map(|second| Reading { at_ms: second * 1_000, seconds: 1.0, ..Reading::default() }).collect();
        assert_eq!(Storage::default().look(&none, "db-new", &sample::gates()), None);
        assert_eq!(Storage::default().look(&readings(1..60, 100.0, 500.0), "db-new", &v1::Gates::default()), None);
    }
}
