//! The server's process: started, and ended by a signal. Each can be done twice.

use std::{
    path::Path,
    time::{Duration, Instant},
};

use flytt_proto::failure::Failure;
use futures::future::BoxFuture;
use nix::sys::signal::{Signal, kill};

use super::process;
use crate::command::Command;

const START_LIMIT: Duration = Duration::from_secs(300);
const STOP_LIMIT: Duration = Duration::from_secs(300);

/// How this host's server is started and ended; see the engine's section of `agent.toml`.
#[derive(Debug)]
pub(crate) struct Program<'a> {
    pub(crate) data: &'a Path,
    pub(crate) config_file: &'a Path,
    pub(crate) server: &'a Path,
    pub(crate) start: &'a [String],
    pub(crate) stop: &'a [String],
    pub(crate) log: Option<&'a Path>,
}

impl<'a> Program<'a> {
    /// Done when `login` succeeds.
    pub(crate) async fn start(&self, login: impl Fn() -> BoxFuture<'a, Result<(), Failure>>) -> Result<(), Failure> {
        if process::server(self.data).is_none() {
            self.command().run(START_LIMIT).await.map_err(|error| {
                Failure::unknown("START_FAILED", format!("the server does not start: {error}"), "look at the server's log")
            })?;
        }
        let begun = Instant::now();
        loop {
            match login().await {
                Ok(()) => return Ok(()),
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
        process::server(self.data).is_some()
    }

    /// As the host's owner says, or the server itself: it outlives us in a session of its own, and writes to a log, not our pipe.
    fn command(&self) -> Command {
        if let Some((program, arguments)) = self.start.split_first() {
            return Command::new(program).args(arguments.iter().cloned());
        }
        let option = |name: &str, value: &Path| {
            let mut option = std::ffi::OsString::from(name);
            option.push(value);
            option
        };
        let log = self.log.unwrap_or(Path::new("/dev/null"));
        Command::new("/usr/bin/setsid")
            .arg("--fork")
            .arg(self.server)
            .arg(option("--defaults-file=", self.config_file))
            .arg(option("--log-error=", log))
    }

    pub(crate) async fn end(&self, signal: Signal) -> Result<(), Failure> {
        let Some(server) = process::server(self.data) else { return Ok(()) };
        if let Some((program, arguments)) = self.stop.split_first() {
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
