//! The two servers, as far as they are asked.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use flytt_proto::{
    failure::Failure,
    name::{HostName, Migration},
    v1,
};

use super::pace::{self, Pace};
use crate::fleet::Observer;

/// Whose rows count, and whose are compared with them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    Source,
    Target,
}

/// What is asked of them. Everything only reads; a failure that may pass was already waited for.
#[tonic::async_trait]
pub trait Sides: Sync {
    /// One answer for each piece, in their order: a table that cannot be read is no reason not to read the next one.
    async fn digests(
        &self,
        side: Side,
        form: v1::Form,
        pieces: &[v1::Piece],
    ) -> Result<Vec<Result<v1::Digest, Failure>>, Failure>;
    /// Returns once the target has applied what the source has by now.
    async fn settle(&self) -> Result<(), Failure>;
    async fn cuts(&self, side: Side, piece: &v1::Piece, rows: u64, most: u32) -> Result<Vec<v1::Key>, Failure>;
    async fn pages(&self, side: Side, table: &v1::Table) -> Result<u64, Failure>;
    async fn rows(&self, side: Side, form: v1::Form, piece: &v1::Piece) -> Result<v1::RowsReply, Failure>;
    async fn objects(&self, side: Side, database: &str, salt: u64) -> Result<Vec<v1::Object>, Failure>;
    /// After so much work on the source: longer where others feel it.
    async fn rest(&self, worked: Duration);
    /// Between two looks of which the second is to see more than a delay of the first one's.
    async fn pause(&self);
}

/// Long enough for a commit that others see already to be on its way: PostgreSQL writes out one that nobody waits for within three
/// of its `wal_writer_delay`, 0.6 s by default.
const PAUSE: Duration = Duration::from_secs(1);
/// What breaks off is tried again for so long: a server or an agent that is restarted comes back.
const PATIENCE: Duration = Duration::from_secs(60);
/// What is locked, or ended by a standby's replay.
const TRIES: u32 = 20;
const ROWS: u32 = 2_000;

/// The hosts themselves.
#[derive(Clone, Debug)]
pub struct Pair {
    pub observer: Observer,
    pub source: HostName,
    pub target: HostName,
    /// Whose own things are left out.
    pub migration: Option<Migration>,
    /// Whether the target applies what the source writes.
    pub follows: bool,
    /// Whether one is a copy of the other's files.
    pub one_system: bool,
    /// When the copy was made, where that is known: what was found before is of another one.
    pub copied_ms: u64,
    pub pace: Arc<Pace>,
}

/// What may be otherwise in a moment.
fn passes(failure: &Failure) -> bool {
    ["UNREACHABLE", "STOPPED", "SERVER_DOWN", "SERVER_GONE"].contains(&failure.code.as_str())
}

impl Pair {
    pub fn host(&self, side: Side) -> &HostName {
        match side {
            Side::Source => &self.source,
            Side::Target => &self.target,
        }
    }

    /// The name that its own things have; empty where there is no move.
    pub fn of(&self) -> String {
        self.migration.as_ref().map(ToString::to_string).unwrap_or_default()
    }

    /// How the source is, again and again; ends with whoever wants to know.
    pub(super) async fn feels(&self) -> std::convert::Infallible {
        if !self.pace.listens() {
            return std::future::pending().await;
        }
        loop {
            let asked = Instant::now();
            // One that cannot answer is waited for by those who ask for more.
            if self.observer.position(&self.source, v1::PositionRequest::default()).await.is_ok() {
                self.pace.felt(asked.elapsed());
            }
            tokio::time::sleep(pace::EVERY).await;
        }
    }

    /// The same before anything else is asked of it.
    pub(super) async fn is_calm(&self) -> Result<(), Failure> {
        if !self.pace.listens() {
            return Ok(());
        }
        for _ in 0..pace::CALM {
            let asked = Instant::now();
            self.observer.position(&self.source, v1::PositionRequest::default()).await?;
            self.pace.felt(asked.elapsed());
        }
        Ok(())
    }

