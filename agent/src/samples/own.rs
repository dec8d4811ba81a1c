//! When the agent itself keeps the disks busy, with a probe or a copy. What they do then is no load of the server's: it would make
//! a peak that no target has to sustain.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicU32, Ordering},
};

#[derive(Debug, Default)]
struct Work {
    under_way: AtomicU32,
    /// Some was under way, if only for a moment, since somebody looked.
    was: AtomicBool,
}

/// What is under way, for the sampler to ask.
#[derive(Clone, Debug, Default)]
pub(super) struct Ours(Arc<Work>);

impl Ours {
    pub(super) fn begin(&self) -> Own {
        self.0.under_way.fetch_add(1, Ordering::SeqCst);
        Own(self.0.clone())
    }

    /// Whether any of it was under way since this was asked for the last time.
    pub(super) fn since_last(&self) -> bool {
        let was = self.0.was.swap(false, Ordering::SeqCst);
        self.0.under_way.load(Ordering::SeqCst) > 0 || was
    }
}

/// The agent's own work on the disks, for as long as this lives.
#[derive(Debug)]
#[must_use = "the work is over when it is dropped"]
pub struct Own(Arc<Work>);

impl Drop for Own {
    fn drop(&mut self) {
        // In this order: whoever asks in between hears of it twice rather than not at all.
        self.0.was.store(true, Ordering::SeqCst);
        self.0.under_way.fetch_sub(1, Ordering::SeqCst);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_interval_in_which_it_began_and_the_one_in_which_it_ended_are_ours() {
        let ours = Ours::default();
        assert!(!ours.since_last());
        let (probe, copy) = (ours.begin(), ours.begin());
        assert!(ours.since_last() && ours.since_last(), "as long as it goes on");
        drop(probe);
        assert!(ours.since_last(), "the other goes on");
        drop(copy);
        assert!(ours.since_last() && !ours.since_last());
        drop(ours.begin());
        assert!(ours.since_last() && !ours.since_last(), "however short it was");
    }
}
