//! What the target has of a copy. Which snapshot it is of, and all that the source said about it, is a file of the agent; which
//! pieces are there stands in the target's server, written in one transaction with their rows.

use std::{collections::BTreeMap, path::Path};

use flytt_proto::{durable, failure::Failure};
use serde::{Deserialize, Serialize};

use super::Manifest;
use crate::engine::mysql_family::{dump::schema::AccountName, quote::identifier, session::Session};

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

/// Pieces that are there, with the bytes that made them.
pub(super) async fn loaded(session: &Session, database: &str, snapshot: &str) -> Result<BTreeMap<usize, u64>, Failure> {
    // The name is hexadecimal digits.
    let sql = format!("select piece, bytes from {} where snapshot = '{snapshot}'", table(database));
    let number = |value: Option<String>| value.and_then(|value| value.parse::<u64>().ok()).unwrap_or(0);
    let pair = |row: Vec<Option<String>>| {
        let mut row = row.into_iter().map(number);
        Some((usize::try_from(row.next()?).ok()?, row.next()?))
    };
    Ok(session.rows(&sql).await?.into_iter().filter_map(pair).collect())
}
