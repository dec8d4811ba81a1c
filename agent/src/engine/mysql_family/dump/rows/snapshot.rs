//! The source's snapshots: sessions that all see one position, kept open for a target that pulls their rows piece by piece. A
//! target that stays away for the length of the lease loses its snapshot, so that the server is not held back for nobody.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, PoisonError, Weak,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use flytt_proto::{
    failure::Failure,
    name::Migration,
    v1::{DrawRequest, draw_request::Producer},
};
use mysql_async::Conn;
use tokio::sync::{Mutex, Semaphore, mpsc};

use super::{
    Ended, Manifest, Server,
    piece::cut,
    read::{End, read, statement},
};
use crate::engine::{
    Poured,
    mysql_family::{dump::schema, failure, session::Session},
};

/// Sessions of one snapshot: as many as cores, within these.
const SESSIONS: (usize, usize) = (2, 4);
/// Blocks that wait for the link.
const DEPTH: usize = 2;

/// Of a session that reads rows: bytes come as the server keeps them, times in one zone, and a target that is slow is waited for.
const SETUP: &str = "set session sql_mode = '', time_zone = '+00:00', character_set_results = null, net_write_timeout = 1200";

/// How snapshots are lent.
#[derive(Clone, Copy, Debug)]
pub struct Lending {
    /// How long one stands after the last that its target asked of it.
    pub lease: Duration,
    /// Bytes of a piece, about: what is lost when one is interrupted, and what a transaction on the target holds.
    pub piece: u64,
}

impl Default for Lending {
    fn default() -> Self {
        Self { lease: Duration::from_secs(600), piece: 32 << 20 }
    }
}

/// Those of one agent, at most one for each move.
#[derive(Debug, Default)]
pub struct Snapshots {
    lending: Lending,
    standing: Arc<Mutex<BTreeMap<Migration, Arc<Snapshot>>>>,
}

impl Snapshots {
    pub fn lent(lending: Lending) -> Self {
        Self { lending, standing: Arc::default() }
    }

