//! What this host is doing, as `iostat -mx` would show it: once a second, live and from a history of its own on disk.
//!
//! A thread looks and reckons, another writes; whoever asks gets what they left. Which device counts is `device`'s to say.

mod columns;
mod counter;
mod history;
mod interval;
mod kept;
mod minute;
mod own;
mod peak;
mod snapshot;
#[cfg(test)]
mod tests;

use std::{
    collections::VecDeque,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError, mpsc},
    thread,
    time::{Duration, Instant, SystemTime},
};

use flytt_proto::{failure::Failure, v1};
use tokio::sync::broadcast;

use crate::device::{self, Under};
use history::{Batch, History, Span};
use own::Ours;
pub use own::Own;
use snapshot::Reader;

const SECOND: Duration = Duration::from_secs(1);
/// A minute's samples go to the history together.
const MINUTE: usize = 60;
/// Who asks for no resolution gets seconds of as much as this.
const SHORT_MS: i64 = 2 * 3_600_000;
/// How long the last minute may take to get to the disk when the agent ends.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// The samples of this host, taken from [`Samples::start`] to [`Samples::end`].
#[derive(Debug)]
pub struct Samples {
    shared: Arc<Shared>,
    running: Mutex<Option<Running>>,
}

#[derive(Debug)]
struct Shared {
    live: broadcast::Sender<Arc<v1::Sample>>,
    recent: Mutex<Recent>,
    history: Mutex<Option<History>>,
    ours: Ours,
}

/// What the sampler has and the disk has not.
#[derive(Debug, Default)]
struct Recent {
    samples: Vec<Arc<v1::Sample>>,
    /// The last minute, whatever of it the disk has.
    last: VecDeque<Arc<v1::Sample>>,
    /// Batches handed to the history so far.
    handed: u64,
    /// Up to the last of them; over what came since.
    peaks: (v1::Peak, v1::Peak),
    under: Option<Under>,
}

/// Ends its threads when dropped.
#[derive(Debug)]
struct Running {
    stop: mpsc::Sender<()>,
    sampler: Option<thread::JoinHandle<()>>,
    keeper: Option<history::Thread>,
    shared: Arc<Shared>,
}

impl Samples {
    /// Begins to look. `state` is where the history lies, `data` the data directory whose device's peak counts.
    ///
    /// # Errors
    /// `SAMPLES_THREAD`. A history that cannot be read or written is a warning in the log, and nothing else.
    pub fn start(state: &Path, data: Option<PathBuf>) -> Result<Self, Failure> {
        let cannot = |error: std::io::Error| {
            let sentence = format!("no thread can be started for samples: {error}");
            Failure::refused("SAMPLES_THREAD", sentence, "raise this service's limit of tasks")
        };
        let place = data.as_ref().map(|data| data.to_string_lossy().into_owned());
        let (history, keeper) = History::start(&state.join("samples.db"), place).map_err(cannot)?;
        let recent = Recent { peaks: (peak::none(), peak::none()), ..Recent::default() };
        let shared = Arc::new(Shared {
            live: broadcast::channel(8).0,
            recent: Mutex::new(recent),
            history: Mutex::new(Some(history)),
            ours: Ours::default(),
        });
        let (stop, stopped) = mpsc::channel();
        let sampler = Sampler { shared: shared.clone(), data };
        let sampler = thread::Builder::new().name("samples".into()).spawn(move || sampler.run(&stopped)).map_err(cannot)?;
        let running = Running { stop, sampler: Some(sampler), keeper: Some(keeper), shared: shared.clone() };
        Ok(Self { shared, running: Mutex::new(Some(running)) })
    }

    /// Each second's sample from now on. A receiver that falls behind loses the oldest.
    pub fn live(&self) -> broadcast::Receiver<Arc<v1::Sample>> {
        self.shared.live.subscribe()
    }

    /// The last minute, oldest first. From memory.
    pub fn recent(&self) -> Vec<Arc<v1::Sample>> {
        self.shared.recent.lock().expect("no panic while held").last.iter().cloned().collect()
    }

