//! Snapshots that are lent: at most one for each move, ended by its target, by whoever ends the move, or by the lease when nobody
//! has asked for its length. How one is held and read is `snapshot`'s.

use std::{
    collections::BTreeMap,
    sync::{Arc, PoisonError, Weak},
    time::Duration,
};

use flytt_proto::{
    failure::Failure,
    name::Migration,
    v1::{DrawRequest, draw_request::Producer},
};
use tokio::sync::{Mutex, mpsc};

use super::{
    Ended, Server,
    snapshot::{Snapshot, gone, unwanted},
};
use crate::engine::Poured;

/// Blocks that wait for the link.
const DEPTH: usize = 2;

/// How snapshots are lent.
#[derive(Clone, Copy, Debug)]
pub struct Lending {
    /// How long one stands after the last that its target asked of it, or took.
    pub lease: Duration,
    /// Bytes of a piece, about: what is lost when one is interrupted, and what a transaction on the target holds.
    pub piece: u64,
}

impl Default for Lending {
    fn default() -> Self {
        Self { lease: Duration::from_secs(600), piece: 32 << 20 }
    }
}

/// That of one move, if it has one. Whoever begins one holds this until it stands, so that nobody ends it too early to be heard.
type Slot = Mutex<Option<Arc<Snapshot>>>;

/// Those of one agent.
#[derive(Debug, Default)]
pub struct Snapshots {
    lending: Lending,
    slots: std::sync::Mutex<BTreeMap<Migration, Arc<Slot>>>,
}

impl Snapshots {
    pub fn lent(lending: Lending) -> Self {
        Self { lending, ..Self::default() }
    }

    /// The answer to `ask`. What goes wrong later is said inside of it.
    pub fn pour(&self, server: Arc<dyn Server>, migration: &Migration, ask: &DrawRequest) -> mpsc::Receiver<Poured> {
        let (out, blocks) = mpsc::channel(DEPTH);
        let (producer, name, piece) = (ask.producer(), ask.snapshot.clone(), ask.piece);
        let slot = self.slots.lock().unwrap_or_else(PoisonError::into_inner).entry(migration.clone()).or_default().clone();
        let desk = Desk { slot, lending: self.lending, migration: migration.clone() };
        tokio::spawn(async move {
            let done = match producer {
                Producer::Snapshot => desk.manifest(server, &name, &out).await,
                Producer::SnapshotEnd => desk.end(&name, &out).await,
                Producer::Rows | Producer::MariadbBackup | Producer::Unspecified => match desk.named(&name).await {
                    Ok(snapshot) => snapshot.pour(piece, &out).await,
                    Err(failure) => Err(failure),
                },
            };
            let _ = out.send(done.map_or_else(Poured::Failed, |()| Poured::End)).await;
        });
        blocks
    }

    /// Ends that of a move, if there is one; returns once its sessions are closed.
    pub async fn end(&self, migration: &Migration) {
        let slot = self.slots.lock().unwrap_or_else(PoisonError::into_inner).get(migration).cloned();
        if let Some(slot) = slot {
            end(&slot).await;
        }
    }

    /// Ends all of them.
    pub async fn end_all(&self) {
        let slots: Vec<_> = self.slots.lock().unwrap_or_else(PoisonError::into_inner).values().cloned().collect();
        for slot in slots {
            end(&slot).await;
        }
    }
}

async fn end(slot: &Slot) {
    let snapshot = slot.lock().await.take();
    if let Some(snapshot) = snapshot {
        snapshot.close().await;
    }
}

/// One move's snapshot as one answer sees it.
struct Desk {
    slot: Arc<Slot>,
    lending: Lending,
    migration: Migration,
}

impl Desk {
    async fn manifest(&self, server: Arc<dyn Server>, name: &str, out: &mpsc::Sender<Poured>) -> Result<(), Failure> {
        if !name.is_empty() {
            return say(out, &self.named(name).await?.manifest).await;
        }
        let snapshot = self.begin(server, out).await?;
        let said = say(out, &snapshot.manifest).await;
        if said.is_err() {
            // Nobody has heard its name.
            self.take(&snapshot).await;
            snapshot.close().await;
        }
        said
    }

    async fn begin(&self, server: Arc<dyn Server>, out: &mpsc::Sender<Poured>) -> Result<Arc<Snapshot>, Failure> {
        let mut slot = self.slot.lock().await;
        // One that nobody knows of any more.
        if let Some(former) = slot.take() {
            former.close().await;
        }
        let snapshot = tokio::select! {
            biased;
            () = out.closed() => return Err(unwanted()),
            begun = Snapshot::begin(server, &self.migration, self.lending) => Arc::new(begun?),
        };
        *slot = Some(snapshot.clone());
        tokio::spawn(expire(Arc::downgrade(&snapshot), Arc::downgrade(&self.slot), self.migration.clone(), self.lending.lease));
        Ok(snapshot)
    }

    async fn named(&self, name: &str) -> Result<Arc<Snapshot>, Failure> {
        let slot = self.slot.lock().await;
        let snapshot = slot.as_ref().filter(|it| it.manifest.snapshot == name && it.is_usable()).ok_or_else(gone)?;
        snapshot.touch();
        Ok(snapshot.clone())
    }

    async fn end(&self, name: &str, out: &mpsc::Sender<Poured>) -> Result<(), Failure> {
        let snapshot = self.named(name).await?;
        let unchanged = snapshot.is_unchanged().await;
        self.take(&snapshot).await;
        snapshot.close().await;
        say(out, &Ended { unchanged: unchanged? }).await
    }

    async fn take(&self, snapshot: &Arc<Snapshot>) {
        self.slot.lock().await.take_if(|other| Arc::ptr_eq(other, snapshot));
    }
}

async fn say(out: &mpsc::Sender<Poured>, what: &impl serde::Serialize) -> Result<(), Failure> {
    let json = serde_json::to_vec(what)
        .map_err(|error| Failure::refused("UNREADABLE", format!("the schema cannot be written down: {error}"), "report this"))?;
    out.send(Poured::Block(json)).await.map_err(|_| unwanted())
}

async fn expire(snapshot: Weak<Snapshot>, slot: Weak<Slot>, migration: Migration, lease: Duration) {
    loop {
        let Some(left) = snapshot.upgrade().map(|snapshot| lease.saturating_sub(snapshot.idle())) else { return };
        tokio::time::sleep(left).await;
        let (Some(snapshot), Some(slot)) = (snapshot.upgrade(), slot.upgrade()) else { return };
        let mut slot = slot.lock().await;
        if snapshot.idle() >= lease {
            slot.take_if(|other| Arc::ptr_eq(other, &snapshot));
            drop(slot);
            tracing::warn!(%migration, "nobody has asked for rows for {} s: their snapshot ends", lease.as_secs());
            snapshot.close().await;
            return;
        }
    }
}
