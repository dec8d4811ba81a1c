//! What the target has of a copy. Which snapshot it is of, and all that the source said about it, is a file of the agent; which
//! pieces are there stands in the target's server, written in one transaction with their rows.

use std::{
    collections::BTreeMap,
    path::Path,
    sync::atomic::{AtomicU64, Ordering},
};

use flytt_proto::{durable, failure::Failure};
use serde::{Deserialize, Serialize};

use super::Manifest;
use crate::engine::{
    Progress,
    mysql_family::{dump::schema::AccountName, quote::identifier, session::Session},
};

/// Owner only: it holds what accounts' passwords are checked against.
const MODE: u32 = 0o600;

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Record {
    pub(super) manifest: Manifest,
    /// Accounts that the target had before: they are not dropped with the copy.
    pub(super) accounts: Vec<AccountName>,
    pub(super) stage: Stage,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Stage {
    Rows,
    /// All rows are there, and the source's schema was the same to the end.
    Rest,
    Done,
}

impl Record {
    pub(super) fn read(path: &Path) -> Result<Option<Self>, Failure> {
        match std::fs::read(path) {
            Ok(bytes) => serde_json::from_slice(&bytes).map(Some).map_err(|error| disk(path, &error)),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(disk(path, &error)),
        }
    }

    pub(super) fn write(&self, path: &Path) -> Result<(), Failure> {
        let bytes = serde_json::to_vec(self).map_err(|error| disk(path, &error))?;
        if let Some(parent) = path.parent() {
            durable::directory(parent, 0o700).map_err(|error| disk(path, &error))?;
        }
        durable::write(path, &bytes, MODE).map_err(|error| disk(path, &error))
    }

    pub(super) fn remove(path: &Path) -> Result<(), Failure> {
        durable::remove(path).map_err(|error| disk(path, &error))
    }
}

fn disk(path: &Path, error: &dyn std::fmt::Display) -> Failure {
    Failure::unknown("DISK", format!("{}: {error}", path.display()), "see to the disk and the file's owner")
}

/// What has come of a copy, also of pieces that are not there yet.
#[derive(Debug, Default)]
pub(super) struct Come {
    bytes: AtomicU64,
    rows: AtomicU64,
    /// What the source guessed of the pieces that are there, and what they turned out to be.
    guessed: AtomicU64,
    whole: AtomicU64,
}

impl Come {
    pub(super) fn add(&self, bytes: u64, rows: u64) {
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
        self.rows.fetch_add(rows, Ordering::Relaxed);
    }

    /// A piece that comes once more.
    pub(super) fn take(&self, bytes: u64, rows: u64) {
        self.bytes.fetch_sub(bytes, Ordering::Relaxed);
        self.rows.fetch_sub(rows, Ordering::Relaxed);
    }

    pub(super) fn is_whole(&self, manifest: &Manifest, piece: usize, bytes: u64) {
        self.guessed.fetch_add(manifest.pieces.get(piece).map_or(0, |piece| piece.bytes), Ordering::Relaxed);
        self.whole.fetch_add(bytes, Ordering::Relaxed);
    }

    /// The server guesses bytes of its files, and rows travel as texts: what is there says by how much the guess is off for the rest.
    pub(super) fn so_far(&self, manifest: &Manifest) -> Progress {
        let (done, rows) = (self.bytes.load(Ordering::Relaxed), self.rows.load(Ordering::Relaxed));
        let (guessed, whole) = (self.guessed.load(Ordering::Relaxed), self.whole.load(Ordering::Relaxed));
        let all: u64 = manifest.pieces.iter().map(|piece| piece.bytes).sum();
        let scale = if guessed == 0 { 1.0 } else { whole as f64 / guessed as f64 };
        let total = whole + (all.saturating_sub(guessed) as f64 * scale) as u64;
        Progress { done, total: total.max(done), rows }
    }
}

/// The table of pieces, in a database of the copy's own.
pub(super) fn table(database: &str) -> String {
    format!("{}.loaded", identifier(database))
}

pub(super) async fn prepare(session: &Session, database: &str) -> Result<(), Failure> {
    session.run(&format!("create database if not exists {}", identifier(database))).await?;
    let columns = "snapshot varbinary(64) not null, piece int unsigned not null, count bigint unsigned not null, \
                   bytes bigint unsigned not null, primary key (snapshot, piece)";
    session.run(&format!("create table if not exists {} ({columns}) engine = InnoDB", table(database))).await
}

/// Pieces that are there, with the bytes that made them and their rows.
pub(super) async fn loaded(session: &Session, database: &str, snapshot: &str) -> Result<BTreeMap<usize, (u64, u64)>, Failure> {
    // The name is hexadecimal digits.
    let sql = format!("select piece, bytes, count from {} where snapshot = '{snapshot}'", table(database));
    let number = |value: Option<String>| value.and_then(|value| value.parse::<u64>().ok()).unwrap_or(0);
    let pair = |row: Vec<Option<String>>| {
        let mut row = row.into_iter().map(number);
        Some((usize::try_from(row.next()?).ok()?, (row.next()?, row.next()?)))
    };
    Ok(session.rows(&sql).await?.into_iter().filter_map(pair).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::mysql_family::dump::{rows::Piece, schema::Schema};

    #[test]
    fn what_is_left_is_guessed_by_what_has_come() {
        let piece = |bytes| Piece { table: 0, from: None, until: None, bytes, is_whole: true };
        let manifest = Manifest {
            snapshot: "1".into(),
            lease_ms: 0,
            position: String::new(),
            sessions: 2,
            schema: Schema::default(),
            pieces: vec![piece(600), piece(300), piece(100)],
        };
        let come = Come::default();
        assert_eq!(come.so_far(&manifest), Progress { done: 0, total: 1000, rows: 0 });
        come.add(200, 20);
        come.add(300, 30);
        come.is_whole(&manifest, 0, 300);
        assert_eq!(come.so_far(&manifest), Progress { done: 500, total: 500, rows: 50 });
        // The other one breaks, and comes again.
        come.take(200, 20);
        assert_eq!(come.so_far(&manifest), Progress { done: 300, total: 500, rows: 30 });
    }
}
