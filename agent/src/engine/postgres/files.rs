//! Where this server's configuration files are: as the server itself resolves them, running or not.

use std::{path::PathBuf, time::Duration};

use flytt_proto::failure::Failure;

use super::{Postgres, failure};
use crate::command::Command;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Files {
    pub(super) hba: PathBuf,
    pub(super) ident: PathBuf,
}

const LIMIT: Duration = Duration::from_secs(10);

impl Postgres {
    /// Asked of `postgres -C` once; a server that we start may have other files, so a start forgets them.
    pub(super) async fn files(&self) -> Result<Files, Failure> {
        let mut known = self.files.lock().await;
        if let Some(files) = known.as_ref() {
            return Ok(files.clone());
        }
        if !self.config_file().exists() {
            // Before the seed: the copy will bring the files with it, to their default place.
            let data = &self.config.data_directory;
            return Ok(Files { hba: data.join("pg_hba.conf"), ident: data.join("pg_ident.conf") });
        }
        let files = Files { hba: self.configured("hba_file").await?.into(), ident: self.configured("ident_file").await?.into() };
        *known = Some(files.clone());
        Ok(files)
    }

    pub(super) async fn forget_files(&self) {
        *self.files.lock().await = None;
    }

    /// What a server started now would have as `name`.
    pub(super) async fn configured(&self, name: &str) -> Result<String, Failure> {
        let mut command = Command::new(self.config.bin.join("postgres"));
        match &self.config.config_file {
            // Not `-D`: that fails as long as there is no directory.
            Some(config_file) => {
                for (key, path) in [("config_file=", config_file), ("data_directory=", &self.config.data_directory)] {
                    let mut setting = std::ffi::OsString::from(key);
                    setting.push(path);
                    command = command.arg("-c").arg(setting);
                }
            }
            None => command = command.arg("-D").arg(&self.config.data_directory),
        }
        let output = command.args(["-C", name]).run(LIMIT).await;
        output.map(|output| output.stdout).map_err(|error| failure::tool("CONFIG_UNREADABLE", &error))
    }

    pub(super) fn config_file(&self) -> PathBuf {
        self.config.config_file.clone().unwrap_or_else(|| self.config.data_directory.join("postgresql.conf"))
    }
}
