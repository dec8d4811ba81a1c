//! The target as a replica of its source, by GTID, through the tunnel; and its end, behind the gate.
//!
//! The source's end of the tunnel comes to the server over TCP on loopback, not over its unix socket. `caching_sha2_password`
//! makes a difference: over TCP in clear the replica asks for the server's public key and encrypts its password with it; over a
//! socket the server expects the bare password, which a replica never sends on what it takes for TCP. TLS inside the tunnel would
//! hide from the tunnel's screen who logs in. And over TCP nobody is an administrator by his operating-system user.

use std::{
    collections::BTreeMap,
    sync::PoisonError,
    time::{Duration, Instant},
};

use flytt_proto::{
    failure::Failure,
    gtid_set::GtidSet,
    name::{Migration, Position},
};

use super::{Mysql, names, position::executed};
use crate::{
    change::{Change, Raised, Verb},
    engine::{
        Replication, Serving,
        mysql_family::{
            appliers::{self, Wish},
            beat,
            facts::{Common, ask},
            process,
            quote::literal,
            session::Session,
        },
    },
    secret,
};

/// One row of SHOW REPLICA STATUS.
pub(super) type Status = BTreeMap<String, String>;

/// A replica that hears nothing for so long connects again; the source says every second that it is there.
const TIMES: &str = "set global replica_net_timeout = 10";
/// Three heartbeats missed, and a little: the threads still say that they run.
const SILENCE: Duration = Duration::from_millis(3500);
/// Appliers that run ahead of each other and commit in order: a target that catches up is otherwise one thread wide.
const APPLIERS: &[Wish] = &[Wish::OneOf("replica_preserve_commit_order", &["ON"]), Wish::Many("replica_parallel_workers", 8)];

impl Mysql {
    /// Of the move; `None` where the server replicates from nobody. The channel of the way back is another one.
    pub(super) async fn replica_status(&self, session: &Session) -> Result<Option<Status>, Failure> {
        session.named("show replica status for channel ''").await
    }

    /// Begins where the seed ended, which is on record in the server itself (`gtid_executed`).
    pub(super) async fn replicate(&self, migration: &Migration, host: &str, port: u16) -> Result<(), Failure> {
        let session = self.unlogged().await?;
        self.shut(&session).await?;
        for setting in ["set global super_read_only = on", TIMES] {
            session.run(setting).await?;
        }
        // A copy brings its source's channels along, and their passwords (tried).
        self.detach_back(migration).await?;
        let status = self.replica_status(&session).await?;
        let at = |key: &str| status.as_ref().and_then(|status| status.get(key)).map_or("", String::as_str);
        let account = names::replication(migration);
        let is_ours = at("source_user") == account && at("source_host") == host && at("source_port") == port.to_string();
        if is_ours && at("replica_io_running") != "No" && at("replica_sql_running") == "Yes" {
            return Ok(());
        }
        if !is_ours && !at("source_host").is_empty() {
            return Err(Failure::refused(
                "REPLICATES_ALREADY",
                format!("the target replicates from {}:{} already", at("source_host"), at("source_port")),
                "stop that with STOP REPLICA and RESET REPLICA ALL if this server is to be the target",
            ));
        }
        if executed(&session).await?.is_empty() {
            return Err(Failure::refused(
                "NO_START_POSITION",
                "the copy does not say up to which transaction of the source it goes (gtid_executed is empty)",
                "seed the target again",
            ));
        }
        let path = secret::passfile(&self.state, &names::password(migration));
        let password = secret::password(&path, &account).map_err(|error| super::file(&path, &error))?;
        session.run("stop replica for channel ''").await?;
        // Without a count of retries it gives up for good after ten of them (8.4 and later).
        let change = password.within(
            &format!(
                "change replication source to source_host = {}, source_port = {port}, source_user = {}, source_password = ",
                literal(host),
                literal(&account)
            ),
            ", source_auto_position = 1, source_ssl = 0, get_source_public_key = 1, source_connect_retry = 1, \
             source_retry_count = 0, source_heartbeat_period = 1, source_compression_algorithms = 'uncompressed' for channel ''",
        );
        session.run_secretly(&change).await?;
        session.run("start replica for channel ''").await
    }