    /// Asks again what broke off, and what was in somebody's way.
    pub(super) async fn again<T, F: Future<Output = Result<T, Failure>>>(&self, ask: impl Fn() -> F) -> Result<T, Failure> {
        let (begun, mut tries) = (tokio::time::Instant::now(), 0);
        loop {
            let failure = match ask().await {
                Ok(answer) => return Ok(answer),
                Err(failure) => failure,
            };
            tries += 1;
            let patient = passes(&failure) && begun.elapsed() < PATIENCE || failure.code == "IN_USE" && tries < TRIES;
            if !patient {
                return Err(failure);
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }
}

fn database(pieces: &[v1::Piece]) -> String {
    pieces.first().and_then(|piece| piece.table.as_ref()).map(|table| table.database.clone()).unwrap_or_default()
}

#[tonic::async_trait]
impl Sides for Pair {
    async fn digests(
        &self,
        side: Side,
        form: v1::Form,
        pieces: &[v1::Piece],
    ) -> Result<Vec<Result<v1::Digest, Failure>>, Failure> {
        let request = v1::DigestsRequest { database: database(pieces), form: Some(form), piece: pieces.to_vec() };
        let answers = self.again(|| self.observer.digests(self.host(side), request.clone())).await?;
        let answer = |answer: v1::digests_reply::Answer| match answer.kind {
            Some(v1::digests_reply::answer::Kind::Digest(digest)) => Ok(Ok(digest)),
            Some(v1::digests_reply::answer::Kind::Error(error)) => {
                let failure = Failure::from(error);
                if passes(&failure) { Err(failure) } else { Ok(Err(failure)) }
            }
            None => Err(odd()),
        };
        let all = answers.answer.into_iter().map(answer).collect::<Result<Vec<_>, Failure>>()?;
        if all.len() == pieces.len() { Ok(all) } else { Err(odd()) }
    }

    async fn settle(&self) -> Result<(), Failure> {
        if !self.follows {
            return Ok(());
        }
        let ask = |host, reach: String| {
            let request = v1::PositionRequest { reach, within_ms: 20_000 };
            let observer = &self.observer;
            async move { observer.position(host, request).await }
        };
        let now = self.again(|| ask(&self.source, String::new())).await?.position;
        let _waits = self.pace.waits();
        // However far behind: what it has not heard of yet cannot be compared.
        while !self.again(|| ask(&self.target, now.clone())).await?.reached {}
        Ok(())
    }

    async fn cuts(&self, side: Side, piece: &v1::Piece, rows: u64, most: u32) -> Result<Vec<v1::Key>, Failure> {
        let database = database(std::slice::from_ref(piece));
        let request = v1::CutsRequest { database, piece: Some(piece.clone()), rows, most };
        Ok(self.again(|| self.observer.cuts(self.host(side), request.clone())).await?.key)
    }

    async fn pages(&self, side: Side, table: &v1::Table) -> Result<u64, Failure> {
        let piece = v1::Piece { table: Some(table.clone()), range: None };
        let request = v1::CutsRequest { database: table.database.clone(), piece: Some(piece), rows: 0, most: 0 };
        Ok(self.again(|| self.observer.cuts(self.host(side), request.clone())).await?.pages)
    }

    async fn rows(&self, side: Side, form: v1::Form, piece: &v1::Piece) -> Result<v1::RowsReply, Failure> {
        let database = database(std::slice::from_ref(piece));
        let request = v1::RowsRequest { database, form: Some(form), piece: Some(piece.clone()), most: ROWS };
        self.again(|| self.observer.rows(self.host(side), request.clone())).await
    }

    async fn objects(&self, side: Side, database: &str, salt: u64) -> Result<Vec<v1::Object>, Failure> {
        let request = v1::ObjectsRequest { database: database.to_owned(), migration: self.of(), salt };
        self.again(|| self.observer.objects(self.host(side), request.clone())).await
    }

    async fn rest(&self, worked: Duration) {
        tokio::time::sleep(self.pace.pause(worked)).await;
    }

    async fn pause(&self) {
        tokio::time::sleep(PAUSE).await;
    }
}

fn odd() -> Failure {
    let remedy = "install the same version of flytt and flytt-agent everywhere";
    Failure::refused("UNREADABLE", "an agent's answer to a question for digests is not of the expected form", remedy)
}
