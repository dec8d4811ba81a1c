//! The record on disk: append-only, hash-chained, durable before it is acknowledged, inspectable with `sqlite3`.
//!
//! The agent's ledger and the controller's journal are records. What the rows mean is theirs.
//!
//! Promised: a row that [`Record::append`] returned is read by every later [`Record::open`], whatever dies in between; a death
//! at any byte of a later write leaves all rows acknowledged before it, unchanged. Not promised: that the removal of the whole
//! record, or its replacement by an older copy of all its files, is noticed here; other hosts know it by its identity.

mod chain;
mod lock;
mod room;
#[cfg(test)]
mod tests;
mod writer;

use std::{
    fmt,
    marker::PhantomData,
    path::{Path, PathBuf},
    sync::Arc,
};

use rusqlite::{Connection, OpenFlags, config::DbConfig};
use serde::{Serialize, de::DeserializeOwned};

use crate::failure::{Effect, Failure};
use writer::Owner;

/// An event with its place in the record. `seq` begins at 2 (the first row is the record's birth); `at_ms` is Unix time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row<E> {
    pub seq: u64,
    pub at_ms: u64,
    pub version: u32,
    pub event: E,
}

/// An open record. Clones share it; the last one dropped closes it and lets go of the lock.
pub struct Record<E> {
    owner: Arc<Owner>,
    identity: Arc<str>,
    events: PhantomData<fn(E)>,
}

impl<E> Clone for Record<E> {
    fn clone(&self) -> Self {
        Self { owner: self.owner.clone(), identity: self.identity.clone(), events: PhantomData }
    }
}

impl<E> fmt::Debug for Record<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Record").field("identity", &self.identity).finish_non_exhaustive()
    }
}

impl<E: Serialize + DeserializeOwned> Record<E> {
    /// Creates the record, or opens it and verifies every row. `version` is that of `E`'s form: rows of an older one are read
    /// as they are, a newer one is refused. Only one process at a time has it open.
    pub fn open(path: &Path, kind: &str, version: u32) -> Result<(Self, Vec<Row<E>>), Failure> {
        prepare_directory(path)?;
        let lock = lock::take(path, kind)?;
        lock::create_private(path).map_err(|error| unreadable(path, error))?;
        let connection = connect(path)?;
        if chain::is_new(&connection, path)? {
            chain::give_birth(&connection, kind, version).map_err(|error| unwritten(path, &error))?;
            sync_directory(path)?;
        }
        let history = chain::read(&connection, path, kind, version)?;
        let rows = decode(path, history.rows)?;
        if let Err(failure) = room::reserve(&connection, path) {
            // An agent that comes back on a full disk must still be able to speak; who needs the room asks for it again.
            tracing::warn!(code = failure.code, "{failure}");
        }
        let owner = Owner::start(connection, path, version, history.head, lock)?;
        Ok((Self { owner: Arc::new(owner), identity: history.identity.into(), events: PhantomData }, rows))
    }

    /// The identity and the verified rows of a record that another process may have open.
    pub fn look(path: &Path, kind: &str, version: u32) -> Result<(String, Vec<Row<E>>), Failure> {
        let connection = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX)
            .map_err(|error| unreadable(path, error))?;
        connection.busy_timeout(BUSY).map_err(|error| unreadable(path, error))?;
        let history = chain::read(&connection, path, kind, version)?;
        Ok((history.identity, decode(path, history.rows)?))
    }

    /// Writes `event` down. It is durable once this returns. `Effect::None`: it was not written, and appending may be tried
    /// again. `Effect::Unknown`: this process can append no more; the next one to open the record sees what is there.
    pub async fn append(&self, event: E) -> Result<Row<E>, Failure> {
        let body = serde_json::to_string(&event).map_err(|error| {
            Failure::refused("RECORD_EVENT", format!("an event cannot be written as JSON: {error}"), "report this as a defect")
        })?;
        let written = self.owner.append(body).await?;
        Ok(Row { seq: written.seq, at_ms: written.at_ms, version: written.version, event })
    }

    /// Makes sure that the record can go on when the disk is full: a megabyte of appended rows, in place already. Call it
    /// before whatever must not stop half-way.
    pub async fn reserve(&self) -> Result<(), Failure> {
        self.owner.reserve().await
    }

    /// 128 random bits in hexadecimal, made with the file: a new record never answers for an old one.
    pub fn identity(&self) -> &str {
        &self.identity
    }
}

