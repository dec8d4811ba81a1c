//! Which tables a database has, and which of them cannot be compared.

use flytt_proto::failure::Failure;
use tokio_postgres::Client;

use super::{
    super::{LeftOut, Table, Tables},
    failure, rows,
};

/// The tables, leaves of partitioned tables and materialized views of the client's database, and its large objects as the table
/// `pg_catalog.pg_largeobject`. What only refers to other tables' rows has none of its own and is not listed. Left out are foreign
/// tables, unlogged ones, and materialized views without rows.
///
/// # Errors
/// `UNREADABLE`, and what a read can answer (see [`super`]).
pub async fn tables(client: &Client) -> Result<Tables, Failure> {
    let mut tables = Tables::default();
    for row in rows(client, include_str!("tables.sql")).await? {
        let Ok([Some(schema), Some(name), Some(rows), Some(bytes), Some(key), Some(columns), reason]) = <[_; 7]>::try_from(row)
        else {
            return Err(failure::unreadable("a table without a name or size"));
        };
        if let Some(reason) = reason {
            tables.left_out.push(LeftOut { schema, name, reason });
            continue;
        }
        let number = |text: &str| text.parse().map_err(|_| failure::unreadable(text));
        let (rows, bytes) = (number(&rows)?, number(&bytes)?);
        let names = |text: &str| serde_json::from_str(text).map_err(|_| failure::unreadable(text));
        let (key, columns) = (names(&key)?, names(&columns)?);
        tables.compared.push(Table { schema, name, rows, bytes, key, columns });
    }
    Ok(tables)
}
