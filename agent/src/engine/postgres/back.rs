//! The way back: how the old source comes to follow the new primary, and what proves that it does.
//!
//! A server that says it is in recovery, and even one that replays, may wait for ever for log that belongs to another history. So the
//! primary leaves a word where a standby can read it, in the comment of our own role, and the follower is one when it reads that.

use std::{
    path::PathBuf,
    time::{Duration, Instant},
};

use flytt_proto::{
    durable,
    failure::Failure,
    name::{Lsn, Migration},
};

use super::{Postgres, backup, facts::disk, failure, names, position::lsn};
use crate::command::Command;

const PAUSE: Duration = Duration::from_millis(20);
/// How long a follower may need for the first word, once it is up.
const ARRIVE_LIMIT: Duration = Duration::from_secs(60);

/// A server that follows streams within this time of its start.
const STREAM_LIMIT: Duration = Duration::from_secs(10);
/// Longer than a receiver lives that is turned away, and than the pause before the next one (`wal_retrieve_retry_interval`).
const STEADY: Duration = Duration::from_millis(500);
const REWIND_LIMIT: Duration = Duration::from_secs(3_600);

impl Postgres {
    /// Old source, with its standby's files in place. A checkpointer, an autovacuum worker or a snapshot that was logged between the
    /// promotion and the server's end leaves a few records that the new primary never had, and then it waits for log that does not
    /// exist. It is stopped then, which as a standby needs no checkpoint, and rewound.
    pub(super) async fn start_as_follower(&self, migration: &Migration, host: &str, port: u16) -> Result<(), Failure> {
        let mark = self.rewinding(migration);
        if mark.exists() {
            self.come_up_as_standby()?;
            return Err(lost("a rewind of it was interrupted, so its files are neither its own nor the new primary's"));
        }
        let (_, settings) = self.auto_conf()?;
        if !settings.contains(&names::slot(&migration.back())) {
            // Rewound already, and another's configuration is in place of its own: what comes next puts that right.
            return Ok(());
        }
        self.start().await?;
        if self.streams(migration).await? {
            return Ok(());
        }
        self.stop().await?;
        self.checkpoint_own_promotion().await?;
        self.checkpoint_upstream(migration, host, port).await;
        durable::write(&mark, b"", 0o600).map_err(|error| failure::file(&mark, &error))?;
        let outcome = self.rewind(migration, host, port).run(REWIND_LIMIT).await;
        // The new primary has no such file, so a rewind takes it away, whatever comes of it.
        self.come_up_as_standby()?;
        match outcome {
            Ok(said) if [&said.stdout, &said.stderr].iter().any(|text| text.contains("no rewind required")) => {
                durable::remove(&mark).map_err(|error| failure::file(&mark, &error))?;
                self.start().await?;
                return Err(down("pg_rewind sees no difference, so the new primary has not written a checkpoint yet"));
            }
            Ok(_) => {}
            // It looks before it writes: refused, it has changed nothing, and the server may wait on.
            Err(error) if is_refusal(&error.to_string()) => {
                durable::remove(&mark).map_err(|error| failure::file(&mark, &error))?;
                self.start().await?;
                return Err(down(&error.to_string()));
            }
            Err(error) => return Err(lost(&error.to_string())),
        }
        self.forget_files().await;
        durable::remove(&mark).map_err(|error| failure::file(&mark, &error))
    }

    /// Whoever starts this server gets no second primary.
    fn come_up_as_standby(&self) -> Result<(), Failure> {
        let signal = self.config.data_directory.join("standby.signal");
        durable::write(&signal, b"", 0o600).map_err(|error| failure::file(&signal, &error))
    }

