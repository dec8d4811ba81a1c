//! What this agent changed, so that it can change it back; and the record of who holds the baton.
//!
//! An entry is on disk before the effect that it announces. The book is a fold over the entries and nothing else.

mod book;
mod window;

use std::{
    path::Path,
    sync::Arc,
    time::{Duration, SystemTime},
};

use flytt_proto::{
    failure::Failure,
    fuse::Fuse,
    name::{Epoch, HostName, Migration, OperationId},
    record::Record,
    v1,
};
use serde::{Deserialize, Serialize};
use tokio::sync::Mutex;

pub use self::book::{Book, Operation, State};
use crate::{
    baton::{Baton, BatonEvent, Command},
    change::Change,
    lease::GrantedLease,
};

/// The version of [`Entry`]'s form. Older ones still read.
const VERSION: u32 = 1;

/// One line of the ledger.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "entry", rename_all = "snake_case")]
pub enum Entry {
    /// These changes are about to be made. `action` is kept so that its undo needs nobody to repeat it.
    Began {
        id: OperationId,
        epoch: Epoch,
        action: v1::Action,
        changes: Vec<Change>,
    },
    Done {
        id: OperationId,
        outcome: v1::Outcome,
    },
    Failed {
        id: OperationId,
        failure: Failure,
    },
    Undoing {
        id: OperationId,
    },
    Undone {
        id: OperationId,
    },
    /// The part that this host plays; where the baton begins.
    Part {
        migration: Migration,
        role: Part,
    },
    /// A controller took charge of a host that has no baton: a router's.
    Charged {
        migration: Migration,
        epoch: Epoch,
    },
    /// A fence was leased; recorded before the fencing.
    Leased {
        migration: Migration,
        lease: GrantedLease,
    },
    /// Something happened to the right to accept writes.
    Baton {
        migration: Migration,
        event: BatonEvent,
    },
    /// This peer may open links for this move.
    Granted {
        migration: Migration,
        peer: HostName,
    },
    Withdrawn {
        migration: Migration,
    },
    /// The guard gave up the move to protect this host.
    Guarded {
        migration: Migration,
        reason: String,
    },
    /// Nothing of this move is left here, of neither leg.
    Finished {
        migration: Migration,
    },
}

/// Who has a baton.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Part {
    Source,
    Target,
}

pub(crate) fn no_part() -> Failure {
    Failure::refused("NO_PART", "this host has no part in that move", "run `flytt status`")
}

/// Nothing but the end of the whole migration may be asked for under a leg that is over.
pub(crate) fn over(leg: &Migration) -> Failure {
    let sentence = format!("the way back of {leg} has begun here, so what was said of the move itself comes too late");
    Failure::refused("LEG_OVER", sentence, "run `flytt status`")
}

fn stale(migration: &Migration) -> Failure {
    Failure::refused("STALE_EPOCH", format!("a newer controller is in charge of {migration}"), "run `flytt status`")
}

/// The ledger of one agent: the only owner of its file.
///
/// A write that was begun goes on when its caller is interrupted: what is on disk is always in the book.
#[derive(Clone, Debug)]
pub struct Ledger {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    record: Record<Entry>,
    /// Held across the append, so that the order on disk is the order of the fold.
    book: Mutex<Book>,
    /// The same book, for those who only look: they never wait for a disk.
    view: std::sync::RwLock<Book>,
    fuse: Fuse,
}

/// A ledger as it lies on disk, whoever has it open.
#[derive(Debug)]
pub struct Seen {
    pub book: Book,
    /// The newest form of a row in it: who reads only older ones cannot open it.
    pub form: u32,
    /// Since its last row.
    pub quiet: Duration,
}

impl Ledger {
    /// Looks only. Where there is none, nothing was ever written.
    pub fn look(path: &Path) -> Result<Seen, Failure> {
        if !path.exists() {
            return Ok(Seen { book: Book::default(), form: 0, quiet: Duration::MAX });
        }
        let (identity, rows) = Record::<Entry>::look(path, "ledger", VERSION)?;
        let mut book = Book::of(&identity);
        for row in &rows {
            book = book.after(&row.event)?;
        }
        let form = rows.iter().map(|row| row.version).max().unwrap_or_default();
        let at = rows.last().map(|row| Duration::from_millis(row.at_ms));
        let now = SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default();
        Ok(Seen { book, form, quiet: at.map_or(Duration::MAX, |at| now.saturating_sub(at)) })
    }

