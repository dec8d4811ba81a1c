//! Columns, keys and histograms of all tables of one database, from the server's catalog.

use std::collections::BTreeMap;

use flytt_proto::failure::Failure;

use super::{text, within};
use crate::engine::mysql_family::{
    dump::schema::{Column, Histogram},
    session::Session,
};

pub(super) async fn of(session: &Session, database: &str) -> Result<BTreeMap<String, Vec<Column>>, Failure> {
    let sql = format!(
        "select TABLE_SCHEMA, TABLE_NAME, COLUMN_NAME, COLUMN_TYPE, DATA_TYPE, CHARACTER_SET_NAME, COLLATION_NAME, IS_NULLABLE, \
         EXTRA, GENERATION_EXPRESSION from information_schema.COLUMNS where {} order by TABLE_NAME, ORDINAL_POSITION",
        within("table_schema", database)
    );
    let mut found: BTreeMap<String, Vec<Column>> = BTreeMap::new();
    for mut row in session.rows(&sql).await? {
        if text(&mut row, 0) != database {
            continue;
        }
        let table = text(&mut row, 1);
        let expression = text(&mut row, 9);
        found.entry(table).or_default().push(Column {
            name: text(&mut row, 2),
            kind: text(&mut row, 3),
            data_type: text(&mut row, 4).to_lowercase(),
            character_set: row.get_mut(5).and_then(Option::take),
            collation: row.get_mut(6).and_then(Option::take),
            is_nullable: text(&mut row, 7).eq_ignore_ascii_case("yes"),
            is_invisible: text(&mut row, 8).to_lowercase().contains("invisible"),
            // The bounds of a row's version are no expression of its columns.
            is_generated: !["", "ROW START", "ROW END"].contains(&expression.as_str()),
        });
    }
    Ok(found)
}

#[derive(Debug, Default)]
pub(super) struct Keys {
    /// Of all kinds.
    pub(super) count: usize,
    /// Those that can put the rows in order, with their columns.
    pub(super) ordering: BTreeMap<String, Vec<String>>,
}

/// One index, as far as it has been read.
#[derive(Debug)]
struct Index {
    name: String,
    columns: Vec<String>,
    fits: bool,
}

/// By table. The catalog does not say in which order a table has them.
pub(super) async fn keys(session: &Session, database: &str) -> Result<BTreeMap<String, Keys>, Failure> {
    let sql = format!(
        "select TABLE_SCHEMA, TABLE_NAME, INDEX_NAME, COLUMN_NAME, SUB_PART, NULLABLE, NON_UNIQUE, INDEX_TYPE, SEQ_IN_INDEX \
         from information_schema.STATISTICS where {} order by TABLE_NAME, INDEX_NAME, SEQ_IN_INDEX",
        within("table_schema", database)
    );
    let mut indexes: BTreeMap<String, Vec<Index>> = BTreeMap::new();
    for mut row in session.rows(&sql).await? {
        if text(&mut row, 0) != database {
            continue;
        }
        let (table, name) = (text(&mut row, 1), text(&mut row, 2));
        let indexes = indexes.entry(table).or_default();
        let at = indexes.iter().position(|index| index.name == name).unwrap_or_else(|| {
            indexes.push(Index { name, columns: Vec::new(), fits: true });
            indexes.len() - 1
        });
        let index = &mut indexes[at];
        let column = text(&mut row, 3);
        let is_whole = !column.is_empty() && row.get(4).is_some_and(Option::is_none);
        let is_unique = !text(&mut row, 5).eq_ignore_ascii_case("yes")
            && text(&mut row, 6) == "0"
            && text(&mut row, 7).eq_ignore_ascii_case("btree");
        // A period takes a number of its own.
        let is_next = text(&mut row, 8) == (index.columns.len() + 1).to_string();
        index.fits &= is_whole && is_unique && is_next;
        index.columns.push(column);
    }
    let keys = |indexes: Vec<Index>| Keys {
        count: indexes.len(),
        ordering: indexes.into_iter().filter(|index| index.fits).map(|index| (index.name, index.columns)).collect(),
    };
    Ok(indexes.into_iter().map(|(table, indexes)| (table, keys(indexes))).collect())
}

/// MySQL's, whose list MariaDB does not have.
pub(super) async fn histograms(session: &Session, database: &str) -> Result<BTreeMap<String, Vec<Histogram>>, Failure> {
    let has = "select count(*) from information_schema.TABLES where TABLE_SCHEMA = 'information_schema' \
               and TABLE_NAME = 'COLUMN_STATISTICS'";
    let mut found: BTreeMap<String, Vec<Histogram>> = BTreeMap::new();
    if !session.is_true(has).await? {
        return Ok(found);
    }
    let sql = format!(
        "select SCHEMA_NAME, TABLE_NAME, COLUMN_NAME, HISTOGRAM->>'$.\"number-of-buckets-specified\"', \
         HISTOGRAM->>'$.\"auto-update\"' from information_schema.COLUMN_STATISTICS where {} order by 1, 2, 3",
        within("schema_name", database)
    );
    for mut row in session.rows(&sql).await? {
        if text(&mut row, 0) == database {
            let (table, column, buckets) = (text(&mut row, 1), text(&mut row, 2), text(&mut row, 3));
            let is_automatic = text(&mut row, 4) == "true";
            found.entry(table).or_default().push(Histogram { column, buckets, is_automatic });
        }
    }
    Ok(found)
}
