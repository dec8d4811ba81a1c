//! The gRPC edge: turns wire types into checked ones, and delegates. No SQL, no decisions.

use std::pin::Pin;

use flytt_proto::{
    failure::Failure,
    name::{Migration, OperationId},
    v1,
};
use tokio_stream::Stream;

use crate::apply::Feed;

pub mod enrol;
pub mod link;
pub mod observe;
pub mod operate;
pub mod peer;
pub mod verify;

type Streamed<T> = Pin<Box<dyn Stream<Item = Result<T, tonic::Status>> + Send>>;

fn migration(text: &str) -> Result<Migration, Failure> {
    text.parse().map_err(|error| Failure::refused("BAD_REQUEST", format!("{error}"), "correct the name"))
}

fn operation(text: &str) -> Result<OperationId, Failure> {
    text.parse().map_err(|error| Failure::refused("BAD_REQUEST", format!("{error}"), "correct the name"))
}

/// Events as they come, a beat when there are none, and the end as the last one.
fn stream(feed: Feed) -> Streamed<v1::Event> {
    let began = std::time::Instant::now();
    let (sender, receiver) = tokio::sync::mpsc::channel(32);
    tokio::spawn(async move {
        let Feed { receiver: mut events, mut end } = feed;
        let mut beat = tokio::time::interval(std::time::Duration::from_secs(1));
        let last = loop {
            let event = tokio::select! {
                biased;
                event = events.recv() => match event {
                    Ok(event) => event,
                    Err(tokio::sync::broadcast::error::RecvError::Lagged(_)) => continue,
                    Err(tokio::sync::broadcast::error::RecvError::Closed) => break (&mut end).await,
                },
                result = &mut end => break result,
                // Whoever asked has gone: what ends with that learns it at once.
                () = sender.closed() => return,
                _ = beat.tick() => v1::Event { kind: Some(v1::event::Kind::Beat(v1::event::Beat {})) },
            };
            if sender.send(Ok(event)).await.is_err() {
                return;
            }
        };
        let elapsed_us = began.elapsed().as_micros().try_into().unwrap_or(u64::MAX);
        let kind = match last {
            Ok(Ok(outcome)) => v1::event::Kind::Done(v1::event::Done { outcome: Some(outcome), elapsed_us }),
            Ok(Err(failure)) => v1::event::Kind::Failed(failure.into()),
            Err(_) => v1::event::Kind::Failed(Failure::unknown("STOPPED", "the agent is stopping", "run `flytt resume`").into()),
        };
        let _ = sender.send(Ok(v1::Event { kind: Some(kind) })).await;
    });
    Box::pin(tokio_stream::wrappers::ReceiverStream::new(receiver))
}
