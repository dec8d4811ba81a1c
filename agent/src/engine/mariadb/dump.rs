//! The logical dump on MariaDB: how its sessions come to see one position, and how replication is told to begin there.

use std::{path::PathBuf, sync::Arc, time::Duration};

use flytt_proto::{failure::Failure, name::Migration, v1::DrawRequest};
use futures::future::try_join_all;
use tokio::sync::mpsc;

use super::{
    Mariadb, names, position,
    seed::{is_full, no_space},
};
use crate::{
    change::{self, Change, Verb},
    engine::{
        Poured, Progress, SeedOrder, Upstream, directory,
        mysql_family::{
            dump::{
                rows::{Load, Server},
                schema::{AccountName, Ours},
            },
            process,
            quote::literal,
            session::Session,
        },
    },
};

/// For the server's own locks: a statement of an application waits no longer for ours than this, and a little. Should this agent be
/// stopped while it holds one, the server ends the session by itself.
const LOCK_WAIT: &str = "set session lock_wait_timeout = 2, wait_timeout = 3, interactive_timeout = 3";
/// For all of it, from the last lock on; the locks go when it is over, however it ends.
const HOLD_LIMIT: Duration = Duration::from_secs(2);
/// A reader rests between two pieces, and is not to be ended for that.
const READER: &str = "set session max_statement_time = 0, idle_transaction_timeout = 0, idle_readonly_transaction_timeout = 0";

#[tonic::async_trait]
impl Server for Mariadb {
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
                at(replication.clone(), "localhost"),
                at(replication, "%"),
            ],
        }
    }

    async fn freeze(&self, sessions: &[Session]) -> Result<String, Failure> {
        // A server at rest needs no lock.
        if let Some(at) = same(begin(sessions).await?) {
            return gtid(&sessions[0], &at).await;
        }
        gtid(&sessions[0], &self.locked(sessions).await?).await
    }

    async fn begin_after(&self, session: &Session, position: &str) -> Result<(), Failure> {
        let begin = position::gtids(position)?;
        // What this server wrote in domains of its own stands in its binary log, and the server wants it named here (error 1948).
        let own = position::gtids(&session.value("select @@global.gtid_binlog_pos").await?)?;
        let own = own.iter().filter(|own| !begin.iter().any(|gtid| gtid.domain == own.domain)).map(|own| format!(",{own}"));
        let position = own.fold(begin.to_string(), |all, own| all + &own);
        session.run(&format!("set global gtid_slave_pos = {}", literal(&position))).await
    }
}

impl Mariadb {
    /// While the stages of a backup keep commits away, all begin at once (MariaDB manual, "BACKUP STAGE").
    async fn locked(&self, sessions: &[Session]) -> Result<At, Failure> {
        let lock = self.unlogged().await?;
        lock.run(LOCK_WAIT).await?;
        for stage in ["start", "flush", "block_ddl"] {
            lock.run(&format!("backup stage {stage}")).await?;
        }
        let hold = async {
            lock.run("backup stage block_commit").await?;
            begin(sessions).await
        };
        let held = tokio::time::timeout(HOLD_LIMIT, hold).await;
        let begun = match held {
            Ok(begun) => {
                lock.run("backup stage end").await?;
                begun?
            }
            // In the middle of an answer, the session takes no statement; its end takes the locks along.
            Err(_) => return Err(busy()),
        };
        same(begun).ok_or_else(busy)
    }

    /// What belongs to flytt itself and, where there is one, to this move.
    pub(super) fn never_compared(&self, migration: Option<&Migration>) -> Ours {
        let at = |user: &str| AccountName { user: user.into(), host: "localhost".into() };
        let Some(migration) = migration else {
            return Ours { databases: Vec::new(), accounts: vec![at(names::AGENT), at(names::PROBE)] };
        };
        let mut ours = self.ours(migration);
        ours.databases.push(names::database(migration));
        ours.accounts.push(AccountName { user: names::back(migration), host: "localhost".into() });
        ours
    }

    /// For what outlives a call.
    pub(super) fn shared(&self) -> Arc<dyn Server> {
        Arc::new(Self::new(self.config.clone(), self.state.clone(), self.may_replace))
    }

    pub(super) fn rows_of(&self, migration: &Migration, ask: &DrawRequest) -> mpsc::Receiver<Poured> {
        self.snapshots.pour(self.shared(), migration, ask)
    }

