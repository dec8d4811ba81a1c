//! The application's way in: read from a file that only its owner can read, dialled so that each way of being turned away has a
//! name. The password stays inside; nothing here prints it. How a database is spoken to is the session's business.

use std::{
    fmt,
    io::{self, Read},
    os::unix::fs::{MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
    time::Duration,
};

use flytt_proto::failure::Failure;
use nix::{fcntl::OFlag, unistd::geteuid};

use super::{mysql, postgres, session::Session};

/// A router that holds a connection lets it wait; only after this time it counts as failed.
const CONNECT_LIMIT: Duration = Duration::from_secs(10);
/// More is no connection file.
const LONGEST_FILE: u64 = 16 * 1024;

/// What the servers behind the entrance speak.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    Postgres,
    /// MySQL and MariaDB.
    Mysql,
}

/// Where to connect to, and as whom.
#[derive(Clone)]
pub struct Connection {
    login: Login,
    place: Place,
}

#[derive(Clone)]
enum Login {
    // Either driver's settings are large.
    Postgres(Box<postgres::Login>),
    Mysql(Box<mysql::Login>),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Place {
    Tcp(String, u16),
    Socket(PathBuf),
}

/// Why there is no session. Each is counted apart.
#[derive(Debug)]
pub(super) enum Refusal {
    /// Nobody listens, or the network says no.
    Network(io::Error),
    /// The connection was accepted and closed again before the login was answered.
    Closed,
    /// The server answered with an error; its code (SQLSTATE, or MySQL's error number) and message.
    Server(String, String),
    /// No answer in time.
    TimedOut,
}

/// What is wrong with a connection file says nothing of its text, because any part of it may belong to the password.
pub(super) fn invalid(sentence: &str, remedy: &str) -> Failure {
    Failure::refused("CONNINFO_INVALID", sentence, remedy)
}

impl Connection {
    /// Reads the way in from a file: for PostgreSQL a libpq connection string (`host=… port=… user=… password=… dbname=…`), for
    /// MySQL and MariaDB an option file with a group `[client]` (`host`, `port` or `socket`, `user`, `password`).
    ///
    /// # Errors
    /// `CONNINFO_EXPOSED` when the file is not the operator's own or others can read it, `CONNINFO_UNREADABLE` and
    /// `CONNINFO_INVALID` otherwise.
    pub fn from_file(protocol: Protocol, path: &Path) -> Result<Self, Failure> {
        let unreadable = |error: io::Error| {
            Failure::refused(
                "CONNINFO_UNREADABLE",
                format!("the connection file {} cannot be read: {error}", path.display()),
                "name a file of mode 0600 that holds a connection string (PostgreSQL) or an option file (MySQL, MariaDB)",
            )
        };
        // O_NONBLOCK: a fifo in its place must not hang us.
        let flags = OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK;
        let file = std::fs::OpenOptions::new().read(true).custom_flags(flags.bits()).open(path).map_err(unreadable)?;
        let about = file.metadata().map_err(unreadable)?;
        if !about.is_file() {
            return Err(unreadable(io::Error::other("it is not a regular file")));
        }
        if about.uid() != geteuid().as_raw() || about.mode() & 0o077 != 0 {
            return Err(Failure::refused(
                "CONNINFO_EXPOSED",
                format!(
                    "the connection file {} (mode {:04o}) is not readable by its owner alone",
                    path.display(),
                    about.mode() & 0o7777
                ),
                format!("own it and run `chmod 600 {}`, and change the password if others could read it", path.display()),
            ));
        }
        let mut text = String::new();
        file.take(LONGEST_FILE).read_to_string(&mut text).map_err(unreadable)?;
        Self::parse(protocol, text.trim())
    }

    fn parse(protocol: Protocol, text: &str) -> Result<Self, Failure> {
        let (login, place) = match protocol {
            Protocol::Postgres => {
                let (login, place) = postgres::Login::parse(text)?;
                (Login::Postgres(Box::new(login)), place)
            }
            Protocol::Mysql => {
                let (login, place) = mysql::Login::parse(text)?;
                (Login::Mysql(Box::new(login)), place)
            }
        };
        Ok(Self { login, place })
    }

    /// The same account on another server: what the router leads to, asked directly.
    #[must_use]
    pub fn at(&self, host: &str, port: u16) -> Self {
        Self { login: self.login.clone(), place: Place::Tcp(host.to_owned(), port) }
    }

    /// Logs in and out again.
    ///
    /// # Errors
    /// `CANARY_UNREACHABLE` or `CANARY_DENIED`.
    pub async fn answers(&self) -> Result<(), Failure> {
        self.open().await.map_err(|refusal| refusal.into_failure(self))?.close().await;
        Ok(())
    }