    /// Seen twice from the same receiver: one that the primary is about to turn away, since it has gone another way, says for a
    /// moment that it streams.
    async fn streams(&self, migration: &Migration) -> Result<bool, Failure> {
        let (begun, mut seen) = (Instant::now(), None);
        loop {
            let streaming = self.look_at_replication(&migration.back()).await?.streaming;
            let receiver = self.session().await?.value("select pid from pg_stat_wal_receiver").await?;
            match &seen {
                Some((pid, since)) if streaming && *pid == receiver => {
                    let since: &Instant = since;
                    if since.elapsed() > STEADY {
                        return Ok(true);
                    }
                }
                _ => seen = (streaming && !receiver.is_empty()).then(|| (receiver, Instant::now())),
            }
            if begun.elapsed() > STREAM_LIMIT {
                return Ok(false);
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    fn rewind(&self, migration: &Migration, host: &str, port: u16) -> Command {
        Command::new(self.config.bin.join("pg_rewind"))
            .arg("--target-pgdata")
            .arg(&self.config.data_directory)
            .arg("--source-server")
            .arg(self.upstream(migration, host, port))
    }

    fn upstream(&self, migration: &Migration, host: &str, port: u16) -> String {
        let (back, passfile) = (migration.back(), self.passfile(&migration.back()).to_string_lossy().into_owned());
        let role = names::replication_role(&back);
        let to = backup::conninfo(host, &port.to_string(), &role, &passfile, false, &names::slot(&back));
        format!("{to} {}", names::conninfo(&[("dbname", &self.config.database)]))
    }

    /// Up to PostgreSQL 15, `pg_rewind` takes a server for what its last checkpoint says, and one that was promoted and ended before
    /// its first checkpoint for one that never was (16 looks at the end of recovery, too: commit 009eeee). Nobody can connect
    /// to a server in single-user mode; it recovers, writes that checkpoint and ends, as `pg_rewind` lets it do after a crash.
    async fn checkpoint_own_promotion(&self) -> Result<(), Failure> {
        let control = disk::control(&self.config.bin, &self.config.data_directory).await;
        let timeline = |label: &str| control.get(label).and_then(|text| text.parse::<u32>().ok()).unwrap_or_default();
        if timeline("Min recovery ending loc's timeline") <= timeline("Latest checkpoint's TimeLineID") {
            return Ok(());
        }
        let signal = self.config.data_directory.join("standby.signal");
        durable::remove(&signal).map_err(|error| failure::file(&signal, &error))?;
        let mut command =
            Command::new(self.config.bin.join("postgres")).arg("--single").arg("-D").arg(&self.config.data_directory);
        if let Some(file) = &self.config.config_file {
            command = command.arg("-c").arg(format!("config_file={}", file.display()));
        }
        let outcome = command.arg(&self.config.database).run(REWIND_LIMIT).await;
        self.come_up_as_standby()?;
        outcome.map(drop).map_err(|error| down(&format!("what it had been promoted to cannot be brought to an end: {error}")))
    }

    /// The same on the new primary, which serves: only where it has written none since its promotion. Where it is refused
    /// (PostgreSQL 14 has no role for it), its own checkpoint comes in some minutes.
    async fn checkpoint_upstream(&self, migration: &Migration, host: &str, port: u16) {
        const HAS_ONE: &str = "select timeline_id = ('x' || left(pg_walfile_name(pg_current_wal_insert_lsn()), 8))::bit(32)::int \
                               from pg_control_checkpoint()";
        let to = self.upstream(migration, host, port);
        let psql = |sql: &str| Command::new(self.config.bin.join("psql")).args(["-XAtqw", "-c", sql, "-d", &to]);
        if psql(HAS_ONE).run(REWIND_LIMIT).await.is_ok_and(|said| said.stdout.trim() == "t") {
            return;
        }
        if let Err(error) = psql("checkpoint").run(REWIND_LIMIT).await {
            tracing::warn!("the new primary writes no checkpoint for us: {error}");
        }
    }

    pub(super) fn rewinding(&self, migration: &Migration) -> PathBuf {
        self.state.join(format!("{}.rewinding", migration.name()))
    }

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

/// What `pg_rewind` says before it has touched a file (its `sanityChecks`, and `libpq_source.c`).
fn is_refusal(said: &str) -> bool {
    ["needs to use either data checksums or", "could not connect", "connection to server", "could not find common ancestor"]
        .iter()
        .any(|words| said.contains(words))
}

fn down(why: &str) -> Failure {
    Failure::refused(
        "WAY_BACK_DOWN",
        format!("the old source does not follow the target: {why}"),
        "see to its tunnel and to the target's agent, and run `flytt resume`; where its log says that it waits for WAL of another \
         timeline and it cannot be rewound (that needs data checksums or wal_log_hints), finish, and move back with a new copy",
    )
}

fn lost(why: &str) -> Failure {
    let sentence = format!("the old source can never follow the target: {why}");
    Failure::unknown("WAY_BACK_LOST", sentence, "finish this move; to go back, move in the other direction with a new copy")
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
