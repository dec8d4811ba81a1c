//! Digests of ranges of tables on MariaDB and MySQL: one statement per range, of which only a count and two sums leave the server.
//! Nothing is created and no row is locked. Snapshots, and which range is compared with which, are others' concern.
//!
//! A digest is taken in four steps: [`prepare`] a session, [`self_test`] the server, [`tables`], then [`digest`] each range between
//! two [`next_key`]s. Keys come from one side and are used on both: a row that is missing changes its own range only. Ranges of
//! character keys need collations of the same version on both sides.

use std::time::Duration;

use flytt_proto::failure::Failure;

use super::{Digest, Image, Range, RowHash};
use crate::engine::mysql_family::{dump::schema::Vendor, session::Session};

mod catalog;
mod expression;
mod image;
mod keys;
mod self_test;
mod session;

pub use catalog::{Catalog, Layout, layout, tables};
pub use self_test::{distinguishes, self_test};
pub use session::Reading;

/// Metadata locks are waited for no longer; the defaults are a day and a year.
const LOCK_LIMIT: Duration = Duration::from_secs(5);

/// Bytes. `CONCAT_WS` gives NULL for what is longer than `max_allowed_packet`, and a sum then leaves the row out. An image has at
/// most 64 KiB of the row itself, and a digest or a number for each of at most 4096 columns.
const PACKET: u64 = 1 << 20;

/// Gives a session the settings that the texts of values depend on, whatever the server's or the client's were, and those without
/// which catalogs and tables would not be read whole. A statement ends after `limit`; a snapshot outlives it.
///
/// # Errors
///
/// `ROW_MAY_NOT_FIT` where a row may not fit `max_allowed_packet`; else what the server says.
pub async fn prepare(session: &Session, vendor: Vendor, limit: Duration) -> Result<(), Failure> {
    session.run("set names utf8mb4").await?;
    session
        .run(&format!(
            "set session time_zone = '+00:00', sql_mode = '', sql_select_limit = default, sql_auto_is_null = 0, \
             lock_wait_timeout = {}",
            LOCK_LIMIT.as_secs()
        ))
        .await?;
    // READ COMMITTED ignores WITH CONSISTENT SNAPSHOT, on MariaDB without a warning.
    session.run("set session transaction isolation level repeatable read").await?;
    let own = match vendor {
        Vendor::Mariadb => format!("max_statement_time = {}, system_versioning_asof = default", limit.as_secs_f64()),
        // A generated invisible primary key is a column like any other.
        Vendor::Mysql => {
            format!("max_execution_time = {}, show_gipk_in_create_table_and_information_schema = 1", limit.as_millis())
        }
    };
    session.run(&format!("set session {own}")).await?;
    session.run(expression::variable(vendor)).await?;
    let packet = session.value("select @@session.max_allowed_packet").await?;
    if packet.parse::<u64>().is_ok_and(|packet| packet >= PACKET) {
        return Ok(());
    }
    Err(Failure::refused(
        "ROW_MAY_NOT_FIT",
        format!("max_allowed_packet is {packet} bytes, and a row may need {PACKET}"),
        "raise max_allowed_packet on this server",
    ))
}

/// What a range holds. Of a system-versioned table, history is part of it.
///
/// # Errors
///
/// `NO_SUCH_RANGE` where the table has no such ranges or a value is none of its key's; `SQL_REFUSED`, too, when the table was
/// altered after the snapshot began (1412) or the time is over (1969, 3024).
pub async fn digest(session: &Session, vendor: Vendor, layout: &Layout, range: &Range) -> Result<Digest, Failure> {
    let image = image::of(&layout.columns);
    let from = format!("{}{}", layout.from(), keys::condition(layout, range)?);
    expression::read(&session.rows(&expression::statement(vendor, &image, &from)).await?)
}

/// A hash of each row of `range`, in the order of their keys; no more than one more than `most`. What is history of a row counts
/// as one with it.
///
/// # Errors
///
/// As [`digest`].
pub async fn row_hashes(
    session: &Session,
    vendor: Vendor,
    layout: &Layout,
    range: &Range,
    most: usize,
) -> Result<Vec<RowHash>, Failure> {
    let hash = expression::of_row(vendor, &image::of(&layout.columns));
    let sql = format!("{} limit {}", keys::select(layout, &format!(", {hash}"), range)?, most + 1);
    let mut all: Vec<RowHash> = Vec::new();
    for row in session.rows(&sql).await? {
        let mut key: Vec<String> = row.into_iter().map(Option::unwrap_or_default).collect();
        let hash = key.pop().unwrap_or_default();
        match all.last_mut() {
            Some(last) if last.key == key => last.hash = [&last.hash, &*hash].join(" "),
            _ => all.push(RowHash { key, hash }),
        }
    }
    for row in &mut all {
        let mut hashes: Vec<&str> = row.hash.split(' ').collect();
        hashes.sort_unstable();
        row.hash = hashes.join(" ");
    }
    Ok(all)
}

/// The row of this key; `None` when there is none.
///
/// # Errors
///
/// As [`digest`].
pub async fn row(session: &Session, layout: &Layout, key: &[String]) -> Result<Option<Image>, Failure> {
    let columns: Vec<String> = layout.columns.iter().map(image::Column::shown).collect();
    let condition = keys::equal(layout, key)?;
    let found = session.rows(&format!("select {} from {} where {condition} limit 1", columns.join(", "), layout.from())).await?;
    let names = layout.columns.iter().map(|column| column.name.clone());
    Ok(found.into_iter().next().map(|values| names.zip(values).collect()))
}

/// The key of the row with the number `rows` in `within`, a range of keys; `None` when there are fewer. It is read from the index
/// alone. Several rows of history have one key: they are in one range, however many.
///
/// # Errors
///
/// `NO_SUCH_RANGE` where the table has no key.
pub async fn next_key(session: &Session, layout: &Layout, within: &Range, rows: u64) -> Result<Option<Vec<String>>, Failure> {
    let found = session.rows(&keys::next(layout, within, rows)?).await?;
    Ok(found.into_iter().next().and_then(|row| row.into_iter().collect()))
}
