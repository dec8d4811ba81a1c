//! Every table there is to compare, from three ordered streams of the catalog that are put together here: a server with ten
//! thousand tables answers each within seconds, and would not if asked table by table.

use std::collections::BTreeMap;

use flytt_proto::failure::Failure;

use super::{
    super::{LeftOut, Table},
    image::{Column, Kind},
};
use crate::engine::mysql_family::{
    dump::schema::{Ours, Vendor},
    quote::{identifier, literal},
    session::Session,
};

/// Every server has its own of these.
const SYSTEM: &str = "('mysql', 'information_schema', 'performance_schema', 'sys')";

/// Engines whose tables hold their rows themselves, and still after a restart.
const ENGINES: [&str; 6] = ["innodb", "myisam", "aria", "archive", "csv", "rocksdb"];

/// What there is on a server, in the order of its names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Catalog {
    pub tables: Vec<Layout>,
    /// Views, and what belongs to the server or the move, are not among these.
    pub left_out: Vec<LeftOut>,
}

/// A table and all its columns, those that `SELECT *` hides, too. A sequence is a table with one row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layout {
    pub table: Table,
    pub(super) columns: Vec<Column>,
    /// Of the key.
    pub(super) index: Option<String>,
    /// Whether rows that were deleted or changed are still in it (MariaDB's system versioning).
    pub(super) has_history: bool,
}

impl Layout {
    /// As it stands after FROM.
    pub(super) fn from(&self) -> String {
        let mut from = format!("{}.{}", identifier(&self.table.schema), identifier(&self.table.name));
        if self.has_history {
            from.push_str(" for system_time all");
        }
        if let Some(index) = &self.index {
            from.push_str(&format!(" force index ({})", identifier(index)));
        }
        from
    }
}

type Name = (String, String);

/// All tables but the server's own and `ours`. The session is a prepared one.
///
/// # Errors
///
/// What the server says.
pub async fn tables(session: &Session, vendor: Vendor, ours: &Ours) -> Result<Catalog, Failure> {
    read(session, vendor, ours, &format!("table_schema not in {SYSTEM}")).await
}

/// One table as it is now.
///
/// # Errors
///
/// `NO_SUCH_TABLE`: it is not there, or not one that is compared; else what the server says.
pub async fn layout(session: &Session, vendor: Vendor, schema: &str, name: &str) -> Result<Layout, Failure> {
    // Two constants, so that the server opens this table alone.
    let only = format!("table_schema = {} and table_name = {}", literal(schema), literal(name));
    let found = read(session, vendor, &Ours::default(), &only).await?;
    found.tables.into_iter().next().ok_or_else(|| {
        let reason = found.left_out.into_iter().next().map_or("is not there".to_owned(), |left| left.reason);
        let remedy = "begin the comparison anew if the table was made, dropped or altered meanwhile";
        Failure::refused("NO_SUCH_TABLE", format!("table {schema}.{name} {reason}"), remedy)
    })
}

async fn read(session: &Session, vendor: Vendor, ours: &Ours, which: &str) -> Result<Catalog, Failure> {
    let mut columns = columns(session, vendor, which).await?;
    let mut keys = keys(session, vendor, which).await?;
    let sql = format!(
        "select table_schema, table_name, lower(table_type), coalesce(engine, ''), coalesce(table_rows, 0), coalesce(data_length, 0) \
         from information_schema.tables where table_type in ('BASE TABLE', 'SYSTEM VERSIONED', 'SEQUENCE') and {which} \
         order by 1, 2"
    );
    let mut catalog = Catalog::default();
    for row in session.rows(&sql).await? {
        let [schema, name, kind, engine, rows, bytes] = fields(row);
        if ours.databases.contains(&schema) {
            continue;
        }
        let at = (schema.clone(), name.clone());
        let (columns, keys) = (columns.remove(&at).unwrap_or_default(), keys.remove(&at).unwrap_or_default());
        let described = columns.iter().map(|found| format!("{} {}", found.name, found.described)).collect();
        let columns = match compared(&engine, columns) {
            Ok(columns) => columns,
            Err(reason) => {
                catalog.left_out.push(LeftOut { schema, name, reason });
                continue;
            }
        };
        let (index, key) = keys.into_iter().find(|(_, key)| has_ranges(key, &columns)).unzip();
        let number = |text: String| text.parse().unwrap_or_default();
        let table =
            Table { schema, name, rows: number(rows), bytes: number(bytes), key: key.unwrap_or_default(), columns: described };
        catalog.tables.push(Layout { table, columns, index, has_history: kind == "system versioned" });
    }
    Ok(catalog)
}

