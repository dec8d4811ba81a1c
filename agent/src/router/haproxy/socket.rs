//! HAProxy's runtime socket: one line out, one answer back (HAProxy Management Guide, "Unix Socket commands").
//!
//! HAProxy reports most mistakes as text in an answer that otherwise looks like success, so answers are read, not trusted.

use std::{io, path::PathBuf, time::Duration};

use flytt_proto::failure::Failure;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::UnixStream,
    time::timeout,
};

/// HAProxy answers within a millisecond; one that needs longer hangs.
const PATIENCE: Duration = Duration::from_secs(2);
/// `show sess` of a busy router is the longest answer asked for.
const LONGEST: u64 = 64 << 20;

#[derive(Clone, Debug)]
pub(super) struct Socket {
    path: PathBuf,
}

impl Socket {
    pub(super) fn new(path: PathBuf) -> Self {
        Self { path }
    }

    /// One line (commands in it are separated by `;`), one connection, the whole answer.
    pub(super) async fn ask(&self, line: &str) -> Result<String, Failure> {
        let shown = self.path.display();
        let mut stream = match timeout(PATIENCE, UnixStream::connect(&self.path)).await {
            Ok(Ok(stream)) => stream,
            Ok(Err(error)) => return Err(unreachable(format!("HAProxy's admin socket {shown} cannot be opened: {error}"))),
            Err(_) => return Err(unreachable(format!("HAProxy's admin socket {shown} does not accept a connection"))),
        };
        let mut answer = Vec::new();
        let exchange = async {
            stream.write_all(line.as_bytes()).await?;
            stream.write_all(b"\n").await?;
            (&mut stream).take(LONGEST).read_to_end(&mut answer).await
        };
        match timeout(PATIENCE, exchange).await {
            Ok(Ok(_)) => Ok(String::from_utf8_lossy(&answer).into_owned()),
            Ok(Err(error)) => Err(no_answer(&error.to_string())),
            Err(_) => Err(no_answer(&io::Error::from(io::ErrorKind::TimedOut).to_string())),
        }
    }

    /// Commands that say nothing when they succeed, executed in this order.
    pub(super) async fn order(&self, commands: &[String]) -> Result<(), Failure> {
        if commands.is_empty() {
            return Ok(());
        }
        let answer = self.ask(&commands.join("; ")).await?;
        match answer.trim() {
            "" => Ok(()),
            text => Err(refused(&commands.join("; "), text)),
        }
    }

    /// A command that confirms its success in words.
    pub(super) async fn expect(&self, command: &str, confirmation: &str) -> Result<(), Failure> {
        let answer = self.ask(command).await?;
        if answer.contains(confirmation) { Ok(()) } else { Err(refused(command, answer.trim())) }
    }
}

fn unreachable(sentence: String) -> Failure {
    Failure::refused(
        "ROUTER_UNREACHABLE",
        sentence,
        "start HAProxy, or correct `haproxy.socket` in agent.toml and let the agent's user open it",
    )
}

fn no_answer(why: &str) -> Failure {
    Failure::unknown(
        "ROUTER_NO_ANSWER",
        format!("HAProxy took an order and gave no answer: {why}"),
        "look at the HAProxy process and its log",
    )
}

/// Effect: one command of the line may have failed while the others took effect.
fn refused(command: &str, answer: &str) -> Failure {
    let answer: String = answer.chars().filter(|c| !c.is_control() || *c == ' ').take(200).collect();
    Failure::unknown(
        "ROUTER_REFUSED",
        format!("HAProxy answers `{answer}` to `{command}`"),
        "compare the names with HAProxy's configuration and the socket's level with `admin`",
    )
}
