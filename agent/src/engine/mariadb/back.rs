//! The way back: the source follows its own replica while it goes on serving, over a named connection beside whatever else it
//! does. Which write is whose, the domain says; its own, when they come round, the server skips by its number (tried: they are
//! not written again, and its position goes on over them).
//!
//! Once it is proven it rests: the target's log is fetched, and nothing of it is applied until the target has opened. What an
//! administrator writes on the target before, or a promoted target that is burned, must never be here; and the final position stands
//! still.

use std::time::{Duration, Instant};

use flytt_proto::{failure::Failure, gtid::GtidPosition, name::Migration};

use super::{Mariadb, names, position, replica::Status};
use crate::{
    engine::mysql_family::{
        quote::{account, literal},
        session::Session,
    },
    secret,
};

/// The fence waits no longer for the connection's threads.
const PAUSE_LIMIT: Duration = Duration::from_secs(2);
/// How long a target may be behind when the source begins to follow it.
const BEGIN_LIMIT: Duration = Duration::from_secs(60);
/// How long the new primary's first write may take to arrive before it is said that it has not.
const ARRIVE_LIMIT: Duration = Duration::from_secs(10);
/// Of a statement that a busy source's own writes make fail.
const MOST_TRIES: u32 = 500;
const PAUSE: Duration = Duration::from_millis(100);
/// The target's log does not go as far as the source's yet (`ER_MASTER_FATAL_ERROR_READING_BINLOG`): the thread has ended for good.
const NOT_THERE_YET: &str = "1236";

impl Mariadb {
    pub(super) fn back_passfile(&self, migration: &Migration) -> std::path::PathBuf {
        secret::passfile(&self.state, &names::back_password(migration))
    }

    /// Target: the account that the source follows as. It may read the binary log and nothing else, out of the tunnel alone.
    pub(super) async fn welcome(&self, migration: &Migration, verifier: &str) -> Result<(), Failure> {
        let follower = account(&names::back(migration), "localhost");
        self.run_unlogged(&[
            format!("create or replace user {follower} identified via mysql_native_password using {}", literal(verifier)),
            format!("grant replication slave on *.* to {follower}"),
        ])
        .await
    }

    pub(super) async fn unwelcome(&self, migration: &Migration) -> Result<(), Failure> {
        self.run_unlogged(&[format!("drop user if exists {}", account(&names::back(migration), "localhost"))]).await
    }

    pub(super) async fn back_status(&self, session: &Session, migration: &Migration) -> Result<Option<Status>, Failure> {
        match session.named(&format!("show slave {} status", channel(migration))).await {
            // There is no connection of that name.
            Err(failure) if failure.code == "NO_CONNECTION" => Ok(None),
            other => other,
        }
    }

    /// Source: follows from the end of its own log on. Not from before: a strict server refuses to be set behind what it wrote
    /// itself (error 1947), and all of that is its own anyway.
    pub(super) async fn follow_back(&self, migration: &Migration, host: &str, port: u16) -> Result<(), Failure> {
        let session = self.unlogged().await?;
        let (name, role) = (channel(migration), names::back(migration));
        if self.back_status(&session, migration).await?.is_none() {
            let path = self.back_passfile(migration);
            let password = secret::password(&path, &role).map_err(|error| super::file(&path, &error))?;
            self.begin_after_own(&session).await?;
            let change = password.within(
                &format!(
                    "change master {name} to master_host = {}, master_port = {port}, master_user = {}, master_password = ",
                    literal(host),
                    literal(&role)
                ),
                ", master_use_gtid = slave_pos, master_connect_retry = 1, master_heartbeat_period = 1, master_ssl = 0, \
                 master_ssl_verify_server_cert = 0",
            );
            session.run_secretly(&change).await?;
            self.keep_connections().await?;
        }
        let begun = Instant::now();
        loop {
            session.run(&format!("start slave {name}")).await?;
            tokio::time::sleep(PAUSE).await;
            let status = self.back_status(&session, migration).await?.unwrap_or_default();
            if runs(&status) {
                return self.keep_connections().await;
            }
            let code = status.get("last_io_errno").map_or("", String::as_str);
            let may_come = ["", "0", NOT_THERE_YET].contains(&code) || said(&status, "slave_io_running") == "Connecting";
            if !may_come || !said(&status, "last_sql_error").is_empty() || begun.elapsed() > BEGIN_LIMIT {
                return Err(down(&status));
            }
        }
    }

    /// The source serves: a write between the look and the setting makes the server refuse it, so both are one statement, and it is
    /// tried again. Only where the last writer of a domain was another server must the position be spelled out.
    async fn begin_after_own(&self, session: &Session) -> Result<(), Failure> {
        let mut tries = 0;
        loop {
            let (own, current) = (self.position_of(session).await?, session.value("select @@global.gtid_current_pos").await?);
            let domains = |position: &GtidPosition| position.iter().map(|gtid| (gtid.domain, gtid.server)).collect::<Vec<_>>();
            let is_usual = domains(&own) == domains(&position::gtids(&current)?);
            let value = if is_usual { "@@global.gtid_current_pos".to_owned() } else { literal(&own.to_string()) };
            match session.run(&format!("set global gtid_slave_pos = {value}")).await {
                Err(failure) if failure.code == "SQL_REFUSED" && tries < MOST_TRIES => tries += 1,
                done => return done,
            }
        }
    }

