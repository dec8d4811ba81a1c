//! What the server process is told: start, stop, kill. Each can be told twice.

use std::{
    path::PathBuf,
    time::{Duration, Instant},
};

use flytt_proto::{failure::Failure, name::Migration};
use nix::sys::signal::{Signal, kill};

use super::Mariadb;
use crate::{change::Verb, command::Command, engine::Serving, engine::mysql_family::process};

const START_LIMIT: Duration = Duration::from_secs(300);
const STOP_LIMIT: Duration = Duration::from_secs(300);

impl Mariadb {
    pub(super) async fn obey(&self, migration: &Migration, verb: &Verb) -> Result<(), Failure> {
        match verb {
            Verb::Start => self.start().await,
            Verb::Stop { .. } => self.end(Signal::SIGTERM).await,
            Verb::Kill => self.end(Signal::SIGKILL).await,
            // What a checkpoint is for PostgreSQL's shutdown, InnoDB does all the time. The marker's table is made here, so that
            // the window holds an insert and no DDL.
            Verb::Checkpoint => match self.now_serving().await? {
                Serving::Writable => self.prepare_marker(migration).await,
                Serving::Standby | Serving::Down => Ok(()),
            },
            Verb::EndSessions { drain_ms } => self.end_sessions(migration, Duration::from_millis(*drain_ms)).await,
            Verb::Promote => self.promote().await,
            Verb::OwnAccounts => self.make_own_accounts().await,
            Verb::DropAccounts => self.drop_own_accounts(migration).await,
            Verb::Close { .. } => self.close(migration).await,
            Verb::Reopen { events, read_only } => self.reopen(migration, *events, *read_only).await,
            Verb::Replicate { host, port } => self.replicate(migration, host, *port).await,
            Verb::Detach => self.detach().await,
            Verb::Welcome { verifier } => self.welcome(migration, verifier).await,
            Verb::Unwelcome => self.unwelcome(migration).await,
            Verb::FollowBack { host, port } => self.follow_back(migration, host, *port).await,
            Verb::DetachBack => self.detach_back(migration).await,
            Verb::Return => {
                let session = self.unlogged().await?;
                self.go_on_back(&session, migration).await
            }
        }
    }

    async fn start(&self) -> Result<(), Failure> {
        if process::server(&self.config.data_directory).is_none() {
            self.start_command().run(START_LIMIT).await.map_err(|error| {
                Failure::unknown("START_FAILED", format!("the server does not start: {error}"), "look at the server's log")
            })?;
        }
        let begun = Instant::now();
        loop {
            match self.session().await {
                Ok(_) => return Ok(()),
                Err(error) if begun.elapsed() > START_LIMIT => return Err(error),
                // An account that is refused stays refused; a server that is not up yet comes up.
                Err(error) if error.code != "SERVER_DOWN" => return Err(error),
                Err(error) if begun.elapsed() > Duration::from_secs(10) && !self.is_there() => {
                    let sentence = format!("the server ends before it is up: {}", error.sentence);
                    return Err(Failure::unknown("START_FAILED", sentence, "look at the server's log"));
                }
                Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
            }
        }
    }

    fn is_there(&self) -> bool {
        process::server(&self.config.data_directory).is_some()
    }

    /// As the host's owner says, or the server itself: it outlives us in a session of its own, and writes to a log, not our pipe.
    fn start_command(&self) -> Command {
        if let Some((program, arguments)) = self.config.start.split_first() {
            return Command::new(program).args(arguments.iter().cloned());
        }
        let option = |name: &str, value: &PathBuf| {
            let mut option = std::ffi::OsString::from(name);
            option.push(value);
            option
        };
        let log = self.config.log.clone().unwrap_or_else(|| "/dev/null".into());
        Command::new("/usr/bin/setsid")
            .arg("--fork")
            .arg(&self.config.server)
            .arg(option("--defaults-file=", &self.config.config_file))
            .arg(option("--log-error=", &log))
    }

    async fn end(&self, signal: Signal) -> Result<(), Failure> {
        let Some(server) = process::server(&self.config.data_directory) else { return Ok(()) };
        if let Some((program, arguments)) = self.config.stop.split_first() {
            // A supervisor would start again what we end by a signal.
            let stop = Command::new(program).args(arguments.iter().cloned());
            stop.run(STOP_LIMIT).await.map_err(|error| {
                Failure::unknown("STOP_FAILED", format!("the server does not stop: {error}"), "look at the server's log")
            })?;
        } else {
            kill(server, signal).map_err(|error| {
                let sentence = format!("the server process {server} cannot be signalled: {error}");
                Failure::refused("NOT_ALLOWED", sentence, "let the agent run as the user that owns the data directory")
            })?;
        }
        let begun = Instant::now();
        while process::is_alive(server) {
            if begun.elapsed() > STOP_LIMIT {
                let sentence = format!("the server has not ended {} s after {signal}", STOP_LIMIT.as_secs());
                return Err(Failure::unknown("STOP_FAILED", sentence, "look at its log"));
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        Ok(())
    }
}
