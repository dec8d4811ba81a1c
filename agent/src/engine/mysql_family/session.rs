//! One connection to the local server, over its unix socket. A server that asks for a local file never gets one: no handler is
//! installed for that, and the driver then ends the connection.

use std::{path::Path, time::Duration};

use flytt_proto::failure::Failure;
use mysql_async::{
    Conn, Opts, OptsBuilder, Row, Value,
    prelude::{AsQuery, Queryable as _},
};
use secrecy::{ExposeSecret as _, SecretString};
use tokio::sync::Mutex;

use super::failure;
use crate::secret::Secret;

const LOGIN_LIMIT: Duration = Duration::from_secs(5);

/// Who logs in, and where.
#[derive(Debug)]
pub struct Login<'a> {
    pub socket: &'a Path,
    pub account: &'a str,
    /// `None`: the socket says who we are.
    pub password: Option<&'a Secret>,
    /// Run before anything else.
    pub setup: &'a [&'a str],
}

impl Login<'_> {
    /// A new connection; the driver's own error says why not.
    pub async fn open(&self) -> Result<Session, mysql_async::Error> {
        let mut settings = OptsBuilder::default()
            .socket(Some(self.socket.to_string_lossy()))
            .user(Some(self.account))
            .setup(self.setup.to_vec())
            .stmt_cache_size(0)
            // A row may be as long as the server lets it be.
            .max_allowed_packet(Some(1 << 30));
        if let Some(password) = self.password {
            settings = password.log_in_by_mysql(settings);
        }
        let conn = tokio::time::timeout(LOGIN_LIMIT, Conn::new(Opts::from(settings))).await.unwrap_or_else(|_| {
            let late = std::io::Error::new(std::io::ErrorKind::TimedOut, "no login within 5 s");
            Err(mysql_async::Error::Io(mysql_async::IoError::Io(late)))
        })?;
        Ok(Session { account: self.account.to_owned(), conn: Mutex::new(Some(conn)) })
    }
}

/// A connection, and who it is. One that was interrupted in the middle of an answer is not used again.
#[derive(Debug)]
pub struct Session {
    pub account: String,
    conn: Mutex<Option<Conn>>,
}

impl Session {
    /// The bare connection, for what is not texts.
    pub(super) fn into_conn(self) -> Result<Conn, Failure> {
        self.conn.into_inner().ok_or_else(|| failure::gone("it was interrupted"))
    }

    /// Asked of the server: a connection that ended while nobody used it looks like any other from here.
    pub async fn is_open(&self) -> bool {
        let mut place = self.conn.lock().await;
        let Some(mut conn) = place.take() else { return false };
        let is_open = conn.ping().await.is_ok();
        *place = is_open.then_some(conn);
        is_open
    }

    /// Runs one statement and gives its rows as texts.
    pub async fn rows(&self, sql: &str) -> Result<Vec<Vec<Option<String>>>, Failure> {
        self.ask(sql).await
    }

    /// A statement in the character set that the server takes this session's to be.
    pub async fn run_bytes(&self, sql: Vec<u8>) -> Result<(), Failure> {
        self.ask(sql).await.map(drop)
    }

    async fn ask(&self, sql: impl AsQuery) -> Result<Vec<Vec<Option<String>>>, Failure> {
        let mut place = self.conn.lock().await;
        let Some(mut conn) = place.take() else { return Err(failure::gone("it was interrupted")) };
        let answer = conn.query::<Row, _>(sql).await;
        let rows = kept(&mut place, conn, answer)?;
        Ok(rows.into_iter().map(|row| row.unwrap().into_iter().map(text).collect()).collect())
    }

    pub async fn run(&self, sql: &str) -> Result<(), Failure> {
        self.rows(sql).await.map(drop)
    }

    /// A statement that holds a password.
    pub async fn run_secretly(&self, sql: &SecretString) -> Result<(), Failure> {
        self.run(sql.expose_secret()).await
    }

    /// The only value of the only row; empty when null.
    pub async fn value(&self, sql: &str) -> Result<String, Failure> {
        Ok(self.rows(sql).await?.into_iter().flatten().next().flatten().unwrap_or_default())
    }

    pub async fn is_true(&self, sql: &str) -> Result<bool, Failure> {
        Ok(self.value(sql).await? == "1")
    }

    /// The columns of the first row by their names, in lower case: for SHOW, whose columns differ between versions.
    pub async fn named(&self, sql: &str) -> Result<Option<std::collections::BTreeMap<String, String>>, Failure> {
        let mut place = self.conn.lock().await;
        let Some(mut conn) = place.take() else { return Err(failure::gone("it was interrupted")) };
        let answer = conn.query_first::<Row, _>(sql).await;
        let row = kept(&mut place, conn, answer)?;
        Ok(row.map(|row| {
            let names: Vec<String> = row.columns_ref().iter().map(|column| column.name_str().to_lowercase()).collect();
            names.into_iter().zip(row.unwrap().into_iter().map(|value| text(value).unwrap_or_default())).collect()
        }))
    }
}

/// The connection goes back to its place after an answer, also after one that refuses; after anything else it is not used again.
fn kept<T>(place: &mut Option<Conn>, conn: Conn, answer: Result<T, mysql_async::Error>) -> Result<T, Failure> {
    let refused = |error: &mysql_async::Error| matches!(error, mysql_async::Error::Server(_));
    let answered = answer.as_ref().err().is_none_or(refused);
    let answer = answer.map_err(|error| failure::statement(&error));
    if answered && answer.as_ref().err().is_none_or(|failure| failure.code != "SERVER_GONE") {
        *place = Some(conn);
    }
    answer
}

/// A value of the text protocol; `None` is null.
fn text(value: Value) -> Option<String> {
    match value {
        Value::NULL => None,
        Value::Bytes(bytes) => Some(String::from_utf8_lossy(&bytes).into_owned()),
        Value::Int(number) => Some(number.to_string()),
        Value::UInt(number) => Some(number.to_string()),
        Value::Float(number) => Some(number.to_string()),
        Value::Double(number) => Some(number.to_string()),
        other @ (Value::Date(..) | Value::Time(..)) => Some(other.as_sql(true)),
    }
}
