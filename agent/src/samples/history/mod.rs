//! The history on disk, as the rest of the agent has it: batches go in, pages come out, and nobody waits for the disk.
//!
//! A thread of its own writes; whatever goes wrong there costs history and a warning, never a sample or the agent.

mod store;
#[cfg(test)]
mod tests;

use std::{
    path::{Path, PathBuf},
    sync::{Arc, Mutex, mpsc},
    thread,
};

use flytt_proto::{
    failure::Failure,
    v1::{Peak, Sample},
};
use tokio::sync::oneshot;

pub(super) use store::{Page, Span};
use store::{Store, Trouble};

/// A minute's samples, and the device under the data directory by then.
#[derive(Clone, Debug, Default)]
pub(super) struct Batch {
    pub(super) samples: Vec<Arc<Sample>>,
    /// The data directory and the device that its file system's requests go to.
    pub(super) data: Option<(String, String)>,
}

enum Order {
    Keep {
        batch: Batch,
        number: u64,
    },
    /// Answered when everything ordered before is done: the last row by then, of both tables.
    Settle(oneshot::Sender<Option<store::Last>>),
}

/// The peak over what is on the disk, with the number of the batch that it includes as the last.
pub(super) type Peaks = Arc<Mutex<Option<(u64, Peak)>>>;

#[derive(Debug)]
pub(super) struct History {
    path: PathBuf,
    orders: mpsc::Sender<Order>,
    pub(super) peaks: Peaks,
}

/// Ends once the [`History`] is dropped and what was ordered is done.
pub(super) type Thread = thread::JoinHandle<()>;

impl History {
    /// Opens the history in a thread of its own. `place` is the data directory, whose peak is looked up.
    pub(super) fn start(path: &Path, place: Option<String>) -> std::io::Result<(Self, Thread)> {
        let (orders, inbox) = mpsc::channel();
        let peaks = Peaks::default();
        let keeper = Keeper { path: path.to_owned(), place, peaks: peaks.clone(), store: None, silent: false, unrefreshed: 0 };
        let thread = thread::Builder::new().name("history".into()).spawn(move || keeper.run(&inbox))?;
        Ok((Self { path: path.to_owned(), orders, peaks }, thread))
    }

    pub(super) fn keep(&self, batch: Batch, number: u64) {
        // A thread that is gone has said so.
        let _ = self.orders.send(Order::Keep { batch, number });
    }

    /// Up to which row everything that was given to [`Self::keep`] before is found; `None` = there is no history.
    pub(super) fn settle(&self) -> oneshot::Receiver<Option<store::Last>> {
        let (reply, answer) = oneshot::channel();
        let _ = self.orders.send(Order::Settle(reply));
        answer
    }

    /// A piece of the history. Blocks, and holds nothing open in between: a slow reader must not make the log file grow.
    pub(super) fn page(path: &Path, span: &Span) -> Result<Page, Failure> {
        Store::page(path, span).map_err(|error| {
            Failure::refused(
                "SAMPLES_UNREADABLE",
                format!("the history of samples {} cannot be read: {error}", path.display()),
                "the agent begins a new one by itself if it is broken; live samples need none",
            )
        })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }
}

struct Keeper {
    path: PathBuf,
    place: Option<String>,
    peaks: Peaks,
    store: Option<Store>,
    /// It has been said that nothing can be kept.
    silent: bool,
    /// Batches since the peak was last read back.
    unrefreshed: i64,
}

impl Keeper {
    fn run(mut self, inbox: &mpsc::Receiver<Order>) {
        self.attempt(|_| Ok(()));
        self.refresh(0);
        for order in inbox {
            match order {
                Order::Keep { batch, number } => self.keep(&batch, number),
                Order::Settle(reply) => {
                    let last = self.store.as_ref().and_then(|store| store.last().ok());
                    let _ = reply.send(last);
                }
            }
        }
    }

    fn keep(&mut self, batch: &Batch, number: u64) {
        if !self.attempt(|store| store.keep(batch)) {
            return;
        }
        self.unrefreshed += 1;
        let minutes = self.store.as_ref().map_or(0, Store::minutes);
        // Reading the peak back takes the longer the more minutes there are; the sampler goes on from the last one.
        if self.unrefreshed >= (minutes / 500).clamp(1, 30) {
            self.refresh(number);
        }
    }

    fn refresh(&mut self, number: u64) {
        let (Some(store), Some(place)) = (&self.store, &self.place) else { return };
        if let Ok(peak) = store.peak(place) {
            self.unrefreshed = 0;
            *self.peaks.lock().expect("no panic while held") = Some((number, peak));
        }
    }

    /// Does it in the history, opened anew or begun anew where that is needed. `false`: it could not be done.
    fn attempt(&mut self, act: impl Fn(&mut Store) -> Result<(), Trouble>) -> bool {
        let mut trouble = None;
        for _ in 0..2 {
            let done = match &mut self.store {
                Some(store) => act(store),
                None => Store::open(&self.path).and_then(|mut store| {
                    let done = act(&mut store);
                    self.store = Some(store);
                    done
                }),
            };
            match done {
                Ok(()) => {
                    if std::mem::take(&mut self.silent) {
                        tracing::info!("samples are kept again in {}", self.path.display());
                    }
                    return true;
                }
                Err(Trouble::Broken(why)) => {
                    self.store = None;
                    match store::set_aside(&self.path) {
                        Ok(aside) => {
                            tracing::warn!("{} is set aside as {}: {why}", self.path.display(), aside.display());
                        }
                        Err(error) => {
                            trouble = Some(format!("{why}, and it cannot be set aside: {error}"));
                            break;
                        }
                    }
                }
                Err(Trouble::Refused(why)) => {
                    trouble = Some(why);
                    break;
                }
            }
        }
        if !std::mem::replace(&mut self.silent, true) {
            let why = trouble.unwrap_or_else(|| "a new one is broken, too".into());
            tracing::warn!("samples are not kept in {}: {why}; the agent goes on without", self.path.display());
        }
        false
    }
}
