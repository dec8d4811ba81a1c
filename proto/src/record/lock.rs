//! One process, one open record. The lock goes with the process, however it ends.

use std::{
    fs::{File, OpenOptions, TryLockError},
    io::{self, Read as _},
    os::unix::fs::{FileExt as _, OpenOptionsExt as _},
    path::Path,
};

use crate::failure::Failure;

/// Held for as long as it lives (flock(2), on a file of its own: SQLite's locks lie on the record itself).
#[derive(Debug)]
pub(super) struct Lock {
    _file: File,
}

pub(super) fn take(path: &Path, kind: &str) -> Result<Lock, Failure> {
    let mut beside = path.as_os_str().to_owned();
    beside.push(".lock");
    let beside = Path::new(&beside);
    let cannot = |error: io::Error| {
        let remedy = "make its directory writable for this user, with room for one small file";
        Failure::refused("RECORD_LOCK", format!("{} cannot be locked: {error}", beside.display()), remedy)
    };
    let mut file = create_private(beside).map_err(cannot)?;
    match file.try_lock() {
        Ok(()) => {
            // Always the same length and place, so that a full disk cannot refuse it; for people only, so it may fail.
            let _ = file.write_all_at(format!("{:>10}\n", std::process::id()).as_bytes(), 0);
            Ok(Lock { _file: file })
        }
        Err(TryLockError::WouldBlock) => {
            let mut holder = String::new();
            let _ = file.read_to_string(&mut holder);
            let holder = match holder.trim().parse::<u32>() {
                Ok(pid) => format!("process {pid}"),
                Err(_) => "another process".to_owned(),
            };
            Err(Failure::refused(
                "RECORD_IN_USE",
                format!("{holder} is in charge of the {kind} {}", path.display()),
                "wait until it ends, or end it; the lock goes with it",
            ))
        }
        Err(TryLockError::Error(error)) => Err(cannot(error)),
    }
}

/// Opens a file for its owner alone; SQLite gives its companions the same mode.
pub(super) fn create_private(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(path)
}
