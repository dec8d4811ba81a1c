//! When a condition counts: while it lasts, not when it flickers. Ten seconds of the last fifteen raise it, and it must be rare
//! again before it is over; in between it stays what it was.

use std::collections::VecDeque;

use flytt_proto::v1;

const WINDOW_MS: i64 = 15_000;
const RAISED: f64 = 10.0;
const OVER: f64 = 3.0;

/// One interval of a host's samples, as far as gates ask for it.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Reading {
    /// The interval's end, by the host's own clock.
    pub(crate) at_ms: i64,
    /// Its length.
    pub(crate) seconds: f64,
    /// Percent of all processors.
    pub(crate) steal: f64,
    /// Of the device under the data directory, where it was seen.
    pub(crate) disk: Option<v1::sample::Disk>,
}

impl From<&v1::Sample> for Reading {
    fn from(sample: &v1::Sample) -> Self {
        Self {
            at_ms: sample.at_ms,
            seconds: sample.seconds,
            steal: sample.cpu.map_or(0.0, |cpu| cpu.steal),
            disk: sample.disks.iter().find(|disk| disk.data).cloned(),
        }
    }
}

/// A condition over the last readings.
#[derive(Debug, Default)]
pub(crate) struct Sustained {
    last: VecDeque<Reading>,
    raised: bool,
}

impl Sustained {
    /// Takes what is new of `readings`, and says whether the condition was raised by it: once, until it is over.
    pub(super) fn rises(&mut self, readings: &[Reading], bad: impl Fn(&Reading) -> bool) -> bool {
        for reading in readings {
            match self.last.back() {
                Some(newest) if reading.at_ms <= newest.at_ms => {
                    // A clock that was set back would leave us deaf until it has caught up.
                    if newest.at_ms - reading.at_ms > 2 * WINDOW_MS {
                        self.last.clear();
                        self.last.push_back(reading.clone());
                    }
                }
                Some(_) | None => self.last.push_back(reading.clone()),
            }
        }
        let end = self.last.back().map_or(0, |reading| reading.at_ms);
        while self.last.front().is_some_and(|reading| reading.at_ms <= end - WINDOW_MS) {
            self.last.pop_front();
        }
        let seconds: f64 = self.matching(&bad).map(|reading| reading.seconds).sum();
        let was = self.raised;
        self.raised = if was { seconds > OVER } else { seconds >= RAISED };
        self.raised && !was
    }

    /// How long of the window, as words say it.
    pub(super) fn how_long(&self, bad: impl Fn(&Reading) -> bool) -> String {
        let all: f64 = self.last.iter().map(|reading| reading.seconds).sum();
        let seconds: f64 = self.matching(&bad).map(|reading| reading.seconds).sum();
        format!("{seconds:.0} of the last {all:.0} s")
    }

    /// The mean over the bad seconds.
    pub(super) fn mean(&self, bad: impl Fn(&Reading) -> bool, of: impl Fn(&Reading) -> f64) -> f64 {
        let (sum, count) = self.matching(&bad).fold((0.0, 0), |(sum, count), reading| (sum + of(reading), count + 1));
        if count == 0 { 0.0 } else { sum / f64::from(count) }
    }

    fn matching(&self, bad: &impl Fn(&Reading) -> bool) -> impl Iterator<Item = &Reading> {
        self.last.iter().filter(move |reading| bad(reading))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The seconds at which it rises, when fed one reading a second.
    fn rises(bad: impl Fn(i64) -> bool, seconds: i64) -> Vec<i64> {
        let mut sustained = Sustained::default();
        let reading = |second: i64| Reading {
            at_ms: 1_000_000 + second * 1_000,
            seconds: 1.0,
            steal: if bad(second) { 50.0 } else { 0.0 },
            disk: None,
        };
        (0..seconds).filter(|second| sustained.rises(&[reading(*second)], |reading| reading.steal > 5.0)).collect()
    }

    #[test]
    fn ten_of_fifteen_seconds_raise_it_once() {
        assert_eq!(rises(|_| true, 60), [9]);
        assert_eq!(rises(|second| second % 3 != 0, 60), [14], "two of three seconds are ten of fifteen");
        assert_eq!(rises(|second| second < 9, 60), [0; 0], "nine seconds are a burst");
        assert_eq!(rises(|_| false, 60), [0; 0]);
    }

    #[test]
    fn it_does_not_flap() {
        // Noise around the threshold: raised once, not over while more than three of fifteen are bad.
        assert_eq!(rises(|second| second % 3 != 0 || second % 2 == 0, 600).len(), 1);
        assert_eq!(rises(|second| second < 20 || second % 2 == 0, 600).len(), 1);
        assert_eq!(rises(|second| second * 7_919 % 101 < 66, 600).len(), 1, "two thirds of the seconds, at random");
        // Over, and then again: twice.
        assert_eq!(rises(|second| !(20..60).contains(&second), 100), [9, 69]);
    }

    #[test]
    fn a_reading_counts_once_however_often_it_is_shown() {
        let mut sustained = Sustained::default();
        let same = Reading { at_ms: 5_000, seconds: 1.0, steal: 50.0, disk: None };
        assert!(!(0..100).any(|_| sustained.rises(&[same.clone(), same.clone()], |reading| reading.steal > 5.0)));
        // Long intervals of a busy agent count for what they are.
        let long = |at_ms| Reading { at_ms, seconds: 5.0, ..same.clone() };
        assert!(!sustained.rises(&[long(10_000)], |reading| reading.steal > 5.0));
        assert!(sustained.rises(&[long(15_000)], |reading| reading.steal > 5.0));
    }

    #[test]
    fn a_clock_that_jumps_neither_deafens_nor_alarms() {
        let mut sustained = Sustained::default();
        let at = |at_ms| Reading { at_ms, seconds: 1.0, steal: 50.0, disk: None };
        assert!(!sustained.rises(&(0..9).map(|s| at(9_000_000 + s * 1_000)).collect::<Vec<_>>(), |r| r.steal > 5.0));
        assert!(!sustained.rises(&[at(90_000_000)], |reading| reading.steal > 5.0), "forward: what was is long ago");
        assert!(!sustained.rises(&[at(1_000_000)], |reading| reading.steal > 5.0), "backward");
        let after: Vec<_> = (1..12).map(|second| at(1_000_000 + second * 1_000)).collect();
        assert!(sustained.rises(&after, |reading| reading.steal > 5.0));
    }
}