    /// For as long as the answer lives, what the disks do is the agent's doing: shown as such, and no part of any peak.
    pub fn own_work(&self) -> Own {
        self.shared.ours.begin()
    }

    /// The most that the data directory's device was seen to do, in a month at most. From memory.
    pub fn peak(&self) -> Option<v1::Peak> {
        let recent = self.shared.recent.lock().expect("no panic while held");
        let peak = peak::together(recent.peaks.0.clone(), recent.peaks.1.clone());
        (peak.observed_s > 0.0).then_some(peak)
    }

    /// What lies under the data directory, as of the last minute. From memory.
    pub fn storage(&self) -> Option<v1::Device> {
        let recent = self.shared.recent.lock().expect("no panic while held");
        recent.under.as_ref().map(|under| under.facts.clone())
    }

    /// Looks back. Pieces come as they are asked for with [`Past::next`], oldest first.
    ///
    /// # Errors
    /// `BAD_REQUEST`: a resolution that is not kept, an end before its beginning.
    pub async fn past(&self, request: &v1::SamplesRequest) -> Result<Past, Failure> {
        let now = SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default();
        let now_ms = i64::try_from(now.as_millis()).unwrap_or(i64::MAX);
        let to_ms = if request.to_ms == 0 { now_ms } else { request.to_ms };
        let from_ms = request.from_ms;
        let bad = |sentence: String| Failure::refused("BAD_REQUEST", sentence, "ask for 1 s or 60 s, from earlier to later");
        if from_ms > to_ms {
            return Err(bad(format!("the history is asked for from {from_ms} to {to_ms}")));
        }
        let minutes = match request.resolution_s {
            0 => to_ms.saturating_sub(from_ms) > SHORT_MS,
            1 => false,
            60 => true,
            other => return Err(bad(format!("the history has no resolution of {other} s"))),
        };
        let (recent, settled, path) = {
            // Both at one moment, so that nothing is missing between the disk and the memory, or is there twice.
            let recent = self.shared.recent.lock().expect("no panic while held");
            let history = self.shared.history.lock().expect("no panic while held");
            let Some(history) = history.as_ref() else {
                return Err(Failure::refused("STOPPED", "the agent is stopping", "ask again once it is back"));
            };
            (recent.samples.clone(), history.settle(), history.path().to_owned())
        };
        let last = settled.await.ok().flatten();
        let until = last.map_or(0, |last| if minutes { last.minutes } else { last.seconds });
        let asked = from_ms..=to_ms;
        let recent = if minutes { minute::sum_up(&recent).into_iter().map(Arc::new).collect() } else { recent };
        let rest = recent.into_iter().filter(|sample| asked.contains(&sample.at_ms)).map(Arc::unwrap_or_clone).collect();
        let next = last.is_some().then_some(Span { minutes, after: 0, until, from_ms, to_ms });
        Ok(Past { path, next, rest })
    }

