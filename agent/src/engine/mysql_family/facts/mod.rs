//! What preflight must know of either engine's server: a plain record, part of each engine's own. It travels as JSON to the other
//! side's agent. A fact that is missing there is an error: it must not count as a good one.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
};

use serde::{Deserialize, Serialize};

use super::process;

pub(crate) mod ask;
pub(crate) mod binary_log;
mod rest;

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Common {
    /// As the server or its binary says it: `10.11.19-MariaDB-…`, `9.7.4`.
    pub(crate) version: String,
    /// Of the running server, or what one started now would have. Names with underscores.
    pub(crate) settings: BTreeMap<String, String>,
    pub(crate) data_directory: String,
    pub(crate) boot_id: String,
    /// Bytes.
    pub(crate) free: u64,
    /// Whether the directory has nothing in it, or is not there.
    pub(crate) empty: bool,
    pub(crate) agent_port: u16,
    pub(crate) agent_socket: String,
    pub(crate) may_replace: bool,
    pub(crate) live: Live,
}

/// Only a running server can say these.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Live {
    pub(crate) data_bytes: u64,
    /// `host:port` it replicates from.
    pub(crate) replicates_from: String,
    /// The account it does that as.
    pub(crate) replicates_as: String,
    /// Accounts of other replicas that read from it.
    pub(crate) replicas: Vec<String>,
    /// At most twenty of each, `database.table`.
    pub(crate) without_key: Vec<String>,
    pub(crate) not_transactional: Vec<String>,
    /// `definer: object` where the definer is no account.
    pub(crate) lost_definers: Vec<String>,
    pub(crate) events: u64,
    pub(crate) prepared: u64,
    /// Seconds.
    pub(crate) longest_transaction: u64,
    /// Bytes in the binary log, of those that were written lately; `None` = the log cannot be read.
    pub(crate) largest_transaction: Option<u64>,
    pub(crate) collations_used: BTreeSet<String>,
    /// Empty where the server does not run.
    pub(crate) collations_known: BTreeSet<String>,
    /// Authentication plugins of accounts, and those that are active.
    pub(crate) plugins_used: BTreeSet<String>,
    pub(crate) plugins_active: BTreeSet<String>,
    pub(crate) has_time_zones: bool,
    /// Those that are not the server's own, at most twenty.
    pub(crate) databases: Vec<String>,
}

impl Common {
    /// What the host says; the settings and what only a running server knows are still to come.
    pub(crate) fn of_host(data: &Path, port: u16, socket: &Path, may_replace: bool) -> Self {
        Self {
            data_directory: data.to_string_lossy().into_owned(),
            boot_id: process::boot_id(),
            free: process::free(data),
            empty: std::fs::read_dir(data).map_or(true, |mut entries| entries.next().is_none()),
            agent_port: port,
            agent_socket: socket.to_string_lossy().into_owned(),
            may_replace,
            ..Self::default()
        }
    }

    pub(crate) fn setting(&self, name: &str) -> &str {
        self.settings.get(name).map_or("", String::as_str)
    }

    pub(crate) fn number(&self, name: &str) -> i64 {
        self.setting(name).parse().unwrap_or(0)
    }

    pub(crate) fn is_on(&self, name: &str) -> bool {
        matches!(self.setting(name).to_ascii_lowercase().as_str(), "on" | "true" | "yes" | "1")
    }

    /// (major, minor, patch); zeroes where it cannot be read.
    pub(crate) fn version(&self) -> (u32, u32, u32) {
        let mut parts = self.version.split(['.', '-']).map(|part| part.parse().unwrap_or(0));
        (parts.next().unwrap_or(0), parts.next().unwrap_or(0), parts.next().unwrap_or(0))
    }

    /// `11.8`; empty where the version cannot be read.
    pub(crate) fn series(&self) -> String {
        match self.version() {
            (0, _, _) => String::new(),
            (major, minor, _) => format!("{major}.{minor}"),
        }
    }

    /// `host:port` for others; empty when the server does not listen.
    pub(crate) fn address(&self) -> String {
        let host = match self.setting("bind_address") {
            "" | "*" | "0.0.0.0" | "::" => {
                std::fs::read_to_string("/proc/sys/kernel/hostname").map(|name| name.trim().to_owned()).unwrap_or_default()
            }
            one => one.to_owned(),
        };
        if self.is_on("skip_networking") { String::new() } else { format!("{host}:{}", self.agent_port) }
    }
}
