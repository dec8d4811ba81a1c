//! What preflight must know of one side: what MySQL and MariaDB have in common, and MySQL's own.

use std::{collections::BTreeSet, path::Path};

use flytt_proto::{failure::Failure, gtid_set::GtidSet};
use serde::{Deserialize, Serialize};

use super::{Mysql, system};
use crate::engine::{
    Facts, Serving, directory,
    mysql_family::{facts::Common, process},
};

mod live;

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct MyFacts {
    pub(super) common: Common,
    /// The files in the server's directory of plugins.
    pub(super) libraries: BTreeSet<String>,
    pub(super) own: Own,
}

/// Only a running server can say these.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Own {
    /// Privileges that the agent's account needs and has not.
    pub(super) lacks: Vec<String>,
    pub(super) server_uuid: String,
    /// As the server says it; see [`Own::executed`].
    pub(super) gtid_executed: String,
    /// What its replication leaves out, and what its binary log does.
    pub(super) filters: Vec<String>,
    pub(super) binlog_filters: Vec<String>,
    /// Tablespaces that are encrypted at rest.
    pub(super) encrypted: u64,
    /// A keyring component or plugin is active.
    pub(super) keyring: bool,
    /// Files of the plugins and components that are loaded.
    pub(super) libraries_used: BTreeSet<String>,
    /// Settings that are kept in the data directory (`SET PERSIST`).
    pub(super) persisted: Vec<String>,
    /// Data files outside the data directory.
    pub(super) outside: Vec<String>,
    /// Accounts whose clients show a certificate.
    pub(super) certified: Vec<String>,
    /// Accounts with partial revokes.
    pub(super) restricted: u64,
}

impl Own {
    /// The transactions that the server has; none where it says what is no set.
    pub(super) fn executed(&self) -> GtidSet {
        self.gtid_executed.parse().unwrap_or_default()
    }
}

impl MyFacts {
    pub(super) fn setting(&self, name: &str) -> &str {
        self.common.setting(name)
    }

    pub(super) fn is_on(&self, name: &str) -> bool {
        self.common.is_on(name)
    }
}

impl Mysql {
    pub(super) async fn look(&self) -> Result<Facts, Failure> {
        let data = &self.config.data_directory;
        let serving = self.now_serving().await?;
        let mut facts = MyFacts {
            common: Common::of_host(data, self.config.port, &self.config.socket, self.may_replace),
            ..MyFacts::default()
        };
        match serving {
            Serving::Down => {
                facts.common.at_rest(&self.config.server, &self.config.config_file, Some(&self.state)).await;
            }
            Serving::Standby | Serving::Writable => self.ask(&mut facts).await?,
        }
        facts.libraries = libraries(Path::new(facts.setting("plugin_dir")));
        Ok(Facts {
            serving,
            system: system::identifier(data).unwrap_or_default(),
            data_bytes: facts.common.live.data_bytes,
            series: facts.common.series(),
            copied: directory::copied(&self.state, data).into(),
            address: facts.common.address(),
            place: format!("{} {}", facts.common.boot_id, process::inode(data)),
            detail: serde_json::to_string(&facts).expect("a plain record"),
        })
    }
}

fn libraries(directory: &Path) -> BTreeSet<String> {
    let entries = std::fs::read_dir(directory).into_iter().flatten().flatten();
    let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
    names.filter(|name| name.ends_with(".so")).collect()
}
