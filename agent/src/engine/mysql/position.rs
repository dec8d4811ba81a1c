//! Positions: where a server is, the final one of a source, and the wait until a target has it.

use std::time::Duration;

use flytt_proto::{
    failure::Failure,
    gtid_set::GtidSet,
    name::{Migration, Position},
};

use super::{Mysql, names};
use crate::engine::mysql_family::{quote::literal, session::Session};

/// A wait inside the server is cut into such pieces, so that a stopped applier is noticed.
pub(super) const ROUND_SECONDS: &str = "0.5";

/// How long a table that the source has may take to be here.
const ARRIVE_LIMIT: Duration = Duration::from_secs(30);
/// Each waits for `lock_wait_timeout`.
const MOST_TRIES: u32 = 10;

/// What is committed here, written here or replicated, and still in a binary log or not.
pub(super) async fn executed(session: &Session) -> Result<GtidSet, Failure> {
    let text = session.value("select @@global.gtid_executed").await?;
    text.parse()
        .map_err(|error| Failure::refused("UNREADABLE", format!("the server's answer is no position: {error}"), "report this"))
}

impl Mysql {
    /// Makes the marker's table, with a first marker in it. Replicated: the target must have it, too.
    pub(super) async fn prepare_marker(&self, migration: &Migration) -> Result<(), Failure> {
        let session = self.session().await?;
        let database = names::database(migration);
        session.run(&format!("create database if not exists {database}")).await?;
        let table = "(id int primary key, number bigint unsigned not null, at timestamp(6) not null) engine = InnoDB";
        session.run(&format!("create table if not exists {database}.marker {table}")).await?;
        let table = "(server char(36) primary key, number bigint unsigned not null) engine = InnoDB";
        session.run(&format!("create table if not exists {database}.follower {table}")).await?;
        mark(&session, migration).await
    }

    /// Target: one transaction of its own, while it follows. Returns all that it ever wrote of its own, which must be such marks and
    /// nothing else: their count stands in the row that they write.
    pub(super) async fn write_own(&self, migration: &Migration) -> Result<GtidSet, Failure> {
        // It is logged, unlike whatever else we do to a replica.
        let session = self.connect().await?;
        let table = format!("{}.follower", names::database(migration));
        self.has_arrived(&session, &table).await?;
        let server = session.value("select @@global.server_uuid").await?;
        let own = executed(&session).await?.written_by(&server);
        let counted = session.value(&format!("select number from {table} where server = {}", literal(&server))).await?;
        // A dump brings along what the source has of this very server's: marks of an earlier try, whose row went with that.
        let purged: GtidSet = session.value("select @@global.gtid_purged").await?.parse().unwrap_or_default();
        let number = counted.parse::<u64>().unwrap_or(0);
        if own.count() != number && own.without(&purged).count() != number {
            let sentence = format!("somebody has written on the target: it has {own}, of which the move knows {counted}");
            return Err(Failure::refused("ERRANT_TRANSACTIONS", sentence, "find out who wrote on the target; seed it again"));
        }
        let write = format!("insert into {table} values ({}, 1) on duplicate key update number = number + 1", literal(&server));
        session.run("set global super_read_only = off").await?;
        let written = session.run(&write).await;
        shut_again(&session).await?;
        written?;
        make_durable(&session).await?;
        Ok(executed(&session).await?.written_by(&server))
    }

