//! The logical dump on MySQL: how its sessions come to see one position, and how replication is told to begin there.

use std::{path::PathBuf, sync::Arc, time::Duration};

use flytt_proto::{failure::Failure, gtid_set::GtidSet, name::Migration, v1::DrawRequest};
use futures::future::try_join_all;
use tokio::{sync::mpsc, time::Instant};

use super::{
    Mysql, names,
    position::executed,
    seed::copy::{is_full, no_space},
};
use crate::{
    change::{self, Change, Shut, Verb},
    engine::{
        Poured, Progress, SeedOrder, Serving, Upstream, directory,
        mysql_family::{
            dump::{
                rows::{Load, Server},
                schema::{AccountName, Ours},
            },
            quote::literal,
            session::Session,
        },
    },
};

/// While it waits for the tables, writes of applications wait for it: no longer than this, and a little. Should this agent be
/// stopped while it holds the lock, the server ends the session by itself.
const LOCK_WAIT: &str = "set session lock_wait_timeout = 2, wait_timeout = 3, interactive_timeout = 3";
/// For all of it, from the lock on; it goes when that is over, however it ends.
const HOLD_LIMIT: Duration = Duration::from_secs(2);
const PAUSE: Duration = Duration::from_millis(500);
/// A statement that has run for so long is likely to go on for longer than the lock waits. Seconds.
const LONG: u32 = 1;
/// So long a moment without any is looked for before a try.
const QUIET: Duration = Duration::from_secs(20);
/// A piece takes as long as it takes, sizes are those of now, and the plan that tells them is a table.
const READER: &str = "set session max_execution_time = 0, information_schema_stats_expiry = 0, explain_format = TRADITIONAL";

/// What a server starts with that is shut.
const PERSISTED: &str = "select VARIABLE_NAME, VARIABLE_VALUE from performance_schema.persisted_variables \
                         where VARIABLE_NAME in ('read_only', 'super_read_only', 'event_scheduler') order by 1";

#[tonic::async_trait]
impl Server for Mysql {
    async fn open(&self) -> Result<Session, Failure> {
        let session = self.unlogged().await?;
        session.run(READER).await?;
        Ok(session)
    }

    fn ours(&self, migration: &Migration) -> Ours {
        let at = |user: String, host: &str| AccountName { user, host: host.into() };
        let replication = names::replication(migration);
        Ours {
            // The marker's database is copied: rows of it may come by replication.
            databases: vec![names::copy(migration)],
            accounts: vec![
                at(names::AGENT.into(), "localhost"),
                at(names::PROBE.into(), "localhost"),
                at(replication.clone(), names::LOOPBACK),
                at(replication, "%"),
                at(names::clone(migration), names::LOOPBACK),
            ],
        }
    }

    /// Always under a lock: a transaction shows to a snapshot a little before it shows in `gtid_executed`, so that two looks at that
    /// which are equal prove nothing.
    async fn freeze(&self, sessions: &[Session]) -> Result<String, Failure> {
        self.quiet(&sessions[0]).await?;
        let at = self.locked(sessions).await?;
        if at.is_empty() { Err(no_position()) } else { Ok(at.to_string()) }
    }

    /// A server that holds nothing but the copy has no history of its own either: its binary log begins here.
    async fn begin_after(&self, session: &Session, position: &str) -> Result<(), Failure> {
        let begin: GtidSet = position
            .parse()
            .map_err(|error| Failure::refused("UNREADABLE", format!("the copy's position is none: {error}"), "report this"))?;
        if executed(session).await? == begin {
            return Ok(());
        }
        if session.value(READ_FROM).await? != "0" {
            let sentence = "other replicas read the target's binary log, which is to begin anew with the copy";
            return Err(Failure::refused("OTHER_REPLICAS", sentence, "stop them for good, then start the copy again"));
        }
        session.run("reset binary logs and gtids").await?;
        session.run(&format!("set global gtid_purged = {}", literal(&begin.to_string()))).await
    }
}

const READ_FROM: &str = "select count(*) from information_schema.PROCESSLIST where COMMAND like 'Binlog Dump%'";

impl Mysql {
    /// FLUSH TABLES WITH READ LOCK waits for every statement that has a table open, and others wait for it meanwhile: it is not
    /// begun while a long one is seen.
    async fn quiet(&self, session: &Session) -> Result<(), Failure> {
        let long = format!(
            "select count(*) from performance_schema.processlist where ID <> connection_id() and COMMAND in ('Query', 'Execute') \
             and TIME > {LONG} and USER <> 'event_scheduler'"
        );
        let begun = Instant::now();
        while session.value(&long).await? != "0" {
            if begun.elapsed() > QUIET {
                break;
            }
            tokio::time::sleep(PAUSE).await;
        }
        Ok(())
    }

    /// While nobody commits, all begin at once, and what is executed is what they see (MySQL manual, "FLUSH TABLES WITH READ LOCK").
    async fn locked(&self, sessions: &[Session]) -> Result<GtidSet, Failure> {
        let lock = self.unlogged().await?;
        lock.run(LOCK_WAIT).await?;
        let hold = async {
            lock.run("flush tables with read lock").await?;
            try_join_all(sessions.iter().map(|session| session.run("start transaction with consistent snapshot"))).await?;
            executed(&lock).await
        };
        // In the middle of an answer, the session takes no statement; its end takes the lock along.
        let held = tokio::time::timeout(HOLD_LIMIT + PAUSE, hold).await.map_err(|_| busy())?;
        match held {
            Ok(at) => {
                lock.run("unlock tables").await?;
                Ok(at)
            }
            Err(failure) if failure.code == "IN_USE" => Err(busy()),
            Err(failure) => Err(failure),
        }
    }

