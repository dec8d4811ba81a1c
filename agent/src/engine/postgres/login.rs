//! One login as far as the server's first answer: enough to tell whether `pg_hba.conf` lets it in, without a password and
//! without a session (PostgreSQL manual, "Message Flow: Start-up").

use std::{io, net::SocketAddr, path::PathBuf, time::Duration};

use bytes::BytesMut;
use postgres_protocol::message::frontend;
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    net::{TcpStream, UnixStream},
};

const LIMIT: Duration = Duration::from_secs(2);

/// A way in, and who tries it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Attempt {
    pub(super) door: Door,
    pub(super) role: String,
    pub(super) database: String,
    /// As a standby would.
    pub(super) replication: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Door {
    Socket(PathBuf),
    Address(SocketAddr),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// `pg_hba.conf` rejects it, or has no line for it.
    Rejected,
    /// It is let in, or asked to prove who it is.
    Heard,
    /// Nobody listens at that door.
    Absent,
    /// Neither: the server is starting, full, or does not answer. SQLSTATE or cause.
    Unclear(String),
}

impl Attempt {
    pub(super) async fn answer(&self) -> Answer {
        match tokio::time::timeout(LIMIT, self.ask()).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(error)) if [io::ErrorKind::ConnectionRefused, io::ErrorKind::NotFound].contains(&error.kind()) => {
                Answer::Absent
            }
            Ok(Err(error)) => Answer::Unclear(error.to_string()),
            Err(_) => Answer::Unclear("no answer".into()),
        }
    }

    async fn ask(&self) -> io::Result<Answer> {
        match &self.door {
            Door::Socket(path) => self.greet(UnixStream::connect(path).await?).await,
            Door::Address(address) => self.greet(TcpStream::connect(address).await?).await,
        }
    }

    async fn greet(&self, mut stream: impl AsyncRead + AsyncWrite + Unpin) -> io::Result<Answer> {
        let mut packet = BytesMut::new();
        let mut parameters = vec![("user", self.role.as_str()), ("database", self.database.as_str())];
        if self.replication {
            parameters.push(("replication", "true"));
        }
        frontend::startup_message(parameters, &mut packet)?;
        stream.write_all(&packet).await?;
        let kind = stream.read_u8().await?;
        if kind != b'E' {
            return Ok(Answer::Heard);
        }
        let length = usize::try_from(stream.read_u32().await?).unwrap_or(usize::MAX);
        let mut body = vec![0; length.saturating_sub(4).min(1 << 16)];
        stream.read_exact(&mut body).await?;
        Ok(refusal(&body))
    }
}

/// By SQLSTATE and the routine that raised it: `peer` and an absent role answer with the same SQLSTATE as `pg_hba.conf`,
/// and the message is in the server's own language.
fn refusal(body: &[u8]) -> Answer {
    let (mut code, mut routine) = (String::new(), String::new());
    for field in body.split(|byte| *byte == 0) {
        match field.split_first() {
            Some((b'C', value)) => code = String::from_utf8_lossy(value).into_owned(),
            Some((b'R', value)) => routine = String::from_utf8_lossy(value).into_owned(),
            Some(_) | None => {}
        }
    }
    match (code.as_str(), routine.as_str()) {
        ("28000", "ClientAuthentication") => Answer::Rejected,
        ("28000" | "28P01", _) => Answer::Heard,
        (_, _) => Answer::Unclear(code),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_access_rules_refusal_counts_as_closed() {
        let body = |code: &str, routine: &str| format!("SFATAL\0C{code}\0Mwhatever\0R{routine}\0\0").into_bytes();
        assert_eq!(refusal(&body("28000", "ClientAuthentication")), Answer::Rejected);
        assert_eq!(refusal(&body("28000", "auth_failed")), Answer::Heard, "peer authentication failed");
        assert_eq!(refusal(&body("28000", "InitializeSessionUserId")), Answer::Heard, "no such role");
        assert_eq!(refusal(&body("28P01", "auth_failed")), Answer::Heard);
        assert_eq!(refusal(&body("53300", "InitProcess")), Answer::Unclear("53300".into()));
        assert_eq!(refusal(&body("57P03", "ProcessStartupPacket")), Answer::Unclear("57P03".into()));
    }

    #[tokio::test]
    async fn a_door_that_is_not_there_is_absent() {
        let directory = tempfile::tempdir().unwrap();
        let door = Door::Socket(directory.path().join(".s.PGSQL.1"));
        let attempt = Attempt { door, role: "a".into(), database: "b".into(), replication: false };
        assert_eq!(attempt.answer().await, Answer::Absent);
    }
}
