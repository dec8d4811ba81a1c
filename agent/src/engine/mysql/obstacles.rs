//! What would make the window long right now, or the fence impossible. Each is a finding that blocks the cutover.

use std::time::Duration;

use flytt_proto::{failure::Failure, name::Migration, v1};

use super::{Mysql, findings::block, names};
use crate::engine::{Serving, mysql_family::transactions};

impl Mysql {
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
        if !session.is_true("select @@global.persisted_globals_load").await? {
            found.push(block(
                "PERSIST_NOT_LOADED",
                "the server does not read what it has persisted (persisted_globals_load is off)".into(),
                "switch it on and restart the server: a fence must hold across a restart",
            ));
        }
        let status = match migration.is_back() {
            true => self.back_status(&session, migration).await?,
            false => self.replica_status(&session).await?,
        };
        match self.now_serving().await? {
            // The fence persists these, and takes them away again when it is taken back.
            Serving::Writable => {
                let persisted = "select group_concat(VARIABLE_NAME separator ', ') from performance_schema.persisted_variables \
                                 where VARIABLE_NAME in ('read_only', 'super_read_only', 'event_scheduler')";
                let names = session.value(persisted).await?;
                if !names.is_empty() {
                    found.push(block(
                        "PERSISTED_ALREADY",
                        format!("the server has persisted a value of its own for {names}"),
                        "write it into the option file and run RESET PERSIST for it: a fence that is taken back would lose it",
                    ));
                }
            }
            Serving::Down => {}
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
            found.push(block("NOT_STREAMING", sentence, "look at the target's SHOW REPLICA STATUS and at the tunnel"));
        } else if status.is_some() && replication.lag_bytes > ready.lag_bytes {
            let sentence = format!("the replica is {} bytes behind; {} are allowed", replication.lag_bytes, ready.lag_bytes);
            found.push(block("LAG", sentence, "wait until it has caught up"));
        }
        Ok(found)
    }
}
