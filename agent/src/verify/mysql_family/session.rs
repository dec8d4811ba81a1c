//! A session that reads digests: what it is being asked when it goes is ended on the server, too.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use flytt_proto::{failure::Failure, v1};

use super::{Layout, digest, layout, next_key, prepare, row, row_hashes, self_test, tables};
use crate::{
    engine::mysql_family::{
        dump::{
            rows::Server,
            schema::{Ours, Vendor, read},
        },
        session::Session,
    },
    verify::{Digest, Image, Object, Range, Reader, RowHash, Scheme, Survey, Table, Tables},
};

/// A digest of a table that has no key is one statement, however large it is.
const LIMIT: Duration = Duration::from_secs(3_600);

/// A prepared session.
#[derive(Debug)]
pub struct Reading {
    session: Session,
    server: Arc<dyn Server>,
    vendor: Vendor,
    /// What is the move's and not compared.
    ours: Ours,
    /// The server's number for it.
    number: String,
    /// Whether the server is at work for it.
    asking: AtomicBool,
}

impl Reading {
    /// # Errors
    ///
    /// As [`prepare`].
    pub async fn new(server: Arc<dyn Server>, vendor: Vendor, ours: Ours) -> Result<Self, Failure> {
        let session = server.open().await?;
        prepare(&session, vendor, LIMIT).await?;
        session.run("set session transaction read only").await?;
        let number = session.value("select connection_id()").await?;
        Ok(Self { session, server, vendor, ours, number, asking: AtomicBool::new(false) })
    }

    async fn ask<T>(&self, work: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
        self.asking.store(true, Ordering::SeqCst);
        let done = work.await;
        self.asking.store(false, Ordering::SeqCst);
        done
    }

    async fn layout(&self, table: &Table) -> Result<Layout, Failure> {
        layout(&self.session, self.vendor, &table.schema, &table.name).await
    }
}

impl Drop for Reading {
    /// A server that computes does not notice that its client has gone.
    fn drop(&mut self) {
        if !*self.asking.get_mut() {
            return;
        }
        let (server, number) = (Arc::clone(&self.server), self.number.clone());
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(async move {
                let ended = async { server.open().await?.run(&format!("kill {number}")).await };
                if let Err(failure) = ended.await {
                    tracing::warn!(%failure, "a query may go on in the server");
                }
            });
        }
    }
}

#[tonic::async_trait]
impl Reader for Reading {
    async fn survey(&self, _seed: u64) -> Result<Survey, Failure> {
        self.ask(self_test(&self.session, self.vendor)).await?;
        // The answer is known, and was that one.
        let trial = Digest { rows: 3, sums: ["0".to_owned(), "0".to_owned()] };
        let kind = match self.vendor {
            Vendor::Mariadb => "mariadb",
            Vendor::Mysql => "mysql",
        };
        Ok(Survey {
            kind: kind.to_owned(),
            trials: vec![(Scheme::Image, trial)],
            databases: vec![String::new()],
            has_pages: false,
        })
    }

    async fn tables(&self) -> Result<Tables, Failure> {
        let found = self.ask(tables(&self.session, self.vendor, &self.ours)).await?;
        Ok(Tables { compared: found.tables.into_iter().map(|layout| layout.table).collect(), left_out: found.left_out })
    }

    async fn digest(&self, table: &Table, range: &Range, _: v1::Form) -> Result<Digest, Failure> {
        let work = async { digest(&self.session, self.vendor, &self.layout(table).await?, range).await };
        self.ask(work).await
    }

    async fn cuts(&self, table: &Table, within: &Range, rows: u64, most: usize) -> Result<Vec<Vec<String>>, Failure> {
        let work = async {
            let layout = self.layout(table).await?;
            let mut cuts: Vec<Vec<String>> = Vec::new();
            while cuts.len() < most {
                match next_key(&self.session, &layout, &within.after(cuts.last())?, rows).await? {
                    Some(key) => cuts.push(key),
                    None => break,
                }
            }
            Ok(cuts)
        };
        self.ask(work).await
    }

    async fn pages(&self, _: &Table) -> Result<u64, Failure> {
        Ok(0)
    }

    async fn rows(&self, table: &Table, range: &Range, _: v1::Form, most: usize) -> Result<Vec<RowHash>, Failure> {
        let work = async { row_hashes(&self.session, self.vendor, &self.layout(table).await?, range, most).await };
        self.ask(work).await
    }

    async fn image(&self, table: &Table, key: &[String]) -> Result<Option<Image>, Failure> {
        let work = async { row(&self.session, &self.layout(table).await?, key).await };
        self.ask(work).await
    }

    async fn objects(&self, salt: u64) -> Result<Vec<Object>, Failure> {
        // The settings of a reading of the schema are others than those of a digest.
        let session = self.server.open().await?;
        let schema = self.ask(read(&session, &self.ours)).await?;
        Ok(schema.objects(&self.ours.accounts, salt))
    }
}
