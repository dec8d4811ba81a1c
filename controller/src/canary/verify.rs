//! The comparison of what stands in the canary's table with what the ledger says. It is a pure function, so that seeded
//! violations can prove that it finds them.

use std::{collections::HashMap, fmt};

use flytt_proto::failure::{Effect, Failure};
use serde::{Deserialize, Serialize};

use super::{
    connection::Connection,
    ledger::{History, Outcome},
    mysql, postgres,
    session::{Fault, Session},
};

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

fn refused(what: &str, connection: &Connection, fault: Fault) -> Failure {
    let (code, why, effect) = match fault {
        Fault::Refused { code, why } => (code, why, Effect::None),
        Fault::Broken(why) => (String::new(), why, Effect::Unknown),
    };
    if [postgres::EXISTS, mysql::EXISTS].contains(&code.as_str()) {
        return Failure::refused(
            "CANARY_EXISTS",
            format!("the schema flytt_canary is already there at {connection}"),
            "let the other canary end; where one died, drop the schema flytt_canary",
        );
    }
    let sentence = format!("the canary cannot {what} at {connection}: {}", why.escape_debug());
    Failure::refused("CANARY_DENIED", sentence, connection.remedy()).with_effect(effect)
}

/// In a session of its own.
async fn with<T>(
    connection: &Connection,
    what: &str,
    work: impl AsyncFnOnce(&mut Session) -> Result<T, Fault>,
) -> Result<T, Failure> {
    let mut session = connection.open().await.map_err(|refusal| refusal.into_failure(connection))?;
    let done = work(&mut session).await.map_err(|fault| refused(what, connection, fault));
    session.close().await;
    done
}

pub(super) async fn make_schema(connection: &Connection) -> Result<(), Failure> {
    with(connection, "make its schema", Session::make).await
}

pub(super) async fn drop_schema(connection: &Connection) -> Result<(), Failure> {
    with(connection, "remove its schema", Session::remove).await
}

pub(super) async fn verify(history: &History, on: &Connection) -> Result<Verification, Failure> {
    let read = async |session: &mut Session| Ok((session.server().await?, session.keys().await?));
    let (server, keys) = with(on, "read its rows", read).await?;
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