    /// What belongs to flytt itself and, where there is one, to this move.
    pub(super) fn never_compared(&self, migration: Option<&Migration>) -> Ours {
        let at = |user: &str| AccountName { user: user.into(), host: "localhost".into() };
        let Some(migration) = migration else {
            return Ours { databases: Vec::new(), accounts: vec![at(names::AGENT), at(names::PROBE)] };
        };
        let mut ours = self.ours(migration);
        ours.databases.push(names::database(migration));
        ours.accounts.push(AccountName { user: names::back(migration), host: names::LOOPBACK.into() });
        ours
    }

    /// For what outlives a call.
    pub(super) fn shared(&self) -> Arc<dyn Server> {
        Arc::new(Self::new(self.config.clone(), self.state.clone(), self.may_replace))
    }

    pub(super) fn rows_of(&self, migration: &Migration, ask: &DrawRequest) -> mpsc::Receiver<Poured> {
        self.snapshots.pour(self.shared(), migration, ask)
    }

    /// Into the server that runs here. From before the first row on it comes up read-only, whoever starts it: half a copy must never
    /// be taken for the one that serves.
    pub(super) async fn seed_by_dump(&self, migration: &Migration, order: &SeedOrder) -> Result<Vec<Change>, Failure> {
        if let Upstream::Direct { .. } = order.upstream {
            return Err(super::recipe::no_direct());
        }
        match self.now_serving().await? {
            Serving::Standby => {}
            // It wants `local_infile`, which only a running server can be given for a while.
            Serving::Down => {
                return Err(refused("TARGET_DOWN", "the copy is to be a dump, and the target's server does not run"));
            }
            Serving::Writable => return Err(refused("TARGET_WRITABLE", "the target's server takes writes")),
        }
        let session = self.session().await?;
        let persisted = session.rows(PERSISTED).await?.into_iter().filter_map(|row| {
            let mut row = row.into_iter().map(Option::unwrap_or_default);
            Some((row.next()?, row.next()?))
        });
        let shut = Shut {
            events: session.is_true("select @@global.event_scheduler = 'ON'").await?,
            super_read_only: session.is_true("select @@global.super_read_only").await?,
            persisted: persisted.collect(),
        };
        let settings = self.import_settings(migration).await?;
        let (before, after) = (Change::ImportSettings(settings.clone()), Change::ImportOver(settings));
        let load = Change::Load(change::Load { origin: order.origin.clone(), max_rate: order.max_rate });
        Ok(vec![Change::Server(Verb::Shut(shut)), before, load, after])
    }

    /// Whether this server holds a dump of that move, or a part of one.
    pub(super) fn is_dumped(&self, migration: &Migration) -> bool {
        self.dump_record(migration).exists()
    }

    /// Not even the agent writes where `super_read_only` is on, as it is after a restart in the middle; `read_only` stays on.
    pub(super) async fn load_rows(&self, load: &change::Load, progress: mpsc::Sender<Progress>) -> Result<(), Failure> {
        let loading = self.loading(load)?;
        self.session().await?.run("set global super_read_only = off, global read_only = on").await?;
        let done = loading.run(progress).await;
        done.map_err(|why| if is_full(&self.config.data_directory) { no_space(&why) } else { why })?;
        self.session().await?.run("set global super_read_only = on").await
    }

    /// With the rows goes all that a move has made of this server since: what an earlier step would have taken back, had the
    /// server not been ended before (a copy that was promoted and given up), is taken back here. Its binary log, in which there was
    /// nothing of its own, is begun anew, as a copy of files would have begun it.
    pub(super) async fn unload_rows(&self, load: &change::Load) -> Result<(), Failure> {
        let loading = self.loading(load)?;
        let migration = &loading.origin.migration;
        if self.is_dumped(migration) {
            self.start().await?;
            self.session().await?.run("set global super_read_only = off, global read_only = on").await?;
            self.detach().await?;
            self.reopen(migration, false, true).await?;
            self.drop_own_accounts(migration).await?;
            self.unlogged().await?.run("reset binary logs and gtids").await?;
        }
        loading.take_back().await
    }

    fn loading(&self, load: &change::Load) -> Result<Load, Failure> {
        let (Some(pipes), Some(origin)) = (&self.pipes, &load.origin) else {
            let sentence = "this host does not know the source's agent".to_owned();
            return Err(Failure::refused("NO_ORIGIN", sentence, "run `flytt resume` with the same version of flytt everywhere"));
        };
        let at = |user: &str| AccountName { user: user.into(), host: "localhost".into() };
        Ok(Load {
            server: self.shared(),
            pipes: pipes.clone(),
            origin: origin.clone(),
            record: self.dump_record(&origin.migration),
            database: names::copy(&origin.migration),
            keep: vec![at(names::AGENT), at(names::PROBE), at(&self.config.account)],
            max_rate: load.max_rate,
        })
    }

    pub(super) fn dump_record(&self, migration: &Migration) -> PathBuf {
        directory::record(&self.state, &names::database(migration))
    }
}

fn no_position() -> Failure {
    Failure::refused(
        "NO_START_POSITION",
        "the snapshot does not say up to which transaction of the source it goes",
        "let the source write its binary log with GTIDs and commit one transaction, then start the copy again",
    )
}

fn busy() -> Failure {
    Failure::refused(
        "SNAPSHOT_BUSY",
        "the source's sessions could not be brought to one position within 2 s",
        "see what runs so long on the source (SHOW PROCESSLIST), then start the copy again",
    )
}

fn refused(code: &str, sentence: &str) -> Failure {
    Failure::refused(code, sentence, "start it, and SET GLOBAL super_read_only = 1 there, not in its option file")
}
