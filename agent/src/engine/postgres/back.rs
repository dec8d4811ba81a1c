//! The way back: what proves that the old source follows the new primary.
//!
//! A server that says it is in recovery, and even one that replays, may wait for ever for log that belongs to another history. So the
//! primary leaves a word where a standby can read it, in the comment of our own role, and the follower is one when it reads that.

use std::time::{Duration, Instant};

use flytt_proto::{
    failure::Failure,
    name::{Lsn, Migration},
};

use super::{Postgres, names, position::lsn};

const PAUSE: Duration = Duration::from_millis(20);
/// How long a follower may need for the first word, once it is up.
const ARRIVE_LIMIT: Duration = Duration::from_secs(60);

impl Postgres {
    /// New primary: names its position in the comment, which is durable and on its way when this returns. Leaves nothing: the
    /// comment goes with the role.
    pub(super) async fn leave_word(&self, migration: &Migration) -> Result<Lsn, Failure> {
        let session = self.session().await?;
        let at = lsn(&session.value("select pg_current_wal_insert_lsn()").await?)?;
        let (role, word) = (names::agent_role(migration), names::literal(&word(at)));
        // A synchronous standby that is gone must not hold it up.
        session.run(&format!("begin; set local synchronous_commit = local; comment on role {role} is {word}; commit")).await?;
        Ok(at)
    }

    /// Old source: returns once it has read that word, or a later one.
    pub(super) async fn hears_word(&self, migration: &Migration, at: Lsn) -> Result<(), Failure> {
        let begun = Instant::now();
        loop {
            let session = self.session().await?;
            let role = names::literal(&names::agent_role(migration));
            let sql = format!("select shobj_description(oid, 'pg_authid') from pg_roles where rolname = {role}");
            if heard(&session.value(&sql).await?).is_some_and(|heard| heard >= at) {
                return Ok(());
            }
            if begun.elapsed() > ARRIVE_LIMIT {
                let trouble = self.look_at_replication(&migration.back()).await?.trouble;
                let why = if trouble.is_empty() { "it receives the log and has not applied it".to_owned() } else { trouble };
                return Err(down(&why));
            }
            tokio::time::sleep(PAUSE).await;
        }
    }
}

fn word(at: Lsn) -> String {
    format!("flytt: the primary at {at}")
}

fn heard(comment: &str) -> Option<Lsn> {
    comment.strip_prefix("flytt: the primary at ")?.parse().ok()
}

fn down(why: &str) -> Failure {
    Failure::refused(
        "WAY_BACK_DOWN",
        format!("the old source does not follow the target: {why}"),
        "look at its log: where it waits for WAL of another timeline, it wrote something after the target was promoted and must be \
         copied anew; else see to its tunnel and to the target's agent, and run `flytt resume`",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_reads_back_and_others_comments_are_none() {
        assert_eq!(heard(&word(Lsn(0x1_0000_00ff))), Some(Lsn(0x1_0000_00ff)));
        assert_eq!((heard(""), heard("the DBA's own comment"), heard("flytt: the primary at noon")), (None, None, None));
    }
}
