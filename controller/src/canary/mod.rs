//! The canary: clients that write through the router as the application does, and a ledger of every answer they got.
//!
//! It says how long nobody was served, and [`Record::verify`] whether each acknowledged write is there afterwards. It moves
//! nothing and knows no agent; what it needs is the application's own way in, named by a file.

mod connection;
mod ledger;
mod mysql;
mod option_file;
mod postgres;
mod report;
mod session;
mod verify;
mod writer;

use std::{path::PathBuf, sync::Arc, time::Duration};

use flytt_proto::failure::Failure;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

pub use self::{
    connection::{Connection, Protocol},
    ledger::{History, Outcome, Write},
    report::{Connects, Gap, Latency, Report, ServerShare},
    verify::{Row, Verification},
};
use self::{
    ledger::Ledger,
    writer::{Tally, Writer},
};

/// How long a write in flight may take to finish once the canary is told to stop.
const LAST_WRITES: Duration = Duration::from_secs(11);
/// How long [`Canary::start`] waits until every client was acknowledged once.
const WARM_UP: Duration = Duration::from_secs(10);

/// How the canary behaves.
#[derive(Clone, Debug)]
pub struct Options {
    /// Clients, each with one connection.
    pub clients: u16,
    /// Pause of a client between two writes.
    pub pace: Duration,
    /// Where every intent and answer is appended, before the next write is sent. `None` = in memory alone.
    pub ledger: Option<PathBuf>,
}

impl Default for Options {
    fn default() -> Self {
        Self { clients: 8, pace: Duration::from_millis(5), ledger: None }
    }
}

/// A running canary. Dropped, it ends at once and leaves its schema behind for [`clean_up`].
#[derive(Debug)]
pub struct Canary {
    connection: Connection,
    ledger: Arc<Ledger>,
    tally: Arc<Tally>,
    stop: CancellationToken,
    writers: JoinSet<()>,
}

/// What a display shows of a running canary.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pulse {
    pub acknowledged: u64,
    /// Time since the last acknowledgement, or since the start where there was none.
    pub silence: Duration,
}

/// A canary that has ended: what it measured, and what can be verified.
#[derive(Clone, Debug)]
pub struct Record {
    pub report: Report,
    pub history: History,
    connection: Connection,
}

impl Canary {
    /// Makes the schema `flytt_canary` and starts to write. Returns once every client has been acknowledged.
    ///
    /// # Errors
    /// `CANARY_EXISTS` when the schema is already there, `CANARY_UNREACHABLE` and `CANARY_DENIED` when the way in does not
    /// work, `CANARY_LEDGER` when the file cannot be made.
    pub async fn start(connection: Connection, options: Options) -> Result<Self, Failure> {
        let ledger = Arc::new(Ledger::open(options.clients, options.ledger.as_deref())?);
        verify::make_schema(&connection).await?;
        let canary = Self::spawn(connection.clone(), ledger, &options);
        let warm = async {
            while !canary.ledger.every_writer_was_acknowledged() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        if tokio::time::timeout(WARM_UP, warm).await.is_err() {
            let report = canary.stop().await.report;
            let left = match verify::drop_schema(&connection).await {
                Ok(()) => "",
                Err(_) => "; the schema flytt_canary is still there",
            };
            return Err(Failure::refused(
                "CANARY_UNREACHABLE",
                format!("not every client of the canary is served within {WARM_UP:?} ({}){left}", report.connects),
                "look at the router and at the server's connection limit, or ask for fewer clients",
            ));
        }
        Ok(canary)
    }

    fn spawn(connection: Connection, ledger: Arc<Ledger>, options: &Options) -> Self {
        let (tally, stop) = (Arc::new(Tally::default()), CancellationToken::new());
        let mut writers = JoinSet::new();
        for id in 0..options.clients {
            let writer = Writer {
                id,
                connection: connection.clone(),
                ledger: Arc::clone(&ledger),
                tally: Arc::clone(&tally),
                pace: options.pace,
                stop: stop.clone(),
            };
            writers.spawn(writer.run());
        }
        Self { connection, ledger, tally, stop, writers }
    }

    pub fn pulse(&self) -> Pulse {
        self.ledger.pulse()
    }

    /// Lets the writes in flight finish and says what was measured.
    pub async fn stop(mut self) -> Record {
        let length = self.ledger.elapsed();
        self.stop.cancel();
        let ended = async { while self.writers.join_next().await.is_some() {} };
        if tokio::time::timeout(LAST_WRITES, ended).await.is_err() {
            self.writers.shutdown().await;
        }
        let history = self.ledger.history(length);
        let report = Report::new(&history, &self.tally);
        Record { report, history, connection: self.connection }
    }
}

impl Record {
    /// Compares the ledger with what stands on the server at `on`, which must be the one that holds the data now.
    ///
    /// # Errors
    /// When that server cannot be asked; a difference is no error but stands in the [`Verification`].
    pub async fn verify(&self, on: &Connection) -> Result<Verification, Failure> {
        verify::verify(&self.history, on).await
    }

    /// The way in that it used.
    pub fn connection(&self) -> &Connection {
        &self.connection
    }

    /// Removes what the canary made, through the way in that it used.
    ///
    /// # Errors
    /// When the server cannot be asked or refuses.
    pub async fn clean_up(&self) -> Result<(), Failure> {
        clean_up(&self.connection).await
    }
}

/// Removes the schema of a canary that died; no error when there is none.
///
/// # Errors
/// When the server cannot be asked or refuses, as it does while somebody else's objects are in that schema.
pub async fn clean_up(connection: &Connection) -> Result<(), Failure> {
    verify::drop_schema(connection).await
}
