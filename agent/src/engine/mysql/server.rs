//! What the server is told. Each can be told twice.

use std::time::{Duration, Instant};

use flytt_proto::{failure::Failure, name::Migration};
use nix::sys::signal::Signal;

use super::Mysql;
use crate::{
    change::Verb,
    command::Command,
    engine::{
        Serving,
        mysql_family::{appliers, program::Program},
    },
};

const LIMIT: Duration = Duration::from_secs(10);

impl Mysql {
    pub(super) async fn obey(&self, migration: &Migration, verb: &Verb) -> Result<(), Failure> {
        match verb {
            Verb::Start => self.start().await,
            Verb::Stop { .. } => self.program().end(Signal::SIGTERM).await,
            Verb::Kill => self.end_at_once().await,
            // What a checkpoint is for PostgreSQL's shutdown, InnoDB does all the time. The marker's table is made here, so that
            // the window holds an insert and no DDL.
            Verb::Checkpoint => match self.now_serving().await? {
                Serving::Writable => self.prepare_marker(migration).await,
                Serving::Standby | Serving::Down => Ok(()),
            },
            Verb::EndSessions { drain_ms } => self.end_sessions(migration, Duration::from_millis(*drain_ms)).await,
            Verb::Promote => self.promote(migration).await,
            Verb::OwnAccounts => self.make_own_accounts().await,
            Verb::DropAccounts => self.drop_own_accounts(migration).await,
            Verb::Close { .. } => self.close(migration).await,
            Verb::Reopen { events, read_only } => self.reopen(migration, *events, *read_only).await,
            Verb::Replicate { host, port } => self.replicate(migration, host, *port).await,
            Verb::Detach => self.let_go(migration).await,
            Verb::Shut(_) => self.shut(&*self.session().await?).await,
            Verb::Unshut(was) => self.unshut(was).await,
            Verb::Welcome { verifier } => self.welcome(migration, verifier).await,
            Verb::Unwelcome => self.unwelcome(migration).await,
            Verb::FollowBack { host, port } => self.follow_back(migration, host, *port).await,
            Verb::RaiseAppliers { settings } => self.raise_appliers(settings).await,
            Verb::LowerAppliers { settings } => appliers::lower(&*self.session().await?, settings).await,
            Verb::DetachBack => self.detach_back(migration).await,
            Verb::Return => {
                let session = self.unlogged().await?;
                self.follow_on(&session, migration).await
            }
            Verb::KeepLog | Verb::ReleaseLog | Verb::Rejoin { .. } => Err(super::super::not_for(self, verb)),
        }
    }

    pub(super) async fn start(&self) -> Result<(), Failure> {
        self.former_server_is_reaped().await;
        self.program().start(|| Box::pin(async { self.session().await.map(drop) })).await
    }

    /// A server does not start while the process exists that its socket's lock file names, even if that has ended and only its
    /// parent has not asked for it yet (error MY-010259, tried in a container whose first process takes its time).
    async fn former_server_is_reaped(&self) {
        let mut lock = self.config.socket.clone().into_os_string();
        lock.push(".lock");
        let Some(process) = std::fs::read_to_string(lock).ok().and_then(|text| text.trim().parse::<i32>().ok()) else { return };
        let begun = Instant::now();
        while begun.elapsed() < LIMIT && is_zombie(process) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    pub(in crate::engine::mysql) async fn end_at_once(&self) -> Result<(), Failure> {
        self.program().end(Signal::SIGKILL).await
    }

    pub(super) fn program(&self) -> Program<'_> {
        Program {
            data: &self.config.data_directory,
            config_file: &self.config.config_file,
            server: &self.config.server,
            start: &self.config.start,
            stop: &self.config.stop,
            log: self.config.log.as_deref(),
        }
    }

    /// Whether events run on a server that is started with its own option files alone. MySQL's own default is that they do.
    pub(super) async fn events_by_default(&self) -> bool {
        let mut file = std::ffi::OsString::from("--defaults-file=");
        file.push(&self.config.config_file);
        let said = Command::new(&self.config.server).arg(file).arg("--print-defaults").run(LIMIT).await;
        let text = said.map(|output| output.stdout).unwrap_or_default();
        runs_events(&text)
    }
}

fn is_zombie(process: i32) -> bool {
    procfs::process::Process::new(process).and_then(|process| process.stat()).is_ok_and(|stat| stat.state == 'Z')
}

/// The last one counts.
fn runs_events(options: &str) -> bool {
    let state = options.split_whitespace().rev().find_map(|option| {
        let (key, value) = option.strip_prefix("--")?.split_once('=').unwrap_or((&option[2..], "on"));
        (key.to_lowercase().replace('-', "_") == "event_scheduler").then(|| value.to_lowercase())
    });
    state.is_none_or(|state| ["on", "1"].contains(&&*state))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_run_unless_an_option_says_no() {
        assert!(runs_events("mysqld would have been started with the following arguments:\n--port=3306 --mysqlx=0"));
        assert!(runs_events("--event-scheduler=OFF --event_scheduler=ON") && runs_events("--event-scheduler"));
        assert!(!runs_events("--event_scheduler=ON --Event-Scheduler=disabled") && !runs_events("--event-scheduler=0"));
    }
}
