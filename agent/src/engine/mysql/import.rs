//! Binds MySQL to the settings of an import.

use flytt_proto::{failure::Failure, name::Migration, v1};

use super::{Mysql, names};
use crate::{
    change::Import,
    engine::mysql_family::{
        import::{self, Order, Vendor},
        process,
    },
};

impl Mysql {
    /// What could be set for an import, for the recipe of one. Without a server there is nothing to set.
    pub(super) async fn import_settings(&self, migration: &Migration) -> Result<Import, Failure> {
        let order = Order {
            vendor: Vendor::Mysql,
            scratch: names::trial(migration),
            server: process::server(&self.config.data_directory),
            free_disk: process::free(&self.config.data_directory),
            may_lose_data: self.config.import_may_lose_data,
        };
        import::plan(&*self.session().await?, &order).await
    }

    pub(super) async fn try_settings(&self, import: &Import) -> Result<Vec<String>, Failure> {
        let session = self.unlogged().await?;
        self.while_writable(import::set(&session, Vendor::Mysql, import)).await
    }

    pub(super) async fn settings_back(&self, import: &Import) -> Result<Vec<String>, Failure> {
        if process::server(&self.config.data_directory).is_none() {
            return import::set_back_at_rest(&self.config.data_directory, import);
        }
        let session = self.unlogged().await?;
        self.while_writable(import::set_back(&session, Vendor::Mysql, import)).await
    }

    pub(super) async fn settings_left(&self, import: &Import) -> Result<Vec<v1::Finding>, Failure> {
        if process::server(&self.config.data_directory).is_none() {
            return Ok(Vec::new());
        }
        import::left(&*self.session().await?, Vendor::Mysql, import).await
    }
}
