//! PostgreSQL's side of the canary: login, statements, and which answer says that nothing was committed.

use std::io;

use flytt_proto::failure::Failure;
use futures::TryStreamExt;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpStream, UnixStream},
    task::JoinHandle,
};
use tokio_postgres::{
    Client, Config, Error, NoTls,
    config::{Host, SslMode},
    error::Severity,
    types::{ToSql, Type},
};

use super::{
    connection::{Place, Refusal, invalid},
    session::Fault,
};

/// Each row says which server took it: address and port, as that server itself sees them.
const INSERT: &str = "INSERT INTO flytt_canary.written (writer, seq, server) VALUES ($1, $2, \
     coalesce(host(inet_server_addr()), 'socket') || ':' || current_setting('port')) RETURNING server";
/// One transaction, as any batch is.
const MAKE: &str = "CREATE SCHEMA flytt_canary; \
     CREATE TABLE flytt_canary.written (writer integer, seq bigint, server text NOT NULL, PRIMARY KEY (writer, seq))";
/// No CASCADE: what somebody else put there is not ours to remove.
const REMOVE: &str = "DROP TABLE IF EXISTS flytt_canary.written; DROP SCHEMA IF EXISTS flytt_canary";
const WHO: &str = "SELECT coalesce(host(inet_server_addr()), 'socket') || ':' || current_setting('port')";
/// From the table itself: a damaged index must not hide a row, nor a second copy of it. For this transaction alone: behind a pooler the
/// session is somebody else's afterwards.
const FROM_THE_TABLE: &str =
    "BEGIN READ ONLY; SET LOCAL enable_indexscan = off; SET LOCAL enable_indexonlyscan = off; SET LOCAL enable_bitmapscan = off";
/// `duplicate_schema`.
pub(super) const EXISTS: &str = "42P06";

/// Who logs in, to which database.
#[derive(Clone)]
pub(super) struct Login(Config);

/// One session, which ends with this value.
#[derive(Debug)]
pub(super) struct Session {
    client: Client,
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

impl Login {
    pub(super) fn parse(text: &str) -> Result<(Self, Place), Failure> {
        let refused = |sentence: &str, remedy: &str| Err(invalid(sentence, remedy));
        let Ok(mut config) = text.parse::<Config>() else {
            return refused(
                "the connection file holds no connection string that the canary understands",
                "write `host=… port=… user=… password=… dbname=…` or a postgres:// address into it",
            );
        };
        if config.get_ssl_mode() == SslMode::Require {
            return refused(
                "the connection file asks for TLS, which the canary does not speak",
                "name an entrance that allows `sslmode=prefer`",
            );
        }
        if config.get_user().is_none() {
            return refused("the connection file names no user", "add `user=…`");
        }
        let port = match config.get_ports() {
            [] => 5432,
            [port] => *port,
            [..] => {
                return refused("the connection file names several servers", "name the one entrance that the application uses");
            }
        };
        let place = match (config.get_hosts(), config.get_hostaddrs()) {
            (_, [address]) => Place::Tcp(address.to_string(), port),
            ([Host::Tcp(name)], []) => Place::Tcp(name.clone(), port),
            ([Host::Unix(directory)], []) => Place::Socket(directory.join(format!(".s.PGSQL.{port}"))),
            ([], []) => return refused("the connection file names no host", "add `host=…`"),
            _ => return refused("the connection file names several servers", "name the one entrance that the application uses"),
        };
        if config.get_application_name().is_none() {
            config.application_name("flytt canary");
        }
        Ok((Self(config), place))
    }

    pub(super) async fn dial(&self, place: &Place) -> Result<Session, Refusal> {
        match place {
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
        let (client, connection) = self.0.connect_raw(stream, NoTls).await.map_err(|error| of_login(&error))?;
        // Its end is seen by the client as a closed session; why it ended is in the answer to the write, if there was one.
        let driver = tokio::spawn(async move {
            let _ = connection.await;
        });
        Ok(Session { client, driver: Driver(driver) })
    }
}

fn of_login(error: &Error) -> Refusal {
    if let Some(answer) = error.as_db_error() {
        return Refusal::Server(answer.code().code().to_owned(), answer.message().to_owned());
    }
    let broken = std::error::Error::source(error).is_some_and(|source| source.is::<io::Error>());
    if error.is_closed() || broken { Refusal::Closed } else { Refusal::Server("client".into(), error.to_string()) }
}

impl Session {
    /// Says goodbye to the server before it ends.
    pub(super) async fn close(self) {
        let Session { client, mut driver } = self;
        drop(client);
        let _ = tokio::time::timeout(std::time::Duration::from_secs(1), &mut driver.0).await;
    }

    pub(super) fn is_closed(&self) -> bool {
        self.client.is_closed()
    }

    pub(super) async fn begin(&self) -> Result<(), Fault> {
        Ok(self.client.batch_execute("BEGIN").await?)
    }

    pub(super) async fn commit(&self) -> Result<(), Fault> {
        Ok(self.client.batch_execute("COMMIT").await?)
    }

    /// Returns when the server says that it is ready for the next statement, which is after the commit where there is no
    /// transaction around it.
    pub(super) async fn insert(&self, writer: u16, seq: i64) -> Result<String, Fault> {
        let writer = i32::from(writer);
        let values: [(&(dyn ToSql + Sync), Type); 2] = [(&writer, Type::INT4), (&seq, Type::INT8)];
        let rows = self.client.query_typed(INSERT, &values).await?;
        Ok(rows.first().map_or(Ok(String::new()), |row| row.try_get(0))?)
    }

    pub(super) async fn make(&self) -> Result<(), Fault> {
        Ok(self.client.batch_execute(MAKE).await?)
    }

    pub(super) async fn remove(&self) -> Result<(), Fault> {
        Ok(self.client.batch_execute(REMOVE).await?)
    }

    pub(super) async fn server(&self) -> Result<String, Fault> {
        Ok(self.client.query_one(WHO, &[]).await?.try_get(0)?)
    }

    pub(super) async fn keys(&self) -> Result<Vec<(i32, i64)>, Fault> {
        self.client.batch_execute(FROM_THE_TABLE).await?;
        let no_values: [&str; 0] = [];
        let rows = self.client.query_raw("SELECT writer, seq FROM flytt_canary.written", no_values).await?;
        let keys = rows.and_then(async |row| Ok((row.try_get(0)?, row.try_get(1)?))).try_collect().await?;
        self.client.batch_execute("COMMIT").await?;
        Ok(keys)
    }
}

/// Only an answer that leaves the session alive says that nothing was committed. A FATAL one says nothing about the write: a
/// server that shuts down may send it after the commit. Nor does class 08, which a pooler sends for a lost server.
impl From<Error> for Fault {
    fn from(error: Error) -> Self {
        let Some(answer) = error.as_db_error() else {
            return Fault::Broken(std::error::Error::source(&error).map_or_else(|| error.to_string(), ToString::to_string));
        };
        let (code, why) = (answer.code().code().to_owned(), answer.message().to_owned());
        if answer.parsed_severity() == Some(Severity::Error) && !code.starts_with("08") {
            Fault::Refused { code, why }
        } else {
            Fault::Broken(why)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_that_a_pooler_lends_to_others_is_left_as_it_was() {
        let settings: Vec<&str> = FROM_THE_TABLE.split("; ").filter(|statement| statement.starts_with("SET")).collect();
        assert_eq!(settings.len(), 3);
        assert!(settings.iter().all(|statement| statement.starts_with("SET LOCAL ")), "{settings:?}");
    }
}
