//! The target as a replica of its source, by GTID, through the tunnel; and its end, behind the gate.

use std::{
    collections::BTreeMap,
    sync::PoisonError,
    time::{Duration, Instant},
};

use flytt_proto::{
    failure::Failure,
    gtid::GtidPosition,
    name::{Migration, Position},
};

use super::{Mariadb, names};
use crate::{
    change::{Change, Raised, Verb},
    engine::{
        Replication, Serving,
        mysql_family::{
            appliers::{self, Wish},
            beat,
            facts::{Common, ask},
            quote::literal,
            session::Session,
        },
    },
    secret,
};

/// One row of SHOW SLAVE STATUS.
pub(super) type Status = BTreeMap<String, String>;

/// A replica that hears nothing for so long connects again; the source says every second that it is there.
const TIMES: &str = "set global slave_net_timeout = 10";
/// Three heartbeats missed, and a little: the threads still say that they run.
const SILENCE: Duration = Duration::from_millis(3500);
/// Appliers that run ahead of each other and commit in order: a target that catches up is otherwise one thread wide. How they run
/// is the server's: its own default does, and of a server that is down its program does not tell it truly.
const APPLIERS: &[Wish] = &[Wish::Many("slave_parallel_threads", 4)];

impl Mariadb {
    /// `None` where the server replicates from nobody.
    pub(super) async fn slave_status(&self, session: &Session) -> Result<Option<Status>, Failure> {
        session.named("show slave status").await
    }

    /// Begins where the seed ended, which is on record in the server itself (`gtid_slave_pos`).
    pub(super) async fn replicate(&self, migration: &Migration, host: &str, port: u16) -> Result<(), Failure> {
        let session = self.unlogged().await?;
        let status = self.slave_status(&session).await?;
        let at = |key: &str| status.as_ref().and_then(|status| status.get(key)).map_or("", String::as_str);
        let account = names::replication(migration);
        for setting in ["set global read_only = 1", TIMES] {
            session.run(setting).await?;
        }
        if session.is_true("select @@global.event_scheduler = 'ON'").await? {
            session.run("set global event_scheduler = off").await?;
        }
        let is_ours = at("master_user") == account && at("master_host") == host && at("master_port") == port.to_string();
        if is_ours && at("slave_io_running") != "No" && at("slave_sql_running") == "Yes" {
            return Ok(());
        }
        if !is_ours && !at("master_host").is_empty() {
            return Err(Failure::refused(
                "REPLICATES_ALREADY",
                format!("the target replicates from {}:{} already", at("master_host"), at("master_port")),
                "stop that with STOP SLAVE and RESET SLAVE ALL if this server is to be the target",
            ));
        }
        if session.value("select @@global.gtid_slave_pos").await?.is_empty() {
            return Err(Failure::refused(
                "NO_START_POSITION",
                "the copy does not say up to which transaction of the source it goes (gtid_slave_pos is empty)",
                "seed the target again",
            ));
        }
        let path = secret::passfile(&self.state, &names::password(migration));
        let password = secret::password(&path, &account).map_err(|error| super::file(&path, &error))?;
        session.run("stop slave").await?;
        let change = password.within(
            &format!(
                "change master to master_host = {}, master_port = {port}, master_user = {}, master_password = ",
                literal(host),
                literal(&account)
            ),
            ", master_use_gtid = slave_pos, master_connect_retry = 1, master_heartbeat_period = 1, master_ssl = 0, \
             master_ssl_verify_server_cert = 0",
        );
        session.run_secretly(&change).await?;
        session.run("start slave").await?;
        self.keep_connections().await
    }

    /// What the server has noted of its connections is on the disk from now on. The server itself leaves that to chance for the
    /// first ten thousand events (`sync_master_info`), and one that finds an empty file after a power cut does not start: the
    /// source's neither.
    pub(super) async fn keep_connections(&self) -> Result<(), Failure> {
        let data = self.config.data_directory.clone();
        let kept = tokio::task::spawn_blocking(move || {
            for entry in std::fs::read_dir(&data)? {
                let entry = entry?;
                let name = entry.file_name().to_string_lossy().into_owned();
                if name.ends_with(".info") || name.contains("relay-bin") {
                    match std::fs::File::open(entry.path()) {
                        Ok(file) => file.sync_all()?,
                        // A relay log that was applied goes at any time.
                        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
                        Err(error) => return Err(error),
                    }
                }
            }
            std::fs::File::open(data)?.sync_all()
        });
        let kept = kept.await.unwrap_or_else(|ended| Err(std::io::Error::other(ended)));
        kept.map_err(|error| super::file(&self.config.data_directory, &error))
    }

