//! What preflight must know of one side: what MySQL and MariaDB have in common, and MariaDB's own.

use flytt_proto::failure::Failure;
use serde::{Deserialize, Serialize};

use super::{Mariadb, system};
use crate::engine::{
    Facts, Serving, directory,
    mysql_family::{facts::Common, process},
};

mod live;

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct MaFacts {
    pub(super) common: Common,
    /// The option file includes the agent's directory, and this user can write there.
    pub(super) drop_in: bool,
    pub(super) drop_in_path: String,
    pub(super) own: Own,
}

/// Only a running server can say these.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Own {
    /// The agent's account has all privileges.
    pub(super) all_privileges: bool,
    pub(super) binlog_pos: String,
    pub(super) slave_pos: String,
    /// A plugin looks at passwords before the server takes them.
    pub(super) validates_passwords: bool,
    pub(super) uid: String,
}

impl MaFacts {
    pub(super) fn setting(&self, name: &str) -> &str {
        self.common.setting(name)
    }

    pub(super) fn is_on(&self, name: &str) -> bool {
        self.common.is_on(name)
    }
}

impl Mariadb {
    pub(super) async fn look(&self) -> Result<Facts, Failure> {
        let data = &self.config.data_directory;
        let serving = self.now_serving().await?;
        let mut facts = MaFacts {
            common: Common::of_host(data, self.config.port, &self.config.socket, self.may_replace),
            drop_in: self.reads_drop_ins() && writable(&self.config.drop_in),
            drop_in_path: self.config.drop_in.to_string_lossy().into_owned(),
            ..MaFacts::default()
        };
        match serving {
            Serving::Down => facts.common.at_rest(&self.config.server, &self.config.config_file, None).await,
            Serving::Standby | Serving::Writable => self.ask(&mut facts).await?,
        }
        let system = system::identifier(data).map(|id| id.to_string()).unwrap_or_default();
        Ok(Facts {
            serving,
            system,
            data_bytes: facts.common.live.data_bytes,
            series: facts.common.series(),
            copied: directory::copied(&self.state, data).into(),
            address: facts.common.address(),
            place: format!("{} {}", facts.common.boot_id, process::inode(data)),
            detail: serde_json::to_string(&facts).expect("a plain record"),
        })
    }
}

fn writable(directory: &std::path::Path) -> bool {
    nix::unistd::access(directory, nix::unistd::AccessFlags::W_OK).is_ok()
}
