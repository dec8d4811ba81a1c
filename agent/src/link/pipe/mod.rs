//! A program's output, from one agent to a program of the other: producer, zstd, frames, consumer. No file in between; an end of
//! file never means success.
//!
//! The target asks for one of the producers that the source's engine knows; it names no command. That it may ask at all is the
//! service's to say, by the same grant as for a tunnel.

mod blocks;
mod frame;
mod pace;
mod receive;
mod send;
#[cfg(test)]
mod tests;

use std::{sync::Arc, time::Duration};

use flytt_proto::{
    failure::Failure,
    identity::Credentials,
    v1::{DrawRequest, draw_request::Producer, link_client::LinkClient},
};
use tokio::time::timeout;

pub use blocks::{blocks, pour};
pub use receive::receive;
pub use send::send;

use crate::{
    command::Command,
    engine::{self, Blocks, Origin},
    peers::{Peers, silent},
};

/// How long the source's agent may take to start its program.
const PATIENCE: Duration = Duration::from_secs(30);

/// The pipes of one agent. They have connections of their own: a copy does not hold up what else the agents say to each other.
#[derive(Debug)]
pub struct Pipes(Peers);

impl Pipes {
    pub fn new(credentials: Arc<Credentials>) -> Self {
        Self(Peers::new(credentials))
    }
}

#[tonic::async_trait]
impl engine::Pipes for Pipes {
    async fn draw(
        &self,
        from: &Origin,
        producer: Producer,
        max_rate: u64,
        consumer: &Command,
        progress: &(dyn Fn(u64) + Send + Sync),
    ) -> Result<u64, Failure> {
        let channel = self.0.channel(&(from.host.clone(), from.address.clone())).await?;
        let mut client = LinkClient::new(channel).max_decoding_message_size(4 << 20);
        let ask =
            DrawRequest { migration: from.migration.to_string(), producer: producer.into(), max_rate, ..DrawRequest::default() };
        let frames = timeout(PATIENCE, client.draw(ask)).await.map_err(|_| silent(&from.host))??.into_inner();
        receive(frames, consumer, progress).await
    }

    async fn pull(&self, from: &Origin, ask: DrawRequest) -> Result<Blocks, Failure> {
        let channel = self.0.channel(&(from.host.clone(), from.address.clone())).await?;
        let mut client = LinkClient::new(channel).max_decoding_message_size(4 << 20);
        let frames = timeout(PATIENCE, client.draw(ask)).await.map_err(|_| silent(&from.host))??.into_inner();
        Ok(blocks(frames))
    }
}
