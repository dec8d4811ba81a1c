//! When a source of MySQL writes its heartbeat, and what it looks after with it.

use flytt_proto::{failure::Failure, name::Migration};

use super::{Mysql, names};
use crate::engine::mysql_family::beat;

impl Mysql {
    /// Only where the move's replica is connected: the row is of use to nobody else.
    pub(super) async fn beat_once(&self, migration: &Migration) -> Result<(), Failure> {
        let session = self.session().await?;
        if session.account != names::AGENT || !self.has_replica(&session, migration).await? {
            return Ok(());
        }
        // A server that started again has started all of its channels, and a receiver that met an error has ended.
        self.rest_back(&session, migration).await?;
        beat::write(&session, &names::database(migration)).await
    }
}
