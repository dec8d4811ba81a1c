//! What would make the window long right now, or the fence impossible. Each is a finding that blocks the cutover.

use std::time::Duration;

use flytt_proto::{failure::Failure, name::Migration, v1};

use super::{Postgres, findings::block};
use crate::engine::Serving;

impl Postgres {
    pub(super) async fn in_the_way(&self, migration: &Migration, ready: &v1::Ready) -> Result<Vec<v1::Finding>, Failure> {
        let session = self.session().await?;
        let mut found = Vec::new();
        let limit = Duration::from_millis(ready.long_transaction_ms);
        let rows = session
            .rows(&format!(
                "select pid, coalesce(usename, ''), floor(extract(epoch from clock_timestamp() - xact_start)) \
                 from pg_stat_activity where backend_type = 'client backend' and pid <> pg_backend_pid() \
                 and clock_timestamp() - xact_start > interval '{} milliseconds' order by xact_start limit 5",
                limit.as_millis()
            ))
            .await?;
        for row in rows {
            let mut row = row.into_iter().map(Option::unwrap_or_default);
            let mut next = || row.next().unwrap_or_default();
            let (pid, user, age) = (next(), next(), next());
            found.push(block(
                "LONG_TRANSACTION",
                format!("process {pid} of role {user} has been in a transaction for {age} s"),
                "let it finish, or end it; the fence would cut it off",
            ));
        }
        let prepared = session.value("select count(*) from pg_prepared_xacts").await?;
        if prepared != "0" {
            found.push(block(
                "PREPARED_TRANSACTIONS",
                format!("{prepared} prepared transactions wait for their second phase"),
                "commit or roll them back: behind a fence nobody could",
            ));
        }
        let workers = session
            .rows(
                "select distinct backend_type from pg_stat_activity where datid is not null and backend_type not in \
                 ('client backend', 'walsender', 'parallel worker') and backend_type not like 'autovacuum%' order by 1",
            )
            .await?;
        for kind in workers.into_iter().flatten().flatten() {
            found.push(block(
                "BACKGROUND_WORKER",
                format!("a {kind} runs, which writes past the fence"),
                "disable subscriptions and job schedulers for the time of the cutover",
            ));
        }
        let replication = self.look_at_replication(migration).await?;
        if !replication.streaming {
            let sentence = format!("the standby does not stream: {}", replication.trouble);
            found.push(block("NOT_STREAMING", sentence, "look at the target's log and at the tunnel"));
        } else if self.now_serving().await? == Serving::Standby && replication.lag_bytes > ready.lag_bytes {
            let sentence = format!("the standby is {} bytes behind; {} are allowed", replication.lag_bytes, ready.lag_bytes);
            found.push(block("LAG", sentence, "wait until it has caught up"));
        }
        Ok(found)
    }
}
