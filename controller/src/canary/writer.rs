//! One client of the application: it writes, takes the answer down, and comes back at once when it is cut off. It judges
//! nothing; which answer counts as what is decided by the server's own words and by what had been sent.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;

use super::{
    connection::{Connection, Refusal},
    ledger::Ledger,
    session::{Fault, Session},
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
    /// By SQLSTATE or error number: logins, and statements.
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
    /// The server refused a statement, with this code.
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

    async fn use_up(&self, mut session: Session, count: &mut u64) {
        match self.write_until_the_end(&mut session, count).await {
            End::Stopped => session.close().await,
            End::Cut => self.tally.counts().cut += 1,
            End::Unanswered => self.tally.counts().unanswered += 1,
            End::Refused(code) => *self.tally.counts().statements.entry(code).or_default() += 1,
        }
    }

    /// `count` goes on over sessions, so that short ones see pairs as well.
    async fn write_until_the_end(&self, session: &mut Session, count: &mut u64) -> End {
        loop {
            if self.stop.is_cancelled() {
                return End::Stopped;
            }
            // A session that ended while idle cost no write.
            if session.is_closed() {
                return End::Cut;
            }
            *count += 1;
            let rows = if count.is_multiple_of(PAIR_EVERY) { 2 } else { 1 };
            let seq = self.ledger.intend(self.id, rows);
            let mut commit_sent = rows == 1;
            let answer = {
                let write = async {
                    if rows == 1 {
                        session.insert(self.id, seq).await
                    } else {
                        insert_pair(session, self.id, seq, &mut commit_sent).await
                    }
                };
                tokio::time::timeout(ANSWER_LIMIT, write).await
            };
            match answer {
                Ok(Ok(server)) => self.ledger.acknowledge(self.id, &server),
                Ok(Err(Fault::Refused { code, .. })) => {
                    self.ledger.refuse(self.id);
                    return End::Refused(code);
                }
                Ok(Err(Fault::Broken(_))) => {
                    if !commit_sent {
                        self.ledger.refuse(self.id);
                    }
                    return End::Cut;
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

async fn insert_pair(session: &mut Session, writer: u16, seq: i64, commit_sent: &mut bool) -> Result<String, Fault> {
    session.begin().await?;
    session.insert(writer, seq).await?;
    let server = session.insert(writer, seq + 1).await?;
    *commit_sent = true;
    session.commit().await?;
    Ok(server)
}
