//! Which tables a database has, and which of them cannot be compared.

use flytt_proto::failure::Failure;
use tokio_postgres::Client;

use super::{super::Table, failure, rows};

/// Every table of a database, in the order of their names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tables {
    pub compared: Vec<Table>,
    /// Name and reason of what is not compared: foreign tables, unlogged ones, materialized views without rows.
    pub left_out: Vec<(String, String)>,
}

/// The tables, leaves of partitioned tables and materialized views of the client's database, and its large objects as the table
/// `pg_catalog.pg_largeobject`. What only refers to other tables' rows has none of its own and is not listed.
///
/// # Errors
/// `UNREADABLE`, and what a read can answer (see [`super`]).
pub async fn tables(client: &Client) -> Result<Tables, Failure> {
    let mut tables = Tables { compared: Vec::new(), left_out: Vec::new() };
    for row in rows(client, include_str!("tables.sql")).await? {
        let Ok([Some(schema), Some(name), Some(rows), Some(bytes), Some(key), reason]) = <[_; 6]>::try_from(row) else {
            return Err(failure::unreadable("a table without a name or size"));
        };
        if let Some(reason) = reason {
            tables.left_out.push((format!("{schema}.{name}"), reason));
            continue;
        }
        let number = |text: &str| text.parse().map_err(|_| failure::unreadable(text));
        let (rows, bytes) = (number(&rows)?, number(&bytes)?);
        let key = serde_json::from_str(&key).map_err(|_| failure::unreadable(&key))?;
        tables.compared.push(Table { schema, name, rows, bytes, key });
    }
    Ok(tables)
}
