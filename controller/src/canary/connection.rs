//! The application's way in: read from a file that only its owner can read, dialled step by step so that each way of being
//! turned away has a name. The password stays inside; nothing here prints it.

use std::{
    fmt,
    io::{self, Read},
    os::unix::fs::{MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
    time::Duration,
};

use flytt_proto::failure::Failure;
use nix::{fcntl::OFlag, unistd::geteuid};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpStream, UnixStream},
    task::JoinHandle,
};
use tokio_postgres::{
    Client, Config, Error, NoTls,
    config::{Host, SslMode},
};

/// A router that holds a connection lets it wait; only after this time it counts as failed.
const CONNECT_LIMIT: Duration = Duration::from_secs(10);
/// More is no conninfo.
const LONGEST_FILE: u64 = 16 * 1024;

/// Where to connect to, and as whom.
#[derive(Clone)]
pub struct Connection {
    config: Config,
    place: Place,
}

#[derive(Clone)]
enum Place {
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
    /// The server answered with an error; SQLSTATE and message.
    Server(String, String),
    /// No answer in time.
    TimedOut,
}

/// One session, which ends with this value.
#[derive(Debug)]
pub(super) struct Session {
    pub(super) client: Client,
    driver: Driver,
}

/// The task that speaks to the server. It would outlive its client where the other end is silent.
#[derive(Debug)]
struct Driver(JoinHandle<()>);

impl Drop for Driver {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Session {
    /// Says goodbye to the server before it ends.
    pub(super) async fn close(self) {
        let Session { client, mut driver } = self;
        drop(client);
        let _ = tokio::time::timeout(Duration::from_secs(1), &mut driver.0).await;
    }
}

impl Connection {
    /// Reads a libpq connection string (`host=… port=… user=… password=… dbname=…`) from a file.
    ///
    /// # Errors
    /// `CONNINFO_EXPOSED` when the file is not the operator's own or others can read it, `CONNINFO_UNREADABLE` and
    /// `CONNINFO_INVALID` otherwise.
    pub fn from_file(path: &Path) -> Result<Self, Failure> {
        let unreadable = |error: io::Error| {
            Failure::refused(
                "CONNINFO_UNREADABLE",
                format!("the connection file {} cannot be read: {error}", path.display()),
                "name a file of mode 0600 that holds a libpq connection string",
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
        Self::parse(text.trim())
    }

    /// The error says nothing of the text, because any part of it may belong to the password.
    fn parse(text: &str) -> Result<Self, Failure> {
        let invalid = |sentence: &str, remedy: &str| Err(Failure::refused("CONNINFO_INVALID", sentence, remedy));
        let Ok(mut config) = text.parse::<Config>() else {
            return invalid(
                "the connection file holds no connection string that the canary understands",
                "write `host=… port=… user=… password=… dbname=…` or a postgres:// address into it",
            );
        };
        if config.get_ssl_mode() == SslMode::Require {
            return invalid(
                "the connection file asks for TLS, which the canary does not speak",
                "name an entrance that allows `sslmode=prefer`",
            );
        }
        if config.get_user().is_none() {
            return invalid("the connection file names no user", "add `user=…`");
        }
        let port = match config.get_ports() {
            [] => 5432,
            [port] => *port,
            [..] => {
                return invalid("the connection file names several servers", "name the one entrance that the application uses");
            }
        };
        let place = match (config.get_hosts(), config.get_hostaddrs()) {
            (_, [address]) => Place::Tcp(address.to_string(), port),
            ([Host::Tcp(name)], []) => Place::Tcp(name.clone(), port),
            ([Host::Unix(directory)], []) => Place::Socket(directory.join(format!(".s.PGSQL.{port}"))),
            ([], []) => return invalid("the connection file names no host", "add `host=…`"),
            _ => return invalid("the connection file names several servers", "name the one entrance that the application uses"),
        };
        if config.get_application_name().is_none() {
            config.application_name("flytt canary");
        }
        Ok(Self { config, place })
    }

    /// The same account on another server: what the router leads to, asked directly.
    #[must_use]
    pub fn at(&self, host: &str, port: u16) -> Self {
        Self { config: self.config.clone(), place: Place::Tcp(host.to_owned(), port) }
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
        tokio::time::timeout(CONNECT_LIMIT, self.dial()).await.unwrap_or(Err(Refusal::TimedOut))
    }

    async fn dial(&self) -> Result<Session, Refusal> {
        match &self.place {
            Place::Tcp(host, port) => {
                let stream = TcpStream::connect((host.as_str(), *port)).await.map_err(Refusal::Network)?;
                stream.set_nodelay(true).map_err(Refusal::Network)?;
                self.log_in(stream).await
            }
            Place::Socket(path) => self.log_in(UnixStream::connect(path).await.map_err(Refusal::Network)?).await,
        }
    }

    async fn log_in<S>(&self, stream: S) -> Result<Session, Refusal>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let (client, connection) = self.config.connect_raw(stream, NoTls).await.map_err(|error| Refusal::of_login(&error))?;
        // Its end is seen by the client as a closed session; why it ended is in the answer to the write, if there was one.
        let driver = tokio::spawn(async move {
            let _ = connection.await;
        });
        Ok(Session { client, driver: Driver(driver) })
    }
}

impl Refusal {
    fn of_login(error: &Error) -> Self {
        if let Some(answer) = error.as_db_error() {
            return Refusal::Server(answer.code().code().to_owned(), answer.message().to_owned());
        }
        let broken = std::error::Error::source(error).is_some_and(|source| source.is::<io::Error>());
        if error.is_closed() || broken { Refusal::Closed } else { Refusal::Server("client".into(), error.to_string()) }
    }

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
            let failure = Connection::from_file(exposed.path()).expect_err("exposed");
            assert_eq!(failure.code, "CONNINFO_EXPOSED", "{mode:o}");
        }
        let own = file(GOOD, 0o600);
        assert_eq!(Connection::from_file(own.path()).expect("private").to_string(), "127.0.0.1:6432");
        let link = tempfile::tempdir().expect("a directory");
        let link_path = link.path().join("link");
        std::os::unix::fs::symlink(own.path(), &link_path).expect("link");
        assert_eq!(Connection::from_file(&link_path).expect_err("a link").code, "CONNINFO_UNREADABLE");
    }

    #[test]
    fn no_text_shows_the_password() {
        let connection = Connection::parse(GOOD).expect("valid");
        assert!(!format!("{connection} {connection:?} {:?}", connection.at("x", 1)).contains("hunter2"));
        for bad in [
            "host=127.0.0.1 user=app password=hunter2 secret dbname=app",
            "host=127.0.0.1 user=app password='hunter2",
            "host=h user=app password=x port=hunter2",
            "hunter2",
        ] {
            let failure = Connection::parse(bad).expect_err(bad);
            assert!(!format!("{failure} {failure:?}").contains("hunter2"), "{failure:?}");
        }
    }

    #[test]
    fn only_one_plain_entrance_is_accepted() {
        for bad in ["", "host=a,b user=app", "host=a", "user=app", "host=a user=app sslmode=require", "host=a port=1,2 user=app"]
        {
            assert_eq!(Connection::parse(bad).expect_err(bad).code, "CONNINFO_INVALID");
        }
        let socket = Connection::parse("host=/run/pg port=5433 user=app").expect("a socket");
        assert_eq!(socket.to_string(), "/run/pg/.s.PGSQL.5433");
    }
}
