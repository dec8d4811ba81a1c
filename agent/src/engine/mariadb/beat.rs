//! When a source of MariaDB writes its heartbeat, and what it looks after with it.

use flytt_proto::{failure::Failure, name::Migration};

use super::{Mariadb, names};
use crate::engine::mysql_family::beat;

impl Mariadb {
    /// Only where the move's replica is connected: the row is of use to nobody else.
    pub(super) async fn beat_once(&self, migration: &Migration) -> Result<(), Failure> {
        let session = self.session().await?;
        if session.account != names::AGENT || !self.has_replica(&session, migration).await? {
            return Ok(());
        }
        // A connection that broke while the target was away does not come back by itself in every case; and one of a server that
        // started again applies.
        self.rest_back(&session, migration).await?;
        beat::write(&session, &names::database(migration)).await
    }
}
