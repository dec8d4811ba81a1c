//! `Verify`: what cannot change anything, and reads much. Each call has a session of its own, which ends with it.

use std::{sync::Arc, time::Duration};

use flytt_proto::{failure::Failure, name::Position, v1};
use tonic::{Request, Response, Status};

use super::{Streamed, migration};
use crate::{
    engine::Serving,
    host::Host,
    verify::{Digest, Range, Reader, Table},
};

/// The longest that one call waits for a position.
const WAIT: Duration = Duration::from_secs(60);
/// What one call may be asked for: enough that the way there and back does not count, and no more than fits a message.
const MOST_CUTS: u32 = 1_000;
const MOST_ROWS: u32 = 5_000;

#[derive(Clone, Debug)]
pub struct Verify(pub Arc<Host>);

impl Verify {
    async fn reader(&self, database: &str, of: &str) -> Result<Box<dyn Reader>, Failure> {
        let migration = if of.is_empty() { None } else { Some(migration(of)?) };
        self.0.engine()?.reader(database, migration.as_ref()).await
    }
}

#[tonic::async_trait]
impl v1::verify_server::Verify for Verify {
    type TablesStream = Streamed<v1::Table>;
    type ObjectsStream = Streamed<v1::Object>;

    async fn survey(&self, request: Request<v1::VerifyRequest>) -> Result<Response<v1::VerifyReply>, Status> {
        let engine = self.0.engine()?;
        let found = engine.reader("", None).await?.survey(request.into_inner().seed).await?;
        let trial = |(scheme, digest): (v1::form::Scheme, Digest)| v1::verify_reply::Trial {
            scheme: scheme.into(),
            digest: Some(told(digest)),
        };
        Ok(Response::new(v1::VerifyReply {
            engine: engine.name().to_owned(),
            kind: found.kind,
            trials: found.trials.into_iter().map(trial).collect(),
            databases: found.databases,
            has_pages: found.has_pages,
        }))
    }

    async fn tables(&self, request: Request<v1::TablesRequest>) -> Result<Response<Self::TablesStream>, Status> {
        let request = request.into_inner();
        let found = self.reader(&request.database, &request.migration).await?.tables().await?;
        let database = request.database;
        let left_out = found.left_out.into_iter().map({
            let database = database.clone();
            move |left| v1::Table {
                database: database.clone(),
                schema: left.schema,
                name: left.name,
                left_out: left.reason,
                ..v1::Table::default()
            }
        });
        let compared = found.compared.into_iter().map(move |table| v1::Table {
            database: database.clone(),
            schema: table.schema,
            name: table.name,
            rows: table.rows,
            bytes: table.bytes,
            key: table.key,
            columns: table.columns,
            left_out: String::new(),
        });
        Ok(Response::new(Box::pin(tokio_stream::iter(compared.chain(left_out).map(Ok)))))
    }

    async fn digests(&self, request: Request<v1::DigestsRequest>) -> Result<Response<v1::DigestsReply>, Status> {
        let request = request.into_inner();
        let form = request.form.unwrap_or_default();
        let mut reader = self.reader(&request.database, "").await?;
        let mut answer = Vec::new();
        for piece in request.piece {
            let (table, range) = asked(piece)?;
            let kind = match reader.digest(&table, &range, form).await {
                Ok(digest) => v1::digests_reply::answer::Kind::Digest(told(digest)),
                Err(failure) => {
                    // Whatever is the matter with this table, the next one is asked for by a session that is whole.
                    reader = self.reader(&request.database, "").await?;
                    v1::digests_reply::answer::Kind::Error(failure.into())
                }
            };
            answer.push(v1::digests_reply::Answer { kind: Some(kind) });
        }
        Ok(Response::new(v1::DigestsReply { answer }))
    }

    async fn cuts(&self, request: Request<v1::CutsRequest>) -> Result<Response<v1::CutsReply>, Status> {
        let request = request.into_inner();
        let (table, within) = asked(request.piece.unwrap_or_default())?;
        let reader = self.reader(&request.database, "").await?;
        if request.most == 0 {
            return Ok(Response::new(v1::CutsReply { key: Vec::new(), pages: reader.pages(&table).await? }));
        }
        let cuts = reader.cuts(&table, &within, request.rows.max(1), request.most.min(MOST_CUTS) as usize).await?;
        let key = cuts.into_iter().map(|value| v1::Key { value }).collect();
        Ok(Response::new(v1::CutsReply { key, pages: 0 }))
    }