    pub fn open(path: &Path, fuse: Fuse) -> Result<Self, Failure> {
        let (record, rows) = Record::open(path, "ledger", VERSION)?;
        let mut book = Book::of(record.identity());
        for row in &rows {
            book = book.after(&row.event)?;
        }
        Ok(Self { inner: Arc::new(Inner { record, view: book.clone().into(), book: Mutex::new(book), fuse }) })
    }

    /// Identifies this very ledger: a new one never answers for an old one.
    pub fn identity(&self) -> &str {
        self.inner.record.identity()
    }

    /// Makes sure that what is left of a cutover can be written although the disk is full. Before the window.
    pub async fn reserve(&self) -> Result<(), Failure> {
        self.inner.record.reserve().await
    }

    /// The book as it stands.
    pub fn book(&self) -> Book {
        self.inner.view.read().expect("no panic while held").clone()
    }

    pub fn operation(&self, id: &OperationId) -> Option<Operation> {
        self.inner.view.read().expect("no panic while held").operations.get(id).cloned()
    }

    pub fn baton(&self, migration: &Migration) -> Option<Baton> {
        self.inner.view.read().expect("no panic while held").batons.get(migration).cloned()
    }

    /// Durable when it returns.
    pub async fn write(&self, entry: Entry) -> Result<(), Failure> {
        let inner = self.inner.clone();
        to_its_end(async move {
            let mut book = inner.book.lock().await;
            inner.append(&mut book, entry).await
        })
        .await
    }

    /// Asks the baton as it stands now, and writes what it answers, with nothing in between.
    pub async fn decide(&self, migration: &Migration, command: &Command) -> Result<(), Failure> {
        let (inner, migration, command) = (self.inner.clone(), migration.clone(), command.clone());
        to_its_end(async move {
            let mut book = inner.book.lock().await;
            let baton = book.batons.get(&migration).ok_or_else(no_part)?;
            if book.is_over(&migration) && !matches!(command, Command::TakeCharge { .. }) {
                return Err(over(&migration));
            }
            match baton.decide(&command)? {
                Some(event) => inner.append(&mut book, Entry::Baton { migration, event }).await,
                None => Ok(()),
            }
        })
        .await
    }

    /// Notes that this controller is in charge; one that has been superseded is refused.
    pub async fn take_charge(&self, migration: &Migration, epoch: Epoch, role: v1::Role) -> Result<(), Failure> {
        let part = match role {
            v1::Role::Source => Part::Source,
            v1::Role::Target => Part::Target,
            v1::Role::Router | v1::Role::Unspecified => {
                let (inner, migration) = (self.inner.clone(), migration.clone());
                return to_its_end(async move { inner.charge_router(migration, epoch).await }).await;
            }
        };
        let (inner, name) = (self.inner.clone(), migration.clone());
        to_its_end(async move { inner.play(name, part).await }).await?;
        self.decide(migration, &Command::TakeCharge { epoch }).await
    }

    /// The highest controller's epoch that this agent has seen.
    pub fn command_epoch(&self, migration: &Migration) -> Epoch {
        self.inner.view.read().expect("no panic while held").command_epoch(migration)
    }

    /// Whether this controller may still speak for the move.
    pub fn in_charge(&self, migration: &Migration, epoch: Epoch) -> Result<(), Failure> {
        if epoch < self.command_epoch(migration) { Err(stale(migration)) } else { Ok(()) }
    }
}

/// An append that is dropped half-way may be on disk and not in the book; so it is never dropped.
async fn to_its_end(work: impl Future<Output = Result<(), Failure>> + Send + 'static) -> Result<(), Failure> {
    tokio::spawn(work).await.unwrap_or_else(|_| Err(Failure::unknown("STOPPED", "the agent is stopping", "run `flytt resume`")))
}

impl Inner {
    /// A router has no baton; its controllers' epochs stand by themselves.
    async fn charge_router(&self, migration: Migration, epoch: Epoch) -> Result<(), Failure> {
        let mut book = self.book.lock().await;
        let seen = book.charges.get(&migration).copied().unwrap_or_default();
        match epoch.cmp(&seen) {
            std::cmp::Ordering::Less => Err(stale(&migration)),
            std::cmp::Ordering::Equal => Ok(()),
            std::cmp::Ordering::Greater => self.append(&mut book, Entry::Charged { migration, epoch }).await,
        }
    }

