//! How large transactions are, from the binary log's own files: they lie on the agent's host and belong to its user. Only the
//! headers of their events count (MySQL internals manual, "Binary Log Event": 19 bytes, with type and size).

use std::{
    fs::File,
    io::{self, BufReader, Read as _},
    path::{Path, PathBuf},
};

const MAGIC: [u8; 4] = [0xfe, b'b', b'i', b'n'];
const HEADER: usize = 19;
/// What begins a transaction: MySQL's GTID, its anonymous and its tagged one, MariaDB's GTID.
const BEGINS: [u8; 4] = [33, 34, 42, 162];
/// How much of the log is looked at, the newest first. Bytes.
const LATELY: u64 = 256 << 20;

/// The largest transaction of the newest part of the log whose files `index` lists. `None`: there is no log, or it is encrypted.
pub(crate) async fn largest_lately(index: PathBuf) -> Option<u64> {
    tokio::task::spawn_blocking(move || look(&index).ok().flatten()).await.ok().flatten()
}

fn look(index: &Path) -> io::Result<Option<u64>> {
    let (mut largest, mut seen) = (None, 0);
    let names = std::fs::read_to_string(index)?;
    // Relative ones are relative to the data directory, where the list is then, too.
    let home = index.parent().unwrap_or(Path::new("/"));
    for name in names.lines().rev().filter(|name| !name.is_empty()) {
        if seen >= LATELY {
            break;
        }
        let file = File::open(home.join(name))?;
        seen += file.metadata()?.len();
        largest = largest.max(largest_in(file)?);
    }
    Ok(largest)
}

/// A file that is being written may end in the middle of an event.
fn largest_in(file: File) -> io::Result<Option<u64>> {
    let mut reader = BufReader::with_capacity(64 << 10, file);
    let mut magic = [0; 4];
    if reader.read_exact(&mut magic).is_err() || magic != MAGIC {
        return Ok(None);
    }
    let (mut largest, mut current) = (0, 0_u64);
    let mut header = [0; HEADER];
    while reader.read_exact(&mut header).is_ok() {
        let size = u32::from_le_bytes([header[9], header[10], header[11], header[12]]);
        let Some(rest) = i64::from(size).checked_sub(HEADER as i64).filter(|rest| *rest >= 0) else { break };
        if BEGINS.contains(&header[4]) {
            current = 0;
        }
        current += u64::from(size);
        largest = largest.max(current);
        reader.seek_relative(rest)?;
    }
    Ok(Some(largest))
}

#[cfg(test)]
#[allow(clippy::disallowed_methods, reason = "throw-away files")]
mod tests {
    use super::*;

    fn event(kind: u8, body: usize) -> Vec<u8> {
        let mut event = vec![0; HEADER + body];
        event[4] = kind;
        event[9..13].copy_from_slice(&u32::try_from(HEADER + body).unwrap().to_le_bytes());
        event
    }

    #[test]
    fn a_transaction_goes_from_its_gtid_to_the_next() {
        let dir = tempfile::tempdir().unwrap();
        let log = |name: &str, events: &[Vec<u8>]| {
            std::fs::write(dir.path().join(name), [MAGIC.to_vec(), events.concat()].concat()).unwrap();
        };
        let index = dir.path().join("bin.index");
        assert_eq!(look(&index).ok().flatten(), None);
        std::fs::write(&index, "./bin.000001\nbin.000002\n").unwrap();
        log("bin.000001", &[event(15, 100), event(33, 10), event(30, 1000), event(30, 500), event(16, 8)]);
        let mut torn = event(30, 9000);
        torn.truncate(12);
        log("bin.000002", &[event(162, 10), event(23, 700), event(33, 10), event(16, 8), torn]);
        assert_eq!(look(&index).unwrap(), Some(4 * 19 + 10 + 1000 + 500 + 8));
        std::fs::write(dir.path().join("bin.000001"), b"\xfd\x62\x69\x6e").unwrap();
        assert_eq!(look(&index).unwrap(), Some(2 * 19 + 710), "an encrypted file says nothing");
    }
}