    /// What a server that is to follow has less of than it could use. One that is down will have what its option file says.
    pub(super) async fn appliers(&self) -> Result<Option<Change>, Failure> {
        let settings = if self.now_serving().await? == Serving::Down {
            let mut facts = Common::default();
            facts.at_rest(&self.config.server, &self.config.config_file, Some(&self.state)).await;
            facts.settings
        } else {
            let names: Vec<&str> = APPLIERS.iter().map(|wish| wish.name()).collect();
            ask::settings(&*self.session().await?, &names).await?
        };
        let settings = appliers::missing(APPLIERS, |name| settings.get(name).cloned().unwrap_or_default());
        Ok((!settings.is_empty()).then_some(Change::Server(Verb::RaiseAppliers { settings })))
    }

    /// Before it follows. One that does already is stopped for it, and goes on with `replicate`.
    pub(super) async fn raise_appliers(&self, settings: &[Raised]) -> Result<(), Failure> {
        let session = self.session().await?;
        if !appliers::unraised(&session, settings).await?.is_empty() && self.replica_status(&session).await?.is_some() {
            session.run("stop replica for channel ''").await?;
        }
        appliers::raise(&session, settings).await
    }

    pub(super) async fn detach(&self) -> Result<(), Failure> {
        let session = self.unlogged().await?;
        if self.replica_status(&session).await?.is_some() {
            session.run("stop replica for channel ''").await?;
            session.run("reset replica all for channel ''").await?;
        }
        Ok(())
    }

    /// Follows nobody any more. Whoever may write through `read_only` could write now: behind the gate that is the agent alone.
    pub(super) async fn promote(&self, migration: &Migration) -> Result<(), Failure> {
        self.detach().await?;
        if migration.is_back() {
            self.detach_back(migration).await?;
        }
        let session = self.session().await?;
        session.run("set persist super_read_only = off").await?;
        self.wake_events().await
    }

    /// A target that will be none: it starts again as its own option files say, unless a dump is on it: that one was shut before.
    pub(super) async fn let_go(&self, migration: &Migration) -> Result<(), Failure> {
        self.detach().await?;
        if self.is_dumped(migration) {
            return Ok(());
        }
        self.not_shut(&*self.session().await?).await
    }

    pub(super) async fn look_at_replication(&self, migration: &Migration) -> Result<Replication, Failure> {
        let session = self.session().await?;
        let status = match migration.is_back() {
            true => self.back_status(&session, &migration.there()).await?,
            false => self.replica_status(&session).await?,
        };
        match status {
            Some(status) => self.receiving(&session, migration, &status).await,
            None => self.sending(&session, migration).await,
        }
    }

    async fn receiving(&self, session: &Session, migration: &Migration, status: &Status) -> Result<Replication, Failure> {
        let applied = executed(session).await?;
        let at = |key: &str| status.get(key).map_or("", String::as_str);
        let number = |key: &str| at(key).parse::<u64>().unwrap_or(0);
        // What has been fetched; what the source has beyond it is not known here, and shows in its own position.
        let fetched: GtidSet = at("retrieved_gtid_set").parse().unwrap_or_default();
        let missing = fetched.without(&applied);
        let fetched = fetched.joined(&applied);
        let name = literal(at("channel_name"));
        let beats = format!(
            "select sum(COUNT_RECEIVED_HEARTBEATS) from performance_schema.replication_connection_status where CHANNEL_NAME = {name}"
        );
        let beats = session.value(&beats).await?;
        let silent = self.silent_for(format!("{name} {beats} {} {}", at("source_log_file"), at("read_source_log_pos")));
        let runs = at("replica_io_running") == "Yes" && at("replica_sql_running") == "Yes";
        let streaming = runs && silent < SILENCE;
        let bytes = match (missing.is_empty(), at("source_log_file") == at("relay_source_log_file")) {
            (true, _) => 0,
            (false, true) => number("read_source_log_pos").saturating_sub(number("exec_source_log_pos")).max(1),
            (false, false) => number("relay_log_space").max(1),
        };
        let trouble = match ["last_io_error", "last_sql_error"].into_iter().find(|key| !at(key).is_empty()) {
            Some(key) if !streaming => trouble(session, status, key).await,
            Some(_) | None if streaming => String::new(),
            Some(_) | None if runs => format!("nothing was heard from the source for {} s", silent.as_secs()),
            Some(_) | None => format!("IO thread: {}, SQL thread: {}", at("replica_io_running"), at("replica_sql_running")),
        };
        Ok(Replication {
            streaming,
            position: Some(Position::Mysql(applied)),
            upstream: Some(Position::Mysql(fetched)),
            lag_bytes: bytes,
            beat_us: beat::newest(session, &names::database(migration)).await?,
            trouble,
            ..Replication::default()
        })
    }

