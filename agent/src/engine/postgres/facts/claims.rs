//! Where agent.toml says one thing of this host's server and the server itself another. Files and directories are the same
//! when they are one on disk, however their paths are written.

use std::{collections::BTreeMap, path::Path};

use serde::{Deserialize, Serialize};

use crate::engine::postgres::{Postgres, cluster};

/// One key of agent.toml's `[postgres]` that does not fit.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(in crate::engine::postgres) struct Claim {
    pub(in crate::engine::postgres) key: String,
    pub(in crate::engine::postgres) claimed: String,
    pub(in crate::engine::postgres) is: String,
}

const ASK: &str = "select json_object_agg(name, setting) from pg_settings \
    where name in ('data_directory', 'config_file', 'port', 'unix_socket_directories')";

impl Postgres {
    /// Asks whoever listens on the socket that agent.toml names, also where agent.toml's data directory has no server: then
    /// it is another's. On a connection of its own, so that nothing else is ever said to a wrong one.
    pub(super) async fn false_claims(&self) -> Vec<Claim> {
        let config = &self.config;
        if !self.socket_path().exists() {
            return Vec::new();
        }
        // A server that does not answer is a finding, or an error, elsewhere.
        let Ok(session) = self.connect(&config.role, &config.database).await else { return Vec::new() };
        let Ok(server) = session.json::<BTreeMap<String, String>>(ASK).await else { return Vec::new() };
        let port = config.port.to_string();
        let claims = [
            ("data_directory", config.data_directory.to_string_lossy().into_owned()),
            ("config_file", self.config_file().to_string_lossy().into_owned()),
            ("port", port),
            ("socket", config.socket.to_string_lossy().into_owned()),
        ];
        let fits = |key: &str, claimed: &str, is: &str| match key {
            "port" => claimed == is,
            "socket" => is.split(',').any(|one| is_same(one.trim(), claimed)),
            _ => is_same(is, claimed),
        };
        let differ = claims.into_iter().filter_map(|(key, claimed)| {
            // What only a superuser may see is not there for others.
            let is = server.get(if key == "socket" { "unix_socket_directories" } else { key })?;
            (!fits(key, &claimed, is)).then(|| Claim { key: key.into(), claimed, is: is.clone() })
        });
        differ.collect()
    }
}

fn is_same(here: &str, there: &str) -> bool {
    let (here, there) = (Path::new(here), Path::new(there));
    let place = cluster::inode(here);
    here == there || (!place.is_empty() && place == cluster::inode(there))
}
