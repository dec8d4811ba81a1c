//! The one file that sets our values again when the host starts. Each line is kept with what held before it, so that a
//! person can take it back without us. A file of somebody else under this name is never touched.

use std::{
    fs::{self, OpenOptions},
    io::{self, Read as _},
    os::unix::fs::OpenOptionsExt as _,
    path::Path,
};

use flytt_proto::{durable, failure::Failure};
use nix::libc;
use serde::{Deserialize, Serialize};

use super::{Setting, disk, table};

const HEAD: &str = "\
# Written by flytt: kernel settings for a database that is moved to or from this host.
# `flytt finish NAME --revert-tuning` takes them back. By hand: set what stands behind `before:` with `sysctl -w`, then
# remove this file. A line that flytt did not write makes it leave this file alone.
";
const BEFORE: &str = "# before: ";
/// Ours is a tenth of this.
const MOST_BYTES: u64 = 64 * 1024;

/// One setting, and what held before.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Line {
    pub set: Setting,
    pub before: Setting,
}

/// The file's lines, in the order of the table.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct DropIn(Vec<Line>);

impl DropIn {
    /// No file is an empty one.
    ///
    /// # Errors
    /// `DROP_IN_REFUSED` where something else than a file of ours has the name: a symbolic link, a device, another's file.
    pub(crate) fn read(path: &Path) -> Result<Self, Failure> {
        if path.parent().and_then(|parent| fs::symlink_metadata(parent).ok()).is_some_and(|parent| parent.is_symlink()) {
            return Err(refused(path, "lies in a directory that is a symbolic link"));
        }
        // Not to wait for the other end of a pipe that somebody put there.
        let opened = OpenOptions::new().read(true).custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK).open(path);
        let file = match opened {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Self::default()),
            Err(error) if error.raw_os_error() == Some(libc::ELOOP) => return Err(refused(path, "is a symbolic link")),
            Err(error) => return Err(disk(path, &error)),
        };
        if !file.metadata().map_err(|error| disk(path, &error))?.is_file() {
            return Err(refused(path, "is no plain file"));
        }
        let mut text = String::new();
        match file.take(MOST_BYTES).read_to_string(&mut text) {
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::InvalidData => return Err(refused(path, "is not text")),
            Err(error) => return Err(disk(path, &error)),
        }
        Self::parse(&text).ok_or_else(|| refused(path, "holds lines that flytt did not write"))
    }

    /// `None` where a line is not of our own form.
    fn parse(text: &str) -> Option<Self> {
        let mut lines = text.strip_prefix(HEAD)?.lines();
        let mut parsed = Self::default();
        while let Some(line) = lines.next() {
            let before = setting(line.strip_prefix(BEFORE)?)?;
            let set = setting(lines.next()?)?;
            parsed.put(&set.key.clone(), Some(Line { set, before }));
        }
        Some(parsed)
    }

    fn text(&self) -> String {
        let lines = self.0.iter().map(|line| format!("{BEFORE}{}\n{}\n", line.before, line.set));
        std::iter::once(HEAD.to_owned()).chain(lines).collect()
    }

    pub(crate) fn line(&self, key: &str) -> Option<&Line> {
        self.0.iter().find(|line| line.set.key == key)
    }

    /// The line for this key, or none. Of two settings that exclude each other only one stands there.
    pub(super) fn put(&mut self, key: &str, line: Option<Line>) {
        let twin = table::find(key).ok().and_then(|row| row.twin);
        self.0.retain(|other| other.set.key != key && (line.is_none() || Some(other.set.key.as_str()) != twin));
        self.0.extend(line);
        self.0.sort_by_key(|line| table::TABLE.iter().position(|row| row.name == line.set.key));
    }

    /// Durable when it returns. Without lines there is no file. A rename replaces what has the name, and follows no link.
    pub(super) fn write(&self, path: &Path) -> Result<(), Failure> {
        let written = if self.0.is_empty() { durable::remove(path) } else { durable::write(path, self.text().as_bytes(), 0o644) };
        written.map_err(|error| disk(path, &error))
    }
}

/// `vm.swappiness = 1`
fn setting(line: &str) -> Option<Setting> {
    let (key, value) = line.split_once(" = ")?;
    table::find(key).ok()?.could_be(value).ok()?;
    Some(Setting { key: key.into(), value: value.into() })
}

fn refused(path: &Path, why: &str) -> Failure {
    Failure::refused(
        "DROP_IN_REFUSED",
        format!("{} {why}: it is not written to", path.display()),
        "move it away, or let `drop_in` in agent.toml name another file, or write `kernel = \"off\"` below `[tuning]` in migration.toml",
    )
}