    /// How long ago the source was last heard. It sends a heartbeat every second in which it has nothing else to send.
    fn silent_for(&self, now: String) -> Duration {
        let mut heard = self.heard.lock().unwrap_or_else(PoisonError::into_inner);
        match heard.as_ref() {
            Some((last, since)) if *last == now => since.elapsed(),
            Some(_) | None => {
                *heard = Some((now, Instant::now()));
                Duration::ZERO
            }
        }
    }

    async fn sending(&self, session: &Session, migration: &Migration) -> Result<Replication, Failure> {
        let position = executed(session).await?;
        let streaming = self.has_replica(session, migration).await?;
        let beat_us = beat::newest(session, &names::database(migration)).await?;
        let trouble = if streaming { String::new() } else { "no replica of this move is connected".to_owned() };
        let log_seconds = "select if(@@global.binlog_expire_logs_auto_purge, @@global.binlog_expire_logs_seconds, 0)";
        let log_seconds = session.value(log_seconds).await?.parse().unwrap_or(0);
        let position = Some(Position::Mysql(position));
        Ok(Replication { streaming, position, beat_us, log_seconds, trouble, ..Replication::default() })
    }

    /// Whether the move's replica reads from here.
    pub(super) async fn has_replica(&self, session: &Session, migration: &Migration) -> Result<bool, Failure> {
        let replica = if migration.is_back() { names::back(&migration.there()) } else { names::replication(migration) };
        let sql = format!(
            "select count(*) from information_schema.PROCESSLIST where COMMAND = 'Binlog Dump GTID' and USER = {}",
            literal(&replica)
        );
        Ok(session.value(&sql).await? != "0")
    }

    /// A replica is a standby, and so is whatever takes no writes.
    pub(super) async fn now_serving(&self) -> Result<Serving, Failure> {
        if process::server(&self.config.data_directory).is_none() {
            return Ok(Serving::Down);
        }
        let session = self.session().await?;
        let read_only = session.is_true("select @@global.read_only").await?;
        Ok(if read_only || upstream(&session).await?.is_some() { Serving::Standby } else { Serving::Writable })
    }
}

/// Whom the server replicates from, `host:port`, and as which account; the way back of a move does not count.
pub(super) async fn upstream(session: &Session) -> Result<Option<(String, String)>, Failure> {
    let sql = format!(
        "select concat(HOST, ':', PORT), USER from performance_schema.replication_connection_configuration \
         where CHANNEL_NAME not like {} and HOST <> '' order by CHANNEL_NAME limit 1",
        names::BACK_CHANNELS
    );
    let row = session.rows(&sql).await?.into_iter().next();
    Ok(row.map(|row| {
        let mut row = row.into_iter().map(Option::unwrap_or_default);
        (row.next().unwrap_or_default(), row.next().unwrap_or_default())
    }))
}

/// Whether any applier is at work here, also one of a way back that is followed.
pub(super) async fn applies(session: &Session) -> Result<bool, Failure> {
    let appliers = "select count(*) > 0 from performance_schema.replication_applier_status where SERVICE_STATE = 'ON'";
    session.is_true(appliers).await
}

/// What stopped it. With several appliers the status only points to the one that knows.
pub(super) async fn trouble(session: &Session, status: &Status, key: &str) -> String {
    let general = status.get(key).cloned().unwrap_or_default();
    if key != "last_sql_error" {
        return general;
    }
    let worker = "select LAST_ERROR_MESSAGE from performance_schema.replication_applier_status_by_worker \
                  where LAST_ERROR_NUMBER <> 0 and CHANNEL_NAME = '' limit 1";
    match session.value(worker).await {
        Ok(told) if !told.is_empty() => told,
        Ok(_) | Err(_) => general,
    }
}
