//! One piece of a table, read in a snapshot's session and poured out as it comes. The session is whole again afterwards, also when
//! nobody wants the rest.

use std::time::Duration;

use flytt_proto::failure::Failure;
use mysql_async::{Conn, QueryResult, Row, TextProtocol, Value, prelude::Queryable as _};
use tokio::sync::mpsc;

use super::{
    super::schema::{Schema, Table, Vendor},
    changed,
    fields::{Fields, fields},
    piece::{Piece, name},
    text,
};
use crate::engine::{Poured, mysql_family::failure};

const BLOCK: usize = 1 << 20;
/// For what a server still sends of an answer that was interrupted.
const REST: Duration = Duration::from_secs(5);

/// The table is not there any more, or is not the one that the snapshot sees (`ER_TABLE_DEF_CHANGED`), or a column is not.
const CHANGED: [u16; 4] = [1049, 1054, 1146, 1412];

/// How a read ended.
pub(super) enum End {
    Whole,
    /// The reader is gone, or takes nothing for too long: a part was not handed out.
    Unwanted,
    /// A row that cannot be handed out; others may follow it.
    Odd(Failure),
    Failed(Failure),
}

/// What is read for a piece.
#[derive(Debug)]
pub(super) struct Ask {
    sql: String,
    /// The last value of a row says that it does not travel as a text.
    has_doubt: bool,
    table: String,
}

pub(super) fn statement(schema: &Schema, piece: &Piece) -> Option<Ask> {
    let table: &Table = schema.tables.get(piece.table)?;
    let history = if table.versions.is_some() { " for system_time all" } else { "" };
    let Fields { select, has_doubt, .. } = fields(table, schema.vendor);
    let cache = if schema.vendor == Vendor::Mariadb { "sql_no_cache " } else { "" };
    let sql = format!("select {cache}{select} from {}{history}{}", name(table), piece.condition(table));
    Some(Ask { sql, has_doubt, table: name(table) })
}

/// Reads until the end, or until nobody listens or takes a block within `patience`; in that case `interrupt` tells the server, and
/// what still comes is thrown away. `taken` is told of each block that found a taker. An `Err` means that the session is lost.
pub(super) async fn read(
    conn: &mut Conn,
    ask: &Ask,
    out: &mpsc::Sender<Poured>,
    patience: Duration,
    taken: impl Fn(),
    interrupt: impl AsyncFnOnce(),
) -> Result<End, Failure> {
    // What a SELECT locks of a table's definition is let go with the savepoint: a DDL on the source waits for one piece at most.
    run(conn, "savepoint flytt_piece").await?;
    let end = match conn.query_iter(ask.sql.as_str()).await {
        Err(error) => refused(error)?,
        Ok(mut answer) => {
            let end = hand_out(&mut answer, ask, out, patience, taken).await?;
            if matches!(end, End::Unwanted | End::Odd(_)) {
                interrupt().await;
                let rest = async { while let Ok(Some(_)) = answer.next().await {} };
                tokio::time::timeout(REST, rest).await.map_err(|_| failure::gone("a read that nobody wants does not end"))?;
            }
            end
        }
    };
    // An interruption that came too late for the SELECT meets this one.
    if run(conn, "rollback to savepoint flytt_piece").await.is_err() {
        run(conn, "rollback to savepoint flytt_piece").await?;
    }
    Ok(end)
}

async fn hand_out(
    answer: &mut QueryResult<'_, '_, TextProtocol>,
    ask: &Ask,
    out: &mpsc::Sender<Poured>,
    patience: Duration,
    taken: impl Fn(),
) -> Result<End, Failure> {
    let mut block = Vec::with_capacity(BLOCK + BLOCK / 4);
    loop {
        let is_last = match answer.next().await {
            Ok(Some(row)) => {
                let mut values = Row::unwrap(row);
                if ask.has_doubt && values.pop() != Some(Value::Bytes(b"0".to_vec())) {
                    return Ok(End::Odd(no_text(&ask.table)));
                }
                text::row(&mut block, values);
                false
            }
            Ok(None) => true,
            Err(error) => return refused(error),
        };
        if block.len() >= BLOCK || is_last && !block.is_empty() {
            let full = std::mem::replace(&mut block, Vec::with_capacity(BLOCK + BLOCK / 4));
            if out.send_timeout(Poured::Block(full), patience).await.is_err() {
                return Ok(End::Unwanted);
            }
            taken();
        }
        if is_last {
            return Ok(End::Whole);
        }
    }
}

async fn run(conn: &mut Conn, sql: &str) -> Result<(), Failure> {
    conn.query_drop(sql).await.map_err(|error| failure::statement(&error))
}

fn no_text(table: &str) -> Failure {
    Failure::refused(
        "ROWS_DIFFER",
        format!("{table}: a JSON value holds a date, a binary string or a number that its text does not tell from another value"),
        "store such values as strings, or seed by a physical copy",
    )
}

/// The server's refusal, after which the session goes on; `Err` where it does not.
fn refused(error: mysql_async::Error) -> Result<End, Failure> {
    match &error {
        mysql_async::Error::Server(server) if CHANGED.contains(&server.code) => Ok(End::Failed(changed())),
        // Interrupted: by us, or by somebody who then knows why.
        mysql_async::Error::Server(server) if server.code == 1317 => Ok(End::Failed(failure::statement(&error))),
        mysql_async::Error::Server(_) => match failure::statement(&error) {
            gone if gone.code == "SERVER_GONE" => Err(gone),
            other => Ok(End::Failed(other)),
        },
        mysql_async::Error::Driver(_) | mysql_async::Error::Io(_) | mysql_async::Error::Other(_) | mysql_async::Error::Url(_) => {
            Err(failure::statement(&error))
        }
    }
}
