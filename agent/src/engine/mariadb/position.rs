//! Positions: where a server is, the final one of a source, and the wait until a target has it.

use flytt_proto::{
    failure::Failure,
    gtid::GtidPosition,
    name::{Migration, Position},
};

use super::{Mariadb, names};
use crate::engine::mysql_family::{quote::literal, session::Session};

/// A wait inside the server is cut into such pieces, so that a stopped applier is noticed.
pub(super) const ROUND_SECONDS: &str = "0.5";

/// The marker's rows: each side writes one of its own, so that the two never meet.
pub(super) const PRIMARY: u8 = 1;
pub(super) const FOLLOWER: u8 = 2;

impl Mariadb {
    /// What is applied here: written here or replicated. Each domain once, by its higher number.
    pub(super) async fn position_of(&self, session: &Session) -> Result<GtidPosition, Failure> {
        let written = gtids(&session.value("select @@global.gtid_binlog_pos").await?)?;
        let replicated = gtids(&session.value("select @@global.gtid_slave_pos").await?)?;
        Ok(written.joined(&replicated))
    }

    /// What others may wait for: on a server that is nobody's replica only what its log hands on. What came to it over the way back
    /// may not be in there. A source that was closed for good and follows is a replica by that.
    pub(super) async fn reported(&self, session: &Session) -> Result<GtidPosition, Failure> {
        let is_standby = match self.slave_status(session).await? {
            Some(_) => true,
            None => session.is_true("select @@global.read_only").await? && self.applies(session).await?,
        };
        match is_standby {
            true => self.position_of(session).await,
            false => gtids(&session.value("select @@global.gtid_binlog_pos").await?),
        }
    }

    /// Makes the marker's table, with a first marker in it. Replicated: the target must have it, too.
    pub(super) async fn prepare_marker(&self, migration: &Migration) -> Result<(), Failure> {
        let session = self.session().await?;
        let database = names::database(migration);
        session.run(&format!("create database if not exists {database}")).await?;
        let table = "(id int primary key, number bigint unsigned not null, at timestamp(6) not null) engine = InnoDB";
        session.run(&format!("create table if not exists {database}.marker {table}")).await?;
        mark(&session, migration, PRIMARY).await
    }

    /// What stands in the binary log after a marker of ours: everything that was ever acknowledged is in it.
    pub(super) async fn mark_end(&self, migration: &Migration) -> Result<GtidPosition, Failure> {
        let session = self.session().await?;
        mark(&session, migration, PRIMARY).await?;
        gtids(&session.value("select @@global.gtid_binlog_pos").await?)
    }

    /// Returns once `goal` is applied; fails when the applier has stopped.
    pub(super) async fn applied(&self, goal: &GtidPosition) -> Result<GtidPosition, Failure> {
        // A wait takes the whole connection, so it has one of its own.
        let session = self.connect().await?;
        loop {
            let sql = format!("select master_gtid_wait({}, {ROUND_SECONDS})", literal(&goal.to_string()));
            if session.value(&sql).await? == "0" {
                break;
            }
            let Some(status) = self.slave_status(&session).await? else {
                // A source that was closed for good follows by the connection of its way back.
                if self.applies(&session).await? {
                    continue;
                }
                let sentence = "the server replicates from nobody";
                return Err(Failure::refused("NOT_A_STANDBY", sentence, "look at SHOW SLAVE STATUS and at the server's log"));
            };
            if status.get("slave_sql_running").is_none_or(|state| state != "Yes") {
                let error = status.get("last_sql_error").cloned().unwrap_or_default();
                let sentence = format!("the target has stopped applying: {error}");
                return Err(Failure::refused("APPLIER_STOPPED", sentence, "look at SHOW SLAVE STATUS and at the server's log"));
            }
        }
        let replicated = gtids(&session.value("select @@global.gtid_slave_pos").await?)?;
        if !replicated.covers(goal) {
            let sentence = format!("the server says that {goal} is applied, and is at {replicated}");
            return Err(Failure::unknown("POSITIONS_DIFFER", sentence, "report this; the cutover is taken back"));
        }
        self.position_of(&session).await
    }

    /// The sets compared the other way round: in the source's domains there may be nothing here that the source has not,
    /// written here or not. Where the way back is armed this server's own domain is one of them.
    pub(super) async fn nothing_beyond(&self, end: &GtidPosition) -> Result<(), Failure> {
        let applied = self.position_of(&*self.session().await?).await?;
        let beyond = applied.iter().find(|own| end.iter().any(|last| last.domain == own.domain && own.sequence > last.sequence));
        let Some(gtid) = beyond else { return Ok(()) };
        let sentence = format!("the target has transaction {gtid}, which the source does not have");
        Err(Failure::refused("ERRANT_TRANSACTIONS", sentence, "find out who wrote on the target; seed it again"))
    }

    /// Follows nobody, has the source's last transaction, and takes a durable write, in a domain of its own.
    pub(super) async fn prove_primary(&self, migration: &Migration, end: &GtidPosition) -> Result<GtidPosition, Failure> {
        let session = self.session().await?;
        let doubt = |sentence: String| Failure::refused("NOT_THE_PRIMARY", sentence, "burn the target and seed it again");
        if self.slave_status(&session).await?.is_some() {
            return Err(doubt("the server still replicates".into()));
        }
        let before = self.position_of(&session).await?;
        if !before.covers(end) {
            return Err(doubt(format!("it is at {before}, before the source's final position {end}")));
        }
        mark(&session, migration, PRIMARY).await?;
        let after = self.position_of(&session).await?;
        if before.missing(&after) == 0 {
            return Err(doubt("a write does not show in its binary log".into()));
        }
        Ok(after)
    }
}

/// One transaction, durable when it returns whatever the server's own settings say: the log is flushed after it.
pub(super) async fn mark(session: &Session, migration: &Migration, row: u8) -> Result<(), Failure> {
    let database = names::database(migration);
    session
        .run(&format!(
            "insert into {database}.marker values ({row}, 1, now(6)) on duplicate key update number = number + 1, at = now(6)"
        ))
        .await?;
    // Only where the server is set not to flush at each commit.
    if !session.is_true("select @@global.sync_binlog = 1 and @@global.innodb_flush_log_at_trx_commit = 1").await? {
        session.run("flush no_write_to_binlog binary logs, engine logs").await?;
    }
    Ok(())
}

pub(super) fn gtids(text: &str) -> Result<GtidPosition, Failure> {
    text.parse()
        .map_err(|error| Failure::refused("UNREADABLE", format!("the server's answer is no position: {error}"), "report this"))
}

pub(super) fn of(position: &Position) -> Result<&GtidPosition, Failure> {
    match position {
        Position::Mariadb(gtids) => Ok(gtids),
        other @ (Position::Postgres(_) | Position::Mysql(_)) => Err(super::super::foreign(other)),
    }
}