    pub(super) async fn open(&self) -> Result<Session, Refusal> {
        let dial = async {
            match &self.login {
                Login::Postgres(login) => login.dial(&self.place).await.map(Session::Postgres),
                Login::Mysql(login) => login.dial(&self.place).await.map(Session::Mysql),
            }
        };
        tokio::time::timeout(CONNECT_LIMIT, dial).await.unwrap_or(Err(Refusal::TimedOut))
    }

    /// What the account needs, for whoever it was refused.
    pub(super) fn remedy(&self) -> &'static str {
        match &self.login {
            Login::Postgres(_) => "grant the account in the connection file CREATE on its database",
            Login::Mysql(_) => "grant the account in the connection file ALL PRIVILEGES on flytt_canary.*",
        }
    }
}

impl Refusal {
    /// For the one who is not a writer and cannot try again.
    pub(super) fn into_failure(self, connection: &Connection) -> Failure {
        let unreachable = |why: &dyn fmt::Display| {
            Failure::refused(
                "CANARY_UNREACHABLE",
                format!("the canary gets no session at {connection}: {why}"),
                "look at the router and at the server behind it",
            )
        };
        match self {
            Refusal::Network(error) => unreachable(&error),
            Refusal::Closed => unreachable(&"the connection is closed during the login"),
            Refusal::TimedOut => unreachable(&format_args!("no answer within {CONNECT_LIMIT:?}")),
            Refusal::Server(code, message) => Failure::refused(
                "CANARY_DENIED",
                format!("the server at {connection} refuses the canary's login ({code}): {}", message.escape_debug()),
                "check the account in the connection file",
            ),
        }
    }
}

impl fmt::Display for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.place {
            Place::Tcp(host, port) => write!(f, "{}:{port}", host.escape_debug()),
            Place::Socket(path) => write!(f, "{}", path.display().to_string().escape_debug()),
        }
    }
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Connection({self})")
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    const GOOD: &str = "host=127.0.0.1 port=6432 user=app password=hunter2-secret dbname=app";

    fn file(text: &str, mode: u32) -> tempfile::NamedTempFile {
        let file = tempfile::NamedTempFile::new().expect("a file");
        std::io::Write::write_all(&mut file.as_file(), text.as_bytes()).expect("written");
        std::fs::set_permissions(file.path(), std::fs::Permissions::from_mode(mode)).expect("mode");
        file
    }

    #[test]
    fn a_file_that_others_can_read_is_refused() {
        for mode in [0o644, 0o640, 0o604, 0o620, 0o601] {
            let exposed = file(GOOD, mode);
            let failure = Connection::from_file(Protocol::Postgres, exposed.path()).expect_err("exposed");
            assert_eq!(failure.code, "CONNINFO_EXPOSED", "{mode:o}");
        }
        let own = file(GOOD, 0o600);
        assert_eq!(Connection::from_file(Protocol::Postgres, own.path()).expect("private").to_string(), "127.0.0.1:6432");
        let link = tempfile::tempdir().expect("a directory");
        let link_path = link.path().join("link");
        std::os::unix::fs::symlink(own.path(), &link_path).expect("link");
        assert_eq!(Connection::from_file(Protocol::Postgres, &link_path).expect_err("a link").code, "CONNINFO_UNREADABLE");
    }

    #[test]
    fn no_text_shows_the_password() {
        let connection = Connection::parse(Protocol::Postgres, GOOD).expect("valid");
        assert!(!format!("{connection} {connection:?} {:?}", connection.at("x", 1)).contains("hunter2"));
        let option_file = "[client]\nhost = 127.0.0.1\nuser = app\npassword = hunter2\n";
        let connection = Connection::parse(Protocol::Mysql, option_file).expect("valid");
        assert_eq!(format!("{connection:?}"), "Connection(127.0.0.1:3306)");
        for bad in [
            "host=127.0.0.1 user=app password=hunter2 secret dbname=app",
            "host=127.0.0.1 user=app password='hunter2",
            "host=h user=app password=x port=hunter2",
            "hunter2",
        ] {
            let failure = Connection::parse(Protocol::Postgres, bad).expect_err(bad);
            assert!(!format!("{failure} {failure:?}").contains("hunter2"), "{failure:?}");
        }
    }

    #[test]
    fn only_one_plain_entrance_is_accepted() {
        for bad in ["", "host=a,b user=app", "host=a", "user=app", "host=a user=app sslmode=require", "host=a port=1,2 user=app"]
        {
            assert_eq!(Connection::parse(Protocol::Postgres, bad).expect_err(bad).code, "CONNINFO_INVALID");
        }
        let socket = Connection::parse(Protocol::Postgres, "host=/run/pg port=5433 user=app").expect("a socket");
        assert_eq!(socket.to_string(), "/run/pg/.s.PGSQL.5433");
    }
}
