//! Tables, sequences and views of one database.

use flytt_proto::failure::Failure;

use super::{columns, context, object, odd, qualified, refuse::not_copied, shown, take, text, within};
use crate::engine::mysql_family::{
    dump::schema::{Object, Sequence, Table, table},
    session::Session,
};

/// Engines whose tables hold their own rows.
const ENGINES: [&str; 8] = ["innodb", "aria", "myisam", "memory", "csv", "archive", "blackhole", "rocksdb"];
/// Engines that take an index or a foreign key later without copying the table.
const SPLIT: [&str; 2] = ["innodb", "rocksdb"];

#[derive(Debug, Default)]
pub(super) struct Found {
    pub(super) tables: Vec<Table>,
    pub(super) sequences: Vec<Sequence>,
    pub(super) views: Vec<Object>,
}

pub(super) async fn of(session: &Session, database: &str) -> Result<Found, Failure> {
    let sql = format!(
        "select TABLE_SCHEMA, TABLE_NAME, TABLE_TYPE, ENGINE, TABLE_ROWS, DATA_LENGTH + INDEX_LENGTH, TABLE_COMMENT \
         from information_schema.TABLES where {} order by TABLE_NAME",
        within("table_schema", database)
    );
    let mut columns = columns::of(session, database).await?;
    let mut keys = columns::keys(session, database).await?;
    let mut histograms = columns::histograms(session, database).await?;
    let mut found = Found::default();
    for mut row in session.rows(&sql).await? {
        let (schema, name, kind, engine) = (text(&mut row, 0), text(&mut row, 1), text(&mut row, 2), text(&mut row, 3));
        if schema != database {
            continue;
        }
        let about = qualified(database, &name);
        match kind.to_lowercase().as_str() {
            "view" => {
                let comment = text(&mut row, 6);
                if !comment.eq_ignore_ascii_case("view") {
                    return Err(odd(&format!("view {about}"), &comment));
                }
                found.views.push(view(session, database, &name).await?);
            }
            "sequence" => found.sequences.push(sequence(session, database, &name).await?),
            "base table" | "system versioned" => {
                if !ENGINES.contains(&engine.to_lowercase().as_str()) {
                    let engine = if engine.is_empty() { "that cannot be opened" } else { &engine };
                    return Err(not_copied(&format!("a table of engine {engine}: {about}")));
                }
                let mut shown = shown(session, "table", &about).await?;
                let create = take(&mut shown, "create table", &about)?;
                let mut own = keys.remove(&name).unwrap_or_default();
                let key = table::row_key(&create, &own.ordering);
                let mut table = Table {
                    database: database.to_owned(),
                    columns: columns.remove(&name).unwrap_or_default(),
                    key: key.as_ref().and_then(|key| own.ordering.remove(key)),
                    versions: table::versions(&create),
                    rows_estimate: text(&mut row, 4).parse().unwrap_or_default(),
                    bytes_estimate: text(&mut row, 5).parse().unwrap_or_default(),
                    histograms: histograms.remove(&name).unwrap_or_default(),
                    indexes: Vec::new(),
                    foreign_keys: Vec::new(),
                    name,
                    engine,
                    create,
                };
                // The server numbers such rows anew whatever it is given, and what was deleted would be there again (tried on 10.11).
                let begins = table.versions.as_ref().map(|(begin, _)| begin);
                if table.columns.iter().any(|column| Some(&column.name) == begins && column.data_type == "bigint") {
                    return Err(not_copied(&format!("a table versioned by transactions: {about}")));
                }
                if SPLIT.contains(&table.engine.to_lowercase().as_str()) {
                    let known = table::Known { columns: table.columns.len(), indexes: own.count, key };
                    if let Some(split) = table::split(&table.create, &known) {
                        (table.create, table.indexes, table.foreign_keys) = (split.create, split.indexes, split.foreign_keys);
                    }
                }
                found.tables.push(table);
            }
            other => return Err(odd(&about, &format!("it is a {other}"))),
        }
    }
    Ok(found)
}

async fn view(session: &Session, database: &str, name: &str) -> Result<Object, Failure> {
    let about = qualified(database, name);
    let mut shown = shown(session, "view", &about).await?;
    let create = take(&mut shown, "create view", &about)?;
    // Its names are whole: it needs no current database, and its own mode is not kept.
    Ok(object("view", database, name, create, context(&shown, "")))
}

async fn sequence(session: &Session, database: &str, name: &str) -> Result<Sequence, Failure> {
    let about = qualified(database, name);
    let mut shown = shown(session, "sequence", &about).await?;
    let create = take(&mut shown, "create table", &about)?;
    let row = session.rows(&format!("select next_not_cached_value, cycle_count from {about}")).await?.into_iter().next();
    let mut row = row.ok_or_else(|| odd(&about, "it holds no value"))?;
    let (next, round) = (text(&mut row, 0), text(&mut row, 1));
    Ok(Sequence { database: database.to_owned(), name: name.to_owned(), create, next, round })
}
