//! The settings as the kernel has them now. Every write is read back by whoever asks for it: a write that returns without an
//! error may still not have been taken.

use std::{
    fs::{self, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::PathBuf,
};

use nix::{errno::Errno, libc, unistd::AccessFlags};

use super::{Setting, table, table::Row};

/// The kernel's settings, where they are mounted.
#[derive(Clone, Debug)]
pub struct Kernel {
    root: PathBuf,
}

impl Default for Kernel {
    fn default() -> Self {
        Self::at("/proc/sys")
    }
}

impl Kernel {
    /// Mounted at `root`: `/proc/sys`, but for tests.
    pub fn at(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }

    /// What holds of this limit now: of two settings that exclude each other the one in force, the other reads 0.
    pub(crate) fn in_force(&self, row: &Row) -> io::Result<Setting> {
        let own = Setting { key: row.name.into(), value: self.read(row)? };
        if let Some(twin) = row.twin
            && own.value == "0"
            && let Ok(twin) = table::find(twin)
        {
            match self.read(twin) {
                Ok(value) if value != "0" => return Ok(Setting { key: twin.name.into(), value }),
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        Ok(own)
    }

    /// The kernel separates the numbers of a vector by tabs; here they are separated by one blank.
    fn read(&self, row: &Row) -> io::Result<String> {
        let text = fs::read_to_string(self.root.join(row.path()))?;
        Ok(text.split_whitespace().collect::<Vec<_>>().join(" "))
    }

    /// Names of congestion controls that need no module to be loaded first.
    pub(crate) fn congestion_controls(&self) -> Vec<String> {
        let text = fs::read_to_string(self.root.join("net/ipv4/tcp_available_congestion_control")).unwrap_or_default();
        text.split_whitespace().map(str::to_owned).collect()
    }

    /// Whether this process may write it: neither its user, nor its namespace, nor the mount forbids it.
    pub(crate) fn may_write(&self, row: &Row) -> Result<(), Errno> {
        nix::unistd::eaccess(&self.root.join(row.path()), AccessFlags::W_OK)
    }

    pub(super) fn write(&self, row: &Row, value: &str) -> io::Result<()> {
        let mut options = OpenOptions::new();
        let mut file = options.write(true).truncate(true).custom_flags(libc::O_NOFOLLOW).open(self.root.join(row.path()))?;
        file.write_all(value.as_bytes())
    }
}
