//! A limit on bytes a second, which can be lifted under way. Time that was not used is lost: after a pause there is no burst.

use std::time::Duration;

use tokio::{
    sync::watch,
    time::{Instant, sleep_until},
};

use super::frame::BLOCK;

/// Below this a block costs more than it carries.
const LEAST: usize = 4096;

#[derive(Debug)]
pub(super) struct Pace {
    /// Bytes a second; 0 = no limit.
    rate: watch::Sender<u64>,
}

impl Pace {
    pub(super) fn new(rate: u64) -> Self {
        Self { rate: watch::Sender::new(rate) }
    }

    /// No limit from now on; whoever waits goes on at once.
    pub(super) fn lift(&self) {
        self.rate.send_replace(0);
    }

    /// Bytes to go at once: at most a quarter of a second's.
    pub(super) fn piece(&self) -> usize {
        match *self.rate.borrow() {
            0 => BLOCK,
            rate => usize::try_from(rate / 4).map_or(BLOCK, |quarter| quarter.clamp(LEAST, BLOCK)),
        }
    }

    /// When the next piece may go, if one of `bytes` goes at `now`.
    pub(super) fn next(&self, now: Instant, bytes: usize) -> Instant {
        match *self.rate.borrow() {
            0 => now,
            rate => now + Duration::from_secs_f64(bytes as f64 / rate as f64),
        }
    }

    pub(super) async fn until(&self, due: Instant) {
        let mut rate = self.rate.subscribe();
        tokio::select! {
            () = sleep_until(due) => {}
            _ = rate.wait_for(|rate| *rate == 0) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_is_a_quarter_of_a_second_at_a_time() {
        let (pace, begun) = (Pace::new(1 << 20), Instant::now());
        assert_eq!(pace.piece(), 256 << 10);
        assert_eq!(pace.next(begun, 256 << 10) - begun, Duration::from_millis(250));
        pace.lift();
        assert_eq!((pace.piece(), pace.next(begun, 256 << 10)), (BLOCK, begun));
    }

    #[test]
    fn none_is_none_and_a_small_one_has_small_pieces() {
        assert_eq!((Pace::new(0).piece(), Pace::new(u64::MAX).piece(), Pace::new(100).piece()), (BLOCK, BLOCK, LEAST));
    }

    #[tokio::test]
    async fn who_waits_goes_on_when_it_is_lifted() {
        let (pace, begun) = (Pace::new(1), Instant::now());
        tokio::join!(pace.until(begun + Duration::from_secs(3600)), async { pace.lift() });
        assert!(begun.elapsed() < Duration::from_secs(60));
    }
}
