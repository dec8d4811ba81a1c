//! Digests by PostgreSQL 12 and later: of tables as a whole, by ranges of a key, or by ranges of pages.
//!
//! All of it reads with the rights of a superuser in a session that [`prepare`] was called on, in the database that it is
//! connected to; which snapshot that session has is its owner's concern. Every read can fail with `SERVER_GONE`, `NOT_ALLOWED`,
//! `IN_USE` (the table is locked, or a standby's replay ended the read), `SQL_REFUSED` and `UNREADABLE`; none changes anything.

mod failure;
mod image;
mod objects;
mod session;
mod tables;
mod trial;

use flytt_proto::failure::Failure;
use tokio_postgres::{Client, SimpleQueryMessage};

use self::image::SUMS;
pub use self::{
    image::Scheme,
    objects::{objects, of_the_server},
    session::Session,
    tables::tables,
    trial::{self_test, trial},
};
use super::{Digest, Image, Range, RowHash, Table};

/// Gives a session, outside of a transaction, the settings under which digests of all servers mean the same, and makes it
/// read-only. They stay for the session's life: it is of no use for anything else.
///
/// # Errors
/// See the module.
pub async fn prepare(client: &Client) -> Result<(), Failure> {
    rows(client, include_str!("postgres/settings.sql")).await.map(drop)
}

/// Of the rows of `range`, each hashed by `scheme` with `seed`. Both sides of a comparison take the same ones.
///
/// Ranges of pages mean the same on physical copies only; before version 14 each one reads the whole table.
///
/// # Errors
/// `ROW_TOO_LARGE` when a row's image would exceed 1 GB: then the table can be compared by [`Scheme::ByColumn`]. Else see the
/// module.
pub async fn digest(client: &Client, table: &Table, range: &Range, scheme: Scheme, seed: i64) -> Result<Digest, Failure> {
    let hash = hash(client, table, scheme, seed).await?;
    // Without OFFSET 0 the hash would be computed anew for each sum.
    let sql =
        format!("select {SUMS} from (select {hash} h from only {} t{} offset 0) hashes", name(table), condition(table, range));
    digest_of(rows(client, &sql).await?.into_iter().next().unwrap_or_default())
}

async fn hash(client: &Client, table: &Table, scheme: Scheme, seed: i64) -> Result<String, Failure> {
    let source = format!(
        "select attnum, attname, atttypid, attcollation from pg_attribute \
         where attrelid = {}::regclass and attnum > 0 and not attisdropped and attgenerated <> 'v'",
        literal(&name(table))
    );
    Ok(image::hash(&image::columns(client, &source).await?, scheme, seed))
}

/// A hash of each row of `range`, in the order of their keys; no more than one more than `most`.
///
/// # Errors
/// As [`digest`].
pub async fn row_hashes(
    client: &Client,
    table: &Table,
    range: &Range,
    scheme: Scheme,
    seed: i64,
    most: usize,
) -> Result<Vec<RowHash>, Failure> {
    let hash = hash(client, table, scheme, seed).await?;
    let key = key_or_place(table);
    let texts: Vec<String> = key.iter().map(|column| format!("{column}::text")).collect();
    let sql = format!(
        "select {}, {hash} from only {} t{} order by {} limit {}",
        texts.join(", "),
        name(table),
        condition(table, range),
        key.join(", "),
        most + 1
    );
    let of_row = |row: Vec<Option<String>>| {
        let mut key: Vec<String> = row.into_iter().flatten().collect();
        key.pop().map(|hash| RowHash { key, hash }).ok_or_else(|| failure::unreadable("a row without a hash"))
    };
    rows(client, &sql).await?.into_iter().map(of_row).collect()
}

