//! A session that reads digests: what it is being asked when it goes is ended on the server, too.

use std::sync::atomic::{AtomicBool, Ordering};

use flytt_proto::{failure::Failure, v1};
use tokio_postgres::{Client, NoTls};

use super::{
    super::{Digest, Image, Object, Range, Reader, RowHash, Scheme as Named, Survey, Table, Tables},
    Scheme, digest, failure, next_key, objects, of_the_server, pages, prepare, row, row_hashes, rows, self_test, tables,
};

/// A prepared session in one database.
#[derive(Debug)]
pub struct Session {
    client: Client,
    /// Whether the server is at work for it.
    asking: AtomicBool,
    is_server: bool,
}

impl Session {
    /// `is_server`: its objects are those of the whole server, not its database's.
    ///
    /// # Errors
    /// As [`prepare`].
    pub async fn new(client: Client, is_server: bool) -> Result<Self, Failure> {
        prepare(&client).await?;
        Ok(Self { client, asking: AtomicBool::new(false), is_server })
    }

    async fn ask<T>(&self, work: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
        self.asking.store(true, Ordering::SeqCst);
        let done = work.await;
        self.asking.store(false, Ordering::SeqCst);
        done
    }
}

impl Drop for Session {
    /// A backend that computes does not notice that its client has gone.
    fn drop(&mut self) {
        if !*self.asking.get_mut() {
            return;
        }
        let token = self.client.cancel_token();
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(async move {
                if let Err(error) = token.cancel_query(NoTls).await {
                    tracing::warn!(%error, "a query may go on in the server");
                }
            });
        }
    }
}

fn scheme(form: v1::Form) -> Result<(Scheme, i64), Failure> {
    let scheme = match form.scheme() {
        Named::Record => Scheme::Record,
        Named::Canonical => Scheme::Canonical,
        Named::ByColumn => Scheme::ByColumn,
        Named::Image | Named::Unspecified => return Err(failure::no_scheme()),
    };
    Ok((scheme, form.seed.cast_signed()))
}

#[tonic::async_trait]
impl Reader for Session {
    async fn survey(&self, seed: u64) -> Result<Survey, Failure> {
        let work = async {
            let client = &self.client;
            let texts = rows(
                client,
                "select current_setting('server_version_num')::int / 10000, (select string_agg(distinct \
                 pg_encoding_to_char(encoding), ' ') from pg_database where datallowconn) union all \
                 (select null, datname from pg_database where datallowconn and not datistemplate order by datname)",
            )
            .await?;
            let mut texts = texts.into_iter().map(|mut row| (row.pop().flatten().unwrap_or_default(), row.pop().flatten()));
            let (encodings, version) = texts.next().ok_or_else(|| failure::unreadable("a server without a version"))?;
            let version: u32 = version.and_then(|text| text.parse().ok()).unwrap_or_default();
            let mut schemes = vec![(Named::Canonical, Scheme::Canonical), (Named::ByColumn, Scheme::ByColumn)];
            if version >= 14 {
                schemes.insert(0, (Named::Record, Scheme::Record));
            }
            let (mut trials, mut blind) = (Vec::new(), None);
            for (name, scheme) in schemes {
                match self_test(client, scheme, seed.cast_signed()).await {
                    Ok(digest) => trials.push((name, digest)),
                    Err(failure) if failure.code == "DIGEST_BLIND" => blind = Some(failure),
                    Err(failure) => return Err(failure),
                }
            }
            match blind {
                Some(failure) if trials.is_empty() => Err(failure),
                _ => Ok(Survey {
                    kind: format!("{version} {encodings}"),
                    trials,
                    databases: texts.map(|(name, _)| name).collect(),
                    has_pages: version >= 14,
                }),
            }
        };
        self.ask(work).await
    }

    async fn tables(&self) -> Result<Tables, Failure> {
        self.ask(tables(&self.client)).await
    }

    async fn digest(&self, table: &Table, range: &Range, form: v1::Form) -> Result<Digest, Failure> {
        let (scheme, seed) = scheme(form)?;
        self.ask(digest(&self.client, table, range, scheme, seed)).await
    }

    async fn cuts(&self, table: &Table, within: &Range, rows: u64, most: usize) -> Result<Vec<Vec<String>>, Failure> {
        let mut cuts: Vec<Vec<String>> = Vec::new();
        while cuts.len() < most {
            let rest = within.after(cuts.last())?;
            match self.ask(next_key(&self.client, table, &rest, rows)).await? {
                Some(key) => cuts.push(key),
                None => break,
            }
        }
        Ok(cuts)
    }

    async fn pages(&self, table: &Table) -> Result<u64, Failure> {
        self.ask(pages(&self.client, table)).await
    }

    async fn rows(&self, table: &Table, range: &Range, form: v1::Form, most: usize) -> Result<Vec<RowHash>, Failure> {
        let (scheme, seed) = scheme(form)?;
        self.ask(row_hashes(&self.client, table, range, scheme, seed, most)).await
    }

    async fn image(&self, table: &Table, key: &[String]) -> Result<Option<Image>, Failure> {
        self.ask(row(&self.client, table, key)).await
    }

    async fn objects(&self, salt: u64) -> Result<Vec<Object>, Failure> {
        match self.is_server {
            true => self.ask(of_the_server(&self.client, salt)).await,
            false => self.ask(objects(&self.client, salt)).await,
        }
    }
}
