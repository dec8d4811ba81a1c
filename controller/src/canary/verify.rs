//! The canary's table, and the comparison of what stands in it with what the ledger says. The comparison is a pure function,
//! so that seeded violations can prove that it finds them.

use std::{collections::HashMap, fmt};

use flytt_proto::failure::{Effect, Failure};
use futures::TryStreamExt;
use serde::{Deserialize, Serialize};
use tokio_postgres::Error;

use super::{
    connection::Connection,
    ledger::{History, Outcome},
};

/// Each row says which server took it: address and port, as that server itself sees them.
pub(super) const INSERT: &str = "INSERT INTO flytt_canary.written (writer, seq, server) VALUES ($1, $2, \
     coalesce(host(inet_server_addr()), 'socket') || ':' || current_setting('port')) RETURNING server";

const MAKE: &str = "CREATE SCHEMA flytt_canary; \
     CREATE TABLE flytt_canary.written (writer integer, seq bigint, server text NOT NULL, PRIMARY KEY (writer, seq))";
/// No CASCADE: what somebody else put there is not ours to remove.
const DROP: &str = "DROP TABLE IF EXISTS flytt_canary.written; DROP SCHEMA IF EXISTS flytt_canary";
const WHO: &str = "SELECT coalesce(host(inet_server_addr()), 'socket') || ':' || current_setting('port')";
/// From the table itself: a damaged index must not hide a row, nor a second copy of it.
const FROM_THE_TABLE: &str = "SET enable_indexscan = off; SET enable_indexonlyscan = off; SET enable_bitmapscan = off";

/// A row's key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Row {
    pub writer: u16,
    pub seq: i64,
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.writer, self.seq)
    }
}

/// What the comparison found. Rows are counted, not transactions; the lists are sorted.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verification {
    /// The server that was asked, as it calls itself.
    pub server: String,
    pub acknowledged: u64,
    pub present: u64,
    /// Acknowledged, and not there.
    pub lost: Vec<Row>,
    /// There more than once.
    pub doubled: Vec<Row>,
    /// There, but never sent, or (as text, where no row of ours has such a key) not even possible.
    pub never_sent: Vec<String>,
    /// There, although the server had answered that it is not.
    pub refused_yet_present: Vec<Row>,
    /// First rows of two-row transactions of which one row is there and the other is not.
    pub torn: Vec<Row>,
    /// Rows whose answer never came: both are right.
    pub maybe_present: u64,
    pub maybe_absent: u64,
}

impl Verification {
    /// Every acknowledged row is there exactly once, and nothing that must not be.
    pub fn is_clean(&self) -> bool {
        let Self {
            server: _,
            acknowledged: _,
            present: _,
            lost,
            doubled,
            never_sent,
            refused_yet_present,
            torn,
            maybe_present: _,
            maybe_absent: _,
        } = self;
        [lost, doubled, refused_yet_present, torn].iter().all(|list| list.is_empty()) && never_sent.is_empty()
    }
}

/// Compares the ledger with the keys found in the table.
pub(super) fn compare(history: &History, server: String, found: impl IntoIterator<Item = (i32, i64)>) -> Verification {
    let mut result = Verification { server, ..Verification::default() };
    let mut counts: HashMap<Row, u32> = HashMap::new();
    for (writer, seq) in found {
        result.present += 1;
        match u16::try_from(writer) {
            Ok(writer) => *counts.entry(Row { writer, seq }).or_default() += 1,
            Err(_) => result.never_sent.push(format!("{writer}/{seq}")),
        }
    }
    for (writer, writes) in (0..).zip(&history.writers) {
        for write in writes {
            let first = Row { writer, seq: write.seq };
            let mut there = 0;
            for seq in write.seq..write.seq + i64::from(write.rows) {
                let row = Row { writer, seq };
                let copies = counts.remove(&row).unwrap_or(0);
                there += u8::from(copies > 0);
                if copies > 1 {
                    result.doubled.push(row);
                }
                match (write.outcome, copies > 0) {
                    (Outcome::Acknowledged { .. }, true) => result.acknowledged += 1,
                    (Outcome::Acknowledged { .. }, false) => {
                        result.acknowledged += 1;
                        result.lost.push(row);
                    }
                    (Outcome::Refused, true) => result.refused_yet_present.push(row),
                    (Outcome::Refused, false) => {}
                    (Outcome::Maybe, true) => result.maybe_present += 1,
                    (Outcome::Maybe, false) => result.maybe_absent += 1,
                }
            }
            if there != 0 && there != write.rows {
                result.torn.push(first);
            }
        }
    }
    result.never_sent.extend(counts.keys().map(Row::to_string));
    result.never_sent.sort();
    result
}

