//! Who accepts writes, asked all the time: at each server's own port, past the router, as the application that still has its address.
//!
//! Two servers that accept writes at once are seen as a right that goes to and fro more often than it was handed over.

use std::{
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use flytt::spec::Engine;
use mysql_async::prelude::Queryable as _;
use tokio::task::JoinHandle;

/// Often enough that no window of two primaries that an operator could notice goes unseen.
const EVERY: Duration = Duration::from_millis(50);
/// One that does not answer is asked again.
const PATIENCE: Duration = Duration::from_secs(3);

/// A way past the router to one server.
#[derive(Clone, Debug)]
pub(crate) struct Door {
    pub(crate) engine: Engine,
    /// As in the application's connection file: for PostgreSQL the whole of it, for the others the password.
    pub(crate) way_in: String,
    pub(crate) port: u16,
}

enum Session {
    Postgres(tokio_postgres::Client),
    Mysql(Box<mysql_async::Conn>),
}

impl Door {
    async fn enter(&self) -> Option<Session> {
        match self.engine {
            Engine::Postgres => {
                let (client, connection) = tokio_postgres::connect(&self.way_in, tokio_postgres::NoTls).await.ok()?;
                tokio::spawn(connection);
                Some(Session::Postgres(client))
            }
            Engine::Mariadb | Engine::Mysql => {
                let login = mysql_async::OptsBuilder::default()
                    .ip_or_hostname("127.0.0.1")
                    .tcp_port(self.port)
                    .user(Some("app"))
                    .pass(Some(&self.way_in))
                    .db_name(Some("app"))
                    .prefer_socket(false);
                Some(Session::Mysql(Box::new(mysql_async::Conn::new(login).await.ok()?)))
            }
        }
    }

    /// Whether the server takes a write of the application, by a session of its own.
    pub(crate) async fn takes_a_write(&self) -> bool {
        let write = async {
            let mut session = self.enter().await?;
            session.make_table().await?;
            session.write().await
        };
        matches!(tokio::time::timeout(PATIENCE, write).await, Ok(Some(())))
    }
}

impl Session {
    async fn make_table(&mut self) -> Option<()> {
        match self {
            Session::Postgres(client) => {
                client.batch_execute("CREATE TABLE IF NOT EXISTS probe (id bigserial PRIMARY KEY)").await.ok()
            }
            Session::Mysql(client) => {
                client.query_drop("CREATE TABLE IF NOT EXISTS probe (id bigint AUTO_INCREMENT PRIMARY KEY)").await.ok()
            }
        }
    }

    async fn write(&mut self) -> Option<()> {
        match self {
            Session::Postgres(client) => client.batch_execute("INSERT INTO probe DEFAULT VALUES").await.ok(),
            Session::Mysql(client) => client.query_drop("INSERT INTO probe VALUES ()").await.ok(),
        }
    }
}

/// An accepted write: whose, and when it was sent and answered.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Taken {
    door: usize,
    sent: Instant,
    answered: Instant,
}

/// Asks until it is dropped. The table must be there: it makes none, so that no copy meets a change of the schema.
#[derive(Debug)]
pub(crate) struct Prober {
    taken: Arc<Mutex<Vec<Taken>>>,
    asking: Vec<JoinHandle<()>>,
}

impl Prober {
    pub(crate) fn start(doors: impl IntoIterator<Item = Door>) -> Self {
        let taken: Arc<Mutex<Vec<Taken>>> = Arc::default();
        let ask = |(number, door): (usize, Door)| tokio::spawn(ask(number, door, taken.clone()));
        let asking = doors.into_iter().enumerate().map(ask).collect();
        Self { taken, asking }
    }

    pub(crate) fn so_far(&self) -> Vec<Taken> {
        self.taken.lock().unwrap().clone()
    }
}

impl Drop for Prober {
    fn drop(&mut self) {
        self.asking.iter().for_each(JoinHandle::abort);
    }
}

async fn ask(number: usize, door: Door, taken: Arc<Mutex<Vec<Taken>>>) {
    let mut session = None;
    loop {
        let sent = Instant::now();
        let write = async {
            if session.is_none() {
                session = door.enter().await;
            }
            session.as_mut()?.write().await
        };
        if let Ok(Some(())) = tokio::time::timeout(PATIENCE, write).await {
            taken.lock().unwrap().push(Taken { door: number, sent, answered: Instant::now() });
        } else {
            session = None;
        }
        tokio::time::sleep(EVERY).await;
    }
}

/// How often the right went from one server to another, at the least, for these writes to be accepted. Writes that were under way at
/// the same time may have come in either order.
pub(crate) fn handovers(taken: &[Taken]) -> u64 {
    let mut taken = taken.to_vec();
    taken.sort_by_key(|write| write.answered);
    let (mut holder, mut since, mut count): (Option<usize>, Option<Instant>, u64) = (None, None, 0);
    for write in taken {
        // Sent before the new holder's first answer: it may have come just before.
        let late = holder != Some(write.door) && since.is_some_and(|since| write.sent < since);
        if late {
            continue;
        }
        if holder.is_some_and(|holder| holder != write.door) {
            count += 1;
        }
        if holder != Some(write.door) {
            (holder, since) = (Some(write.door), Some(write.answered));
        }
    }
    count
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taken(writes: &[(usize, u64, u64)]) -> Vec<Taken> {
        let begun = Instant::now();
        let at = |ms| begun + Duration::from_millis(ms);
        writes.iter().map(|&(door, sent, answered)| Taken { door, sent: at(sent), answered: at(answered) }).collect()
    }

    #[test]
    fn a_right_that_goes_over_once_is_seen_once() {
        assert_eq!(handovers(&taken(&[(0, 0, 1), (0, 50, 51), (1, 200, 201), (1, 250, 251)])), 1);
        assert_eq!(handovers(&taken(&[(0, 0, 1), (1, 100, 101), (0, 300, 301)])), 2);
        assert_eq!(handovers(&taken(&[(0, 0, 1)])), 0);
        // Its answer came late, and it had been sent before the new one answered.
        assert_eq!(handovers(&taken(&[(0, 0, 1), (1, 100, 101), (0, 99, 130), (1, 150, 151)])), 1);
    }

    #[test]
    fn two_that_accept_writes_at_once_are_seen_going_to_and_fro() {
        let both = taken(&[(0, 0, 1), (1, 10, 11), (0, 50, 51), (1, 60, 61), (0, 100, 101), (1, 110, 111)]);
        assert_eq!(handovers(&both), 5);
        // A single write that the old one took after the new one had answered is one too many, there and back.
        assert_eq!(handovers(&taken(&[(0, 0, 1), (1, 100, 101), (0, 102, 103), (1, 150, 151)])), 3);
    }
}
