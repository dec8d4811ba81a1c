//! The host comes first: while a probe runs on one that serves, what a commit of its server would wait is measured beside it,
//! with one small write and `fdatasync` of our own ten times a second, on the same file system and at the usual priority.
//! When that gets much slower than it was before the probe, the probe ends. (The device's own w_await would not tell: the
//! probe's writes are in it.)

use std::{
    collections::VecDeque,
    os::unix::fs::FileExt as _,
    path::Path,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use flytt_proto::failure::Failure;

use super::{
    data::{Buffers, Random},
    ground,
    halt::{Halt, Reason},
};

/// From one look to the next.
const EVERY: Duration = Duration::from_millis(100);
/// Looks before the probe, which tell what is usual, and looks that are judged together.
const LOOKS: usize = 10;
/// Suffering: the median of the last looks is above so many times the usual one …
const TIMES: u32 = 3;
/// … and longer than it by at least so much; below that nobody feels it.
const AT_LEAST: Duration = Duration::from_millis(5);
/// One look that takes so long decides alone.
const STUCK: Duration = Duration::from_secs(1);
/// What a server writes for a small commit.
const BLOCK: u64 = 8192;

#[derive(Debug, Default)]
struct State {
    before: Option<Duration>,
    last: VecDeque<Duration>,
    looking_since: Option<Instant>,
}

/// Looks for as long as it lives; the file that it writes goes with it.
#[derive(Debug)]
pub(super) struct Watch {
    state: Arc<Mutex<State>>,
    over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Watch {
    /// Begins to look in `directory`, and returns once it is known what is usual there.
    pub(super) fn begin(directory: &Path, halt: &Halt) -> Result<Self, Failure> {
        let file = ground::small(directory, BLOCK * 16)?;
        let (state, over) = (Arc::<Mutex<State>>::default(), Arc::<AtomicBool>::default());
        let look = {
            let (state, over, halt) = (state.clone(), over.clone(), halt.clone());
            move || {
                let (mut buffers, mut random) = (Buffers::new(1, BLOCK as usize), Random::new());
                for turn in 0.. {
                    if over.load(Ordering::Relaxed) {
                        return;
                    }
                    random.stamp(buffers.block(0));
                    let begun = Instant::now();
                    lock(&state).looking_since = Some(begun);
                    let written = file.write_all_at(buffers.block(0), turn % 16 * BLOCK).and_then(|()| file.sync_data());
                    lock(&state).looked(begun.elapsed());
                    if let Err(error) = written {
                        halt.ask(Reason::HostFirst(format!("a small write beside it fails: {error}")));
                        return;
                    }
                    thread::park_timeout(EVERY);
                }
            }
        };
        let spawned = thread::Builder::new().name("probe-watch".into()).spawn(look);
        let thread = spawned.map_err(|error| {
            Failure::refused("PROBE_FAILED", format!("no thread can be started: {error}"), "see the limits of the agent's unit")
        })?;
        let watch = Self { state, over, thread: Some(thread) };
        let begun = Instant::now();
        while lock(&watch.state).before.is_none() && !halt.is_asked() {
            if begun.elapsed() > EVERY * 100 {
                halt.ask(Reason::HostFirst("commits take a second and more here before it even begins".to_owned()));
            }
            thread::sleep(EVERY / 4);
        }
        Ok(watch)
    }

    /// Asked now and then, by a thread that cannot get stuck on the disk.
    pub(super) fn judge(&self) -> Judge {
        Judge(self.state.clone())
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            thread.thread().unpark();
            // It only ever panics where a lock is poisoned, and nobody is left to hear of it.
            let _ = thread.join();
        }
    }
}

/// The judging end of a [`Watch`].
#[derive(Clone, Debug)]
pub(super) struct Judge(Arc<Mutex<State>>);

impl Judge {
    /// Why the probe must end, in words.
    pub(super) fn verdict(&self, now: Instant) -> Option<String> {
        lock(&self.0).verdict(now)
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

impl State {
    fn looked(&mut self, took: Duration) {
        self.looking_since = None;
        self.last.push_back(took);
        if self.before.is_none() && self.last.len() == LOOKS {
            self.before = Some(self.median());
            self.last.clear();
        } else if self.last.len() > LOOKS {
            self.last.pop_front();
        }
    }

    fn median(&self) -> Duration {
        let mut sorted: Vec<Duration> = self.last.iter().copied().collect();
        sorted.sort();
        sorted.get(sorted.len() / 2).copied().unwrap_or_default()
    }

    fn verdict(&self, now: Instant) -> Option<String> {
        let before = self.before?;
        let ms = |time: Duration| format!("{:.1} ms", time.as_secs_f64() * 1e3);
        if self.looking_since.is_some_and(|since| now.saturating_duration_since(since) > STUCK) {
            return Some(format!("the host comes first: a commit there waits for more than a second, {} before", ms(before)));
        }
        let median = self.median();
        let is_much = median > (before * TIMES).max(before + AT_LEAST);
        (self.last.len() == LOOKS && is_much)
            .then(|| format!("the host comes first: a commit there takes {}, {} before", ms(median), ms(before)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(before_ms: u64, during_ms: &[u64]) -> Option<String> {
        let mut state = State::default();
        (0..LOOKS).for_each(|_| state.looked(Duration::from_millis(before_ms)));
        during_ms.iter().for_each(|ms| state.looked(Duration::from_millis(*ms)));
        state.verdict(Instant::now())
    }

    #[test]
    fn a_host_suffers_when_most_commits_take_much_longer() {
        assert_eq!(after(1, &[]), None);
        assert_eq!(after(1, &[5; 10]), None, "below 5 ms more");
        assert_eq!(after(10, &[29; 10]), None, "below three times");
        assert_eq!(after(1, &[900; 9]), None, "too few looks");
        assert_eq!(after(1, &[1, 1, 1, 1, 1, 1, 900, 900, 900, 900]), None, "most are as before");
        let why = after(1, &[1, 1, 1, 1, 9, 9, 9, 9, 9, 9]).expect("most are slow");
        assert!(why.contains("9.0 ms") && why.contains("1.0 ms before"), "{why}");
        assert!(after(10, &[31; 10]).is_some());
        assert_eq!(after(1, &[[9; 10], [1; 10]].concat()), None, "it was, but is no more");
    }

    #[test]
    fn one_that_does_not_come_back_decides_alone() {
        let mut state = State::default();
        (0..LOOKS).for_each(|_| state.looked(Duration::from_millis(1)));
        let since = Instant::now();
        state.looking_since = Some(since);
        assert_eq!(state.verdict(since + STUCK / 2), None);
        assert!(state.verdict(since + STUCK * 2).is_some());
    }
}
