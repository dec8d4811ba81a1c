//! The rows as they lie in the file, and the chain over them. An edited, removed or exchanged row shows.

use std::path::Path;

use rusqlite::{Connection, params};

use super::{Row, unreadable};
use crate::failure::Failure;

/// Form of the tables. Another number is another program's, or a newer one's.
const LAYOUT: u32 = 1;

/// `room` is filled and emptied to make free pages. The triggers stop a careless hand, the chain shows a careful one.
const TABLES: &str = "
    CREATE TABLE record (
        seq     INTEGER PRIMARY KEY AUTOINCREMENT,
        at      INTEGER NOT NULL, -- Unix time, ms
        version INTEGER NOT NULL, -- of the body's form
        body    TEXT    NOT NULL, -- JSON
        hash    TEXT    NOT NULL  -- BLAKE3 of: the hash before, seq, at (u64 LE), version (u32 LE), body
    ) STRICT;
    CREATE TABLE room (filler BLOB) STRICT;
    CREATE TRIGGER no_update BEFORE UPDATE ON record BEGIN SELECT raise(ABORT, 'the record is append-only'); END;
    CREATE TRIGGER no_delete BEFORE DELETE ON record BEGIN SELECT raise(ABORT, 'the record is append-only'); END;
";

/// The first row.
#[derive(serde::Serialize, serde::Deserialize)]
struct Birth {
    record: String,
    identity: String,
}

/// Where the chain stands.
#[derive(Clone, Copy, Debug)]
pub(super) struct Head {
    pub(super) seq: u64,
    hash: blake3::Hash,
}

impl Head {
    const NONE: Head = Head { seq: 0, hash: blake3::Hash::from_bytes([0; 32]) };

    fn next(&self, at: u64, version: u32, body: &str) -> Head {
        let seq = self.seq + 1;
        let mut hasher = blake3::Hasher::new();
        hasher.update(self.hash.as_bytes()).update(&seq.to_le_bytes()).update(&at.to_le_bytes());
        hasher.update(&version.to_le_bytes()).update(body.as_bytes());
        Head { seq, hash: hasher.finalize() }
    }
}

pub(super) struct History {
    pub(super) identity: String,
    pub(super) rows: Vec<Row<String>>,
    pub(super) head: Head,
}

/// Whether nothing was ever written. A birth is one transaction, so a death inside it leaves nothing.
pub(super) fn is_new(connection: &Connection, path: &Path) -> Result<bool, Failure> {
    let tables: u32 = connection
        .query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))
        .map_err(|error| unreadable(path, error))?;
    Ok(tables == 0)
}

pub(super) fn give_birth(connection: &Connection, kind: &str, version: u32) -> rusqlite::Result<()> {
    let mut identity = [0; 16];
    aws_lc_rs::rand::fill(&mut identity).expect("the operating system gives random bytes");
    let birth = Birth { record: kind.into(), identity: data_encoding::HEXLOWER.encode(&identity) };
    let body = serde_json::to_string(&birth).expect("two strings are JSON");
    let transaction = connection.unchecked_transaction()?;
    transaction.execute_batch(TABLES)?;
    transaction.pragma_update(None, "user_version", LAYOUT)?;
    append(&transaction, &Head::NONE, now(), version, &body)?;
    transaction.commit()
}

/// One row more; durable when the surrounding transaction is (a bare statement is one of its own).
pub(super) fn append(connection: &Connection, head: &Head, at: u64, version: u32, body: &str) -> rusqlite::Result<Head> {
    let next = head.next(at, version, body);
    connection
        .prepare_cached("INSERT INTO record (seq, at, version, body, hash) VALUES (?1, ?2, ?3, ?4, ?5)")?
        .execute(params![next.seq.cast_signed(), at.cast_signed(), version, body, next.hash.to_hex().as_str()])?;
    Ok(next)
}

pub(super) fn now() -> u64 {
    let since = std::time::UNIX_EPOCH.elapsed().unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// Every row, verified, the birth apart.
pub(super) fn read(connection: &Connection, path: &Path, kind: &str, version: u32) -> Result<History, Failure> {
    let broken = |error: rusqlite::Error| unreadable(path, error);
    let layout: u32 = connection.pragma_query_value(None, "user_version", |row| row.get(0)).map_err(broken)?;
    if layout > LAYOUT {
        return Err(newer(path, &format!("its tables have form {layout}, this program knows {LAYOUT}")));
    }
    if layout == 0 {
        return Err(unreadable(path, "it is not a record of flytt"));
    }
    let mut statement = connection.prepare("SELECT seq, at, version, body, hash FROM record ORDER BY seq").map_err(broken)?;
    let mut stored = statement.query([]).map_err(broken)?;
    let (mut head, mut rows) = (Head::NONE, Vec::new());
    while let Some(row) = stored.next().map_err(broken)? {
        let read = || -> rusqlite::Result<(Row<String>, String)> {
            let (seq, at): (i64, i64) = (row.get(0)?, row.get(1)?);
            let (seq, at_ms) = (seq.cast_unsigned(), at.cast_unsigned());
            Ok((Row { seq, at_ms, version: row.get(2)?, event: row.get(3)? }, row.get(4)?))
        };
        let (row, hash) = read().map_err(|_| changed(path, head.seq + 1))?;
        let next = head.next(row.at_ms, row.version, &row.event);
        if row.seq != next.seq || hash != next.hash.to_hex().as_str() {
            return Err(changed(path, next.seq));
        }
        if row.version > version {
            return Err(newer(path, &format!("row {} has form {}, this program knows {version}", row.seq, row.version)));
        }
        rows.push(row);
        head = next;
    }
    // SQLite keeps the highest number it ever gave out, so the loss of the last rows shows, too.
    let given: Option<i64> = connection
        .query_row("SELECT max(seq) FROM sqlite_sequence WHERE name = 'record'", [], |row| row.get(0))
        .map_err(broken)?;
    if given.unwrap_or(0) != head.seq.cast_signed() || rows.is_empty() {
        return Err(changed(path, head.seq + 1));
    }
    let birth: Birth = serde_json::from_str(&rows.remove(0).event).map_err(|_| changed(path, 1))?;
    if birth.record != kind {
        return Err(unreadable(path, format!("it is a {}, not a {kind}", birth.record)));
    }
    Ok(History { identity: birth.identity, rows, head })
}

fn changed(path: &Path, seq: u64) -> Failure {
    Failure::refused(
        "RECORD_CHANGED",
        format!("row {seq} of the record {} is not what was written there", path.display()),
        "nothing more is done on the word of this record (safe stop): keep the file, compare it with a backup and with the \
         other hosts' records; see docs/runbook.md",
    )
}

fn newer(path: &Path, how: &str) -> Failure {
    Failure::refused(
        "RECORD_NEWER",
        format!("the record {} is of a newer version: {how}", path.display()),
        "use the version of flytt that wrote it, or a later one",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A record is read by later versions: whatever changes this value leaves every old record unreadable.
    #[test]
    fn the_chain_is_what_it_always_was() {
        let head = Head::NONE.next(1_700_000_000_000, 1, r#"{"record":"ledger"}"#).next(1_700_000_000_001, 2, "{}");
        assert_eq!(
            (head.seq, head.hash.to_hex().as_str()),
            (2, "181c124109343704b03c74dbfe532cee74889461d00e643914609ac3eacd7ead")
        );
    }
}
