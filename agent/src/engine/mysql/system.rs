//! Which server a data directory is of: its `server_uuid`, as the directory says it while the server is down.

use std::{fs, path::Path};

/// The first eight bytes, big-endian, of the UUID in `auto.cnf`, which the server makes when it first starts in a directory
/// without one (MySQL manual, "Replication and Binary Logging Options and Variables", `server_uuid`). A copy by CLONE has none, and
/// gets its own.
pub(super) fn identifier(data: &Path) -> Option<u64> {
    let text = fs::read_to_string(data.join("auto.cnf")).ok()?;
    let value = text.lines().find_map(|line| {
        let (key, value) = line.split_once('=')?;
        matches!(key.trim(), "server-uuid" | "server_uuid").then(|| value.trim().to_owned())
    })?;
    let digits: String = value.chars().filter(|c| *c != '-').collect();
    let head = digits.get(..16).filter(|_| digits.len() == 32)?;
    u64::from_str_radix(head, 16).ok().filter(|id| *id != 0)
}

#[cfg(test)]
#[allow(clippy::disallowed_methods, reason = "throw-away files")]
mod tests {
    use super::*;

    #[test]
    fn only_a_whole_uuid_is_one() {
        let data = tempfile::tempdir().unwrap();
        let says = |text: &str| {
            fs::write(data.path().join("auto.cnf"), text).unwrap();
            identifier(data.path())
        };
        assert_eq!(identifier(data.path()), None);
        assert_eq!(says("[auto]\nserver-uuid=670f2239-e567-11f1-a3a2-02fc00000001\n"), Some(0x670f_2239_e567_11f1));
        assert_eq!(says("[auto]\nserver_uuid = 670f2239-e567-11f1-a3a2-02fc00000001"), Some(0x670f_2239_e567_11f1));
        for bad in ["", "[auto]\n", "server-uuid=670f2239", "server-uuid=g70f2239-e567-11f1-a3a2-02fc00000001"] {
            assert_eq!(says(bad), None, "{bad:?}");
        }
    }
}
