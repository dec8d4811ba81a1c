//! What preflight must know of one side: a plain record, filled from the running server, the data directory and the host.
//! It travels as JSON to the other side's agent. A fact that is missing there is an error: it must not count as a good one.

use std::collections::{BTreeMap, BTreeSet};

use flytt_proto::failure::Failure;
use serde::{Deserialize, Serialize};

use super::{Postgres, cluster};
use crate::engine::{Facts, Serving};

mod claims;
pub(super) mod disk;
mod host;
mod live;

pub(super) use claims::Claim;

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct PgFacts {
    /// `server_version_num` of the binaries here: 150018.
    pub(super) version: u32,
    /// `pg_controldata`, by its own labels.
    pub(super) control: BTreeMap<String, String>,
    pub(super) host: Host,
    pub(super) data: Data,
    /// Of the running server, or what one started now would have.
    pub(super) settings: BTreeMap<String, String>,
    /// Lines of `pg_hba.conf`, words separated by one space.
    pub(super) hba: Vec<String>,
    pub(super) ident: Vec<String>,
    pub(super) hba_errors: Vec<String>,
    pub(super) hba_file: String,
    pub(super) config_file: String,
    /// Where agent.toml says that the server is.
    pub(super) agent_port: u16,
    pub(super) agent_socket: String,
    /// Where agent.toml and the server that answers do not agree.
    pub(super) false_claims: Vec<Claim>,
    pub(super) may_replace: bool,
    pub(super) superuser: bool,
    pub(super) live: Live,
    /// Extension → versions whose scripts are installed on this host.
    pub(super) available: BTreeMap<String, BTreeSet<String>>,
    /// Names of the libraries in the server's library directory, without suffix.
    pub(super) libraries: BTreeSet<String>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Host {
    pub(super) architecture: String,
    pub(super) page_size: u64,
    /// `glibc 2.36`; empty where the C library is another.
    pub(super) glibc: String,
    pub(super) boot_id: String,
    pub(super) data_free: u64,
    pub(super) wal_free: u64,
    /// Programs seen running, or files seen, of other tools that start and stop the server.
    pub(super) managers: Vec<String>,
    pub(super) start_conf: String,
}

/// The data directory as it stands on disk.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Data {
    pub(super) path: String,
    pub(super) inode: String,
    pub(super) exists: bool,
    pub(super) empty: bool,
    pub(super) system: String,
    pub(super) running: bool,
    pub(super) symlink: bool,
    pub(super) mount_point: bool,
    pub(super) ours: bool,
    pub(super) mode: u32,
    pub(super) wal_elsewhere: bool,
}

/// Only a running server can say these.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Live {
    pub(super) in_recovery: bool,
    pub(super) data_bytes: u64,
    pub(super) databases: Vec<Database>,
    pub(super) tablespaces: Vec<String>,
    pub(super) slots: u32,
    pub(super) logical_slots: Vec<String>,
    pub(super) walsenders: u32,
    pub(super) prepared: u32,
    /// Seconds.
    pub(super) longest_transaction: u64,
    pub(super) workers: Vec<String>,
    pub(super) wal_bytes: u64,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Database {
    pub(super) name: String,
    /// `c` = libc, `i` = ICU, `b` = built in
    pub(super) provider: String,
    pub(super) collate: String,
    /// Version of the collation that indexes were built with, and the one of the library now.
    pub(super) collation_version: Option<String>,
    pub(super) actual_version: Option<String>,
    pub(super) extensions: BTreeMap<String, String>,
    pub(super) libraries: Vec<String>,
    pub(super) unlogged: Vec<String>,
    pub(super) subscriptions: Vec<String>,
    pub(super) jobs: u32,
}

impl PgFacts {
    pub(super) fn setting(&self, name: &str) -> &str {
        self.settings.get(name).map_or("", String::as_str)
    }

    pub(super) fn number(&self, name: &str) -> i64 {
        self.setting(name).parse().unwrap_or(0)
    }

    pub(super) fn is_on(&self, name: &str) -> bool {
        matches!(self.setting(name), "on" | "true" | "yes" | "1" | "always")
    }

    /// Words of a comma-separated setting.
    pub(super) fn list(&self, name: &str) -> Vec<String> {
        let words = self.setting(name).split(',').map(|word| word.trim().trim_matches('"').to_owned());
        words.filter(|word| !word.is_empty()).collect()
    }
}

impl Postgres {
    pub(super) async fn look(&self) -> Result<Facts, Failure> {
        let serving = self.now_serving().await?;
        let data = disk::data(&self.config.data_directory, |data| self.any_copy_of_ours(data));
        let mut facts = PgFacts {
            version: host::version(&self.config.bin).await,
            control: disk::control(&self.config.bin, &self.config.data_directory).await,
            host: host::look(&self.config.data_directory, &self.config_file()).await,
            data,
            agent_port: self.config.port,
            agent_socket: self.config.socket.to_string_lossy().into_owned(),
            false_claims: self.false_claims().await,
            may_replace: self.may_replace,
            config_file: self.config_file().to_string_lossy().into_owned(),
            available: host::extensions(&self.config.bin).await,
            libraries: host::libraries(&self.config.bin).await,
            ..PgFacts::default()
        };
        let files = self.files().await?;
        facts.hba_file = files.hba.to_string_lossy().into_owned();
        facts.hba = disk::lines(&files.hba);
        facts.ident = disk::lines(&files.ident);
        match serving {
            Serving::Down => facts.settings = self.settings_at_rest().await,
            Serving::Standby | Serving::Writable => self.ask(&mut facts).await?,
        }
        let system = cluster::system_identifier(&self.config.data_directory).ok().flatten();
        Ok(Facts {
            serving,
            system: system.map(|id| id.to_string()).unwrap_or_default(),
            data_bytes: facts.live.data_bytes,
            series: String::new(),
            copied: String::new(),
            address: host::address(&facts, self.config.port),
            place: cluster::place(&self.config.data_directory),
            detail: serde_json::to_string(&facts).expect("a plain record"),
        })
    }

    /// A mark of any move may name the directory.
    fn any_copy_of_ours(&self, data: &std::path::Path) -> bool {
        let Ok(marks) = std::fs::read_dir(self.state.join("seed")) else { return false };
        let slots = marks.filter_map(|mark| Some(mark.ok()?.path().file_stem()?.to_string_lossy().into_owned()));
        slots.into_iter().any(|slot| self.holds_copy(&slot, data))
    }
}