    async fn rows(&self, request: Request<v1::RowsRequest>) -> Result<Response<v1::RowsReply>, Status> {
        let request = request.into_inner();
        let (table, range) = asked(request.piece.unwrap_or_default())?;
        let most = request.most.clamp(1, MOST_ROWS) as usize;
        let reader = self.reader(&request.database, "").await?;
        let mut found = reader.rows(&table, &range, request.form.unwrap_or_default(), most).await?;
        let more = found.len() > most;
        found.truncate(most);
        let row = found.into_iter().map(|row| v1::rows_reply::Row { key: row.key, hash: row.hash }).collect();
        Ok(Response::new(v1::RowsReply { row, more }))
    }

    async fn image(&self, request: Request<v1::ImageRequest>) -> Result<Response<v1::ImageReply>, Status> {
        let request = request.into_inner();
        let table = table(request.table.unwrap_or_default());
        let reader = self.reader(&request.database, "").await?;
        let found = reader.image(&table, &request.key.unwrap_or_default().value).await?.unwrap_or_default();
        let value = found.into_iter().map(|(column, text)| v1::image_reply::Value { column, text }).collect();
        Ok(Response::new(v1::ImageReply { value }))
    }

    async fn position(&self, request: Request<v1::PositionRequest>) -> Result<Response<v1::PositionReply>, Status> {
        let request = request.into_inner();
        let engine = self.0.engine()?;
        let follows = engine.serving().await? == Serving::Standby && engine.follows().await?;
        let mut reply = v1::PositionReply { follows, ..v1::PositionReply::default() };
        if !request.reach.is_empty() {
            let goal: Position = request
                .reach
                .parse()
                .map_err(|_| Failure::refused("BAD_REQUEST", "what is to be reached is no position", "report this"))?;
            let limit = Duration::from_millis(request.within_ms.into()).min(WAIT);
            // Late is an answer, too.
            if let Ok(reached) = tokio::time::timeout(limit, engine.caught_up(&goal)).await {
                reached?;
                reply.reached = true;
            }
        }
        reply.position = engine.position().await?.to_string();
        Ok(Response::new(reply))
    }

    async fn objects(&self, request: Request<v1::ObjectsRequest>) -> Result<Response<Self::ObjectsStream>, Status> {
        let request = request.into_inner();
        let found = self.reader(&request.database, &request.migration).await?.objects(request.salt).await?;
        let object = |object: crate::verify::Object| {
            Ok(v1::Object { kind: object.kind, name: object.name, definition: object.definition })
        };
        Ok(Response::new(Box::pin(tokio_stream::iter(found.into_iter().map(object)))))
    }
}

fn told(digest: Digest) -> v1::Digest {
    let [first, second] = digest.sums;
    v1::Digest { rows: digest.rows, first, second }
}

fn table(table: v1::Table) -> Table {
    let v1::Table { schema, name, rows, bytes, key, columns, .. } = table;
    Table { schema, name, rows, bytes, key, columns }
}

fn asked(piece: v1::Piece) -> Result<(Table, Range), Failure> {
    let table = table(piece.table.unwrap_or_default());
    if table.name.is_empty() {
        return Err(Failure::refused("BAD_REQUEST", "a digest is asked for of a table without a name", "report this"));
    }
    let range = match piece.range.and_then(|range| range.kind) {
        None => Range::Whole,
        Some(v1::range::Kind::Pages(pages)) => Range::Pages { from: pages.from, before: pages.before },
        Some(v1::range::Kind::Keys(keys)) => {
            Range::Keys { after: keys.after.map(|key| key.value), up_to: keys.up_to.map(|key| key.value) }
        }
    };
    // A bound of another length would make a condition that no key's index answers, or none at all.
    let fits = |bound: &Option<Vec<String>>| bound.as_ref().is_none_or(|key| !key.is_empty() && key.len() == table.key.len());
    match &range {
        Range::Keys { after, up_to } if !fits(after) || !fits(up_to) => {
            let sentence = format!("a bound in table {}.{} is not of its key's length", table.schema, table.name);
            Err(Failure::refused("NO_SUCH_RANGE", sentence, "report this"))
        }
        Range::Whole | Range::Keys { .. } | Range::Pages { .. } => Ok((table, range)),
    }
}
