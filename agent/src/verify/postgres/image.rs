//! The image of a row that is hashed: nothing that two servers could show differently enters it, and everything that they
//! could hold differently does.

use flytt_proto::failure::Failure;
use tokio_postgres::Client;

use super::{failure, rows};

/// How a row becomes one 64-bit number. Digests of different schemes or seeds have nothing to do with each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scheme {
    /// For servers of one major version, from 14 on, and of one encoding: the record hash over columns, of which those whose hash
    /// is weaker than identity are replaced by their binary form. Its first sum is linear over columns; only the second one sees
    /// values exchanged between rows.
    Record,
    /// For any two servers: the hash of the row in binary form (`record_send`), in which types of the user's own are text.
    Canonical,
    /// Like `Canonical`, for rows beyond 1 GB: each column is hashed by itself first. A single value may have up to 1 GB.
    ByColumn,
}

/// Three SQL expressions of one column of the row `t`.
pub(super) struct Column {
    record: String,
    canonical: String,
    bytes: String,
}

/// `source` selects number, name, type and collation of each column. None of them is an error of its own: a table may have none.
pub(super) async fn columns(client: &Client, source: &str) -> Result<Vec<Column>, Failure> {
    let answer = rows(client, &include_str!("columns.sql").replace("%COLUMNS%", source)).await?;
    let column = |row| match <[_; 3]>::try_from(row) {
        Ok([Some(record), Some(canonical), Some(bytes)]) => Ok(Column { record, canonical, bytes }),
        _ => Err(failure::unreadable("a column without an expression")),
    };
    answer.into_iter().map(column).collect()
}

/// The SQL expression of the row's hash, a `bigint`. Bytes are hashed in an array, as no function that hashes them can be called.
pub(super) fn hash(columns: &[Column], scheme: Scheme, seed: i64) -> String {
    let row = |image: fn(&Column) -> String| format!("row({})", columns.iter().map(image).collect::<Vec<_>>().join(", "));
    let of_bytes = |bytes: &str| format!("hash_array_extended(array[{bytes}], {seed})");
    match scheme {
        Scheme::Record => format!("hash_record_extended({}, {seed})", row(|column| column.record.clone())),
        Scheme::Canonical => of_bytes(&format!("record_send({})", row(|column| column.canonical.clone()))),
        Scheme::ByColumn => {
            let hashes: Vec<String> = columns.iter().map(|column| of_bytes(&column.bytes)).collect();
            of_bytes(&format!("record_send(row({}))", hashes.join(", ")))
        }
    }
}

/// Count and sums over `hashes`, a query with the column `h`. The second sum is over the product of the hash's halves (less one
/// bit, so that it fits), which no longer is linear in the hash.
pub(super) const SUMS: &str = "count(*), coalesce(sum(h), 0), coalesce(sum((h & 4294967295) * ((h >> 32) & 2147483647)), 0)";
