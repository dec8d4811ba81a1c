//! A limit on bytes a second. Time that was not used is lost: after a pause there is no burst.

use std::time::Duration;

use tokio::time::{Instant, sleep_until};

use super::frame::BLOCK;

/// Below this a block costs more than it carries.
const LEAST: usize = 4096;

#[derive(Debug)]
pub(super) struct Pace {
    /// Bytes a second; 0 = no limit.
    rate: u64,
    due: Instant,
}

impl Pace {
    pub(super) fn new(rate: u64) -> Self {
        Self { rate, due: Instant::now() }
    }

    /// Bytes to go at once: at most a quarter of a second's.
    pub(super) fn piece(&self) -> usize {
        match usize::try_from(self.rate / 4) {
            Ok(0) if self.rate == 0 => BLOCK,
            Ok(quarter) => quarter.clamp(LEAST, BLOCK),
            Err(_) => BLOCK,
        }
    }

    /// Returns when the next piece may go after one of `bytes`.
    pub(super) async fn after(&mut self, bytes: usize) {
        if self.rate > 0 {
            sleep_until(self.next(Instant::now(), bytes)).await;
        }
    }

    fn next(&mut self, now: Instant, bytes: usize) -> Instant {
        self.due = self.due.max(now) + Duration::from_secs_f64(bytes as f64 / self.rate as f64);
        self.due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_holds_also_after_a_pause() {
        let mut pace = Pace::new(1 << 20);
        assert_eq!(pace.piece(), 256 << 10);
        let begun = Instant::now();
        let mut now = begun;
        for _ in 0..8 {
            now = pace.next(now, 256 << 10);
        }
        assert!((now - begun).abs_diff(Duration::from_secs(2)) < Duration::from_millis(100));
        let later = now + Duration::from_secs(60);
        assert_eq!(pace.next(later, 1 << 20) - later, Duration::from_secs(1), "what was not used is gone");
    }

    #[test]
    fn none_is_none_and_a_small_one_has_small_pieces() {
        assert_eq!((Pace::new(0).piece(), Pace::new(u64::MAX).piece(), Pace::new(100).piece()), (BLOCK, BLOCK, LEAST));
    }
}
