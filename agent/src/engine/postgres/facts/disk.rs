//! Facts that the data directory and the configuration files give without a server.

use std::{collections::BTreeMap, fs, os::unix::fs::MetadataExt as _, path::Path, time::Duration};

use super::{super::cluster, Data};
use crate::{command::Command, engine::postgres::Postgres};

const LIMIT: Duration = Duration::from_secs(10);

/// Settings that findings look at.
pub(super) const SETTINGS: &[&str] = &[
    "archive_command",
    "archive_library",
    "archive_mode",
    "data_directory",
    "default_transaction_read_only",
    "fsync",
    "full_page_writes",
    "hba_file",
    "hot_standby",
    "huge_pages",
    "listen_addresses",
    "local_preload_libraries",
    "max_connections",
    "max_locks_per_transaction",
    "max_prepared_transactions",
    "max_replication_slots",
    "max_slot_wal_keep_size",
    "max_wal_senders",
    "max_worker_processes",
    "password_encryption",
    "port",
    "recovery_end_command",
    "recovery_min_apply_delay",
    "restore_command",
    "session_preload_libraries",
    "shared_preload_libraries",
    "ssl",
    "synchronous_standby_names",
    "unix_socket_directories",
    "wal_level",
    "wal_log_hints",
];

pub(super) fn data(path: &Path, is_ours: impl Fn(&Path) -> bool) -> Data {
    let meta = fs::symlink_metadata(path).ok();
    Data {
        path: path.to_string_lossy().into_owned(),
        inode: cluster::inode(path),
        exists: meta.is_some(),
        // One that cannot be read is not taken for an empty one.
        empty: cluster::is_empty(path).unwrap_or(false),
        system: cluster::system_identifier(path).ok().flatten().map(|id| id.to_string()).unwrap_or_default(),
        running: cluster::postmaster(path).is_some(),
        symlink: meta.as_ref().is_some_and(fs::Metadata::is_symlink),
        mount_point: cluster::is_mount_point(path),
        ours: is_ours(path),
        mode: meta.map_or(0, |meta| meta.mode() & 0o7777),
        wal_elsewhere: fs::symlink_metadata(path.join("pg_wal")).is_ok_and(|meta| meta.is_symlink()),
    }
}

/// What `pg_controldata` says, by its own labels.
pub(in crate::engine::postgres) async fn control(bin: &Path, data: &Path) -> BTreeMap<String, String> {
    let Ok(output) = Command::new(bin.join("pg_controldata")).arg("-D").arg(data).run(LIMIT).await else {
        return BTreeMap::new();
    };
    let field = |line: &str| line.split_once(':').map(|(key, value)| (key.trim().to_owned(), value.trim().to_owned()));
    output.stdout.lines().filter_map(field).collect()
}

/// Lines that mean something, words separated by one space, without comments.
pub(super) fn lines(path: &Path) -> Vec<String> {
    let text = fs::read_to_string(path).unwrap_or_default();
    let words = |line: &str| line.split('#').next().unwrap_or_default().split_whitespace().collect::<Vec<_>>().join(" ");
    text.lines().map(words).filter(|line| !line.is_empty()).collect()
}

impl Postgres {
    /// What a server started now would have; nothing where there is no configuration yet.
    pub(super) async fn settings_at_rest(&self) -> BTreeMap<String, String> {
        let mut settings = BTreeMap::new();
        if self.config_file().exists() {
            for name in SETTINGS {
                if let Ok(value) = self.configured(name).await {
                    settings.insert((*name).to_owned(), value);
                }
            }
        }
        settings
    }
}