    /// The source made it just now.
    async fn has_arrived(&self, session: &Session, table: &str) -> Result<(), Failure> {
        let begun = std::time::Instant::now();
        while let Err(failure) = session.run(&format!("select 1 from {table} limit 1")).await {
            if failure.code != "SQL_REFUSED" || begun.elapsed() > ARRIVE_LIMIT {
                return Err(failure);
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        Ok(())
    }

    /// Behind `super_read_only` not even we can write a marker, and none is needed: setting it has waited for every commit that
    /// was under way. The log is closed and synced, whatever the server's own settings say.
    pub(super) async fn mark_end(&self) -> Result<GtidSet, Failure> {
        let session = self.session().await?;
        if !session.is_true("select @@global.super_read_only").await? {
            let sentence = "the source takes writes: what it has now is not final";
            return Err(Failure::refused("NOT_CLOSED", sentence, "look at who switched super_read_only off"));
        }
        if !session.is_true("select @@global.sync_binlog = 1 and @@global.innodb_flush_log_at_trx_commit = 1").await? {
            session.run("flush local binary logs, engine logs").await?;
        }
        executed(&session).await
    }

    /// Returns once `goal` is applied; fails when the applier has stopped.
    pub(super) async fn applied(&self, goal: &GtidSet) -> Result<GtidSet, Failure> {
        // A wait takes the whole connection, so it has one of its own.
        let session = self.connect().await?;
        loop {
            let sql = format!("select wait_for_executed_gtid_set({}, {ROUND_SECONDS})", literal(&goal.to_string()));
            if session.value(&sql).await? == "0" {
                break;
            }
            let Some(status) = self.replica_status(&session).await? else {
                // A source that was closed for good follows by the channel of its way back.
                if super::replica::applies(&session).await? {
                    continue;
                }
                let sentence = "the server replicates from nobody";
                return Err(Failure::refused("NOT_A_STANDBY", sentence, "look at SHOW REPLICA STATUS and at the server's log"));
            };
            if status.get("replica_sql_running").is_none_or(|state| state != "Yes") {
                let error = super::replica::trouble(&session, &status, "last_sql_error").await;
                let sentence = format!("the target has stopped applying: {error}");
                return Err(Failure::refused("APPLIER_STOPPED", sentence, "look at SHOW REPLICA STATUS and at the server's log"));
            }
        }
        let reached = executed(&session).await?;
        if !reached.covers(goal) {
            let sentence = format!("the server says that {goal} is applied, and is at {reached}");
            return Err(Failure::unknown("POSITIONS_DIFFER", sentence, "report this; the cutover is taken back"));
        }
        Ok(reached)
    }

    /// The sets compared the other way round: there may be nothing here that the source has not, whoever wrote it.
    pub(super) async fn nothing_beyond(&self, end: &GtidSet) -> Result<(), Failure> {
        let beyond = executed(&*self.session().await?).await?.without(end);
        if beyond.is_empty() {
            return Ok(());
        }
        let sentence = format!("the target has {beyond}, which the source does not have");
        Err(Failure::refused("ERRANT_TRANSACTIONS", sentence, "find out who wrote on the target; seed it again"))
    }

    /// Follows nobody, has the source's last transaction, and takes a durable write, as a server of its own.
    pub(super) async fn prove_primary(&self, migration: &Migration, end: &GtidSet) -> Result<GtidSet, Failure> {
        let session = self.session().await?;
        let doubt = |sentence: String| Failure::refused("NOT_THE_PRIMARY", sentence, "burn the target and seed it again");
        if self.replica_status(&session).await?.is_some() {
            return Err(doubt("the server still replicates".into()));
        }
        let before = executed(&session).await?;
        if !before.covers(end) {
            return Err(doubt(format!("it is at {before}, before the source's final position {end}")));
        }
        mark(&session, migration).await?;
        let after = executed(&session).await?;
        if after.without(&before).is_empty() {
            return Err(doubt("a write does not show in its binary log".into()));
        }
        Ok(after)
    }
}

/// One transaction, durable when it returns whatever the server's own settings say: the log is flushed after it.
async fn mark(session: &Session, migration: &Migration) -> Result<(), Failure> {
    let database = names::database(migration);
    session
        .run(&format!(
            "insert into {database}.marker values (1, 1, now(6)) on duplicate key update number = number + 1, at = now(6)"
        ))
        .await?;
    make_durable(session).await
}

/// Its appliers may hold this up for a moment.
async fn shut_again(session: &Session) -> Result<(), Failure> {
    let mut tries = 0;
    loop {
        match session.run("set global super_read_only = on").await {
            Err(failure) if failure.code == "IN_USE" && tries < MOST_TRIES => tries += 1,
            done => return done,
        }
    }
}

/// Only where the server is set not to flush at each commit.
async fn make_durable(session: &Session) -> Result<(), Failure> {
    if !session.is_true("select @@global.sync_binlog = 1 and @@global.innodb_flush_log_at_trx_commit = 1").await? {
        session.run("flush local binary logs, engine logs").await?;
    }
    Ok(())
}

pub(super) fn of(position: &Position) -> Result<&GtidSet, Failure> {
    match position {
        Position::Mysql(gtids) => Ok(gtids),
        other @ (Position::Postgres(_) | Position::Mariadb(_)) => Err(super::super::foreign(other)),
    }
}