    /// Into the server that runs here; one that does not is started, and stopped again when that is taken back. From before the
    /// first row on it comes up read-only, whoever starts it: half a copy must never be taken for the one that serves.
    pub(super) async fn seed_by_dump(&self, migration: &Migration, order: &SeedOrder) -> Result<Vec<Change>, Failure> {
        if let Upstream::Direct { .. } = order.upstream {
            return Err(super::recipe::no_direct());
        }
        let load = Change::Load(change::Load { origin: order.origin.clone(), max_rate: order.max_rate });
        if process::server(&self.config.data_directory).is_none() {
            let events = self.events_by_file(migration).await;
            return Ok(vec![self.shut(migration, "replica", events), Change::Server(Verb::Start), load]);
        }
        let events = match self.events_before(migration, "replica") {
            Some(events) => events,
            None => self.session().await?.is_true("select @@global.event_scheduler = 'ON'").await?,
        };
        let settings = self.import_settings(migration).await?;
        let (before, after) = (Change::ImportSettings(settings.clone()), Change::ImportOver(settings));
        Ok(vec![self.shut(migration, "replica", events), before, load, after])
    }

    /// Whether this server holds a dump of that move, or a part of one.
    pub(super) fn is_dumped(&self, migration: &Migration) -> bool {
        self.dump_record(migration).exists()
    }

    pub(super) async fn load_rows(&self, load: &change::Load, progress: mpsc::Sender<Progress>) -> Result<(), Failure> {
        let done = self.loading(load)?.run(progress).await;
        done.map_err(|why| if is_full(&self.config.data_directory) { no_space(&why) } else { why })
    }

    /// With the rows goes all that a move has made of this server since: what an earlier step would have taken back, had the
    /// server not been ended before (a copy that was promoted and given up), is taken back here. Its binary log, in which there was
    /// nothing of its own, is begun anew, as a copy of files would have begun it.
    pub(super) async fn unload_rows(&self, load: &change::Load) -> Result<(), Failure> {
        let loading = self.loading(load)?;
        let migration = &loading.origin.migration;
        if self.is_dumped(migration) {
            self.obey(migration, &Verb::Start).await?;
            self.detach().await?;
            self.unlock(migration).await?;
            self.drop_own_accounts(migration).await?;
            let session = self.unlogged().await?;
            for forget in ["reset master", "set global gtid_slave_pos = ''"] {
                session.run(forget).await?;
            }
            if self.events_before(migration, "replica") == Some(true) {
                session.run("set global event_scheduler = on").await?;
            }
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

/// File and offset in the binary log, as the session's snapshot sees it.
type At = (String, String);

async fn begin(sessions: &[Session]) -> Result<Vec<At>, Failure> {
    try_join_all(sessions.iter().map(|session| async move {
        session.run("start transaction with consistent snapshot").await?;
        let rows = session.rows("show status like 'binlog_snapshot_%'").await?;
        let named = |name: &str| {
            let is = |row: &&Vec<Option<String>>| row[0].as_deref().is_some_and(|found| found.eq_ignore_ascii_case(name));
            rows.iter().find(is).and_then(|row| row.get(1).cloned().flatten()).unwrap_or_default()
        };
        Ok((named("binlog_snapshot_file"), named("binlog_snapshot_position")))
    }))
    .await
}

fn same(all: Vec<At>) -> Option<At> {
    let mut all = all.into_iter();
    let first = all.next()?;
    all.all(|other| other == first).then_some(first)
}

async fn gtid(session: &Session, (file, offset): &At) -> Result<String, Failure> {
    let none = || {
        Failure::refused(
            "NO_START_POSITION",
            "the snapshot does not say up to which transaction of the source it goes",
            "let the source write its binary log with GTIDs and commit one transaction, then start the copy again",
        )
    };
    let offset: u64 = offset.parse().map_err(|_| none())?;
    let found = session.value(&format!("select binlog_gtid_pos({}, {offset})", literal(file))).await?;
    if position::gtids(&found)?.is_empty() { Err(none()) } else { Ok(found) }
}

fn busy() -> Failure {
    Failure::refused(
        "SNAPSHOT_BUSY",
        "the source's sessions could not be brought to one position within 2 s",
        "see what runs so long on the source (SHOW PROCESSLIST), then start the copy again",
    )
}
