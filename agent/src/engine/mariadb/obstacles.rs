//! What would make the window long right now, or the fence impossible. Each is a finding that blocks the cutover.

use std::time::Duration;

use flytt_proto::{failure::Failure, name::Migration, v1};

use super::{Mariadb, findings::block, names};
use crate::engine::{Serving, mysql_family::transactions};

impl Mariadb {
    pub(super) async fn in_the_way(&self, migration: &Migration, ready: &v1::Ready) -> Result<Vec<v1::Finding>, Failure> {
        let session = self.session().await?;
        let long = Duration::from_millis(ready.long_transaction_ms);
        let mut found = transactions::longer_than(&session, long, names::AGENT).await?;
        let prepared = session.rows("xa recover").await?.len();
        if prepared > 0 {
            found.push(block(
                "PREPARED_TRANSACTIONS",
                format!("{prepared} prepared transactions (XA) wait for their second phase"),
                "commit or roll them back: behind a fence nobody could",
            ));
        }
        if !self.reads_drop_ins() {
            found.push(block(
                "DROP_IN_NOT_READ",
                format!("{} does not include {}", self.config.config_file.display(), self.config.drop_in.display()),
                "add `!includedir` with that directory to the option file: a fence must hold across a restart of the server",
            ));
        }
        let status = match migration.is_back() {
            true => self.back_status(&session, migration).await?,
            false => self.slave_status(&session).await?,
        };
        match self.now_serving().await? {
            Serving::Writable | Serving::Down => {}
            Serving::Standby if status.is_some() => {}
            Serving::Standby => found.push(block(
                "SOURCE_READ_ONLY",
                "the source is read-only already".into(),
                "find out who made it so; a fence could not be told from it",
            )),
        }
        if let Some(trouble) = self.back_trouble(&session, migration).await? {
            found.push(block(&trouble.code, trouble.sentence, &trouble.remedy));
        }
        let replication = self.look_at_replication(migration).await?;
        if !replication.streaming {
            let sentence = format!("the replica does not replicate: {}", replication.trouble);
            found.push(block("NOT_STREAMING", sentence, "look at the target's SHOW SLAVE STATUS and at the tunnel"));
        } else if status.is_some() && replication.lag_bytes > ready.lag_bytes {
            let sentence = format!("the replica is {} bytes behind; {} are allowed", replication.lag_bytes, ready.lag_bytes);
            found.push(block("LAG", sentence, "wait until it has caught up"));
        }
        Ok(found)
    }
}
