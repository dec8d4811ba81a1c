//! Whether a data directory may take a copy of the source, and how room is made for it. Looks and proposes; nothing is done here.

use std::path::Path;

use flytt_proto::{failure::Failure, name::Migration};

use super::process;
use crate::{
    change::{Change, DataDir},
    engine::directory::{self, Mark},
};

/// A target's data directory.
#[derive(Debug)]
pub(crate) struct Place<'a> {
    pub(crate) data: &'a Path,
    /// Its owner's consent.
    pub(crate) may_replace: bool,
    /// The system identifier of the server that it is of.
    pub(crate) found: Option<String>,
    /// Says whether a copy of this move is in it.
    pub(crate) mark: Mark,
}

impl Place<'_> {
    /// What makes the directory empty: nothing, or its contents are moved aside. Refused unless it is empty, holds a copy of this
    /// move, or the server that somebody named as the one to be `replaced`.
    pub(crate) fn made_free(&self, migration: &Migration, replaced: &str) -> Result<Option<Change>, Failure> {
        let data = self.data;
        let refuse = |code: &str, sentence: String, remedy: &str| Err(Failure::refused(code, sentence, remedy));
        if !self.may_replace {
            let sentence = "this host does not allow its data directory to be replaced".to_owned();
            return refuse("NO_CONSENT", sentence, "set `may_replace_data = true` in the target's agent.toml");
        }
        let parent = data.parent().filter(|_| std::fs::symlink_metadata(data).map_or(true, |meta| meta.is_dir()));
        let Some(parent) = parent else {
            return refuse("BAD_DATA_DIRECTORY", format!("{} is not a plain directory", data.display()), "name it in agent.toml");
        };
        if process::server(data).is_some() {
            return refuse("TARGET_RUNS", format!("a server runs in {}", data.display()), "stop the target's server");
        }
        let empty = directory::is_empty(data).map_err(|error| {
            Failure::unknown("DISK", format!("{}: {error}", data.display()), "see to the disk and the file's owner")
        })?;
        if empty {
            return Ok(None);
        }
        let found = self.found.as_deref();
        if found != Some(replaced) && !self.mark.names(data) && !is_of_a_failed_start(data) {
            let found = found.map_or("files that are no server's".to_owned(), |id| format!("the data of server {id}"));
            return refuse(
                "DIRECTORY_NOT_EMPTY",
                format!("{} holds {found}, which nobody named", data.display()),
                "empty it, or name its system identifier as the one to be replaced",
            );
        }
        if directory::is_mount_point(data) {
            return refuse(
                "MOUNT_POINT",
                format!("{} is a mount point and not empty", data.display()),
                "empty it, or put the data directory one level below",
            );
        }
        Ok(Some(Change::DataDir(DataDir { path: data.to_owned(), trash: parent.join(directory::trash(migration)) })))
    }
}

/// Whether nothing is in it but what a server leaves that was started in an empty directory, as whoever looks after services may
/// have done: without system tables it ends again.
fn is_of_a_failed_start(data: &Path) -> bool {
    const NAMES: [&str; 11] = [
        "aria_log",
        "auto.cnf",
        "binlog.",
        "ddl_recovery",
        "ib_buffer_pool",
        "ib_logfile",
        "ibdata",
        "ibtmp",
        "multi-master.info",
        "tc.log",
        "undo",
    ];
    const ENDINGS: [&str; 6] = [".err", ".idx", ".index", ".pid", ".state", ".000001"];
    let Ok(mut entries) = std::fs::read_dir(data) else { return false };
    let is_of_a_server = |entry: std::io::Result<std::fs::DirEntry>| {
        let Ok(entry) = entry else { return false };
        let name = entry.file_name().to_string_lossy().into_owned();
        let is_file = entry.file_type().is_ok_and(|kind| !kind.is_dir());
        let is_known = NAMES.iter().any(|own| name.starts_with(own)) || ENDINGS.iter().any(|end| name.ends_with(end));
        (is_file && is_known) || name.starts_with("#innodb_") || name == "#binlog_cache_files"
    };
    // The first that a start makes, on MariaDB and on MySQL: without one of them no server was started here.
    ["aria_log_control", "auto.cnf"].iter().any(|first| data.join(first).is_file()) && entries.all(is_of_a_server)
}

#[cfg(test)]
#[allow(clippy::disallowed_methods, reason = "throw-away files")]
mod tests {
    use super::*;

    #[test]
    fn what_a_failed_start_leaves_is_nobody_s_data() {
        let data = tempfile::tempdir().unwrap();
        // As MariaDB 10.11 and 11.8 left them, tried.
        std::fs::create_dir(data.path().join("#binlog_cache_files")).unwrap();
        for name in [
            "aria_log.00000001",
            "aria_log_control",
            "ib_buffer_pool",
            "ib_logfile0",
            "ibdata1",
            "maria-bin.000001",
            "maria-bin.000001.idx",
            "maria-bin.index",
            "maria-bin.state",
            "undo001",
            "auto.cnf",
        ] {
            std::fs::write(data.path().join(name), "x").unwrap();
        }
        assert!(is_of_a_failed_start(data.path()));
        std::fs::write(data.path().join("notes.txt"), "mine").unwrap();
        assert!(!is_of_a_failed_start(data.path()));
        std::fs::remove_file(data.path().join("notes.txt")).unwrap();
        std::fs::create_dir(data.path().join("mysql")).unwrap();
        assert!(!is_of_a_failed_start(data.path()), "an installed server's");
        let other = tempfile::tempdir().unwrap();
        std::fs::write(other.path().join("library.index"), "mine").unwrap();
        assert!(!is_of_a_failed_start(other.path()), "no server was started there");
    }
}
