//! What the canary asks of a database, whichever it is: one insert, a transaction around two, all keys. What the statements and
//! answers look like is left to each protocol's own file.

use super::{mysql, postgres};

/// A statement without success.
#[derive(Debug)]
pub(super) enum Fault {
    /// The server's answer, by which nothing was committed and never will be; SQLSTATE, or MySQL's error number.
    Refused { code: String, why: String },
    /// The session broke, or the answer does not tell what became of the statement.
    Broken(String),
}

/// One session, which ends with this value.
#[derive(Debug)]
pub(super) enum Session {
    Postgres(postgres::Session),
    Mysql(mysql::Session),
}

/// The same call on whichever it is.
macro_rules! ask {
    ($session:expr, $call:ident($($argument:expr),*)) => {
        match $session {
            Session::Postgres(session) => session.$call($($argument),*).await,
            Session::Mysql(session) => session.$call($($argument),*).await,
        }
    };
}

impl Session {
    /// Says goodbye to the server before it ends.
    pub(super) async fn close(self) {
        ask!(self, close());
    }

    /// Whether it is known, without asking, that the session has ended. MySQL's driver learns that from an answer alone.
    pub(super) fn is_closed(&self) -> bool {
        match self {
            Session::Postgres(session) => session.is_closed(),
            Session::Mysql(_) => false,
        }
    }

    pub(super) async fn begin(&mut self) -> Result<(), Fault> {
        ask!(self, begin())
    }

    /// One row; committed with the answer where there is no transaction around it. Gives the server that took it.
    pub(super) async fn insert(&mut self, writer: u16, seq: i64) -> Result<String, Fault> {
        ask!(self, insert(writer, seq))
    }

    pub(super) async fn commit(&mut self) -> Result<(), Fault> {
        ask!(self, commit())
    }

    /// The schema `flytt_canary` with its table `written`.
    pub(super) async fn make(&mut self) -> Result<(), Fault> {
        ask!(self, make())
    }

    /// What [`Session::make`] made, if it is there; nothing else.
    pub(super) async fn remove(&mut self) -> Result<(), Fault> {
        ask!(self, remove())
    }

    /// The server, as it calls itself.
    pub(super) async fn server(&mut self) -> Result<String, Fault> {
        ask!(self, server())
    }

    /// Writer and number of every row in the table.
    pub(super) async fn keys(&mut self) -> Result<Vec<(i32, i64)>, Fault> {
        ask!(self, keys())
    }
}
