//! A table cut into pieces: ranges of the first column of its key where that is a whole number, halved until the server expects a
//! piece to be small enough. Any other table is one piece.

use flytt_proto::failure::Failure;
use serde::{Deserialize, Serialize};

use super::super::schema::{Schema, Table};
use crate::engine::mysql_family::{quote::identifier, session::Session};

const WHOLE_NUMBERS: [&str; 5] = ["tinyint", "smallint", "mediumint", "int", "bigint"];

/// Half-open; an end that is `None` is no end, so that a key outside of what was seen at the cut is in a piece, too.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Piece {
    /// Its table's place in the schema's list.
    pub table: usize,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<i128>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<i128>,
    /// As the server guesses.
    pub bytes: u64,
    /// The only one of its table.
    pub is_whole: bool,
}

/// All pieces of all tables; the large ones first, so that the last to end is a small one.
pub(super) async fn cut(session: &Session, schema: &Schema, size: u64) -> Result<Vec<Piece>, Failure> {
    let mut pieces = Vec::new();
    for (at, table) in schema.tables.iter().enumerate() {
        pieces.extend(of(session, at, table, size).await?);
    }
    pieces.sort_by_key(|piece: &Piece| std::cmp::Reverse(piece.bytes));
    Ok(pieces)
}

async fn of(session: &Session, at: usize, table: &Table, size: u64) -> Result<Vec<Piece>, Failure> {
    let whole = || vec![Piece { table: at, from: None, until: None, bytes: table.bytes_estimate, is_whole: true }];
    let Some(key) = range_column(table) else { return Ok(whole()) };
    if table.bytes_estimate <= size || table.rows_estimate == 0 {
        return Ok(whole());
    }
    let (name, column) = (name(table), identifier(key));
    let ends = session.rows(&format!("select min({column}), max({column}) from {name}")).await?;
    let mut ends = ends.into_iter().flatten().map(|end| end.and_then(|end| end.parse::<i128>().ok()));
    let (Some(Some(first)), Some(Some(last))) = (ends.next(), ends.next()) else { return Ok(whole()) };

    let row_bytes = (table.bytes_estimate / table.rows_estimate).max(1);
    let (mut done, mut open) = (Vec::new(), vec![(first, last + 1)]);
    // From the left, so that the pieces come out in the order of the key.
    while let Some((from, until)) = open.pop() {
        let rows = expected(session, &format!("select 1 from {name} where {column} >= {from} and {column} < {until}")).await?;
        let bytes = rows.saturating_mul(row_bytes);
        if bytes <= size || until - from < 2 {
            done.push((from, until, bytes));
        } else {
            let middle = from + (until - from) / 2;
            open.extend([(middle, until), (from, middle)]);
        }
    }
    Ok(joined(&done, size)
        .into_iter()
        .map(|(from, until, bytes)| Piece { table: at, from, until, bytes, is_whole: false })
        .collect())
}

/// Neighbours that fit into one piece become one: a key with gaps is halved into many that are nearly empty. The first and the
/// last are open.
fn joined(cuts: &[(i128, i128, u64)], size: u64) -> Vec<(Option<i128>, Option<i128>, u64)> {
    let mut joined: Vec<(i128, i128, u64)> = Vec::new();
    for (from, until, bytes) in cuts {
        match joined.last_mut() {
            Some(last) if last.2 + bytes <= size => *last = (last.0, *until, last.2 + bytes),
            Some(_) | None => joined.push((*from, *until, *bytes)),
        }
    }
    let end = joined.len().saturating_sub(1);
    let open =
        |(at, (from, until, bytes)): (usize, (i128, i128, u64))| ((at > 0).then_some(from), (at < end).then_some(until), bytes);
    joined.into_iter().enumerate().map(open).collect()
}

/// The rows that the optimizer expects, from two dives into the index.
async fn expected(session: &Session, select: &str) -> Result<u64, Failure> {
    let plan = session.named(&format!("explain {select}")).await?.unwrap_or_default();
    Ok(plan.get("rows").and_then(|rows| rows.parse().ok()).unwrap_or(0))
}

fn range_column(table: &Table) -> Option<&str> {
    let first = table.key.as_ref()?.first()?;
    let column = table.columns.iter().find(|column| column.name == *first)?;
    (!column.is_nullable && !column.is_generated && WHOLE_NUMBERS.contains(&column.data_type.as_str())).then_some(first)
}

pub(super) fn name(table: &Table) -> String {
    format!("{}.{}", identifier(&table.database), identifier(&table.name))
}

impl Piece {
    /// The condition that its rows meet; empty where all do.
    pub(super) fn condition(&self, table: &Table) -> String {
        let Some(column) = range_column(table).map(identifier) else { return String::new() };
        let ends = [self.from.map(|from| format!("{column} >= {from}")), self.until.map(|until| format!("{column} < {until}"))];
        let ends: Vec<String> = ends.into_iter().flatten().collect();
        if ends.is_empty() { String::new() } else { format!(" where {}", ends.join(" and ")) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_touch_each_other_and_have_open_ends() {
        let cuts = [(1, 5, 0), (5, 9, 50), (9, 10, 50), (10, 20, 50), (20, 30, 100)];
        assert_eq!(joined(&cuts, 100), [(None, Some(10), 100), (Some(10), Some(20), 50), (Some(20), None, 100)]);
        assert_eq!(joined(&[(1, 2, 7)], 100), [(None, None, 7)]);
    }
}