/// The columns, or why the table is left out.
fn compared(engine: &str, columns: Vec<Found>) -> Result<Vec<Column>, String> {
    if engine.is_empty() || columns.is_empty() {
        return Err("cannot be opened by the server".to_owned());
    }
    if !ENGINES.contains(&engine.to_lowercase().as_str()) {
        return Err(format!("is of engine {engine}, which keeps no rows here or not for long"));
    }
    let known = |found: Found| match found.kind {
        Some(kind) => Ok(Column { name: found.name, kind, nullable: found.nullable }),
        None => Err(format!("has a column {} of a type that no digest was tried with: {}", found.name, found.data_type)),
    };
    columns.into_iter().map(known).collect()
}

fn has_ranges(key: &[String], columns: &[Column]) -> bool {
    key.iter().all(|name| columns.iter().any(|column| column.name == *name && !column.nullable && column.kind.has_ranges()))
}

#[derive(Debug)]
struct Found {
    name: String,
    data_type: String,
    kind: Option<Kind>,
    nullable: bool,
    /// Its type, and how its characters are kept and compared.
    described: String,
}

async fn columns(session: &Session, vendor: Vendor, which: &str) -> Result<BTreeMap<Name, Vec<Found>>, Failure> {
    // Transaction numbers are each server's own.
    let own = match vendor {
        Vendor::Mariadb => "and not (data_type = 'bigint' and coalesce(generation_expression, '') in ('ROW START', 'ROW END'))",
        Vendor::Mysql => "",
    };
    let sql = format!(
        "select table_schema, table_name, column_name, data_type, is_nullable = 'YES', \
         concat_ws(' ', column_type, collation_name), character_set_name, collation_name \
         from information_schema.columns where {which} {own} order by table_schema, table_name, ordinal_position"
    );
    let mut all = BTreeMap::<Name, Vec<Found>>::new();
    for mut row in session.rows(&sql).await? {
        let collation = row.pop().flatten();
        let charset = row.pop().flatten();
        let [schema, table, name, data_type, nullable, described] = fields(row);
        let kind = Kind::of(&data_type, charset, collation);
        all.entry((schema, table)).or_default().push(Found { name, data_type, kind, nullable: nullable == "1", described });
    }
    Ok(all)
}

/// The unique keys of each table whose every part is a whole column, the primary key first: index and columns.
async fn keys(session: &Session, vendor: Vendor, which: &str) -> Result<BTreeMap<Name, Vec<(String, Vec<String>)>>, Failure> {
    // An index that the optimizer may not use cannot be forced either (1176).
    let usable = match vendor {
        Vendor::Mariadb => "ignored = 'NO'",
        Vendor::Mysql => "is_visible = 'YES'",
    };
    let sql = format!(
        "select table_schema, table_name, index_name, column_name, sub_part is not null from information_schema.statistics \
         where non_unique = 0 and index_type = 'BTREE' and {usable} and {which} \
         order by table_schema, table_name, index_name <> 'PRIMARY', index_name, seq_in_index"
    );
    let mut all = BTreeMap::<Name, Vec<(String, Vec<String>)>>::new();
    for row in session.rows(&sql).await? {
        let [schema, table, index, column, is_prefix] = fields(row);
        let keys = all.entry((schema, table)).or_default();
        if keys.last().is_none_or(|(last, _)| *last != index) {
            keys.push((index, Vec::new()));
        }
        if let Some((_, key)) = keys.last_mut() {
            // No column has an empty name: a prefix, or an expression, makes the key one that no table has.
            key.push(if is_prefix == "1" { String::new() } else { column });
        }
    }
    Ok(all)
}

/// A row's columns; NULL is empty.
fn fields<const N: usize>(row: Vec<Option<String>>) -> [String; N] {
    let mut row = row.into_iter();
    std::array::from_fn(|_| row.next().flatten().unwrap_or_default())
}
