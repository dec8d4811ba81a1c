//! Which server a data directory is of: its `server_uuid`, as the directory says it while the server is down.

use std::{fs, path::Path};

/// The UUID in `auto.cnf`, in lower case, which the server makes when it first starts in a directory without one (MySQL manual,
/// "Replication and Binary Logging Options and Variables", `server_uuid`). A copy by CLONE has none, and gets its own.
/// One that a start in an empty directory left is no server's: that has no system tables.
pub(super) fn identifier(data: &Path) -> Option<String> {
    if !data.join("mysql.ibd").is_file() {
        return None;
    }
    let text = fs::read_to_string(data.join("auto.cnf")).ok()?;
    let value = text.lines().find_map(|line| {
        let (key, value) = line.split_once('=')?;
        matches!(key.trim(), "server-uuid" | "server_uuid").then(|| value.trim().to_owned())
    })?;
    let digits = [8, 4, 4, 4, 12];
    let is_part = |(part, length): (&str, usize)| part.len() == length && part.bytes().all(|byte| byte.is_ascii_hexdigit());
    let is_uuid = value.split('-').count() == digits.len() && value.split('-').zip(digits).all(is_part);
    is_uuid.then(|| value.to_ascii_lowercase())
}

#[cfg(test)]
#[allow(clippy::disallowed_methods, reason = "throw-away files")]
mod tests {
    use super::*;

    #[test]
    fn only_a_whole_uuid_is_one() {
        const UUID: &str = "670f2239-e567-11f1-a3a2-02fc00000001";
        let data = tempfile::tempdir().unwrap();
        fs::write(data.path().join("auto.cnf"), format!("server-uuid={UUID}\n")).unwrap();
        assert_eq!(identifier(data.path()), None, "nothing but a start that failed");
        fs::write(data.path().join("mysql.ibd"), "x").unwrap();
        fs::remove_file(data.path().join("auto.cnf")).unwrap();
        let says = |text: &str| {
            fs::write(data.path().join("auto.cnf"), text).unwrap();
            identifier(data.path())
        };
        assert_eq!(identifier(data.path()), None);
        assert_eq!(says(&format!("[auto]\nserver-uuid={UUID}\n")), Some(UUID.to_owned()));
        assert_eq!(says(&format!("[auto]\nserver_uuid = {}", UUID.to_uppercase())), Some(UUID.to_owned()));
        for bad in [
            "",
            "[auto]\n",
            "server-uuid=670f2239",
            "server-uuid=g70f2239-e567-11f1-a3a2-02fc00000001",
            "server-uuid=670f2239e56711f1a3a202fc00000001",
        ] {
            assert_eq!(says(bad), None, "{bad:?}");
        }
    }
}