/// The row of this key, or at this place; `None` when there is none.
///
/// # Errors
/// See the module.
pub async fn row(client: &Client, table: &Table, values: &[String]) -> Result<Option<Image>, Failure> {
    let literals: Vec<String> = values.iter().map(|value| literal(value)).collect();
    let sql =
        format!("select * from only {} t where ({}) = ({})", name(table), key_or_place(table).join(", "), literals.join(", "));
    for message in client.simple_query(&sql).await.map_err(|error| failure::read(&error))? {
        if let SimpleQueryMessage::Row(row) = message {
            let value =
                |(at, column): (usize, &tokio_postgres::SimpleColumn)| (column.name().to_owned(), row.get(at).map(str::to_owned));
            return Ok(Some(row.columns().iter().enumerate().map(value).collect()));
        }
    }
    Ok(None)
}

/// The key of the `count`th row of `within`, a range of keys: where a part of that many rows ends. `None` when fewer are there,
/// so that the last part ends where the range does. `table` has a key.
///
/// # Errors
/// See the module.
pub async fn next_key(client: &Client, table: &Table, within: &Range, count: u64) -> Result<Option<Vec<String>>, Failure> {
    let columns = key(table);
    let texts: Vec<String> = columns.iter().map(|column| format!("{column}::text")).collect();
    let sql = format!(
        "select {} from only {} t{} order by {} offset {} limit 1",
        texts.join(", "),
        name(table),
        condition(table, within),
        columns.join(", "),
        count.saturating_sub(1)
    );
    Ok(rows(client, &sql).await?.into_iter().next().map(|row| row.into_iter().flatten().collect()))
}

/// How many physical pages the table has now; it may have more in a moment, so the last range is open.
///
/// # Errors
/// See the module.
pub async fn pages(client: &Client, table: &Table) -> Result<u64, Failure> {
    let name = literal(&name(table));
    let sql = format!("select pg_relation_size({name}::regclass) / current_setting('block_size')::int");
    let text = rows(client, &sql).await?.into_iter().flatten().next().flatten().unwrap_or_default();
    text.parse().map_err(|_| failure::unreadable(&text))
}

fn condition(table: &Table, range: &Range) -> String {
    let bounds = match range {
        Range::Whole => Vec::new(),
        Range::Keys { after, up_to } => {
            let row = format!("({})", key(table).join(", "));
            let bound = |sign: &str, values: &Option<Vec<String>>| {
                let literals: Vec<String> = values.as_ref()?.iter().map(|value| literal(value)).collect();
                Some(format!("{row} {sign} ({})", literals.join(", ")))
            };
            [bound(">", after), bound("<=", up_to)].into_iter().flatten().collect()
        }
        Range::Pages { from, before } => {
            let start = format!("t.ctid >= '({from},0)'::tid");
            std::iter::once(start).chain(before.map(|page| format!("t.ctid < '({page},0)'::tid"))).collect()
        }
    };
    if bounds.is_empty() { String::new() } else { format!(" where {}", bounds.join(" and ")) }
}

fn key_or_place(table: &Table) -> Vec<String> {
    if table.key.is_empty() { vec!["t.ctid".to_owned()] } else { key(table) }
}

fn key(table: &Table) -> Vec<String> {
    table.key.iter().map(|column| format!("t.{}", identifier(column))).collect()
}

fn name(table: &Table) -> String {
    format!("{}.{}", identifier(&table.schema), identifier(&table.name))
}

fn identifier(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// In a session where a backslash is one.
fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

/// The rows of `sql`, as texts.
async fn rows(client: &Client, sql: &str) -> Result<Vec<Vec<Option<String>>>, Failure> {
    let messages = client.simple_query(sql).await.map_err(|error| failure::read(&error))?;
    let mut rows = Vec::new();
    for message in messages {
        if let SimpleQueryMessage::Row(row) = message {
            rows.push((0..row.len()).map(|column| row.get(column).map(str::to_owned)).collect());
        }
    }
    Ok(rows)
}

/// Of a row that [`SUMS`] gives.
fn digest_of(row: Vec<Option<String>>) -> Result<Digest, Failure> {
    let Ok([Some(rows), Some(first), Some(second)]) = <[_; 3]>::try_from(row) else {
        return Err(failure::unreadable("a digest lacks a number"));
    };
    let rows = rows.parse().map_err(|_| failure::unreadable(&rows))?;
    Ok(Digest { rows, sums: [first, second] })
}
