//! The server process as the host sees it. Looks only; needs no connection.

use std::{fs, os::unix::fs::MetadataExt as _, path::Path};

use nix::unistd::Pid;

const NAMES: [&str; 2] = ["mariadbd", "mysqld"];

/// The server of this user whose working directory is `data`: a server changes into its data directory when it starts. One that
/// was started as root and gave that up shows its directory to nobody, and is not found.
pub(crate) fn server(data: &Path) -> Option<Pid> {
    let own = nix::unistd::geteuid().as_raw();
    let here = fs::metadata(data).ok()?;
    let all = procfs::process::all_processes().ok()?.filter_map(Result::ok);
    let found = all.filter(|process| process.uid().is_ok_and(|uid| uid == own)).find(|process| {
        let is_server = process.stat().is_ok_and(|stat| stat.state != 'Z' && NAMES.contains(&stat.comm.as_str()));
        let cwd = fs::metadata(format!("/proc/{}/cwd", process.pid()));
        is_server && cwd.is_ok_and(|there| (there.dev(), there.ino()) == (here.dev(), here.ino()))
    });
    found.map(|process| Pid::from_raw(process.pid()))
}

pub(crate) fn is_alive(process: Pid) -> bool {
    procfs::process::Process::new(process.as_raw()).and_then(|p| p.stat()).is_ok_and(|stat| stat.state != 'Z')
}

/// `device:inode`; empty when there is no such directory.
pub(crate) fn inode(data: &Path) -> String {
    fs::metadata(data).map(|meta| format!("{}:{}", meta.dev(), meta.ino())).unwrap_or_default()
}

pub(crate) fn boot_id() -> String {
    fs::read_to_string("/proc/sys/kernel/random/boot_id").map(|id| id.trim().to_owned()).unwrap_or_default()
}

/// Bytes free for this user, on the file system of the nearest directory that exists.
pub(crate) fn free(path: &Path) -> u64 {
    let existing = path.ancestors().find_map(|path| nix::sys::statvfs::statvfs(path).ok());
    existing.map_or(0, |fs| fs.blocks_available().saturating_mul(fs.fragment_size()))
}