    pub(super) async fn detach_back(&self, migration: &Migration) -> Result<(), Failure> {
        let session = self.unlogged().await?;
        if self.back_status(&session, migration).await?.is_some() {
            session.run(&format!("stop slave {}", channel(migration))).await?;
            session.run(&format!("reset slave {} all", channel(migration))).await?;
        }
        Ok(())
    }

    /// Source, at the fence: it is still, however long its threads are busy.
    pub(super) async fn pause_back(&self, session: &Session, migration: &Migration) -> Result<(), Failure> {
        if self.back_status(session, migration).await?.is_none() {
            return Ok(());
        }
        let stopped = tokio::time::timeout(PAUSE_LIMIT, session.run(&format!("stop slave {}", channel(migration)))).await;
        stopped.map_err(|_| {
            let sentence = "the source's connection to the target does not stop";
            Failure::unknown("WAY_BACK_BUSY", sentence, "look at SHOW ALL SLAVES STATUS on the source, then cut over again")
        })?
    }

    /// Source, un-fenced: it fetches again, and applies nothing.
    pub(super) async fn rest_back(&self, session: &Session, migration: &Migration) -> Result<(), Failure> {
        if let Some(status) = self.back_status(session, migration).await? {
            if said(&status, "slave_sql_running") != "No" {
                session.run(&format!("stop slave {} sql_thread", channel(migration))).await?;
            }
            if said(&status, "slave_io_running") == "No" {
                session.run(&format!("start slave {} io_thread", channel(migration))).await?;
            }
        }
        Ok(())
    }

    /// Source, retired: from the end of its own log on, as when it began.
    pub(super) async fn follow_on(&self, session: &Session, migration: &Migration) -> Result<(), Failure> {
        let Some(status) = self.back_status(session, migration).await? else { return Ok(()) };
        if runs(&status) {
            return Ok(());
        }
        session.run(&format!("stop slave {}", channel(migration))).await?;
        self.begin_after_own(session).await?;
        session.run(&format!("start slave {}", channel(migration))).await
    }

    /// Target: one transaction in its own domain, in a row that no one else writes.
    pub(super) async fn write_own(&self, migration: &Migration) -> Result<GtidPosition, Failure> {
        let session = self.session().await?;
        position::mark(&session, migration, position::FOLLOWER).await?;
        position::gtids(&session.value("select @@session.last_gtid").await?)
    }

    /// Source: returns once all of it is applied here. While the source serves, the connection rests from then on.
    pub(super) async fn come_back(&self, migration: &Migration, goal: &GtidPosition) -> Result<(), Failure> {
        let session = self.connect().await?;
        let serves = session.is_true("select @@global.read_only = 0").await?;
        session.run(&format!("start slave {}", channel(migration))).await?;
        let arrived = self.arrived(&session, migration, goal).await;
        if serves {
            self.rest_back(&session, migration).await?;
        }
        arrived
    }

    async fn arrived(&self, session: &Session, migration: &Migration, goal: &GtidPosition) -> Result<(), Failure> {
        loop {
            let sql = format!("select master_gtid_wait({}, {})", literal(&goal.to_string()), position::ROUND_SECONDS);
            if session.value(&sql).await? == "0" {
                return Ok(());
            }
            let status = self.back_status(session, migration).await?.unwrap_or_default();
            if said(&status, "slave_sql_running") != "Yes" {
                return Err(down(&status));
            }
        }
    }

    /// Source, retired: the end was its own last write, so whatever is applied beyond it is the new primary's.
    pub(super) async fn follows(&self, migration: &Migration, end: &GtidPosition) -> Result<Option<String>, Failure> {
        let session = self.session().await?;
        let begun = Instant::now();
        loop {
            let Some(status) = self.back_status(&session, migration).await? else { return Ok(None) };
            let now = self.position_of(&session).await?;
            if runs(&status) && end.missing(&now) > 0 {
                return Ok(Some(format!("fenced for good, follows the target: at {now}")));
            }
            if begun.elapsed() > ARRIVE_LIMIT {
                return Ok(Some(format!("fenced for good, does not follow the target yet: {}", down(&status).sentence)));
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// What keeps the armed way back from being one, right now.
    pub(super) async fn back_trouble(&self, session: &Session, migration: &Migration) -> Result<Option<Failure>, Failure> {
        let status = self.back_status(session, migration).await?;
        Ok(status.filter(|status| said(status, "slave_io_running") != "Yes").map(|status| down(&status)))
    }
}

fn channel(migration: &Migration) -> String {
    literal(&names::back(migration))
}

fn runs(status: &Status) -> bool {
    ["slave_io_running", "slave_sql_running"].iter().all(|thread| status.get(*thread).is_some_and(|state| state == "Yes"))
}

fn said<'a>(status: &'a Status, key: &str) -> &'a str {
    status.get(key).map_or("", String::as_str)
}

fn down(status: &Status) -> Failure {
    let why = ["last_io_error", "last_sql_error"].iter().map(|key| said(status, key)).find(|text| !text.is_empty());
    let why = why.map_or_else(
        || format!("IO thread: {}, SQL thread: {}", said(status, "slave_io_running"), said(status, "slave_sql_running")),
        str::to_owned,
    );
    Failure::refused(
        "WAY_BACK_DOWN",
        format!("the source does not follow the target: {why}"),
        "look at SHOW ALL SLAVES STATUS on the source, at its tunnel and at the target's agent; then run the command again",
    )
}
