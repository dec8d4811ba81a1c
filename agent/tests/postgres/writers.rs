//! An application: clients that insert one row after another, connect anew when cut off, and remember what was
//! acknowledged to them.

use std::{
    collections::BTreeSet,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tokio::task::JoinHandle;
use tokio_postgres::{Client, NoTls};

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
                let mut client: Option<Client> = None;
                for number in 0.. {
                    if stop.load(Ordering::Relaxed) {
                        break;
                    }
                    if client.is_none() {
                        client = connect(port).await;
                    }
                    let Some(open) = &client else {
                        tokio::time::sleep(Duration::from_millis(3)).await;
                        continue;
                    };
                    // Every other one is in a transaction of several statements, so that the drain has something to do.
                    let sql = if writer % 2 == 0 {
                        format!("insert into writes values ({writer}, {number})")
                    } else {
                        format!("begin; insert into writes values ({writer}, {number}); select pg_sleep(0.02); commit")
                    };
                    match open.batch_execute(&sql).await {
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

async fn connect(port: u16) -> Option<Client> {
    let mut settings = tokio_postgres::Config::new();
    settings.host("127.0.0.1").port(port).user("app").password("app").dbname("postgres");
    let (client, connection) = settings.connect(NoTls).await.ok()?;
    tokio::spawn(connection);
    Some(client)
}

pub(crate) async fn rows(client: &Client) -> Rows {
    let rows = client.query("select writer, number from writes", &[]).await.unwrap();
    rows.iter().map(|row| (row.get(0), row.get(1))).collect()
}
