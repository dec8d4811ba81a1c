//! How hard a comparison may press: parts follow each other without a pause while the source answers as it did before the first,
//! and the pauses between them grow while it does not.

use std::{
    sync::{Mutex, MutexGuard},
    time::{Duration, Instant},
};

/// Between two questions that tell how the source is.
pub(super) const EVERY: Duration = Duration::from_millis(250);
/// Answers before the first part, of which the median is what the source takes when left alone.
pub(super) const CALM: usize = 5;
/// An answer may take so much longer than that, and so many times as long.
const SLACK: Duration = Duration::from_millis(5);
const TIMES: u32 = 2;
/// A pause is so many times as long as the part before it took, at most.
const MOST: f64 = 9.0;
/// The first pause; below this there is none.
const LEAST: f64 = 0.25;
/// However long a part took: a pause that nobody notices the end of helps nobody.
const LONGEST: Duration = Duration::from_secs(30);

/// Shared by all that compare at the same time.
#[derive(Debug)]
pub struct Pace {
    rests: bool,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    calm: Vec<Duration>,
    /// How long a pause is, in the length of the part before it.
    rest: f64,
    /// Since when each of those waits that wait for the target.
    waiting: Vec<Instant>,
}

impl Pace {
    /// One that never `rests` presses as hard as it can.
    pub fn new(rests: bool) -> Self {
        Self { rests, state: Mutex::default() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// Whether it matters how the source is.
    pub(super) fn listens(&self) -> bool {
        self.rests
    }

    /// So long did the source take for an answer.
    pub(super) fn felt(&self, took: Duration) {
        let mut state = self.state();
        if state.calm.len() < CALM {
            state.calm.push(took);
            state.calm.sort_unstable();
            return;
        }
        let calm = state.calm[CALM / 2];
        state.rest = match took > (calm * TIMES).max(calm + SLACK) {
            true => (state.rest * 1.5).clamp(LEAST, MOST),
            false => state.rest * 0.9,
        };
        if state.rest < LEAST {
            state.rest = 0.0;
        }
    }

    /// After a part that took so long.
    pub(super) fn pause(&self, took: Duration) -> Duration {
        took.mul_f64(self.state().rest).min(LONGEST)
    }

    /// Whether parts are followed by pauses now.
    pub fn is_resting(&self) -> bool {
        self.state().rest > 0.0
    }

    /// Until what is returned is dropped, somebody waits for the target.
    pub(super) fn waits(&self) -> Waits<'_> {
        let since = Instant::now();
        self.state().waiting.push(since);
        Waits { pace: self, since }
    }

    /// How long the target has been waited for, by who waits longest; none where nobody does.
    pub fn waited(&self) -> Option<Duration> {
        self.state().waiting.iter().min().map(Instant::elapsed)
    }
}

#[derive(Debug)]
pub(super) struct Waits<'a> {
    pace: &'a Pace,
    since: Instant,
}

impl Drop for Waits<'_> {
    fn drop(&mut self) {
        let waiting = &mut self.pace.state().waiting;
        if let Some(at) = waiting.iter().position(|since| *since == self.since) {
            waiting.swap_remove(at);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);
    const PART: Duration = Duration::from_millis(500);

    fn calm() -> Pace {
        let pace = Pace::new(true);
        // One that was slow by chance does not count.
        for took in [2, 3, 2, 90, 2] {
            pace.felt(MS * took);
        }
        pace
    }

    #[test]
    fn a_source_that_answers_as_before_is_not_waited_for() {
        let pace = calm();
        assert_eq!(pace.pause(PART), Duration::ZERO);
        for took in 1..=7 {
            pace.felt(MS * took);
        }
        assert_eq!(pace.pause(PART), Duration::ZERO);
    }

    #[test]
    fn pauses_grow_while_it_is_slow_and_shrink_to_nothing_when_it_is_not() {
        let pace = calm();
        pace.felt(MS * 8);
        let first = pace.pause(PART);
        assert_eq!(first, PART / 4);
        pace.felt(MS * 8);
        assert!(pace.pause(PART) > first);
        for _ in 0..30 {
            pace.felt(MS * 400);
        }
        assert_eq!(pace.pause(PART), PART * 9);
        assert_eq!(pace.pause(PART * 1000), LONGEST);
        for _ in 0..60 {
            pace.felt(MS * 2);
        }
        assert_eq!(pace.pause(PART), Duration::ZERO);
    }

    #[test]
    fn as_long_as_who_waits_longest_and_not_since_the_first_of_many() {
        let pace = Pace::new(true);
        assert_eq!(pace.waited(), None);
        let one = pace.waits();
        let since = one.since;
        let other = Waits { pace: &pace, since: since + MS };
        pace.state().waiting.push(other.since);
        assert_eq!(pace.state().waiting.iter().min(), Some(&since));
        drop(one);
        assert_eq!(pace.state().waiting, [since + MS], "the second has waited for less");
        drop(other);
        assert_eq!(pace.waited(), None);
    }
}
