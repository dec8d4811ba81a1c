//! A data directory as it stands on disk, and the server process that owns it. Looks only; needs no connection.

use std::{
    fs,
    io::{self, Read as _},
    os::unix::fs::MetadataExt as _,
    path::Path,
};

use nix::unistd::Pid;

pub(super) use crate::engine::directory::{inode, is_empty, is_mount_point};

/// The cluster's system identifier: the first eight bytes of `global/pg_control` (`src/include/catalog/pg_control.h`).
/// `None` where there is no cluster.
pub(super) fn system_identifier(data: &Path) -> io::Result<Option<u64>> {
    let mut bytes = [0_u8; 8];
    match fs::File::open(data.join("global/pg_control")) {
        Ok(mut file) => file.read_exact(&mut bytes).map(|()| Some(u64::from_ne_bytes(bytes))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// The postmaster that runs in `data`. A recycled process id does not deceive: it is the one whose working directory is
/// this very directory.
pub(super) fn postmaster(data: &Path) -> Option<Pid> {
    let text = fs::read_to_string(data.join("postmaster.pid")).ok()?;
    let id: i32 = text.lines().next()?.trim().parse().ok()?;
    let process = procfs::process::Process::new(id).ok()?;
    if process.stat().ok()?.state == 'Z' {
        return None;
    }
    let (there, here) = (fs::metadata(format!("/proc/{id}/cwd")).ok()?, fs::metadata(data).ok()?);
    ((there.dev(), there.ino()) == (here.dev(), here.ino())).then(|| Pid::from_raw(id))
}

pub(super) fn is_alive(process: Pid) -> bool {
    procfs::process::Process::new(process.as_raw()).and_then(|p| p.stat()).is_ok_and(|stat| stat.state != 'Z')
}

/// Boot id, device and inode: equal on two agents means the same directory on the same machine.
pub(super) fn place(data: &Path) -> String {
    format!("{} {}", boot_id(), inode(data))
}

pub(super) fn boot_id() -> String {
    fs::read_to_string("/proc/sys/kernel/random/boot_id").map(|id| id.trim().to_owned()).unwrap_or_default()
}

#[cfg(test)]
#[allow(clippy::disallowed_methods, reason = "throw-away files")]
mod tests {
    use super::*;

    #[test]
    fn a_process_elsewhere_is_no_postmaster_of_ours() {
        let data = tempfile::tempdir().unwrap();
        assert_eq!(postmaster(data.path()), None);
        fs::write(data.path().join("postmaster.pid"), format!("{}\n", std::process::id())).unwrap();
        assert_eq!(postmaster(data.path()), None, "we live, but not in there");
        let here = std::env::current_dir().unwrap();
        assert_ne!(inode(&here), inode(data.path()));
    }

    #[test]
    fn an_absent_cluster_is_no_error_and_a_cut_one_is() {
        let data = tempfile::tempdir().unwrap();
        assert_eq!(system_identifier(data.path()).unwrap(), None);
        assert!(is_empty(data.path()).unwrap() && is_empty(&data.path().join("absent")).unwrap());
        fs::create_dir(data.path().join("global")).unwrap();
        fs::write(data.path().join("global/pg_control"), 7_u64.to_ne_bytes()).unwrap();
        assert_eq!(system_identifier(data.path()).unwrap(), Some(7));
        assert!(!is_empty(data.path()).unwrap());
        fs::write(data.path().join("global/pg_control"), [1, 2]).unwrap();
        assert!(system_identifier(data.path()).is_err());
    }
}
