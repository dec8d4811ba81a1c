//! An application: clients that insert one row after another, connect anew when cut off, and remember what was acknowledged to
//! them.

use std::{
    collections::BTreeSet,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use mysql_async::{Conn, prelude::Queryable as _};
use tokio::task::JoinHandle;

use crate::server::by_tcp;

pub(crate) type Rows = BTreeSet<(i32, i32)>;

pub(crate) struct Writers {
    stop: Arc<AtomicBool>,
    acknowledged: Arc<Mutex<Rows>>,
    tasks: Vec<JoinHandle<()>>,
}

impl Writers {
    pub(crate) fn start(count: i32, port: u16) -> Self {
        let (stop, acknowledged) = (Arc::new(AtomicBool::new(false)), Arc::new(Mutex::new(Rows::new())));
        let task = |writer| {
            let (stop, acknowledged) = (Arc::clone(&stop), Arc::clone(&acknowledged));
            tokio::spawn(async move {
                let mut client: Option<Conn> = None;
                for number in 0.. {
                    if stop.load(Ordering::Relaxed) {
                        break;
                    }
                    if client.is_none() {
                        client = Conn::new(by_tcp(port, "app", "app")).await.ok();
                    }
                    let Some(open) = &mut client else {
                        tokio::time::sleep(Duration::from_millis(3)).await;
                        continue;
                    };
                    // Every other one is in a transaction of several statements, so that the drain has something to do.
                    let done = if writer % 2 == 0 {
                        open.query_drop(format!("insert into app.writes values ({writer}, {number})")).await
                    } else {
                        transaction(open, writer, number).await
                    };
                    match done {
                        Ok(()) => drop(acknowledged.lock().unwrap().insert((writer, number))),
                        Err(_) => client = None,
                    }
                }
            })
        };
        let tasks = (0..count).map(task).collect();
        Self { stop, acknowledged, tasks }
    }

    pub(crate) fn count(&self) -> usize {
        self.acknowledged.lock().unwrap().len()
    }

    pub(crate) async fn stop(self) -> Rows {
        self.stop.store(true, Ordering::Relaxed);
        for task in self.tasks {
            task.await.unwrap();
        }
        self.acknowledged.lock().unwrap().clone()
    }
}

async fn transaction(open: &mut Conn, writer: i32, number: i32) -> Result<(), mysql_async::Error> {
    open.query_drop("begin").await?;
    open.query_drop(format!("insert into app.writes values ({writer}, {number})")).await?;
    open.query_drop("do sleep(0.02)").await?;
    open.query_drop("commit").await
}

pub(crate) async fn rows(conn: &mut Conn) -> Rows {
    conn.query::<(i32, i32), _>("select writer, number from app.writes").await.unwrap().into_iter().collect()
}
