//! `Link`: a byte stream between two agents, for the peer that was granted it and for nobody else.

use std::{sync::Arc, time::Duration};

use flytt_proto::{
    failure::Failure,
    v1::{self, draw_request::Producer},
};
use tonic::{Request, Response, Status, Streaming};

use super::{Streamed, migration};
use crate::{host::Host, link, serve::Caller};

/// A pipe goes on for hours: how often it is asked whether its grant still stands.
const GRANT_LOOK: Duration = Duration::from_secs(1);

#[derive(Clone, Debug)]
pub struct Link(pub Arc<Host>);

#[tonic::async_trait]
impl v1::link_server::Link for Link {
    type OpenStream = Streamed<v1::Frame>;

    async fn open(&self, request: Request<Streaming<v1::Frame>>) -> Result<Response<Self::OpenStream>, Status> {
        let host = self.0.clone();
        let caller = Caller::of(&request)?.identity.clone();
        let caller = caller.ok_or_else(|| Failure::refused("DENIED", "the caller has no identity", "join this deployment"))?;
        let mut frames = request.into_inner();
        let migration = link::greeted(&mut frames).await?;
        host.granted(&migration, &caller.host)?;
        let engine = host.engine()?.clone();
        let inlet = engine.inlet();
        let (greets, screen) = (engine.greets(), engine.screen());
        let admit = move |packet: &[u8]| engine.admits(&migration, packet);
        Ok(Response::new(Box::pin(link::serve(frames, inlet, link::Terms { admit, greets, screen }))))
    }

    type DrawStream = Streamed<v1::Frame>;

    async fn draw(&self, request: Request<v1::DrawRequest>) -> Result<Response<Self::DrawStream>, Status> {
        let host = self.0.clone();
        let caller = Caller::of(&request)?.identity.clone();
        let caller = caller.ok_or_else(|| Failure::refused("DENIED", "the caller has no identity", "join this deployment"))?;
        let ask = request.into_inner();
        let migration = migration(&ask.migration)?;
        host.granted(&migration, &caller.host)?;
        // The source may follow its target on the way back; there is nothing here for it to copy.
        if host.upstream_of(&migration).is_some() {
            let sentence = "this host is the target of that move: its programs are drawn by nobody";
            return Err(Failure::refused("NOT_GRANTED", sentence, "start the move from its controller").into());
        }
        let engine = host.engine()?.clone();
        let granted = migration.clone();
        let withdrawn = async move {
            while host.granted(&granted, &caller.host).is_ok() {
                tokio::select! {
                    () = tokio::time::sleep(GRANT_LOOK) => {}
                    () = host.ended.cancelled() => return,
                }
            }
        };
        Ok(Response::new(match ask.producer() {
            Producer::Snapshot | Producer::Rows | Producer::SnapshotEnd => {
                Box::pin(link::pipe::pour(engine.pour(&migration, &ask).await?, ask.max_rate, withdrawn))
            }
            program @ (Producer::MariadbBackup | Producer::Unspecified) => {
                Box::pin(link::pipe::send(engine.producer(&migration, program).await?, ask.max_rate, withdrawn))
            }
        }))
    }
}
