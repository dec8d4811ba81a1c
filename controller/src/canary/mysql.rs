//! The MySQL protocol's side of the canary, for MySQL and MariaDB: login, statements, and which answer says that nothing was
//! committed. TLS is not spoken.

use std::{
    io::{self, ErrorKind},
    time::Duration,
};

use flytt_proto::failure::Failure;
use mysql_async::{Conn, Error, IoError, Opts, OptsBuilder, prelude::Queryable as _};

use super::{
    connection::{Place, Refusal, invalid},
    option_file,
    session::Fault,
};

/// A server's number is its own even where host names are not: a replica of the same number is refused.
const WHO: &str = "SELECT CONCAT(@@hostname, ':', @@port, ' (server ', @@server_id, ')')";
/// Whatever the server's defaults are: an insert alone is a transaction, a session outlives its commits, and a server that makes
/// tables of another kind, which know no transactions, says so.
const SETTINGS: &str = "SET SESSION autocommit = 1, SESSION completion_type = 0, \
     SESSION sql_mode = 'STRICT_ALL_TABLES,NO_ENGINE_SUBSTITUTION'";
const MAKE_DATABASE: &str = "CREATE DATABASE flytt_canary CHARACTER SET utf8mb4";
const MAKE_TABLE: &str = "CREATE TABLE flytt_canary.written (writer INT NOT NULL, seq BIGINT NOT NULL, \
     server VARCHAR(300) NOT NULL, PRIMARY KEY (writer, seq)) ENGINE = InnoDB";
const IS_THERE: &str = "SELECT COUNT(*) FROM information_schema.SCHEMATA WHERE SCHEMA_NAME = 'flytt_canary'";
/// `DROP DATABASE` takes all that is in it, and what somebody else put there is not ours to remove. Triggers go with tables.
const OF_OTHERS: &str = "SELECT (SELECT COUNT(*) FROM information_schema.TABLES WHERE TABLE_SCHEMA = 'flytt_canary') + \
     (SELECT COUNT(*) FROM information_schema.ROUTINES WHERE ROUTINE_SCHEMA = 'flytt_canary') + \
     (SELECT COUNT(*) FROM information_schema.EVENTS WHERE EVENT_SCHEMA = 'flytt_canary')";
/// `ER_DB_CREATE_EXISTS`.
pub(super) const EXISTS: &str = "1007";
/// `ER_DB_DROP_RMDIR`: the server's own number for a database that cannot be dropped because of what else is in it.
const NOT_EMPTY: &str = "1010";
/// Answers of a server that ends the session or breaks off a commit, which say nothing about the write: shutdown, aborted
/// connection, network errors, error during commit, interrupted, binary log failed, killed, timed out (MySQL Server Error
/// Message Reference; MariaDB Error Codes).
const TELL_NOTHING: [u16; 13] = [1053, 1152, 1158, 1159, 1160, 1161, 1180, 1184, 1317, 1598, 1927, 1969, 4031];

/// Who logs in. Its settings print their password, so nothing prints them.
#[derive(Clone)]
pub(super) struct Login(OptsBuilder);

/// One session, which ends with this value.
#[derive(Debug)]
pub(super) struct Session {
    conn: Conn,
    server: String,
}

impl Login {
    pub(super) fn parse(text: &str) -> Result<(Self, Place), Failure> {
        let client = option_file::client(text).ok_or_else(|| {
            invalid(
                "the connection file is no option file that the canary understands",
                "write a line `[client]` into it and below it `host = …`, `port = …`, `user = …` and `password = …`",
            )
        })?;
        let text = |name: &str| client.get(name).map(String::as_str);
        let wants_tls =
            |name: &str| text(name).is_some_and(|value| !["0", "off", "disabled", "preferred"].contains(&&*value.to_lowercase()));
        if ["ssl", "ssl-mode", "ssl-ca", "ssl-cert", "ssl-verify-server-cert"].into_iter().any(wants_tls) {
            let sentence = "the connection file asks for TLS, which the canary does not speak";
            return Err(invalid(sentence, "name an entrance and an account that do without"));
        }
        let Some(user) = text("user") else { return Err(invalid("the connection file names no user", "add `user = …`")) };
        let place = match (text("host"), text("socket"), text("port").unwrap_or("3306").parse()) {
            (_, _, Err(_)) => return Err(invalid("the connection file's port is no port", "correct `port = …`")),
            (Some(host), _, Ok(port)) => Place::Tcp(host.to_owned(), port),
            (None, Some(socket), _) => Place::Socket(socket.into()),
            (None, None, _) => return Err(invalid("the connection file names no host", "add `host = …`")),
        };
        // Not the driver's own idea of a shorter way, a socket it hears of: it must go through the router.
        let settings = OptsBuilder::default().user(Some(user)).pass(text("password")).prefer_socket(false).stmt_cache_size(0);
        // What is known need not be asked for at each login.
        Ok((Self(settings.max_allowed_packet(Some(1 << 24)).wait_timeout(Some(28_800))), place))
    }

    pub(super) async fn dial(&self, place: &Place) -> Result<Session, Refusal> {
        let settings = self.0.clone();
        let settings = match place {
            Place::Tcp(host, port) => settings.ip_or_hostname(host.as_str()).tcp_port(*port),
            Place::Socket(path) => settings.socket(Some(path.to_string_lossy())),
        };
        let log_in = async {
            let mut conn = Conn::new(Opts::from(settings)).await?;
            conn.query_drop(SETTINGS).await?;
            let server = conn.query_first(WHO).await?.unwrap_or_default();
            Ok(Session { conn, server })
        };
        log_in.await.map_err(of_login)
    }
}

