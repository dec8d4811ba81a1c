//! The target's copy from beginning to end, and on from wherever an earlier one was left: schema, rows, indexes, foreign keys, the
//! rest, the position. How one piece is loaded is `pull`'s.

use std::{
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use flytt_proto::{
    failure::Failure,
    v1::{DrawRequest, draw_request::Producer},
};
use futures::{StreamExt as _, TryStreamExt as _, stream};
use tokio::sync::mpsc;

use super::{
    Ended, Manifest, Server, changed,
    progress::{self, Come, Record, Stage},
    pull,
};
use crate::engine::{
    Origin, Pipes, Progress,
    mysql_family::{
        dump::schema::{self, AccountName, Statement, Vendor, give},
        quote::{self, literal},
    },
};

/// A piece whose link breaks is pulled again for so long.
const PATIENCE: Duration = Duration::from_secs(120);
const PAUSE: Duration = Duration::from_millis(500);
/// Between two looks at what has come.
const LOOK: Duration = Duration::from_millis(500);
/// The lease on the import's settings is longer.
const ALIVE: Duration = Duration::from_secs(15);
/// Between two signs of life to the source, whatever the lease.
const RENEW: (Duration, Duration) = (Duration::from_millis(250), Duration::from_secs(60));
/// What may pass by itself.
const PASSING: [&str; 4] = ["PIPE_BROKEN", "LINK_BROKEN", "UNREACHABLE", "IN_USE"];

/// One copy into one server.
#[derive(Debug)]
pub struct Load {
    pub server: Arc<dyn Server>,
    pub pipes: Arc<dyn Pipes>,
    pub origin: Origin,
    /// The agent's record of it.
    pub record: PathBuf,
    /// Of the copy alone, on the target: what is there of it.
    pub database: String,
    /// The agent's accounts, which are not replaced by the source's.
    pub keep: Vec<AccountName>,
    /// Bytes a second; 0 = no limit.
    pub max_rate: u64,
}

impl Load {
    /// Copies what is not there yet. Dropped, it leaves what the next one goes on from. However long the server is busy with one
    /// statement, `progress` hears of it.
    pub async fn run(&self, progress: mpsc::Sender<Progress>) -> Result<(), Failure> {
        let told = Told { at: Mutex::default(), progress };
        let tell = |now| told.tell(now);
        // While indexes are made no row comes, and the import goes on all the same.
        repeating(self.copy(&tell), ALIVE, || told.again()).await
    }

    async fn copy(&self, tell: &(dyn Fn(Progress) + Send + Sync)) -> Result<(), Failure> {
        let mut record = self.take_up().await?;
        if record.stage == Stage::Rows {
            let there = tokio::select! {
                done = self.rows(&record.manifest, tell) => done,
                never = self.renew(&record.manifest) => match never {},
            };
            match there {
                Ok(()) if self.end(&record.manifest.snapshot).await?.unchanged => {}
                Ok(()) => {
                    self.clear().await?;
                    return Err(changed());
                }
                // Of a table that is not the one of the snapshot any more no piece can be read: this snapshot has no end.
                Err(failure) if failure.code == changed().code => {
                    self.end_or_leave(&record.manifest.snapshot).await;
                    self.clear().await?;
                    return Err(failure);
                }
                Err(failure) => return Err(failure),
            }
            record.stage = Stage::Rest;
            record.write(&self.record)?;
        }
        if record.stage == Stage::Rest {
            self.rest(&record.manifest).await?;
            let session = self.server.open().await?;
            self.server.begin_after(&session, &record.manifest.position).await?;
            record.stage = Stage::Done;
            record.write(&self.record)?;
        }
        self.server.open().await?.drop_database(&self.database).await
    }

    /// Takes away all that it has written, and ends the source's snapshot if that can be reached.
    pub async fn take_back(&self) -> Result<(), Failure> {
        if let Some(record) = Record::read(&self.record)? {
            if record.stage == Stage::Rows {
                self.end_or_leave(&record.manifest.snapshot).await;
            }
            self.clear().await?;
        }
        Ok(())
    }

    async fn end_or_leave(&self, snapshot: &str) {
        if let Err(failure) = self.end(snapshot).await {
            tracing::info!(code = failure.code, "the source's snapshot is left to its lease: {failure}");
        }
    }

    /// The copy that was begun, as long as its snapshot stands; else a new one.
    async fn take_up(&self) -> Result<Record, Failure> {
        match Record::read(&self.record)? {
            Some(record) if record.stage > Stage::Rows => return Ok(record),
            Some(record) => match self.manifest(&record.manifest.snapshot).await {
                Ok(_) => return Ok(record),
                Err(failure) if failure.code == "SNAPSHOT_GONE" => {
                    tracing::warn!("the copy begins anew: {failure}");
                    self.clear().await?;
                }
                Err(failure) => return Err(failure),
            },
            None => {}
        }
        let manifest = self.manifest("").await?;
        let session = self.server.open().await?;
        let have = schema::read(&session, &self.server.ours(&self.origin.migration)).await?;
        let taken = manifest.schema.databases.iter().find(|new| have.databases.iter().any(|old| old.name == new.name));
        if let Some(database) = taken {
            let sentence = format!("the target has a database {} already", database.name);
            return Err(Failure::refused("DATABASE_EXISTS", sentence, "drop or rename it on the target"));
        }
        schema::obstacles(&session, &manifest.schema, &self.keep).await?;
        let accounts = have.accounts.iter().map(|account| account.name.clone()).collect();
        let record = Record { manifest, accounts, stage: Stage::Rows };
        record.write(&self.record)?;
        Ok(record)
    }

    async fn rows(&self, manifest: &Manifest, tell: &(dyn Fn(Progress) + Send + Sync)) -> Result<(), Failure> {
        let session = self.server.open().await?;
        let have = schema::read(&session, &self.server.ours(&self.origin.migration)).await?;
        give(&session, manifest.schema.vendor, &schema::before(&manifest.schema, &have)).await?;
        let session = self.server.open().await?;
        progress::prepare(&session, &self.database).await?;
        let there = progress::loaded(&session, &self.database, &manifest.snapshot).await?;

        let come = Arc::new(Come::default());
        for (piece, (bytes, rows)) in &there {
            come.add(*bytes, *rows);
            come.is_whole(manifest, *piece, *bytes);
        }
        let missing: Vec<usize> = (0..manifest.pieces.len()).filter(|piece| !there.contains_key(piece)).collect();
        let wide = (manifest.sessions as usize).max(1);
        let rate = self.max_rate.div_ceil(wide as u64);
        let pulls = missing.into_iter().map(|piece| {
            let come = come.clone();
            async move {
                let bytes = self.piece(manifest, piece, rate, &come).await?;
                come.is_whole(manifest, piece, bytes);
                Ok::<_, Failure>(())
            }
        });
        let work = stream::iter(pulls).buffer_unordered(wide).try_collect::<Vec<()>>();
        tokio::pin!(work);
        loop {
            tell(come.so_far(manifest));
            tokio::select! {
                done = &mut work => {
                    tell(come.so_far(manifest));
                    return done.map(drop);
                }
                () = tokio::time::sleep(LOOK) => {}
            }
        }
    }

    /// Says that the copy is at work, however long the target is busy with a table's definition or its indexes.
    async fn renew(&self, manifest: &Manifest) -> std::convert::Infallible {
        let pause = Duration::from_millis(manifest.lease_ms / 4).clamp(RENEW.0, RENEW.1);
        loop {
            tokio::time::sleep(pause).await;
            if let Err(failure) = self.manifest(&manifest.snapshot).await {
                tracing::warn!(code = failure.code, "the source's snapshot is not renewed: {failure}");
            }
        }
    }

    async fn piece(&self, manifest: &Manifest, piece: usize, max_rate: u64, come: &Arc<Come>) -> Result<u64, Failure> {
        let begun = Instant::now();
        loop {
            match pull::piece(self, manifest, piece, max_rate, come).await {
                Ok(bytes) => return Ok(bytes),
                Err(failure) if PASSING.contains(&failure.code.as_str()) && begun.elapsed() < PATIENCE => {
                    tracing::warn!(code = failure.code, piece, "pulled again: {failure}");
                    tokio::time::sleep(PAUSE).await;
                }
                Err(failure) => return Err(failure),
            }
        }
    }

    /// What acts on rows comes once they are there.
    async fn rest(&self, manifest: &Manifest) -> Result<(), Failure> {
        let vendor = manifest.schema.vendor;
        let session = self.server.open().await?;
        let have = schema::read(&session, &self.server.ours(&self.origin.migration)).await?;
        let after = schema::after(&manifest.schema, &have, &self.keep);
        let tables: Vec<_> = after.indexes.iter().map(|(_, statements)| self.give(vendor, statements)).collect();
        stream::iter(tables).buffer_unordered((manifest.sessions as usize).max(1)).try_collect::<Vec<()>>().await?;
        for statements in [&after.foreign_keys, &after.objects] {
            self.give(vendor, statements).await?;
        }
        Ok(())
    }

    async fn give(&self, vendor: Vendor, statements: &[Statement]) -> Result<(), Failure> {
        give(&self.server.open().await?, vendor, statements).await
    }

    async fn clear(&self) -> Result<(), Failure> {
        let Some(record) = Record::read(&self.record)? else { return Ok(()) };
        let session = self.server.open().await?;
        session.run("set session foreign_key_checks = 0").await?;
        let databases =
            record.manifest.schema.databases.iter().map(|database| database.name.as_str()).chain([self.database.as_str()]);
        for database in databases {
            session.drop_database(database).await?;
        }
        if record.stage > Stage::Rows {
            let ours = record.manifest.schema.accounts.iter().filter(|account| {
                !record.accounts.contains(&account.name) && !self.keep.contains(&account.name) && !account.create.sql.is_empty()
            });
            for account in ours {
                let kind = if account.is_role { "role" } else { "user" };
                session
                    .run(&format!(
                        "drop {kind} if exists {}",
                        if account.is_role {
                            literal(&account.name.user)
                        } else {
                            quote::account(&account.name.user, &account.name.host)
                        }
                    ))
                    .await?;
            }
        }
        Record::remove(&self.record)
    }

    pub(super) fn ask(&self, producer: Producer, snapshot: &str) -> DrawRequest {
        let (migration, snapshot) = (self.origin.migration.to_string(), snapshot.to_owned());
        DrawRequest { migration, producer: producer.into(), snapshot, ..DrawRequest::default() }
    }

    async fn manifest(&self, snapshot: &str) -> Result<Manifest, Failure> {
        self.answer(self.ask(Producer::Snapshot, snapshot)).await
    }

    async fn end(&self, snapshot: &str) -> Result<Ended, Failure> {
        self.answer(self.ask(Producer::SnapshotEnd, snapshot)).await
    }

    async fn answer<T: serde::de::DeserializeOwned>(&self, ask: DrawRequest) -> Result<T, Failure> {
        let json = self.pipes.pull(&self.origin, ask).await?.try_concat().await?;
        serde_json::from_slice(&json).map_err(|error| {
            let sentence = format!("the source's answer cannot be read: {error}");
            Failure::refused("UNREADABLE", sentence, "install the same version of flytt-agent on both hosts")
        })
    }
}

/// Tells a listener, and holds up nobody when that one is slow or gone.
#[derive(Debug)]
struct Told {
    at: Mutex<Progress>,
    progress: mpsc::Sender<Progress>,
}

impl Told {
    fn tell(&self, now: Progress) {
        *self.at.lock().unwrap_or_else(PoisonError::into_inner) = now;
        self.again();
    }

    /// What was told last.
    fn again(&self) {
        let last = *self.at.lock().unwrap_or_else(PoisonError::into_inner);
        _ = self.progress.try_send(last);
    }
}

/// `work` to its end, and `say` whenever it goes on for another `every`.
async fn repeating<T>(work: impl Future<Output = T>, every: Duration, say: impl Fn()) -> T {
    tokio::pin!(work);
    loop {
        tokio::select! {
            done = &mut work => return done,
            () = tokio::time::sleep(every) => say(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{sync::mpsc::channel, thread};

    use super::*;

    #[test]
    fn a_long_statement_is_heard_of_again_and_again() {
        let (done, said) = channel();
        // In a thread of its own: what blocks it does not block the test.
        thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            let (sender, mut progress) = mpsc::channel(64);
            let at = Progress { done: 7, total: 9, rows: 1 };
            let told = Told { at: Mutex::default(), progress: sender };
            let work = async {
                told.tell(at);
                tokio::time::sleep(Duration::from_millis(200)).await;
            };
            runtime.block_on(repeating(work, Duration::from_millis(10), || told.again()));
            let heard: Vec<Progress> = std::iter::from_fn(|| progress.try_recv().ok()).collect();
            done.send((heard.len() > 3, heard.iter().all(|heard| *heard == at))).unwrap();
        });
        assert_eq!(said.recv_timeout(Duration::from_secs(60)).expect("it ends"), (true, true));
    }
}
