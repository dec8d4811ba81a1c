//! One piece into the target: pulled from the source's agent straight into `LOAD DATA LOCAL`, in one transaction with the row that
//! says that it is there. A server that asks for a file gets this piece and nothing else: no name that it says is ever opened.

use std::sync::{
    Arc, PoisonError,
    atomic::{AtomicU64, Ordering},
};

use bytes::Bytes;
use flytt_proto::{failure::Failure, v1::draw_request::Producer};
use futures::StreamExt as _;
use mysql_async::{Conn, prelude::Queryable as _};

use super::{
    Manifest,
    fields::{Fields, fields},
    load::Load,
    piece::name,
    progress::{self, Come},
    text,
};
use crate::engine::mysql_family::{dump::schema::Vendor, failure};

/// Values are taken as they are: no zero makes a counter, no date is too odd, no other table is looked at.
const SETUP: &str = "set session sql_mode = 'NO_AUTO_VALUE_ON_ZERO,ALLOW_INVALID_DATES', time_zone = '+00:00', \
     foreign_key_checks = 0, net_read_timeout = 1200, innodb_lock_wait_timeout = 60, lock_wait_timeout = 60, max_error_count = 65535";
const MARIADB: &str = "set session max_statement_time = 0, check_constraint_checks = 0, system_versioning_insert_history = 1";

/// The name in the statement; the server sends it back, and it stands for nothing.
const NO_FILE: &str = "flytt";
/// Written to an ENUM, 0 is stored, and warned of.
const TRUNCATED: &str = "1265";

/// Loads it unless it is there. Returns the count of its bytes; `come` keeps them only when it comes to its end.
pub(super) async fn piece(load: &Load, manifest: &Manifest, at: usize, max_rate: u64, come: &Arc<Come>) -> Result<u64, Failure> {
    let counts = Arc::new((AtomicU64::new(0), AtomicU64::new(0)));
    let loaded = one(load, manifest, at, max_rate, come, &counts).await;
    let (rows, bytes) = (counts.0.load(Ordering::Relaxed), counts.1.load(Ordering::Relaxed));
    if loaded.is_err() {
        come.take(bytes, rows);
    }
    loaded.map(|()| bytes)
}

async fn one(
    load: &Load,
    manifest: &Manifest,
    at: usize,
    max_rate: u64,
    come: &Arc<Come>,
    counts: &Arc<(AtomicU64, AtomicU64)>,
) -> Result<(), Failure> {
    let piece = &manifest.pieces[at];
    let table = manifest.schema.tables.get(piece.table).ok_or_else(|| differ("its table is not in the list"))?;
    let fields = fields(table, manifest.schema.vendor);
    let mut conn = load.server.open().await?.into_conn()?;
    run(&mut conn, SETUP).await?;
    if manifest.schema.vendor == Vendor::Mariadb {
        run(&mut conn, MARIADB).await?;
    }
    // Without these checks MariaDB fills an empty table without undo records, and locks all of it meanwhile.
    run(&mut conn, if piece.is_whole { "set session unique_checks = 0" } else { "set session unique_checks = 1" }).await?;
    run(&mut conn, "start transaction").await?;
    // First, so that one that still commits in a session of an agent that is gone is waited for.
    let progress = progress::table(&load.database);
    let mark = format!("insert into {progress} values ('{}', {at}, 0, 0)", manifest.snapshot);
    match conn.query_drop(mark).await {
        Err(mysql_async::Error::Server(server)) if server.code == 1062 => return Ok(()),
        done => done.map_err(|error| failure::statement(&error))?,
    }

    let mut ask = load.ask(Producer::Rows, &manifest.snapshot);
    ask.piece = at.try_into().map_err(|_| differ("there are too many pieces"))?;
    ask.max_rate = max_rate;
    let blocks = load.pipes.pull(&load.origin, ask).await?;
    let torn = Arc::new(std::sync::Mutex::new(None));
    let (counted, tear, come) = (counts.clone(), torn.clone(), come.clone());
    let data = blocks.map(move |block| match block {
        Ok(block) => {
            let (rows, bytes) = (text::ends(&block), block.len() as u64);
            counted.0.fetch_add(rows, Ordering::Relaxed);
            counted.1.fetch_add(bytes, Ordering::Relaxed);
            come.add(bytes, rows);
            Ok(Bytes::from(block))
        }
        Err(failure) => {
            let why = std::io::Error::other(failure.code.clone());
            *tear.lock().unwrap_or_else(PoisonError::into_inner) = Some(failure);
            Err(why)
        }
    });
    // The driver wants what it can share; a lock around it is that.
    let held = std::sync::Mutex::new(data.boxed());
    conn.set_infile_handler(async move { Ok(held.into_inner().unwrap_or_else(PoisonError::into_inner)) });
    let sql = format!("load data local infile '{NO_FILE}' into table {} {} {}", name(table), text::FORMAT, fields.load);
    let loaded = conn.query_drop(sql).await;
    // The driver ends a torn stream as if it were whole; the transaction is what keeps that from counting.
    if let Some(failure) = torn.lock().unwrap_or_else(PoisonError::into_inner).take() {
        return Err(failure);
    }
    loaded.map_err(|error| failure::statement(&error))?;
    let (rows, bytes) = (counts.0.load(Ordering::Relaxed), counts.1.load(Ordering::Relaxed));
    let there = conn.affected_rows();
    if there != rows {
        return Err(differ(&format!("{rows} rows of {} were sent and {there} are there", name(table))));
    }
    refuse_warnings(&mut conn, &fields, &name(table)).await?;
    run(
        &mut conn,
        &format!(
            "update {progress} set count = {rows}, bytes = {bytes} where snapshot = '{}' and piece = {at}",
            manifest.snapshot
        ),
    )
    .await?;
    run(&mut conn, "commit").await?;
    let _: Result<(), _> = conn.disconnect().await;
    Ok(())
}

/// `LOAD DATA LOCAL` makes warnings of errors: a value that was changed to fit is not the source's any more.
async fn refuse_warnings(conn: &mut Conn, fields: &Fields, table: &str) -> Result<(), Failure> {
    if conn.get_warnings() == 0 {
        return Ok(());
    }
    let warnings: Vec<(String, String, String)> =
        conn.query("show warnings").await.map_err(|error| failure::statement(&error))?;
    let of_enum =
        |code: &str, text: &str| code == TRUNCATED && fields.enums.iter().any(|name| text.contains(&format!("column '{name}' ")));
    match warnings.iter().find(|(_, code, text)| !of_enum(code, text)) {
        Some((_, code, text)) => Err(differ(&format!("{table}: the target changes a value: {text} (warning {code})"))),
        None => Ok(()),
    }
}

async fn run(conn: &mut Conn, sql: &str) -> Result<(), Failure> {
    conn.query_drop(sql).await.map_err(|error| failure::statement(&error))
}

fn differ(why: &str) -> Failure {
    Failure::refused("ROWS_DIFFER", why, "see that both servers have the same version and settings, or seed by a physical copy")
}