fn refused(what: &str, connection: &Connection, error: &Error) -> Failure {
    let (code, why) = match error.as_db_error() {
        Some(answer) => (answer.code().code(), answer.message().escape_debug().to_string()),
        None => ("", std::error::Error::source(error).map_or_else(|| error.to_string(), ToString::to_string)),
    };
    if code == "42P06" {
        return Failure::refused(
            "CANARY_EXISTS",
            format!("the schema flytt_canary is already there at {connection}"),
            "let the other canary end; where one died, drop the schema flytt_canary",
        );
    }
    let effect = if code.is_empty() { Effect::Unknown } else { Effect::None };
    Failure::refused(
        "CANARY_DENIED",
        format!("the canary cannot {what} at {connection}: {why}"),
        "grant the account in the connection file CREATE on its database",
    )
    .with_effect(effect)
}

async fn run(connection: &Connection, what: &str, sql: &str) -> Result<(), Failure> {
    let session = connection.open().await.map_err(|refusal| refusal.into_failure(connection))?;
    let done = session.client.batch_execute(sql).await.map_err(|error| refused(what, connection, &error));
    session.close().await;
    done
}

pub(super) async fn make_schema(connection: &Connection) -> Result<(), Failure> {
    run(connection, "make its schema", MAKE).await
}

pub(super) async fn drop_schema(connection: &Connection) -> Result<(), Failure> {
    run(connection, "remove its schema", DROP).await
}

pub(super) async fn verify(history: &History, on: &Connection) -> Result<Verification, Failure> {
    let session = on.open().await.map_err(|refusal| refusal.into_failure(on))?;
    let read = async {
        session.client.batch_execute(FROM_THE_TABLE).await?;
        let server: String = session.client.query_one(WHO, &[]).await?.try_get(0)?;
        let no_values: [&str; 0] = [];
        let rows = session.client.query_raw("SELECT writer, seq FROM flytt_canary.written", no_values).await?;
        let keys: Vec<(i32, i64)> = rows.and_then(async |row| Ok((row.try_get(0)?, row.try_get(1)?))).try_collect().await?;
        Ok((server, keys))
    };
    let (server, keys) = read.await.map_err(|error| refused("read its rows", on, &error))?;
    session.close().await;
    Ok(compare(history, server, keys))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{super::ledger::Write, *};

    const ACK: Outcome = Outcome::Acknowledged { at: Duration::ZERO, server: 0 };

    /// Writer 0: row 1 acknowledged, rows 2+3 acknowledged as one, row 4 maybe, row 5 refused, rows 6+7 maybe as one.
    fn history() -> History {
        let write = |seq, rows, outcome| Write { seq, rows, sent: Duration::ZERO, outcome };
        let writes = vec![
            write(1, 1, ACK),
            write(2, 2, ACK),
            write(4, 1, Outcome::Maybe),
            write(5, 1, Outcome::Refused),
            write(6, 2, Outcome::Maybe),
        ];
        History {
            started: jiff::Timestamp::UNIX_EPOCH,
            length: Duration::ZERO,
            writers: vec![writes],
            servers: vec!["a:1".into()],
        }
    }

    fn found(keys: &[(i32, i64)]) -> Verification {
        compare(&history(), "a:1".into(), keys.iter().copied())
    }

    fn row(seq: i64) -> Row {
        Row { writer: 0, seq }
    }

    #[test]
    fn what_may_be_there_is_clean_with_and_without_it() {
        let least = found(&[(0, 1), (0, 2), (0, 3)]);
        assert!(least.is_clean(), "{least:?}");
        assert_eq!((least.acknowledged, least.present, least.maybe_present, least.maybe_absent), (3, 3, 0, 3));
        let most = found(&[(0, 1), (0, 2), (0, 3), (0, 4), (0, 6), (0, 7)]);
        assert!(most.is_clean(), "{most:?}");
        assert_eq!((most.maybe_present, most.maybe_absent), (3, 0));
    }

    #[test]
    fn each_seeded_violation_is_found_and_named() {
        let lost = found(&[(0, 2), (0, 3)]);
        assert!(!lost.is_clean());
        assert_eq!(lost.lost, [row(1)]);

        let doubled = found(&[(0, 1), (0, 1), (0, 2), (0, 3)]);
        assert!(!doubled.is_clean());
        assert_eq!(doubled.doubled, [row(1)]);

        for (stranger, shown) in [((0, 8), "0/8"), ((1, 1), "1/1"), ((-1, 1), "-1/1"), ((70_000, 1), "70000/1")] {
            let strange = found(&[(0, 1), (0, 2), (0, 3), stranger]);
            assert!(!strange.is_clean());
            assert_eq!(strange.never_sent, [shown]);
        }

        let refused = found(&[(0, 1), (0, 2), (0, 3), (0, 5)]);
        assert!(!refused.is_clean());
        assert_eq!(refused.refused_yet_present, [row(5)]);

        let torn = found(&[(0, 1), (0, 2), (0, 3), (0, 7)]);
        assert!(!torn.is_clean());
        assert_eq!((&torn.torn[..], torn.lost.len()), (&[row(6)][..], 0));
        let torn_and_lost = found(&[(0, 1), (0, 2)]);
        assert_eq!((&torn_and_lost.torn[..], &torn_and_lost.lost[..]), (&[row(2)][..], &[row(3)][..]));
    }
}