fn of_login(error: Error) -> Refusal {
    match error {
        Error::Server(answer) => Refusal::Server(answer.code.to_string(), answer.message),
        Error::Io(IoError::Io(error)) if is_end(&error) => Refusal::Closed,
        Error::Io(IoError::Io(error)) => Refusal::Network(error),
        Error::Driver(mysql_async::DriverError::ConnectionClosed) => Refusal::Closed,
        error @ (Error::Io(_) | Error::Driver(_) | Error::Other(_) | Error::Url(_)) => {
            Refusal::Server("client".into(), error.to_string())
        }
    }
}

/// None of these comes from connect(2): there was a connection, and it ended.
fn is_end(error: &io::Error) -> bool {
    use ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, NotConnected, UnexpectedEof};
    matches!(error.kind(), BrokenPipe | ConnectionAborted | ConnectionReset | NotConnected | UnexpectedEof)
}

impl Session {
    /// Says goodbye to the server before it ends.
    pub(super) async fn close(self) {
        let _ = tokio::time::timeout(Duration::from_secs(1), self.conn.disconnect()).await;
    }

    async fn run(&mut self, sql: impl AsRef<str> + Send + Sync) -> Result<(), Fault> {
        Ok(self.conn.query_drop(sql.as_ref()).await?)
    }

    async fn count(&mut self, sql: &str) -> Result<u64, Fault> {
        Ok(self.conn.query_first(sql).await?.unwrap_or_default())
    }

    pub(super) async fn begin(&mut self) -> Result<(), Fault> {
        self.run("START TRANSACTION").await
    }

    pub(super) async fn commit(&mut self) -> Result<(), Fault> {
        self.run("COMMIT").await
    }

    /// The row says which server took it, as that server calls itself; the session has heard the same at its login, because
    /// MySQL has no `RETURNING`.
    pub(super) async fn insert(&mut self, writer: u16, seq: i64) -> Result<String, Fault> {
        self.run(format!("INSERT INTO flytt_canary.written (writer, seq, server) VALUES ({writer}, {seq}, ({WHO}))")).await?;
        Ok(self.server.clone())
    }

    pub(super) async fn make(&mut self) -> Result<(), Fault> {
        self.run(MAKE_DATABASE).await?;
        // Two transactions: what was half made must not stand in the next one's way.
        let made = self.run(MAKE_TABLE).await;
        if matches!(made, Err(Fault::Refused { .. })) {
            self.remove().await?;
        }
        made
    }

    pub(super) async fn remove(&mut self) -> Result<(), Fault> {
        if self.count(IS_THERE).await? == 0 {
            return Ok(());
        }
        self.run("DROP TABLE IF EXISTS flytt_canary.written").await?;
        if self.count(OF_OTHERS).await? > 0 {
            let why = "there are other things than the canary's in the schema flytt_canary".to_owned();
            return Err(Fault::Refused { code: NOT_EMPTY.to_owned(), why });
        }
        self.run("DROP DATABASE IF EXISTS flytt_canary").await
    }

    pub(super) async fn server(&mut self) -> Result<String, Fault> {
        Ok(self.server.clone())
    }

    /// InnoDB's primary key is the table itself, so there is no other copy of a row to be misled by.
    pub(super) async fn keys(&mut self) -> Result<Vec<(i32, i64)>, Fault> {
        Ok(self.conn.query("SELECT writer, seq FROM flytt_canary.written").await?)
    }
}

impl From<Error> for Fault {
    fn from(error: Error) -> Self {
        match error {
            Error::Server(answer) if !TELL_NOTHING.contains(&answer.code) => {
                Fault::Refused { code: answer.code.to_string(), why: answer.message }
            }
            Error::Server(answer) => Fault::Broken(answer.message),
            error @ (Error::Io(_) | Error::Driver(_) | Error::Other(_) | Error::Url(_)) => Fault::Broken(error.to_string()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_one_plain_entrance_is_accepted() {
        let parse = |text: &str| Login::parse(&format!("[client]\nuser=app\npassword=hunter2\n{text}"));
        let place = |text| parse(text).map(|(_, place)| place).map_err(|failure| failure.code);
        assert_eq!(place("host=db\nport=3307\nsocket=/s"), Ok(Place::Tcp("db".into(), 3307)));
        // For the server's own clients this name is the socket; the canary goes where the application's driver goes.
        assert_eq!(place("host=localhost"), Ok(Place::Tcp("localhost".into(), 3306)));
        assert_eq!(place("socket=/run/s"), Ok(Place::Socket("/run/s".into())));
        assert_eq!(place("host=db\nssl-mode=PREFERRED\nssl_verify_server_cert=0"), Ok(Place::Tcp("db".into(), 3306)));
        for bad in ["", "port=1", "host=db\nport=hunter2", "host=db\nport=70000", "host=db\nssl", "host=db\nssl-mode=REQUIRED"] {
            assert_eq!(place(bad), Err("CONNINFO_INVALID".to_owned()), "{bad}");
            let failure = parse(bad).err().expect("refused");
            assert!(!format!("{failure:?}").contains("hunter2"), "{failure:?}");
        }
        assert!(Login::parse("[client]\nhost=db").is_err(), "no user");
    }

    #[test]
    fn an_answer_that_ends_the_session_says_nothing_of_the_write() {
        let answer = |code| Error::Server(mysql_async::ServerError { code, message: "x".into(), state: "HY000".into() }).into();
        for code in [1053, 1180, 1317, 1927, 4031] {
            assert!(matches!(answer(code), Fault::Broken(_)), "{code}");
        }
        for code in [1062, 1205, 1213, 1290, 1142] {
            assert!(matches!(answer(code), Fault::Refused { .. }), "{code}");
        }
    }
}