    /// The answer to `ask`. What goes wrong later is said inside of it.
    pub fn pour(&self, server: Arc<dyn Server>, migration: &Migration, ask: &DrawRequest) -> mpsc::Receiver<Poured> {
        let (out, blocks) = mpsc::channel(DEPTH);
        let (producer, name, piece) = (ask.producer(), ask.snapshot.clone(), ask.piece);
        let (migration, standing, lending) = (migration.clone(), self.standing.clone(), self.lending);
        tokio::spawn(async move {
            let desk = Desk { standing, lending, migration };
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

    /// Ends that of a move, if there is one.
    pub async fn end(&self, migration: &Migration) {
        if let Some(snapshot) = self.standing.lock().await.remove(migration) {
            snapshot.close().await;
        }
    }
}

/// The snapshots as one answer sees them.
struct Desk {
    standing: Arc<Mutex<BTreeMap<Migration, Arc<Snapshot>>>>,
    lending: Lending,
    migration: Migration,
}

impl Desk {
    async fn manifest(&self, server: Arc<dyn Server>, name: &str, out: &mpsc::Sender<Poured>) -> Result<(), Failure> {
        let snapshot = if name.is_empty() { self.begin(server).await? } else { self.named(name).await? };
        say(out, &snapshot.manifest).await
    }

    async fn begin(&self, server: Arc<dyn Server>) -> Result<Arc<Snapshot>, Failure> {
        // One that nobody knows of any more.
        let former = self.standing.lock().await.remove(&self.migration);
        if let Some(former) = former {
            former.close().await;
        }
        let snapshot = Arc::new(Snapshot::begin(server, &self.migration, self.lending).await?);
        self.standing.lock().await.insert(self.migration.clone(), snapshot.clone());
        tokio::spawn(expire(
            Arc::downgrade(&snapshot),
            Arc::downgrade(&self.standing),
            self.migration.clone(),
            self.lending.lease,
        ));
        Ok(snapshot)
    }

    async fn named(&self, name: &str) -> Result<Arc<Snapshot>, Failure> {
        let standing = self.standing.lock().await;
        let found = standing.get(&self.migration).filter(|snapshot| snapshot.manifest.snapshot == name && snapshot.is_usable());
        let found = found.cloned().ok_or_else(gone)?;
        found.touch();
        Ok(found)
    }

    async fn end(&self, name: &str, out: &mpsc::Sender<Poured>) -> Result<(), Failure> {
        let snapshot = self.named(name).await?;
        let unchanged = snapshot.is_unchanged().await;
        self.standing.lock().await.remove(&self.migration);
        snapshot.close().await;
        say(out, &Ended { unchanged: unchanged? }).await
    }
}

async fn say(out: &mpsc::Sender<Poured>, what: &impl serde::Serialize) -> Result<(), Failure> {
    let json = serde_json::to_vec(what)
        .map_err(|error| Failure::refused("UNREADABLE", format!("the schema cannot be written down: {error}"), "report this"))?;
    let _ = out.send(Poured::Block(json)).await;
    Ok(())
}

async fn expire(
    snapshot: Weak<Snapshot>,
    standing: Weak<Mutex<BTreeMap<Migration, Arc<Snapshot>>>>,
    migration: Migration,
    lease: Duration,
) {
    loop {
        let Some(left) = snapshot.upgrade().map(|snapshot| lease.saturating_sub(snapshot.idle())) else { return };
        tokio::time::sleep(left.max(Duration::from_millis(20))).await;
        let (Some(snapshot), Some(standing)) = (snapshot.upgrade(), standing.upgrade()) else { return };
        if snapshot.idle() >= lease {
            let mut standing = standing.lock().await;
            if standing.get(&migration).is_some_and(|other| Arc::ptr_eq(other, &snapshot)) {
                standing.remove(&migration);
            }
            tracing::warn!(%migration, "nobody has asked for rows for {} s: their snapshot ends", lease.as_secs());
            snapshot.close().await;
            return;
        }
    }
}

/// Sessions at one position of the source, and what is to be read in them.
#[derive(Debug)]
struct Snapshot {
    manifest: Manifest,
    server: Arc<dyn Server>,
    ours: schema::Ours,
    readers: Mutex<Vec<Conn>>,
    /// As many as there are readers at rest; closed when there is none left.
    free: Semaphore,
    /// Asks and interrupts; it is not in the snapshot.
    control: Session,
    used: std::sync::Mutex<Instant>,
    reading: AtomicUsize,
    lease: Duration,
}

impl Snapshot {
    async fn begin(server: Arc<dyn Server>, migration: &Migration, lending: Lending) -> Result<Self, Failure> {
        let control = server.open().await?;
        let ours = server.ours(migration);
        let schema = schema::read(&control, &ours).await?;
        if let Some(table) = schema.tables.iter().find(|table| !table.engine.eq_ignore_ascii_case("innodb")) {
            let sentence =
                format!("table {}.{} is of engine {}, which has no snapshots", table.database, table.name, table.engine);
            let remedy = "alter it to InnoDB, or set `way = \"physical\"` under [seed]";
            return Err(Failure::refused("NOT_TRANSACTIONAL", sentence, remedy));
        }
        let wide = std::thread::available_parallelism().map_or(SESSIONS.0, usize::from).clamp(SESSIONS.0, SESSIONS.1);
        let mut sessions = Vec::new();
        for _ in 0..wide {
            let session = server.open().await?;
            for setting in [SETUP, "set session transaction isolation level repeatable read"] {
                session.run(setting).await?;
            }
            sessions.push(session);
        }
        let position = server.freeze(&sessions).await?;
        let pieces = cut(&control, &schema, lending.piece).await?;
        let readers: Vec<Conn> = sessions.into_iter().map(Session::into_conn).collect::<Result<_, _>>()?;
        let manifest = Manifest { snapshot: name()?, position, sessions: wide.try_into().unwrap_or(1), schema, pieces };
        let (free, used) = (Semaphore::new(readers.len()), Instant::now().into());
        Ok(Self {
            manifest,
            server,
            ours,
            readers: readers.into(),
            free,
            control,
            used,
            reading: AtomicUsize::new(0),
            lease: lending.lease,
        })
    }

    fn is_usable(&self) -> bool {
        !self.free.is_closed()
    }

    fn touch(&self) {
        *self.used.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
    }

    /// Whoever reads is not idle, however long it takes.
    fn idle(&self) -> Duration {
        if self.reading.load(Ordering::Relaxed) > 0 {
            self.touch();
        }
        self.used.lock().unwrap_or_else(PoisonError::into_inner).elapsed()
    }

    async fn pour(&self, piece: u32, out: &mpsc::Sender<Poured>) -> Result<(), Failure> {
        let piece = self.manifest.pieces.get(piece as usize);
        let sql = piece.and_then(|piece| statement(&self.manifest.schema, piece));
        let sql = sql.ok_or_else(|| Failure::refused("BAD_REQUEST", "there is no such piece in this snapshot", "report this"))?;
        let permit = self.free.acquire().await.map_err(|_| gone())?;
        let mut conn = self.readers.lock().await.pop().ok_or_else(gone)?;
        let interrupt = async |id: u32| {
            if let Err(failure) = self.control.run(&format!("kill query {id}")).await {
                tracing::warn!(code = failure.code, "a read that nobody wants goes on to its end: {failure}");
            }
        };
        self.reading.fetch_add(1, Ordering::Relaxed);
        let end = read(&mut conn, &sql, out, self.lease, interrupt).await;
        self.reading.fetch_sub(1, Ordering::Relaxed);
        self.touch();
        match end {
            Ok(end) => {
                self.readers.lock().await.push(conn);
                drop(permit);
                match end {
                    End::Whole => Ok(()),
                    End::Unwanted => Err(unwanted()),
                    End::Failed(failure) => Err(failure),
                }
            }
            Err(failure) => {
                permit.forget();
                // One lost session is not the snapshot; a server that is gone is.
                if !self.control.is_open().await {
                    self.free.close();
                }
                Err(failure)
            }
        }
    }

    async fn is_unchanged(&self) -> Result<bool, Failure> {
        let session = self.server.open().await?;
        let now = schema::read(&session, &self.ours).await?;
        let differences = self.manifest.schema.differences(&now, &[]);
        for difference in &differences {
            tracing::warn!("since the snapshot began: {difference}");
        }
        Ok(differences.is_empty())
    }

    /// Its sessions end; one that is reading ends with its read.
    async fn close(&self) {
        self.free.close();
        let readers: Vec<Conn> = self.readers.lock().await.drain(..).collect();
        for reader in readers {
            let _: Result<(), _> =
                reader.disconnect().await.map_err(|error| tracing::debug!("{}", failure::gone(&error.to_string())));
        }
    }
}

fn name() -> Result<String, Failure> {
    let mut bytes = [0; 12];
    aws_lc_rs::rand::fill(&mut bytes)
        .map_err(|_| Failure::refused("NO_RANDOM", "the system gives no random bytes", "see to the host's kernel"))?;
    Ok(data_encoding::HEXLOWER.encode(&bytes))
}

fn unwanted() -> Failure {
    Failure::refused("LINK_BROKEN", "the target takes no more of a piece", "nothing to do: it is pulled again")
}

fn gone() -> Failure {
    Failure::refused(
        "SNAPSHOT_GONE",
        "the source holds this snapshot no more: its agent or its server was restarted, or nobody asked for too long",
        "start the copy again; it begins anew, so that it never holds rows of two moments",
    )
}
