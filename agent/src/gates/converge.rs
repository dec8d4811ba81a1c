//! A copy, and the catch-up after it, that will not come to an end at this rate: said early, with the arithmetic.

use flytt_proto::{
    gate::Gate,
    name::LogUnit,
    v1::{self, Finding},
};

use super::{fails, trend::Trend, words};

/// Seconds. Long enough that a checkpoint or a batch of a minute is not a trend.
const WINDOW: f64 = 120.0;

/// The catch-up: what the source has written, and what the target has applied of it, since the log's beginning.
#[derive(Debug)]
pub(crate) struct CatchUp {
    written: Trend,
    applied: Trend,
    lag: Trend,
    said: bool,
}

impl Default for CatchUp {
    fn default() -> Self {
        Self { written: Trend::over(WINDOW), applied: Trend::over(WINDOW), lag: Trend::over(WINDOW), said: false }
    }
}

impl CatchUp {
    /// The finding, once. `at` in seconds of any clock that only goes on; `enough` is the lag in bytes that is no lag. In
    /// transactions it is what the source writes within a second.
    pub(crate) fn look(
        &mut self,
        at: f64,
        (written, applied, enough): (u64, u64, u64),
        unit: LogUnit,
        (source, target): (&str, &str),
        gates: &v1::Gates,
    ) -> Option<Finding> {
        let lag = written.saturating_sub(applied);
        self.written.push(at, written as f64);
        self.applied.push(at, applied as f64);
        self.lag.push(at, lag as f64);
        let (made, done) = (self.written.rate(), self.applied.rate());
        let is_lag = match unit {
            LogUnit::Bytes => lag > enough,
            LogUnit::Transactions => lag as f64 > made,
        };
        let grows = self.lag.is_known() && self.lag.rises_throughout() && is_lag;
        // Within two hundredths the two are equal, and a lag that stands still is not a disaster.
        if self.said || !grows || self.lag.slope() <= 0.0 || made <= done * 1.02 {
            return None;
        }
        self.said = true;
        let sentence = match unit {
            LogUnit::Bytes => {
                let (makes, applies) = words::rates(made, done);
                format!(
                    "{source} writes {makes} of WAL, the target applies {applies}: the lag of {} grows by {} a minute and never ends",
                    words::bytes(lag as f64),
                    words::bytes((made - done) * 60.0),
                )
            }
            LogUnit::Transactions => format!(
                "{source} commits {made:.0} transactions a second, the target applies {done:.0}: the lag of {lag} transactions grows by \
                 {:.0} a minute and never ends",
                (made - done) * 60.0,
            ),
        };
        let remedy = format!(
            "wait for a quieter hour, find what writes so much, or give the target faster storage and processors; to wait all the \
             same, go on with `--accept {}`",
            Gate::Converge
        );
        Some(fails(gates, Gate::Converge, target, sentence, remedy))
    }
}

/// The copy: it must end before the log that the source keeps for it meanwhile has filled the source's disk.
#[derive(Debug)]
pub(crate) struct Copy {
    copied: Trend,
    held: Trend,
    said: bool,
}

impl Default for Copy {
    fn default() -> Self {
        Self { copied: Trend::over(WINDOW), held: Trend::over(WINDOW), said: false }
    }
}

/// Where a copy stands, in bytes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Standing {
    pub(crate) copied: u64,
    pub(crate) total: u64,
    /// What the source keeps for it.
    pub(crate) held: u64,
    /// What the source can still keep.
    pub(crate) room: u64,
}

