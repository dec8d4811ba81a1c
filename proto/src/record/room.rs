//! Room on the disk, taken while there is some, so that a full disk cannot stop the last rows of a cutover.
//!
//! Rows need space in two files. In the database they take pages from its free list; in the log they overwrite blocks that
//! earlier, already copied transactions left. One large value, written and removed again, makes both. (On file systems that
//! never overwrite in place, such as btrfs and ZFS, no program can reserve in this way.)

use std::path::Path;

use rusqlite::Connection;

use super::unwritten;
use crate::failure::Failure;

/// Bytes kept in each of the two files.
pub(super) const BYTES: u32 = 1 << 20;

/// The log is copied into the database, and begins anew, well before it outgrows what is reserved.
pub(super) const CHECKPOINT_PAGES: u32 = 64;

pub(super) fn reserve(connection: &Connection, path: &Path) -> Result<(), Failure> {
    let failed = |error| match unwritten(path, &error) {
        full if full.code == "RECORD_FULL" => Failure { code: "RECORD_NO_ROOM".into(), ..full },
        other => other,
    };
    if is_there(connection, path).map_err(failed)? {
        return Ok(());
    }
    connection.execute("DELETE FROM room", []).map_err(failed)?; // a death between the two statements below left it
    connection.execute("INSERT INTO room (filler) VALUES (zeroblob(?1))", [BYTES + BYTES / 8]).map_err(failed)?;
    connection.execute("DELETE FROM room", []).map_err(failed)?;
    let kept_back: bool = connection.query_row("PRAGMA wal_checkpoint(RESTART)", [], |row| row.get(0)).map_err(failed)?;
    if kept_back || !is_there(connection, path).map_err(failed)? {
        return Err(Failure::refused(
            "RECORD_NO_ROOM",
            format!("no room can be reserved for {}", path.display()),
            "end other programs that read the record, and make room on its disk",
        ));
    }
    Ok(())
}

fn is_there(connection: &Connection, path: &Path) -> rusqlite::Result<bool> {
    let free: u32 = connection.pragma_query_value(None, "freelist_count", |row| row.get(0))?;
    let page: u32 = connection.pragma_query_value(None, "page_size", |row| row.get(0))?;
    let mut log = path.as_os_str().to_owned();
    log.push("-wal");
    let log = std::fs::metadata(log).map_or(0, |log| log.len());
    Ok(u64::from(free) * u64::from(page) >= BYTES.into() && log >= BYTES.into())
}
