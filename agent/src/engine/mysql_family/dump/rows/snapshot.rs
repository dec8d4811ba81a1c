//! A snapshot of the source: sessions that all see one position, in which its rows are read piece by piece. A session that is not
//! known to be whole is closed; a snapshot that ends leaves none. For how long it stands is `lend`'s to say.

use std::{
    sync::{
        Arc, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use flytt_proto::{failure::Failure, name::Migration};
use futures::future::join_all;
use mysql_async::Conn;
use tokio::{
    sync::{Mutex, Semaphore, mpsc},
    time::timeout,
};
use tokio_util::sync::CancellationToken;

use super::{
    Manifest, Server,
    lend::Lending,
    piece::cut,
    read::{End, read, statement},
};
use crate::engine::{
    Poured,
    mysql_family::{dump::schema, session::Session},
};

/// Sessions of one snapshot: as many as cores, within these.
const SESSIONS: (usize, usize) = (2, 4);

/// Of a session that reads rows: bytes come as the server keeps them, times in one zone, and a target that is slow is waited for.
const SETUP: &str = "set session sql_mode = '', time_zone = '+00:00', character_set_results = null, net_write_timeout = 1200";

/// A source that is too busy for one moment is tried again.
const TRIES: u32 = 5;
const PAUSE: Duration = Duration::from_millis(500);

/// For a server to take a word of ours; one that does not is left to notice that nobody is there.
const SHORT: Duration = Duration::from_secs(2);

/// Sessions at one position of the source, and what is to be read in them.
#[derive(Debug)]
pub(super) struct Snapshot {
    pub(super) manifest: Manifest,
    server: Arc<dyn Server>,
    ours: schema::Ours,
    /// At rest, each in the same state as at the beginning.
    readers: Mutex<Vec<Conn>>,
    /// By these the server knows them.
    threads: String,
    /// As many as there are readers at rest.
    free: Semaphore,
    /// Readers that are not lost, at rest or not.
    left: AtomicUsize,
    /// Asks and interrupts; it is not in the snapshot.
    control: Session,
    /// When its target last asked for something, or took a block.
    used: std::sync::Mutex<Instant>,
    ended: CancellationToken,
    lease: Duration,
}

impl Snapshot {
    pub(super) async fn begin(server: Arc<dyn Server>, migration: &Migration, lending: Lending) -> Result<Self, Failure> {
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
        let (sessions, position) = at_one_position(&*server, wide).await?;
        let pieces = cut(&control, &schema, lending.piece).await?;
        let readers: Vec<Conn> = sessions.into_iter().map(Session::into_conn).collect::<Result<_, _>>()?;
        let threads = readers.iter().map(|reader| reader.id().to_string()).collect::<Vec<_>>().join(", ");
        let lease_ms = lending.lease.as_millis().try_into().unwrap_or(u64::MAX);
        let manifest = Manifest { snapshot: name()?, lease_ms, position, sessions: wide.try_into().unwrap_or(1), schema, pieces };
        let (free, left, used) = (Semaphore::new(readers.len()), AtomicUsize::new(readers.len()), Instant::now().into());
        let (readers, ended) = (readers.into(), CancellationToken::new());
        Ok(Self { manifest, server, ours, readers, threads, free, left, control, used, ended, lease: lending.lease })
    }

    pub(super) fn is_usable(&self) -> bool {
        !self.ended.is_cancelled()
    }

    pub(super) fn touch(&self) {
        *self.used.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
    }

    /// A read alone keeps nothing alive: whoever takes none of its rows may be gone.
    pub(super) fn idle(&self) -> Duration {
        self.used.lock().unwrap_or_else(PoisonError::into_inner).elapsed()
    }

    pub(super) async fn pour(&self, piece: u32, out: &mpsc::Sender<Poured>) -> Result<(), Failure> {
        let piece = self.manifest.pieces.get(piece as usize);
        let ask = piece.and_then(|piece| statement(&self.manifest.schema, piece));
        let ask = ask.ok_or_else(|| Failure::refused("BAD_REQUEST", "there is no such piece in this snapshot", "report this"))?;
        let permit = self.free.acquire().await.map_err(|_| gone())?;
        let mut conn = self.readers.lock().await.pop().ok_or_else(gone)?;
        let id = conn.id();
        let interrupt = async || self.tell(&format!("kill query {id}")).await;
        let end = tokio::select! {
            end = read(&mut conn, &ask, out, self.lease, || self.touch(), interrupt) => end,
            () = self.ended.cancelled() => Err(gone()),
        };
        match end {
            Ok(end) => {
                self.put_back(conn).await;
                drop(permit);
                match end {
                    End::Whole => Ok(()),
                    End::Unwanted => Err(unwanted()),
                    End::Odd(failure) | End::Failed(failure) => Err(failure),
                }
            }
            Err(failure) => {
                permit.forget();
                hang_up(conn);
                tracing::warn!(code = failure.code, "a session of the snapshot is lost: {failure}");
                self.tell(&format!("kill {id}")).await;
                Err(self.lost().await)
            }
        }
    }

    async fn put_back(&self, conn: Conn) {
        let mut readers = self.readers.lock().await;
        if self.ended.is_cancelled() { hang_up(conn) } else { readers.push(conn) }
    }

    /// One lost session is not the snapshot; the last one is, and a server that is gone.
    async fn lost(&self) -> Failure {
        let left = self.left.fetch_sub(1, Ordering::SeqCst) - 1;
        if left == 0 || !timeout(SHORT, self.control.is_open()).await.unwrap_or(false) {
            self.end();
        }
        if self.is_usable() { unwanted() } else { gone() }
    }

    async fn tell(&self, sql: &str) {
        match timeout(SHORT, self.control.run(sql)).await {
            Ok(Ok(())) => {}
            Ok(Err(failure)) => tracing::debug!(code = failure.code, "{sql}: {failure}"),
            Err(_) => tracing::debug!("{sql}: no answer"),
        }
    }

    pub(super) async fn is_unchanged(&self) -> Result<bool, Failure> {
        let session = self.server.open().await?;
        let now = schema::read(&session, &self.ours).await?;
        let differences = self.manifest.schema.differences(&now, &[]);
        for difference in &differences {
            tracing::warn!("since the snapshot began: {difference}");
        }
        Ok(differences.is_empty())
    }

    fn end(&self) {
        self.ended.cancel();
        self.free.close();
    }

    /// Its sessions end, those that are reading, too. Returns once the server has none of them, and so none of their transactions.
    pub(super) async fn close(&self) {
        self.end();
        let readers: Vec<Conn> = self.readers.lock().await.drain(..).collect();
        // Whatever comes of the word, the driver then closes the socket.
        join_all(readers.into_iter().map(|reader| timeout(SHORT, reader.disconnect()))).await;
        let there = format!("select count(*) from information_schema.PROCESSLIST where ID in ({})", self.threads);
        let none_is_there = async {
            while self.control.value(&there).await.is_ok_and(|count| count != "0") {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        if timeout(SHORT, none_is_there).await.is_err() {
            tracing::warn!("the server still has sessions of a snapshot that has ended");
        }
    }
}

async fn at_one_position(server: &dyn Server, wide: usize) -> Result<(Vec<Session>, String), Failure> {
    let mut tries = 1;
    loop {
        // New ones for each try: one that was interrupted in the middle of an answer takes no statement any more.
        let mut sessions = Vec::new();
        for _ in 0..wide {
            let session = server.open().await?;
            for setting in [SETUP, "set session transaction isolation level repeatable read"] {
                session.run(setting).await?;
            }
            sessions.push(session);
        }
        match server.freeze(&sessions).await {
            Ok(position) => return Ok((sessions, position)),
            Err(failure) if tries < TRIES && ["SNAPSHOT_BUSY", "IN_USE"].contains(&failure.code.as_str()) => tries += 1,
            Err(failure) => return Err(failure),
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// Closes the socket, whatever is under way in it. Inside of the runtime the driver would first read the answer to its end.
fn hang_up(conn: Conn) {
    let hung_up = std::thread::Builder::new().spawn(move || drop(conn));
    if let Err(error) = hung_up {
        tracing::warn!("a session is closed once its answer has been read: {error}");
    }
}

fn name() -> Result<String, Failure> {
    let mut bytes = [0; 12];
    aws_lc_rs::rand::fill(&mut bytes)
        .map_err(|_| Failure::refused("NO_RANDOM", "the system gives no random bytes", "see to the host's kernel"))?;
    Ok(data_encoding::HEXLOWER.encode(&bytes))
}

pub(super) fn unwanted() -> Failure {
    Failure::refused(
        "LINK_BROKEN",
        "a piece was not handed out to its end: its target took no more, or its session ended",
        "nothing to do: it is pulled again",
    )
}

pub(super) fn gone() -> Failure {
    Failure::refused(
        "SNAPSHOT_GONE",
        "the source holds this snapshot no more: its agent or its server was restarted, or nobody asked for too long",
        "start the copy again; it begins anew, so that it never holds rows of two moments",
    )
}
