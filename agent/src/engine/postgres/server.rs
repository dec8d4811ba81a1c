//! What the server process is told: start, stop, kill, checkpoint, promote. Each can be told twice.

use std::{
    os::unix::ffi::OsStrExt as _,
    time::{Duration, Instant},
};

use flytt_proto::{failure::Failure, name::Migration};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use super::{Postgres, cluster, names, recipe};
use crate::{change::Verb, command::Command};

const START_LIMIT: Duration = Duration::from_secs(300);
const STOP_LIMIT: Duration = Duration::from_secs(120);
const PROMOTE_LIMIT: Duration = Duration::from_secs(60);

impl Postgres {
    pub(super) async fn obey(&self, migration: &Migration, verb: &Verb) -> Result<(), Failure> {
        match verb {
            Verb::Start => self.start().await,
            Verb::Stop { .. } => self.stop().await,
            Verb::Kill => self.end_at_once().await,
            Verb::Checkpoint => self.checkpoint().await,
            Verb::EndSessions { drain_ms } => self.end_sessions(migration, Duration::from_millis(*drain_ms)).await,
            Verb::Promote => self.promote().await,
            Verb::KeepLog => self.session().await?.run(&recipe::make_slot(&names::slot(&migration.back()))).await,
            Verb::Rejoin { host, port } => self.start_as_follower(migration, host, *port).await,
            Verb::ReleaseLog => {
                let session = self.session().await?;
                for statement in recipe::drop_slot(&names::slot(&migration.back())) {
                    session.run(&statement).await?;
                }
                Ok(())
            }
            Verb::OwnAccounts
            | Verb::DropAccounts
            | Verb::Close { .. }
            | Verb::Reopen { .. }
            | Verb::Replicate { .. }
            | Verb::Detach
            | Verb::Welcome { .. }
            | Verb::Unwelcome
            | Verb::FollowBack { .. }
            | Verb::DetachBack
            | Verb::RaiseAppliers { .. }
            | Verb::LowerAppliers { .. }
            | Verb::Shut(_)
            | Verb::Unshut(_)
            | Verb::Return => Err(super::super::not_for(self, verb)),
        }
    }

    /// Reads the configuration again. A server that is down will do so when it starts.
    pub(super) fn hang_up(&self) -> Result<(), Failure> {
        // Our own session may learn of it a moment after us.
        *self.closed_since() = None;
        match self.postmaster() {
            Some(postmaster) => kill(postmaster, Signal::SIGHUP).map_err(|error| unsignalled(postmaster, error)),
            None => Ok(()),
        }
    }

    pub(super) fn postmaster(&self) -> Option<Pid> {
        cluster::postmaster(&self.config.data_directory)
    }

    pub(super) async fn start(&self) -> Result<(), Failure> {
        self.forget_files().await;
        if self.postmaster().is_none() {
            let outcome = self.starter().run(START_LIMIT + Duration::from_secs(5)).await;
            outcome.map_err(|error| {
                let remedy = "look at the server's log";
                Failure::unknown("START_FAILED", format!("the server does not start: {error}"), remedy)
            })?;
        }
        // Started by somebody else, it may still be on its way.
        let begun = Instant::now();
        loop {
            match self.session().await {
                Ok(_) => return Ok(()),
                Err(error) if begun.elapsed() > Duration::from_secs(30) => return Err(error),
                Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
            }
        }
    }

    /// As the host's owner says, or `pg_ctl`: it gives the server, which outlives us, a session of its own and a log that is not our
    /// pipe.
    fn starter(&self) -> Command {
        if let Some((program, arguments)) = self.config.start.split_first() {
            return Command::new(program).args(arguments.iter().cloned());
        }
        let log = self.config.log.clone().unwrap_or_else(|| "/dev/null".into());
        let command = Command::new(self.config.bin.join("pg_ctl"))
            .arg("start")
            .arg("-D")
            .arg(&self.config.data_directory)
            .arg("-l")
            .arg(log)
            .args(["-w", "-t", &START_LIMIT.as_secs().to_string()]);
        match &self.config.config_file {
            Some(config_file) => command.arg("-o").arg(format!("-c {}", shell_word(config_file.as_os_str().as_bytes()))),
            None => command,
        }
    }

    pub(super) async fn stop(&self) -> Result<(), Failure> {
        self.tell_its_starter().await?;
        self.signal_and_wait(Signal::SIGINT, STOP_LIMIT).await
    }

    pub(super) async fn end_at_once(&self) -> Result<(), Failure> {
        self.signal_and_wait(Signal::SIGQUIT, STOP_LIMIT).await?;
        self.tell_its_starter().await
    }

    /// Whoever started it stops it, or learns that it is to stay down: otherwise it might start it again, or take the next start for done.
    async fn tell_its_starter(&self) -> Result<(), Failure> {
        let Some((program, arguments)) = self.config.stop.split_first() else { return Ok(()) };
        let stop = Command::new(program).args(arguments.iter().cloned());
        stop.run(STOP_LIMIT).await.map(drop).map_err(|error| {
            let sentence = format!("what is to stop the server fails: {error}");
            Failure::unknown("STOP_FAILED", sentence, "see `stop` in agent.toml, and whether the agent may call it")
        })
    }

    async fn signal_and_wait(&self, signal: Signal, limit: Duration) -> Result<(), Failure> {
        let Some(postmaster) = self.postmaster() else { return Ok(()) };
        kill(postmaster, signal).map_err(|error| unsignalled(postmaster, error))?;
        let begun = Instant::now();
        while cluster::is_alive(postmaster) {
            if begun.elapsed() > limit {
                return Err(Failure::unknown(
                    "STOP_FAILED",
                    format!("the server has not ended {} s after {signal}", limit.as_secs()),
                    "look at its log: an archiver or a walsender may hold it up",
                ));
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        Ok(())
    }

    /// On a connection of its own: it takes long, and the warm one must stay free.
    async fn checkpoint(&self) -> Result<(), Failure> {
        let role = self.session().await?.role.clone();
        let session = self.connect(&role, &self.config.database).await?;
        session.run("set statement_timeout = 0").await?;
        session.run("checkpoint").await
    }

    /// Does not wait inside the server: that costs a tick of 100 ms.
    async fn promote(&self) -> Result<(), Failure> {
        let session = self.session().await?;
        if session.is_true("select pg_is_in_recovery()").await? {
            session.run("select pg_promote(false)").await?;
        }
        let begun = Instant::now();
        while session.is_true("select pg_is_in_recovery()").await? {
            if begun.elapsed() > PROMOTE_LIMIT {
                let sentence = format!("the standby is not primary {} s after it was told", PROMOTE_LIMIT.as_secs());
                return Err(Failure::unknown("PROMOTE_FAILED", sentence, "look at the server's log"));
            }
            tokio::time::sleep(Duration::from_micros(500)).await;
        }
        Ok(())
    }
}

fn unsignalled(postmaster: Pid, error: nix::Error) -> Failure {
    let sentence = format!("the server process {postmaster} cannot be signalled: {error}");
    Failure::refused("NOT_ALLOWED", sentence, "let the agent run as the user that owns the data directory")
}

/// `config_file=<path>` as one word: `pg_ctl` hands its options through a shell.
fn shell_word(path: &[u8]) -> String {
    format!("'config_file={}'", String::from_utf8_lossy(path).replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_stays_one_word_in_a_shell() {
        assert_eq!(shell_word(b"/etc/it's; rm -rf x"), r"'config_file=/etc/it'\''s; rm -rf x'");
    }
}