    /// Stops looking, and sees the last minute to the disk unless that takes too long.
    pub async fn end(&self) {
        let running = self.running.lock().expect("no panic while held").take();
        if let Some(running) = running {
            let ended = tokio::task::spawn_blocking(move || drop(running));
            if tokio::time::timeout(LAST_WORDS, ended).await.is_err() {
                tracing::warn!("the last minute of samples does not get to the disk; it is given up");
            }
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // A receiver whose sender is gone wakes up.
        self.stop = mpsc::channel().0;
        let _ = self.sampler.take().map(thread::JoinHandle::join);
        // The writer ends once nobody can order any more.
        self.shared.history.lock().unwrap_or_else(PoisonError::into_inner).take();
        let _ = self.keeper.take().map(thread::JoinHandle::join);
    }
}

/// A walk through the history.
#[derive(Debug)]
pub struct Past {
    path: PathBuf,
    next: Option<Span>,
    /// What is not on the disk yet.
    rest: Vec<v1::Sample>,
}

impl Past {
    /// The next piece; `None` = there is no more.
    ///
    /// # Errors
    /// `SAMPLES_UNREADABLE`.
    pub async fn next(&mut self) -> Result<Option<Vec<v1::Sample>>, Failure> {
        let Some(span) = self.next.take() else {
            let rest = std::mem::take(&mut self.rest);
            return Ok(if rest.is_empty() { None } else { Some(rest) });
        };
        let path = self.path.clone();
        let page = tokio::task::spawn_blocking(move || History::page(&path, &span)).await;
        let page = page.unwrap_or_else(|_| {
            Err(Failure::refused("SAMPLES_UNREADABLE", "reading the history came to no end", "look at the agent's log"))
        })?;
        self.next = page.next.map(|after| Span { after, ..span });
        Ok(Some(page.samples))
    }
}

struct Sampler {
    shared: Arc<Shared>,
    data: Option<PathBuf>,
}

impl Sampler {
    fn run(self, stopped: &mpsc::Receiver<()>) {
        let mut reader = Reader::new();
        let mut names = self.look_under();
        let mut before = reader.take();
        let mut next = Instant::now() + SECOND;
        loop {
            let left = next.saturating_duration_since(Instant::now());
            if stopped.recv_timeout(left) != Err(mpsc::RecvTimeoutError::Timeout) {
                return self.hand_over();
            }
            let after = reader.take();
            let own = self.shared.ours.since_last();
            if let Some(sample) = interval::between(&before, &after, &names)
                && self.add(Arc::new(v1::Sample { own, ..sample }))
            {
                self.hand_over();
                names = self.look_under();
            }
            before = after;
            // Being late is not made up for by a short interval: in a tenth of a second, anything looks like a peak.
            let now = Instant::now();
            next = if now > next + SECOND / 10 { now + SECOND } else { next + SECOND };
        }
    }

    /// Whether a minute is full.
    fn add(&self, sample: Arc<v1::Sample>) -> bool {
        let mut recent = self.shared.recent.lock().expect("no panic while held");
        if let Some(seen) = recent.under.as_ref().and_then(|under| peak::of(&sample, &under.nearest)) {
            let since = std::mem::take(&mut recent.peaks.1);
            recent.peaks.1 = peak::together(since, seen);
        }
        self.take_up(&mut recent);
        recent.samples.push(sample.clone());
        recent.last.push_back(sample.clone());
        if recent.last.len() > MINUTE {
            recent.last.pop_front();
        }
        // Nobody may be listening.
        let _ = self.shared.live.send(sample);
        recent.samples.len() >= MINUTE
    }

    /// What the history says of its peak counts as soon as it includes everything that was handed over.
    fn take_up(&self, recent: &mut Recent) {
        let history = self.shared.history.lock().expect("no panic while held");
        let peaks = history.as_ref().and_then(|history| history.peaks.lock().expect("no panic while held").take());
        if let Some((number, peak)) = peaks
            && number == recent.handed
        {
            recent.peaks.0 = peak;
        }
    }

    fn hand_over(&self) {
        let mut recent = self.shared.recent.lock().expect("no panic while held");
        if recent.samples.is_empty() {
            return;
        }
        let (earlier, since) = std::mem::replace(&mut recent.peaks, (peak::none(), peak::none()));
        recent.peaks.0 = peak::together(earlier, since);
        recent.handed += 1;
        let nearest = recent.under.as_ref().map(|under| under.nearest.clone());
        let data = self.data.as_ref().map(|data| data.to_string_lossy().into_owned()).zip(nearest);
        let batch = Batch { samples: std::mem::take(&mut recent.samples), data };
        let history = self.shared.history.lock().expect("no panic while held");
        if let Some(history) = history.as_ref() {
            history.keep(batch, recent.handed);
        }
    }

    /// Finds the device anew: file systems are mounted, and disks grow. Returns the names that count as the data's.
    fn look_under(&self) -> Vec<String> {
        let under = self.data.as_ref().and_then(|data| match device::under(data) {
            Ok(under) => Some(under),
            Err(failure) => {
                tracing::debug!(code = failure.code, "{failure}");
                None
            }
        });
        let names = under.iter().flat_map(|under| [under.name.clone(), under.nearest.clone()]).collect();
        self.shared.recent.lock().expect("no panic while held").under = under;
        names
    }
}
