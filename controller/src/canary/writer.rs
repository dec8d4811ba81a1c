//! One client of the application: it writes, takes the answer down, and comes back at once when it is cut off. It judges
//! nothing; which answer counts as what is decided by the server's own words and by what had been sent.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use serde::{Deserialize, Serialize};
use tokio_postgres::{
    Client, Error, Row,
    error::Severity,
    types::{ToSql, Type},
};
use tokio_util::sync::CancellationToken;

use super::{
    connection::{Connection, Refusal, Session},
    ledger::Ledger,
    verify::INSERT,
};

/// Pause of a client before it connects again: short, and not a busy loop.
const RETRY: Duration = Duration::from_millis(5);
/// An application gives up on an answer at some time; without it a vanished host would silence a client for hours.
const ANSWER_LIMIT: Duration = Duration::from_secs(10);
/// Every so many writes one is a transaction of two rows.
const PAIR_EVERY: u64 = 10;

/// What happened to sessions and connections, counted.
#[derive(Debug, Default)]
pub(super) struct Tally(Mutex<Counts>);

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Counts {
    pub(super) opened: u64,
    pub(super) cut: u64,
    pub(super) unanswered: u64,
    pub(super) network: u64,
    pub(super) closed: u64,
    pub(super) timed_out: u64,
    /// By SQLSTATE: logins, and statements.
    pub(super) logins: BTreeMap<String, u64>,
    pub(super) statements: BTreeMap<String, u64>,
}

impl Tally {
    pub(super) fn counts(&self) -> MutexGuard<'_, Counts> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn refused(&self, refusal: Refusal) {
        let mut counts = self.counts();
        match refusal {
            Refusal::Network(_) => counts.network += 1,
            Refusal::Closed => counts.closed += 1,
            Refusal::TimedOut => counts.timed_out += 1,
            Refusal::Server(code, _) => *counts.logins.entry(code).or_default() += 1,
        }
    }
}

#[derive(Debug)]
pub(super) struct Writer {
    pub(super) id: u16,
    pub(super) connection: Connection,
    pub(super) ledger: Arc<Ledger>,
    pub(super) tally: Arc<Tally>,
    pub(super) pace: Duration,
    pub(super) stop: CancellationToken,
}

/// Why a session is given up.
enum End {
    Stopped,
    /// The server or somebody on the way ended it.
    Cut,
    /// No answer in time.
    Unanswered,
    /// The server refused a statement, with this SQLSTATE.
    Refused(String),
}

impl Writer {
    pub(super) async fn run(self) {
        let mut count = 0;
        while let Some(opened) = self.stop.run_until_cancelled(self.connection.open()).await {
            match opened {
                Ok(session) => {
                    self.tally.counts().opened += 1;
                    self.use_up(session, &mut count).await;
                }
                Err(refusal) => self.tally.refused(refusal),
            }
            if self.stop.run_until_cancelled(tokio::time::sleep(RETRY)).await.is_none() {
                return;
            }
        }
    }

    async fn use_up(&self, session: Session, count: &mut u64) {
        match self.write_until_the_end(&session.client, count).await {
            End::Stopped => session.close().await,
            End::Cut => self.tally.counts().cut += 1,
            End::Unanswered => self.tally.counts().unanswered += 1,
            End::Refused(code) => *self.tally.counts().statements.entry(code).or_default() += 1,
        }
    }

    /// `count` goes on over sessions, so that short ones see pairs as well.
    async fn write_until_the_end(&self, client: &Client, count: &mut u64) -> End {
        loop {
            if self.stop.is_cancelled() {
                return End::Stopped;
            }
            // A session that ended while idle cost no write.
            if client.is_closed() {
                return End::Cut;
            }
            *count += 1;
            let rows = if count.is_multiple_of(PAIR_EVERY) { 2 } else { 1 };
            let seq = self.ledger.intend(self.id, rows);
            let mut commit_sent = rows == 1;
            let answer = {
                let write = async {
                    if rows == 1 {
                        insert(client, self.id, seq).await
                    } else {
                        insert_pair(client, self.id, seq, &mut commit_sent).await
                    }
                };
                tokio::time::timeout(ANSWER_LIMIT, write).await
            };
            match answer {
                Ok(Ok(server)) => self.ledger.acknowledge(self.id, &server),
                Ok(Err(error)) => {
                    let code = refusal_of_statement(&error);
                    if code.is_some() || !commit_sent {
                        self.ledger.refuse(self.id);
                    }
                    return code.map_or(End::Cut, End::Refused);
                }
                Err(_) => {
                    if !commit_sent {
                        self.ledger.refuse(self.id);
                    }
                    return End::Unanswered;
                }
            }
            let _ = self.stop.run_until_cancelled(tokio::time::sleep(self.pace)).await;
        }
    }
}

/// The SQLSTATE of an answer that leaves the session alive, so that nothing was committed. A FATAL one says nothing about the
/// write: a server that shuts down may send it after the commit. Nor does class 08, which a pooler sends for a lost server.
fn refusal_of_statement(error: &Error) -> Option<String> {
    let answer = error.as_db_error()?;
    let code = answer.code().code();
    (answer.parsed_severity() == Some(Severity::Error) && !code.starts_with("08")).then(|| code.to_owned())
}

/// Returns when the server says that it is ready for the next statement, which is after the commit.
async fn insert(client: &Client, writer: u16, seq: i64) -> Result<String, Error> {
    let writer = i32::from(writer);
    let values: [(&(dyn ToSql + Sync), Type); 2] = [(&writer, Type::INT4), (&seq, Type::INT8)];
    let rows = client.query_typed(INSERT, &values).await?;
    rows.first().map_or(Ok(String::new()), server_of)
}

async fn insert_pair(client: &Client, writer: u16, seq: i64, commit_sent: &mut bool) -> Result<String, Error> {
    client.batch_execute("BEGIN").await?;
    insert(client, writer, seq).await?;
    let server = insert(client, writer, seq + 1).await?;
    *commit_sent = true;
    client.batch_execute("COMMIT").await?;
    Ok(server)
}

fn server_of(row: &Row) -> Result<String, Error> {
    row.try_get(0)
}
