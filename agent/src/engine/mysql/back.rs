//! The way back: the source follows its own replica while it goes on serving, over a channel of the move's own. Whose a transaction
//! is, its GTID says, so nothing goes round twice: the receiver drops what its own server wrote (tried).
//!
//! Once it is proven it rests: the target's log is fetched, and nothing of it is applied until the target has opened. What an
//! administrator writes on the target before, or a promoted target that is burned, must never be here; and the final position stands
//! still. A server that starts begins all of its channels, whatever they did before. So rest is a delay of 68 years, too, which is
//! the channel's own and kept with it (tried: after a kill the applier waits). A change of the delay while both threads stand throws
//! away what was fetched (tried, with auto-position): so the applier never begins with what a target that is gone has left.

use std::time::{Duration, Instant};

use flytt_proto::{failure::Failure, gtid_set::GtidSet, name::Migration};

use super::{Mysql, account::created, names, position::executed, replica::Status};
use crate::{
    engine::mysql_family::{
        quote::{account, literal},
        session::Session,
    },
    secret,
};

/// The largest delay that the server takes, in seconds.
const REST: &str = "2147483647";
/// The fence waits no longer for the channel's applier.
const PAUSE_LIMIT: Duration = Duration::from_secs(2);
/// How long the source may take to reach a target that is there.
const BEGIN_LIMIT: Duration = Duration::from_secs(60);
/// How long the target's write may take to come here.
const FETCH_LIMIT: Duration = Duration::from_secs(50);
/// How long the new primary's first write may take to arrive before it is said that it has not.
const ARRIVE_LIMIT: Duration = Duration::from_secs(10);
const PAUSE: Duration = Duration::from_millis(100);

impl Mysql {
    pub(super) fn back_passfile(&self, migration: &Migration) -> std::path::PathBuf {
        secret::passfile(&self.state, &names::back_password(migration))
    }

    /// Target: the account that the source follows as. It may read the binary log and nothing else, out of the tunnel alone.
    pub(super) async fn welcome(&self, migration: &Migration, verifier: &str) -> Result<(), Failure> {
        let name = names::back(migration);
        let mut statements = created(&name, names::LOOPBACK, verifier).to_vec();
        statements.push(format!("grant replication slave on *.* to {}", account(&name, names::LOOPBACK)));
        self.run_unlogged(&statements).await
    }

    pub(super) async fn unwelcome(&self, migration: &Migration) -> Result<(), Failure> {
        self.run_unlogged(&[format!("drop user if exists {}", account(&names::back(migration), names::LOOPBACK))]).await
    }

    pub(super) async fn back_status(&self, session: &Session, migration: &Migration) -> Result<Option<Status>, Failure> {
        match session.named(&format!("show replica status for channel {}", channel(migration))).await {
            // There is no channel of that name.
            Err(failure) if failure.code == "NO_CONNECTION" => Ok(None),
            other => other,
        }
    }

    /// Source: fetches what the target has beyond it, and applies nothing yet.
    pub(super) async fn follow_back(&self, migration: &Migration, host: &str, port: u16) -> Result<(), Failure> {
        let session = self.unlogged().await?;
        let (name, role) = (channel(migration), names::back(migration));
        if self.back_status(&session, migration).await?.is_none() {
            let path = self.back_passfile(migration);
            let password = secret::password(&path, &role).map_err(|error| super::file(&path, &error))?;
            let change = password.within(
                &format!(
                    "change replication source to source_host = {}, source_port = {port}, source_user = {}, source_password = ",
                    literal(host),
                    literal(&role)
                ),
                &format!(
                    ", source_auto_position = 1, source_ssl = 0, get_source_public_key = 1, source_connect_retry = 1, \
                     source_retry_count = 0, source_heartbeat_period = 1, source_compression_algorithms = 'uncompressed', \
                     source_delay = {REST} for channel {name}"
                ),
            );
            session.run_secretly(&change).await?;
        }
        self.rest_back(&session, migration).await?;
        let begun = Instant::now();
        loop {
            let status = self.back_status(&session, migration).await?.unwrap_or_default();
            match said(&status, "replica_io_running") {
                "Yes" => return Ok(()),
                // It tries again by itself, until somebody is there.
                "Connecting" if begun.elapsed() < BEGIN_LIMIT => tokio::time::sleep(PAUSE).await,
                _ => return Err(down(&status)),
            }
        }
    }

    pub(super) async fn detach_back(&self, migration: &Migration) -> Result<(), Failure> {
        let session = self.unlogged().await?;
        if self.back_status(&session, migration).await?.is_some() {
            session.run(&format!("stop replica for channel {}", channel(migration))).await?;
            session.run(&format!("reset replica all for channel {}", channel(migration))).await?;
        }
        Ok(())
    }

    /// Source, at the fence: nothing is applied. It rests already, but where its server has just started again.
    pub(super) async fn pause_back(&self, session: &Session, migration: &Migration) -> Result<(), Failure> {
        let Some(status) = self.back_status(session, migration).await? else { return Ok(()) };
        if said(&status, "replica_sql_running") == "No" {
            return Ok(());
        }
        let stop = format!("stop replica sql_thread for channel {}", channel(migration));
        tokio::time::timeout(PAUSE_LIMIT, session.run(&stop)).await.map_err(|_| {
            let sentence = "the source's channel to the target does not stop";
            Failure::unknown("WAY_BACK_BUSY", sentence, "look at SHOW REPLICA STATUS on the source, then cut over again")
        })?
    }

