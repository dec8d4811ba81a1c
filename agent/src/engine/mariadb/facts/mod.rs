//! What preflight must know of one side: a plain record, filled from the running server, its option files and the host. It
//! travels as JSON to the other side's agent. A fact that is missing there is an error: it must not count as a good one.

use std::collections::{BTreeMap, BTreeSet};

use flytt_proto::failure::Failure;
use serde::{Deserialize, Serialize};

use super::{Mariadb, system};
use crate::engine::{Facts, Serving, mysql_family::process};

mod live;
mod rest;

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct MaFacts {
    /// As the server or its binary says it: `10.11.19-MariaDB-…`.
    pub(super) version: String,
    /// Of the running server, or what one started now would have. Names with underscores.
    pub(super) settings: BTreeMap<String, String>,
    pub(super) data_directory: String,
    pub(super) boot_id: String,
    /// Bytes.
    pub(super) free: u64,
    /// Whether the directory has nothing in it, or is not there.
    pub(super) empty: bool,
    pub(super) agent_port: u16,
    pub(super) agent_socket: String,
    pub(super) may_replace: bool,
    /// The option file includes the agent's directory, and this user can write there.
    pub(super) drop_in: bool,
    pub(super) drop_in_path: String,
    pub(super) live: Live,
}

/// Only a running server can say these.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Live {
    /// The agent's account has all privileges.
    pub(super) all_privileges: bool,
    pub(super) data_bytes: u64,
    pub(super) binlog_pos: String,
    pub(super) slave_pos: String,
    /// `host:port` it replicates from.
    pub(super) replicates_from: String,
    /// The account it does that as.
    pub(super) replicates_as: String,
    /// Accounts of other replicas that read from it.
    pub(super) replicas: Vec<String>,
    /// At most twenty of each, `database.table`.
    pub(super) without_key: Vec<String>,
    pub(super) not_transactional: Vec<String>,
    /// `definer: object` where the definer is no account.
    pub(super) lost_definers: Vec<String>,
    pub(super) events: u64,
    pub(super) prepared: u64,
    /// Seconds.
    pub(super) longest_transaction: u64,
    pub(super) collations_used: BTreeSet<String>,
    /// Empty where the server does not run.
    pub(super) collations_known: BTreeSet<String>,
    /// Authentication plugins of accounts, and those that are active.
    pub(super) plugins_used: BTreeSet<String>,
    pub(super) plugins_active: BTreeSet<String>,
    pub(super) has_time_zones: bool,
    /// A plugin looks at passwords before the server takes them.
    pub(super) validates_passwords: bool,
    pub(super) uid: String,
}

impl MaFacts {
    pub(super) fn setting(&self, name: &str) -> &str {
        self.settings.get(name).map_or("", String::as_str)
    }

    pub(super) fn number(&self, name: &str) -> i64 {
        self.setting(name).parse().unwrap_or(0)
    }

    pub(super) fn is_on(&self, name: &str) -> bool {
        matches!(self.setting(name).to_ascii_lowercase().as_str(), "on" | "true" | "yes" | "1")
    }

    /// (major, minor, patch); zeroes where it cannot be read.
    pub(super) fn version(&self) -> (u32, u32, u32) {
        let mut parts = self.version.split(['.', '-']).map(|part| part.parse().unwrap_or(0));
        (parts.next().unwrap_or(0), parts.next().unwrap_or(0), parts.next().unwrap_or(0))
    }
}

impl Mariadb {
    pub(super) async fn look(&self) -> Result<Facts, Failure> {
        let data = &self.config.data_directory;
        let serving = self.now_serving().await?;
        let mut facts = MaFacts {
            data_directory: data.to_string_lossy().into_owned(),
            boot_id: process::boot_id(),
            free: process::free(data),
            empty: std::fs::read_dir(data).map_or(true, |mut entries| entries.next().is_none()),
            agent_port: self.config.port,
            agent_socket: self.config.socket.to_string_lossy().into_owned(),
            may_replace: self.may_replace,
            drop_in: self.reads_drop_ins() && writable(&self.config.drop_in),
            drop_in_path: self.config.drop_in.to_string_lossy().into_owned(),
            ..MaFacts::default()
        };
        match serving {
            Serving::Down => self.at_rest(&mut facts).await,
            Serving::Standby | Serving::Writable => self.ask(&mut facts).await?,
        }
        let system = system::identifier(data).map(|id| id.to_string()).unwrap_or_default();
        let host = match facts.setting("bind_address") {
            "" | "*" | "0.0.0.0" | "::" => {
                std::fs::read_to_string("/proc/sys/kernel/hostname").map(|name| name.trim().to_owned()).unwrap_or_default()
            }
            one => one.to_owned(),
        };
        Ok(Facts {
            serving,
            system,
            data_bytes: facts.live.data_bytes,
            address: if facts.is_on("skip_networking") { String::new() } else { format!("{host}:{}", self.config.port) },
            place: format!("{} {}", facts.boot_id, process::inode(data)),
            detail: serde_json::to_string(&facts).expect("a plain record"),
        })
    }
}

fn writable(directory: &std::path::Path) -> bool {
    nix::unistd::access(directory, nix::unistd::AccessFlags::W_OK).is_ok()
}
