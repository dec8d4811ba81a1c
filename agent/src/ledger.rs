//! What this agent changed, so that it can change it back; and the record of who holds the baton.
//!
//! An entry is on disk before the effect that it announces. The book is a fold over the entries and nothing else.

use std::{collections::BTreeMap, path::Path};

use flytt_proto::{
    failure::Failure,
    name::{Epoch, HostName, Migration, OperationId},
    record::Record,
    v1,
};
use serde::{Deserialize, Serialize};
use tokio::sync::Mutex;

use crate::{
    baton::{Baton, BatonEvent},
    change::Change,
    fuse::Fuse,
};

/// The version of [`Entry`]'s form. Older ones still read.
const VERSION: u32 = 1;

/// One line of the ledger.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "entry", rename_all = "snake_case")]
pub enum Entry {
    /// These changes are about to be made. `action` is kept so that its undo needs nobody to repeat it.
    Began { id: OperationId, epoch: Epoch, action: v1::Action, changes: Vec<Change> },
    Done { id: OperationId, outcome: v1::Outcome },
    Failed { id: OperationId, failure: Failure },
    Undoing { id: OperationId },
    Undone { id: OperationId },
    /// Something happened to the right to accept writes.
    Baton { migration: Migration, event: BatonEvent },
    /// This peer may open links for this move.
    Granted { migration: Migration, peer: HostName },
    Withdrawn { migration: Migration },
    /// The guard gave up the move to protect this host.
    Guarded { migration: Migration, reason: String },
    /// Nothing of this move is left here.
    Finished { migration: Migration },
}

#[derive(Clone, Debug, PartialEq)]
pub enum State {
    Began,
    Done(v1::Outcome),
    Failed(Failure),
    Undoing,
    Undone,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Operation {
    pub epoch: Epoch,
    pub action: v1::Action,
    pub changes: Vec<Change>,
    pub state: State,
}

/// What the entries come to.
#[derive(Clone, Debug, Default)]
pub struct Book {
    /// In the order of their (latest) beginning.
    pub operations: BTreeMap<OperationId, Operation>,
    pub order: Vec<OperationId>,
    pub batons: BTreeMap<Migration, Baton>,
    pub grants: BTreeMap<Migration, HostName>,
    pub guarded: BTreeMap<Migration, String>,
}

impl Book {
    /// The book after one more entry; an order of entries that cannot be is an error.
    pub fn after(mut self, entry: &Entry) -> Result<Self, Failure> {
        match entry {
            Entry::Began { id, epoch, action, changes } => {
                // An operation that was begun before keeps its recorded originals: a second survey sees our own work.
                self.order.retain(|other| other != id);
                self.order.push(id.clone());
                let operation =
                    Operation { epoch: *epoch, action: action.clone(), changes: changes.clone(), state: State::Began };
                self.operations.insert(id.clone(), operation);
            }
            Entry::Done { id, outcome } => self.set(id, State::Done(outcome.clone()))?,
            Entry::Failed { id, failure } => self.set(id, State::Failed(failure.clone()))?,
            Entry::Undoing { id } => self.set(id, State::Undoing)?,
            Entry::Undone { id } => self.set(id, State::Undone)?,
            Entry::Baton { migration, event } => {
                let baton = self.batons.remove(migration);
                self.batons.insert(migration.clone(), Baton::after(baton, event)?);
            }
            Entry::Granted { migration, peer } => {
                self.grants.insert(migration.clone(), peer.clone());
            }
            Entry::Withdrawn { migration } => {
                self.grants.remove(migration);
            }
            Entry::Guarded { migration, reason } => {
                self.guarded.insert(migration.clone(), reason.clone());
            }
            Entry::Finished { migration } => {
                self.operations.retain(|id, _| id.migration != *migration);
                self.order.retain(|id| id.migration != *migration);
                self.grants.remove(migration);
                self.guarded.remove(migration);
            }
        }
        Ok(self)
    }

    fn set(&mut self, id: &OperationId, state: State) -> Result<(), Failure> {
        let operation = self.operations.get_mut(id).ok_or_else(|| {
            Failure::refused("LEDGER_ORDER", format!("the ledger speaks of {id}, which never began"), "keep the file and ask for help")
        })?;
        operation.state = state;
        Ok(())
    }
}

/// The ledger of one agent: the only owner of its file.
#[derive(Debug)]
pub struct Ledger {
    record: Record<Entry>,
    /// Held across the append, so that the order on disk is the order of the fold.
    book: Mutex<Book>,
    /// The same book, for those who only look: they never wait for a disk.
    view: std::sync::RwLock<Book>,
    fuse: Fuse,
}

impl Ledger {
    pub fn open(path: &Path, fuse: Fuse) -> Result<Self, Failure> {
        let (record, rows) = Record::open(path, "ledger", VERSION)?;
        let mut book = Book::default();
        for row in &rows {
            book = book.after(&row.event)?;
        }
        Ok(Self { record, view: book.clone().into(), book: Mutex::new(book), fuse })
    }

    /// Identifies this very ledger: a new one never answers for an old one.
    pub fn identity(&self) -> &str {
        self.record.identity()
    }

    /// The book as it stands.
    pub fn book(&self) -> Book {
        self.view.read().expect("no panic while held").clone()
    }

    pub fn operation(&self, id: &OperationId) -> Option<Operation> {
        self.view.read().expect("no panic while held").operations.get(id).cloned()
    }

    pub fn baton(&self, migration: &Migration) -> Option<Baton> {
        self.view.read().expect("no panic while held").batons.get(migration).cloned()
    }

    /// Durable when it returns.
    pub async fn write(&self, entry: Entry) -> Result<(), Failure> {
        let mut book = self.book.lock().await;
        self.append(&mut book, entry).await
    }

    /// Asks the baton as it stands now, and writes what it answers, with nothing in between.
    pub async fn decide(
        &self,
        migration: &Migration,
        decide: impl FnOnce(Option<&Baton>) -> Result<Option<BatonEvent>, Failure> + Send,
    ) -> Result<(), Failure> {
        let mut book = self.book.lock().await;
        match decide(book.batons.get(migration))? {
            Some(event) => self.append(&mut book, Entry::Baton { migration: migration.clone(), event }).await,
            None => Ok(()),
        }
    }

    async fn append(&self, book: &mut Book, entry: Entry) -> Result<(), Failure> {
        let name = || match serde_json::to_value(&entry) {
            Ok(value) => value["entry"].as_str().unwrap_or("entry").to_owned(),
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