    /// Source, serving: it fetches and applies nothing, now and after a restart.
    pub(super) async fn rest_back(&self, session: &Session, migration: &Migration) -> Result<(), Failure> {
        let Some(status) = self.back_status(session, migration).await? else { return Ok(()) };
        let name = channel(migration);
        if said(&status, "replica_sql_running") != "No" {
            session.run(&format!("stop replica sql_thread for channel {name}")).await?;
        }
        if said(&status, "sql_delay") != REST {
            session.run(&delay(migration, REST)).await?;
        }
        if said(&status, "replica_io_running") == "No" {
            session.run(&format!("start replica io_thread for channel {name}")).await?;
        }
        Ok(())
    }

    /// Source, retired: it applies, and what it applies is fetched anew.
    pub(super) async fn follow_on(&self, session: &Session, migration: &Migration) -> Result<(), Failure> {
        let Some(status) = self.back_status(session, migration).await? else { return Ok(()) };
        if !runs(&status) || said(&status, "sql_delay") != "0" {
            session.run(&format!("stop replica for channel {}", channel(migration))).await?;
            session.run(&delay(migration, "0")).await?;
            session.run(&format!("start replica for channel {}", channel(migration))).await?;
        }
        Ok(())
    }

    /// Source: returns once all of `goal` is applied here. While the source serves, that is all that is applied: whatever else the
    /// target has written is named, and nothing is applied then.
    pub(super) async fn come_back(&self, migration: &Migration, goal: &GtidSet) -> Result<(), Failure> {
        let session = self.connect().await?;
        if session.is_true("select @@global.super_read_only").await? {
            return self.arrived(&session, migration, goal).await;
        }
        if executed(&session).await?.covers(goal) {
            return self.rest_back(&session, migration).await;
        }
        let name = channel(migration);
        session.run(&format!("stop replica for channel {name}")).await?;
        session.run(&delay(migration, REST)).await?;
        session.run(&format!("start replica io_thread for channel {name}")).await?;
        let others = self.fetched(&session, migration, goal).await?.without(goal);
        if !others.is_empty() {
            let sentence = format!("the target has {others}, which the source does not have: the way back would bring it here");
            return Err(Failure::refused("ERRANT_TRANSACTIONS", sentence, "find out who wrote on the target; seed it again"));
        }
        session.run(&delay(migration, "0")).await?;
        let until = format!("until sql_after_gtids = {}", literal(&goal.to_string()));
        session.run(&format!("start replica sql_thread {until} for channel {name}")).await?;
        let arrived = self.arrived(&session, migration, goal).await;
        self.rest_back(&session, migration).await?;
        arrived
    }

    /// What the target has and the source has not, once `goal` is among it.
    async fn fetched(&self, session: &Session, migration: &Migration, goal: &GtidSet) -> Result<GtidSet, Failure> {
        let begun = Instant::now();
        loop {
            let status = self.back_status(session, migration).await?.unwrap_or_default();
            let fetched: GtidSet = said(&status, "retrieved_gtid_set").parse().unwrap_or_default();
            let own = executed(session).await?;
            if own.joined(&fetched).covers(goal) {
                return Ok(fetched.without(&own));
            }
            if said(&status, "replica_io_running") == "No" || begun.elapsed() > FETCH_LIMIT {
                return Err(down(&status));
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    async fn arrived(&self, session: &Session, migration: &Migration, goal: &GtidSet) -> Result<(), Failure> {
        loop {
            let sql =
                format!("select wait_for_executed_gtid_set({}, {})", literal(&goal.to_string()), super::position::ROUND_SECONDS);
            if session.value(&sql).await? == "0" {
                return Ok(());
            }
            let status = self.back_status(session, migration).await?.unwrap_or_default();
            if said(&status, "replica_sql_running") != "Yes" && !executed(session).await?.covers(goal) {
                return Err(down(&status));
            }
        }
    }

    /// Source, retired: the end was its own last write, so whatever is applied beyond it is the new primary's.
    pub(super) async fn follows(&self, migration: &Migration, end: &GtidSet) -> Result<Option<String>, Failure> {
        let session = self.session().await?;
        let begun = Instant::now();
        loop {
            let Some(status) = self.back_status(&session, migration).await? else { return Ok(None) };
            let now = executed(&session).await?;
            if runs(&status) && !now.without(end).is_empty() {
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
        Ok(status.filter(|status| said(status, "replica_io_running") != "Yes").map(|status| down(&status)))
    }
}

fn channel(migration: &Migration) -> String {
    literal(&names::back(migration))
}

fn delay(migration: &Migration, seconds: &str) -> String {
    format!("change replication source to source_delay = {seconds} for channel {}", channel(migration))
}

fn runs(status: &Status) -> bool {
    ["replica_io_running", "replica_sql_running"].iter().all(|thread| said(status, thread) == "Yes")
}

fn said<'a>(status: &'a Status, key: &str) -> &'a str {
    status.get(key).map_or("", String::as_str)
}

fn down(status: &Status) -> Failure {
    let why = ["last_io_error", "last_sql_error"].iter().map(|key| said(status, key)).find(|text| !text.is_empty());
    let why = why.map_or_else(
        || format!("IO thread: {}, SQL thread: {}", said(status, "replica_io_running"), said(status, "replica_sql_running")),
        str::to_owned,
    );
    Failure::refused(
        "WAY_BACK_DOWN",
        format!("the source does not follow the target: {why}"),
        "look at SHOW REPLICA STATUS on the source, at its tunnel and at the target's agent; then run the command again",
    )
}