impl Copy {
    /// The finding, once. `at` in seconds of any clock that only goes on.
    pub(crate) fn look(&mut self, at: f64, now: Standing, source: &str, gates: &v1::Gates) -> Option<Finding> {
        // Before the first byte the source makes its checkpoint, which takes the minutes that it takes.
        if now.copied == 0 || self.said {
            return None;
        }
        self.copied.push(at, now.copied as f64);
        self.held.push(at, now.held as f64);
        let left = now.total.saturating_sub(now.copied) as f64;
        let (rate, grows) = (self.copied.rate(), self.held.slope());
        if left == 0.0 || !self.held.is_known() || !self.held.rises_throughout() || grows <= 0.0 {
            return None;
        }
        let fills = now.room as f64 / grows;
        let (needs, what) = if rate > 0.0 {
            let needs = left / rate;
            let what = format!("the copy has {} to go at {}, {}", words::bytes(left), words::rate(rate), words::span(needs));
            (needs, what)
        } else {
            let what = format!("the copy has {} to go and has stood still for {}", words::bytes(left), words::span(WINDOW));
            (f64::INFINITY, what)
        };
        if needs <= fills {
            return None;
        }
        self.said = true;
        let until =
            if needs.is_finite() { format!("{} until then", words::bytes(grows * needs)) } else { "without end".to_owned() };
        let sentence = format!(
            "{what}; the log that {source} keeps for it ({}) grows by {} a minute, {until}, and its disk has room for {}: full in {}",
            words::bytes(now.held as f64),
            words::bytes(grows * 60.0),
            words::bytes(now.room as f64),
            words::span(fills),
        );
        let remedy = format!(
            "give the source's log more room, raise `max_rate`, or copy at a quieter hour; the guard gives up the copy before the \
             disk is full, so to try all the same is safe: `--accept {}`",
            Gate::Converge
        );
        Some(fails(gates, Gate::Converge, source, sentence, remedy))
    }
}

#[cfg(test)]
mod tests {
    use super::{super::sample, *};

    const MIB: f64 = 1_048_576.0;
    const GIB: f64 = 1_073_741_824.0;

    /// What is said, and when, of a source that writes and a target that applies so many MiB a second.
    fn catching_up(seconds: u32, lag: f64, written: impl Fn(f64) -> f64, applied: impl Fn(f64) -> f64) -> Vec<(u32, String)> {
        let mut watch = CatchUp::default();
        let (mut at_source, mut at_target) = (100.0 * GIB + lag, 100.0 * GIB);
        let mut said = Vec::new();
        for second in 0..seconds {
            let at = f64::from(second);
            at_source += written(at) * MIB;
            at_target = (at_target + applied(at) * MIB).min(at_source);
            let numbers = (at_source as u64, at_target as u64, 16 << 20);
            if let Some(finding) = watch.look(at, numbers, LogUnit::Bytes, ("db-old", "db-new"), &sample::gates()) {
                said.push((second, finding.sentence));
            }
        }
        said
    }

    #[test]
    fn a_lag_that_grows_is_called_with_the_arithmetic() {
        let said = catching_up(600, 10.8 * GIB, |_| 42.0, |_| 31.0);
        assert_eq!(said.len(), 1, "once: {said:?}");
        assert!((108..125).contains(&said[0].0), "early: {said:?}");
        assert_eq!(
            said[0].1,
            "db-old writes 42 MiB/s of WAL, the target applies 31: the lag of 12 GiB grows by 660 MiB a minute and never ends"
        );
    }

    /// The same in transactions.
    fn counting(seconds: u64, commits: u64, applies: u64) -> Vec<(u64, String)> {
        let mut watch = CatchUp::default();
        let look = |second: u64| {
            let numbers = (10_000 + commits * second, 10_000 + applies * second, 16 << 20);
            let found = watch.look(second as f64, numbers, LogUnit::Transactions, ("db-old", "db-new"), &sample::gates());
            found.map(|finding| (second, finding.sentence))
        };
        (0..seconds).filter_map(look).collect()
    }

    #[test]
    fn transactions_are_not_held_against_a_limit_in_bytes() {
        let said = counting(300, 420, 310);
        assert_eq!(said.len(), 1, "16 Mi transactions are no limit: {said:?}");
        let words = "db-old commits 420 transactions a second, the target applies 310: the lag of ";
        assert!(said[0].1.starts_with(words) && said[0].1.ends_with("grows by 6600 a minute and never ends"), "{said:?}");
        assert_eq!(counting(300, 420, 420), []);
    }