    /// What a server that is to follow has less of than it could use. One that is down will have what its option file says.
    pub(super) async fn appliers(&self) -> Result<Option<Change>, Failure> {
        let settings = if self.now_serving().await? == Serving::Down {
            let mut facts = Common::default();
            facts.at_rest(&self.config.server, &self.config.config_file, None).await;
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
        if !appliers::unraised(&session, settings).await?.is_empty() && self.slave_status(&session).await?.is_some() {
            session.run("stop slave").await?;
        }
        appliers::raise(&session, settings).await
    }

    pub(super) async fn detach(&self) -> Result<(), Failure> {
        let session = self.unlogged().await?;
        if self.slave_status(&session).await?.is_some() {
            session.run("stop slave").await?;
            session.run("reset slave all").await?;
        }
        Ok(())
    }

    /// Follows nobody any more.
    pub(super) async fn promote(&self, migration: &Migration) -> Result<(), Failure> {
        self.detach().await?;
        if migration.is_back() {
            self.detach_back(migration).await?;
        }
        self.wake_events().await
    }

    pub(super) async fn look_at_replication(&self, migration: &Migration) -> Result<Replication, Failure> {
        let session = self.session().await?;
        let status = match migration.is_back() {
            true => self.back_status(&session, migration).await?,
            false => self.slave_status(&session).await?,
        };
        match status {
            Some(status) => self.receiving(&session, migration, &status).await,
            None => self.sending(&session, migration).await,
        }
    }

    async fn receiving(&self, session: &Session, migration: &Migration, status: &Status) -> Result<Replication, Failure> {
        let applied = self.position_of(session).await?;
        let at = |key: &str| status.get(key).map_or("", String::as_str);
        let number = |key: &str| at(key).parse::<u64>().unwrap_or(0);
        // The set of what has been fetched; what the source has beyond it is not known here, and shows in its own position.
        let fetched: GtidPosition = at("gtid_io_pos").parse().unwrap_or_default();
        let beats = session.value(
            "select VARIABLE_VALUE from information_schema.GLOBAL_STATUS where VARIABLE_NAME = 'SLAVE_RECEIVED_HEARTBEATS'",
        );
        let silent = self.silent_for(format!("{} {} {}", beats.await?, at("master_log_file"), at("read_master_log_pos")));
        let runs = at("slave_io_running") == "Yes" && at("slave_sql_running") == "Yes";
        // The server counts heartbeats of one connection, which is not that of the way back.
        let streaming = runs && (silent < SILENCE || migration.is_back());
        let behind = applied.missing(&fetched);
        let same_file = at("master_log_file") == at("relay_master_log_file");
        let bytes = match (behind, same_file) {
            (0, _) => 0,
            (_, true) => number("read_master_log_pos").saturating_sub(number("exec_master_log_pos")).max(1),
            (_, false) => number("relay_log_space").max(1),
        };
        let trouble = match [at("last_io_error"), at("last_sql_error")].into_iter().find(|error| !error.is_empty()) {
            Some(error) if !streaming => error.to_owned(),
            Some(_) | None if streaming => String::new(),
            Some(_) | None if runs => format!("nothing was heard from the source for {} s", silent.as_secs()),
            Some(_) | None => format!("IO thread: {}, SQL thread: {}", at("slave_io_running"), at("slave_sql_running")),
        };
        Ok(Replication {
            streaming,
            position: Some(Position::Mariadb(applied)),
            upstream: Some(Position::Mariadb(fetched)),
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
        let position = self.position_of(session).await?;
        let streaming = self.has_replica(session, migration).await?;
        let beat_us = beat::newest(session, &names::database(migration)).await?;
        let trouble = if streaming { String::new() } else { "no replica of this move is connected".to_owned() };
        let log_seconds = session.value("select @@global.binlog_expire_logs_seconds").await?.parse().unwrap_or(0);
        let position = Some(Position::Mariadb(position));
        Ok(Replication { streaming, position, beat_us, log_seconds, trouble, ..Replication::default() })
    }

    /// Whether the move's replica reads from here.
    pub(super) async fn has_replica(&self, session: &Session, migration: &Migration) -> Result<bool, Failure> {
        let replica = if migration.is_back() { names::back(migration) } else { names::replication(migration) };
        let sql = format!(
            "select count(*) from information_schema.PROCESSLIST where COMMAND = 'Binlog Dump' and USER = {}",
            literal(&replica)
        );
        Ok(session.value(&sql).await? != "0")
    }

    /// Whether any applier is at work here, also one of a way back that is followed.
    pub(super) async fn applies(&self, session: &Session) -> Result<bool, Failure> {
        let threads = "select count(*) from information_schema.PROCESSLIST where COMMAND = 'Slave_SQL'";
        Ok(session.value(threads).await? != "0")
    }

    /// A replica is a standby, and so is whatever takes no writes.
    pub(super) async fn now_serving(&self) -> Result<Serving, Failure> {
        use crate::engine::mysql_family::process;
        if process::server(&self.config.data_directory).is_none() {
            return Ok(Serving::Down);
        }
        let session = self.session().await?;
        let read_only = session.is_true("select @@global.read_only").await?;
        Ok(if read_only || self.slave_status(&session).await?.is_some() { Serving::Standby } else { Serving::Writable })
    }
}
