//! Which server a data directory is of: MariaDB's own answer differs with the machine it runs on, and nothing but this survives a
//! copy and can be read while the server is down.

use std::{fs, io::Read as _, path::Path};

/// Before the UUID in `aria_log_control`: `CF_MAGIC_STRING` and a version byte (`storage/maria/ma_control_file.c`).
const MAGIC: [u8; 3] = [0xfe, 0xfe, 0x0c];

/// The first eight bytes, big-endian, of the UUID that the server's system tables got when it was installed. `None` where there is
/// no server's data, or none that can be told apart. A start in an empty directory fails and leaves a control file, too, but no
/// system tables.
pub(super) fn identifier(data: &Path) -> Option<u64> {
    if !data.join("mysql").is_dir() {
        return None;
    }
    let mut head = [0_u8; 12];
    fs::File::open(data.join("aria_log_control")).ok()?.read_exact(&mut head).ok()?;
    let uuid = u64::from_be_bytes(head[4..].try_into().ok()?);
    (head[..3] == MAGIC && uuid != 0).then_some(uuid)
}

#[cfg(test)]
#[allow(clippy::disallowed_methods, reason = "throw-away files")]
mod tests {
    use super::*;

    #[test]
    fn only_a_control_file_has_one() {
        let data = tempfile::tempdir().unwrap();
        assert_eq!(identifier(data.path()), None);
        fs::create_dir(data.path().join("mysql")).unwrap();
        assert_eq!(identifier(data.path()), None);
        let file = data.path().join("aria_log_control");
        let mut text = vec![0xfe, 0xfe, 0x0c, 1, 0x2a, 0x1e, 0x53, 0x5f, 0xe5, 0x57, 0x11, 0xf1, 0x9f, 0xbf];
        fs::write(&file, &text).unwrap();
        assert_eq!(identifier(data.path()), Some(0x2a1e_535f_e557_11f1));
        fs::write(&file, &text[..9]).unwrap();
        assert_eq!(identifier(data.path()), None);
        text[0] = 0;
        fs::write(&file, &text).unwrap();
        assert_eq!(identifier(data.path()), None);
        fs::write(&file, [0xfe, 0xfe, 0x0c, 1, 0x2a, 0x1e, 0x53, 0x5f, 0xe5, 0x57, 0x11, 0xf1]).unwrap();
        assert!(identifier(data.path()).is_some());
        fs::remove_dir(data.path().join("mysql")).unwrap();
        assert_eq!(identifier(data.path()), None, "nothing but a start that failed");
    }
}