    #[test]
    fn what_converges_is_left_alone() {
        assert_eq!(catching_up(3_600, 50.0 * GIB, |_| 30.0, |_| 31.0), [], "slowly, but it does");
        assert_eq!(catching_up(3_600, 0.0, |_| 500.0, |_| 500.0), [], "no lag");
        assert_eq!(catching_up(600, GIB, |_| 42.0, |_| 42.0), [], "it stands still");
        assert_eq!(catching_up(600, 0.0, |_| 0.011, |_| 0.0), [], "it grows within what is no lag");
    }

    #[test]
    fn a_burst_and_a_checkpoint_are_not_a_trend() {
        let batch = |at: f64| if at % 300.0 < 60.0 { 120.0 } else { 5.0 };
        assert_eq!(catching_up(3_600, GIB, batch, |_| 40.0), [], "a minute of bulk load every five");
        let stalls = |at: f64| if at % 60.0 < 20.0 { 0.0 } else { 60.0 };
        assert_eq!(catching_up(3_600, GIB, |_| 30.0, stalls), [], "replay that stalls and catches up");
        let noise = |at: f64| 40.0 + 38.0 * (at * 12.9898).sin();
        assert_eq!(catching_up(3_600, GIB, noise, |_| 41.0), []);
    }

    fn copying(seconds: u32, total: f64, room: f64, rate: impl Fn(f64) -> f64, grows: f64) -> Vec<(u32, String)> {
        let (mut watch, mut copied, mut held, mut said) = (Copy::default(), 0.0, 0.0, Vec::new());
        for second in 0..seconds {
            let at = f64::from(second);
            copied = (copied + rate(at) * MIB).min(total);
            held += grows * MIB;
            let room = (room - held).max(0.0) as u64;
            let now = Standing { copied: copied as u64, total: total as u64, held: held as u64, room };
            said.extend(watch.look(at, now, "db-old", &sample::gates()).map(|finding| (second, finding.sentence)));
        }
        said
    }

    #[test]
    fn a_copy_that_outlasts_the_sources_disk_is_called_with_the_arithmetic() {
        let said = copying(600, 200.0 * GIB, 60.0 * GIB, |_| 48.0, 40.0);
        assert_eq!(said.len(), 1, "{said:?}");
        assert!((108..125).contains(&said[0].0), "early: {said:?}");
        let begin =
            "the copy has 195 GiB to go at 48 MiB/s, 69 min; the log that db-old keeps for it (4.3 GiB) grows by 2.3 GiB a";
        assert!(said[0].1.starts_with(begin), "{said:?}");
        assert!(said[0].1.ends_with("162 GiB until then, and its disk has room for 56 GiB: full in 23 min"), "{said:?}");
    }

    #[test]
    fn a_copy_that_ends_in_time_is_left_alone() {
        assert_eq!(copying(6_000, 200.0 * GIB, 200.0 * GIB, |_| 48.0, 40.0), [], "it fits");
        assert_eq!(copying(6_000, 200.0 * GIB, 0.0, |_| 48.0, 0.0), [], "nothing is kept");
        assert_eq!(copying(600, 200.0 * GIB, 60.0 * GIB, |_| 0.0, 40.0), [], "not begun: the checkpoint");
        assert_eq!(copying(600, GIB, 0.0, |_| 500.0, 40.0), [], "done but for its verification");
    }

    #[test]
    fn a_copy_that_stands_still_never_ends() {
        let said = copying(600, 200.0 * GIB, 600_000.0 * GIB, |at| if at < 60.0 { 48.0 } else { 0.0 }, 40.0);
        assert_eq!(said.len(), 1, "{said:?}");
        assert!(said[0].1.contains("has stood still for 2 min") && said[0].1.contains("without end"), "{said:?}");
    }
}