const BUSY: std::time::Duration = std::time::Duration::from_secs(5);

/// A connection for writing. On a disk without room for SQLite's shared index (32 KiB) it keeps the index in memory, and
/// `sqlite3` cannot look in for as long.
fn connect(path: &Path) -> Result<Connection, Failure> {
    match configure(path, "NORMAL") {
        Err(rusqlite::Error::SqliteFailure(error, _)) if lacks_room(&error) => configure(path, "EXCLUSIVE"),
        other => other,
    }
    .map_err(|error| unreadable(path, error))
}

fn configure(path: &Path, locking: &str) -> rusqlite::Result<Connection> {
    let connection = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
    connection.busy_timeout(BUSY)?;
    // The log file stays at its length when we leave: its blocks are part of the reserve.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
    connection.pragma_update(None, "locking_mode", locking)?;
    connection.pragma_update(None, "trusted_schema", false)?;
    connection.pragma_update(None, "journal_mode", "WAL")?;
    connection.pragma_update(None, "synchronous", "FULL")?;
    connection.pragma_update(None, "wal_autocheckpoint", room::CHECKPOINT_PAGES)?;
    connection.query_row("SELECT count(*) FROM sqlite_schema", [], |_| Ok(()))?;
    Ok(connection)
}

fn lacks_room(error: &rusqlite::ffi::Error) -> bool {
    error.code == rusqlite::ErrorCode::DiskFull || error.extended_code == rusqlite::ffi::SQLITE_IOERR_SHMSIZE
}

fn decode<E: DeserializeOwned>(path: &Path, rows: Vec<Row<String>>) -> Result<Vec<Row<E>>, Failure> {
    let decode = |row: Row<String>| match serde_json::from_str(&row.event) {
        Ok(event) => Ok(Row { seq: row.seq, at_ms: row.at_ms, version: row.version, event }),
        Err(error) => Err(unreadable(path, format!("row {}: {error}", row.seq))),
    };
    rows.into_iter().map(decode).collect()
}

/// The record's directory: made 0700, or refused when others could exchange the files in it.
fn prepare_directory(path: &Path) -> Result<(), Failure> {
    use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
    let directory = directory(path);
    let cannot = |error: std::io::Error| {
        let remedy = format!("make {} a directory that this user can write", directory.display());
        Failure::refused("RECORD_DIRECTORY", format!("{} cannot be used: {error}", directory.display()), remedy)
    };
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(&directory).map_err(cannot)?;
    let mode = std::fs::metadata(&directory).map_err(cannot)?.permissions().mode();
    if mode & 0o022 != 0 {
        return Err(Failure::refused(
            "RECORD_DIRECTORY",
            format!("{} can be written by others (mode {:o})", directory.display(), mode & 0o7777),
            format!("chmod 700 {}", directory.display()),
        ));
    }
    Ok(())
}

fn directory(path: &Path) -> PathBuf {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent.to_owned(),
        _ => PathBuf::from("."),
    }
}

/// A file that was just made survives a power cut only once its directory does (fsync(2)).
fn sync_directory(path: &Path) -> Result<(), Failure> {
    let sync = || std::fs::File::open(directory(path))?.sync_all();
    sync().map_err(|error| unreadable(path, error))
}

fn unreadable(path: &Path, why: impl fmt::Display) -> Failure {
    Failure::refused(
        "RECORD_UNREADABLE",
        format!("the record {} cannot be read: {why}", path.display()),
        "stop here and keep the file with its -wal as they are; look inside a copy with sqlite3",
    )
}

fn unwritten(path: &Path, error: &rusqlite::Error) -> Failure {
    let code = error.sqlite_error_code();
    if code == Some(rusqlite::ErrorCode::DiskFull) {
        let sentence = format!("the disk of {} is full", path.display());
        return Failure::refused("RECORD_FULL", sentence, "make room on that disk, then try again");
    }
    if code == Some(rusqlite::ErrorCode::DatabaseBusy) {
        let sentence = format!("another program keeps {} busy", path.display());
        return Failure::refused("RECORD_BUSY", sentence, "end the sqlite3 that has the record open, then try again");
    }
    Failure {
        effect: Effect::Unknown,
        ..Failure::refused(
            "RECORD_BROKEN",
            format!("{} cannot be written: {error}", path.display()),
            "look at the disk, then start again: what the record holds is read anew",
        )
    }
}