    /// The part that this host plays from now on, unless it plays the other one.
    async fn play(&self, migration: Migration, part: Part) -> Result<(), Failure> {
        let mut book = self.book.lock().await;
        match book.parts.get(&migration) {
            Some(played) if *played == part => Ok(()),
            Some(_) if book.operations.iter().any(|(id, it)| id.migration == migration && it.state != State::Undone) => {
                Err(Failure::refused(
                    "OTHER_PART",
                    format!("this host plays the other part in {migration}"),
                    "finish or roll back that move first, or give the new one another name",
                ))
            }
            Some(_) | None => self.append(&mut book, Entry::Part { migration, role: part }).await,
        }
    }

    async fn append(&self, book: &mut Book, entry: Entry) -> Result<(), Failure> {
        let name = || match serde_json::to_value(&entry) {
            // On either leg alike.
            Ok(value) => {
                match (value["entry"].as_str().unwrap_or("entry"), value["id"].as_str().and_then(|id| id.split_once('/'))) {
                    (entry, Some((_, step))) => format!("{entry} {step}"),
                    (entry, None) => entry.to_owned(),
                }
            }
            Err(_) => "entry".to_owned(),
        };
        self.fuse.point(|| format!("before ledger {}", name()))?;
        let after = book.clone().after(&entry)?;
        self.record.append(entry.clone()).await?;
        *book = after;
        *self.view.write().expect("no panic while held") = book.clone();
        self.fuse.point(|| format!("after ledger {}", name()))
    }
}

#[cfg(test)]
mod tests {
    use super::{book::tests::ended, *};
    use crate::baton::Phase;

    #[tokio::test(flavor = "multi_thread")]
    async fn a_leg_that_is_over_takes_no_orders() {
        let dir = tempfile::tempdir().expect("a directory");
        let ledger = Ledger::open(&dir.path().join("state/ledger.db"), Fuse::default()).expect("opened");
        let shop: Migration = "shop".parse().unwrap();
        ledger.take_charge(&shop, Epoch(1), v1::Role::Source).await.unwrap();
        let too_early = ledger.take_charge(&shop.back(), Epoch(2), v1::Role::Target).await.unwrap_err();
        assert_eq!(too_early.code, "LEG_TOO_EARLY");
        {
            let mut book = ledger.inner.book.lock().await;
            *book = ended(Part::Source, "cut-retire", State::Done(v1::Outcome::default()), Phase::Retired);
        }
        ledger.take_charge(&shop.back(), Epoch(2), v1::Role::Target).await.unwrap();
        let late = ledger.decide(&shop, &Command::LeaseEnded).await.unwrap_err();
        assert_eq!(late.code, "LEG_OVER");
        ledger.take_charge(&shop, Epoch(3), v1::Role::Source).await.expect("its end may be asked for");
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn what_is_on_disk_is_in_the_book_however_often_a_writer_is_interrupted() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("state/ledger.db");
        let ledger = Ledger::open(&path, Fuse::default()).expect("opened");
        for n in 0..40 {
            let migration: Migration = format!("m{n}").parse().expect("a name");
            let write = ledger.write(Entry::Granted { migration, peer: "db-new".parse().expect("a name") });
            let mut write = std::pin::pin!(write);
            // Begun, and its caller is gone.
            assert!(futures::poll!(&mut write).is_pending());
        }
        ledger.write(Entry::Withdrawn { migration: "m0".parse().expect("a name") }).await.expect("written");
        let mut tries = 0;
        loop {
            let (_, rows) = Record::<Entry>::look(&path, "ledger", VERSION).expect("readable");
            let on_disk = rows.iter().fold(Book::of(ledger.identity()), |book, row| book.after(&row.event).expect("in order"));
            if on_disk.grants.len() >= 39 && ledger.book().grants == on_disk.grants {
                return;
            }
            tries += 1;
            assert!(tries < 500, "on disk {:?}, in the book {:?}", on_disk.grants.len(), ledger.book().grants.len());
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
    }
}
