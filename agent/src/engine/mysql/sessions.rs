//! Nobody but us is in, and nobody can write any more.

use std::time::Duration;

use flytt_proto::{failure::Failure, name::Migration};

use super::{Mysql, closed, names};
use crate::engine::mysql_family::sessions;

impl Mysql {
    pub(super) async fn end_sessions(&self, migration: &Migration, drain: Duration) -> Result<(), Failure> {
        let session = self.session().await?;
        if session.account != names::AGENT {
            return Err(closed::not_admitted(&session.account));
        }
        if !self.is_refused().await? {
            let sentence = "a login is not refused although every account is locked";
            return Err(Failure::unknown("NOT_CLOSED", sentence, "look for skip-grant-tables in the server's option files"));
        }
        let spared = names::ours(migration);
        sessions::end(&session, &spared, "kill connection", drain).await?;
        // Now that no transaction is open, nothing can hold this up, and nothing is rolled back by it.
        session.run("set global super_read_only = on").await?;
        sessions::nobody_inside(&session, &spared).await?;
        sessions::none_prepared(&session).await
    }
}
