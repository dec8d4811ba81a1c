//! `Observe`: what cannot change anything.

use std::{
    collections::VecDeque,
    sync::Arc,
    time::{Duration, Instant},
};

use flytt_proto::{
    PROTOCOL,
    name::{Epoch, Migration, Position},
    v1,
};
use tokio::sync::broadcast::error::RecvError;
use tonic::{Request, Response, Status};

use super::{Streamed, migration, operation};
use crate::{action, engine::Serving, host::Host, ledger::State, revert, samples::Past};

#[derive(Clone, Debug)]
pub struct Observe(pub Arc<Host>);

#[tonic::async_trait]
impl v1::observe_server::Observe for Observe {
    type ReplicationStream = Streamed<v1::ReplicationSample>;
    type SamplesStream = Streamed<v1::Sample>;

    async fn samples(&self, request: Request<v1::SamplesRequest>) -> Result<Response<Self::SamplesStream>, Status> {
        let request = request.into_inner();
        let (sender, receiver) = tokio::sync::mpsc::channel(1);
        if request.live {
            tokio::spawn(live(self.0.clone(), sender));
        } else {
            tokio::spawn(past(self.0.samples.past(&request).await?, sender));
        }
        Ok(Response::new(Box::pin(tokio_stream::wrappers::ReceiverStream::new(receiver))))
    }

    async fn facts(&self, _request: Request<v1::FactsRequest>) -> Result<Response<v1::FactsReply>, Status> {
        let host = &self.0;
        let mut reply = v1::FactsReply {
            protocol: PROTOCOL,
            version: env!("CARGO_PKG_VERSION").into(),
            host: host.name.to_string(),
            key: host.credentials.fingerprint(),
            ..v1::FactsReply::default()
        };
        if let Some(engine) = &host.hands.engine {
            let facts = engine.facts().await?;
            reply.engine = engine.name().into();
            reply.server = match facts.serving {
                Serving::Down => "down",
                Serving::Standby => "standby",
                Serving::Writable => "writable",
            }
            .into();
            reply.facts = serde_json::to_string(&facts).unwrap_or_default();
            reply.place = facts.place;
            reply.system = facts.system;
            reply.series = facts.series;
            reply.copied = facts.copied;
            reply.data_bytes = facts.data_bytes;
            reply.address = facts.address;
        }
        reply.peak = host.samples.peak();
        reply.storage = host.samples.storage();
        reply.probe = crate::probe::last(&host.config.state);
        if let Some(router) = &host.hands.router {
            reply.router = router.name().into();
            reply.entrance = router.entrance().into();
            if reply.facts.is_empty() {
                reply.facts = router.facts().await?;
            }
        }
        Ok(Response::new(reply))
    }

    async fn survey(&self, request: Request<v1::SurveyRequest>) -> Result<Response<v1::SurveyReply>, Status> {
        let request = request.into_inner();
        let at = self.0.at(&migration(&request.migration)?, Epoch::default());
        let survey = action::intent(&request.action.unwrap_or_default())?.survey(&at).await?;
        let changes = survey.changes.iter().map(ToString::to_string).collect();
        Ok(Response::new(v1::SurveyReply { findings: survey.findings, changes }))
    }

    async fn operation(&self, request: Request<v1::OperationRequest>) -> Result<Response<v1::OperationState>, Status> {
        let id = operation(&request.into_inner().id)?;
        let mut reply = v1::OperationState::default();
        let state = self.0.ledger.operation(&id).map(|operation| operation.state);
        reply.set_state(self.0.becomes(&id, state.as_ref()));
        match state {
            Some(State::Done(outcome)) => reply.outcome = Some(outcome),
            Some(State::Failed(failure)) => reply.error = Some(failure.into()),
            Some(State::Began | State::Undoing | State::Undone) | None => {}
        }
        Ok(Response::new(reply))
    }

    async fn ledger(&self, _request: Request<v1::LedgerRequest>) -> Result<Response<v1::LedgerReply>, Status> {
        Ok(Response::new(revert::standing(&self.0)))
    }

    async fn replication(&self, request: Request<v1::ReplicationRequest>) -> Result<Response<Self::ReplicationStream>, Status> {
        let migration = migration(&request.into_inner().migration)?;
        self.0.engine()?;
        let (sender, receiver) = tokio::sync::mpsc::channel(1);
        let host = self.0.clone();
        tokio::spawn(async move {
            let mut meter = LagMeter::default();
            let mut tick = tokio::time::interval(Duration::from_secs(1));
            loop {
                tick.tick().await;
                let sample = sample(&host, &migration, &mut meter).await;
                if sender.send(sample.map_err(Status::from)).await.is_err() || host.ended.is_cancelled() {
                    return;
                }
            }
        });
        Ok(Response::new(Box::pin(tokio_stream::wrappers::ReceiverStream::new(receiver))))
    }
}

type Sent = tokio::sync::mpsc::Sender<Result<v1::Sample, Status>>;

/// Until the caller goes away, or we do.
async fn live(host: Arc<Host>, sender: Sent) {
    let mut samples = host.samples.live();
    loop {
        let sample = tokio::select! {
            sample = samples.recv() => sample,
            () = sender.closed() => return,
            () = host.ended.cancelled() => return,
        };
        let sample = match sample {
            Ok(sample) => sample.as_ref().clone(),
            Err(RecvError::Lagged(_)) => continue,
            Err(RecvError::Closed) => return,
        };
        if sender.send(Ok(sample)).await.is_err() {
            return;
        }
    }
}

async fn past(mut past: Past, sender: Sent) {
    loop {
        let samples = match past.next().await {
            Ok(Some(samples)) => samples.into_iter().map(Ok).collect(),
            Ok(None) => return,
            Err(failure) => vec![Err(failure.into())],
        };
        let broken = samples.last().is_some_and(Result::is_err);
        for sample in samples {
            if sender.send(sample).await.is_err() {
                return;
            }
        }
        if broken {
            return;
        }
    }
}

async fn sample(
    host: &Host,
    migration: &Migration,
    meter: &mut LagMeter,
) -> Result<v1::ReplicationSample, flytt_proto::failure::Failure> {
    let now = host.engine()?.replication(migration).await?;
    let text = |position: &Option<Position>| position.as_ref().map(ToString::to_string).unwrap_or_default();
    let (lag_seconds, trend) = meter.measure(Instant::now(), &now);
    // The source may have more than this host has heard of.
    let beat = crate::beat::behind(host, migration, &now).await.unwrap_or_default();
    let lag_seconds = lag_seconds.max(beat.as_secs_f64());
    let eta_seconds = match now.lag_bytes {
        0 => 0.0,
        lag if trend < 0.0 => lag as f64 / -trend,
        _ => -1.0,
    };
    let room = crate::guard::room(host).filter(|_| now.held_bytes > 0);
    let written_rate = meter.written(Instant::now(), &now);
    let trouble = host.ledger.book().guarded.get(migration).cloned().unwrap_or_else(|| now.trouble.clone());
    Ok(v1::ReplicationSample {
        streaming: now.streaming,
        position: text(&now.position),
        upstream: text(&now.upstream),
        lag_bytes: now.lag_bytes,
        lag_seconds,
        trend,
        eta_seconds,
        held_bytes: now.held_bytes,
        trouble,
        room_bytes: room.unwrap_or(0),
        room_known: room.is_some(),
        written_rate,
        log_seconds: now.log_seconds,
    })
}

/// Lag in seconds and its trend, by this host's monotonic clock alone: never a difference between two hosts' clocks.
#[derive(Debug, Default)]
struct LagMeter {
    /// When each upstream position was first seen here, oldest first.
    seen: VecDeque<(Instant, Position)>,
    /// The last lags, for the trend.
    lags: VecDeque<(Instant, u64)>,
    /// Where the log first ended.
    first: Option<(Instant, u64)>,
}

impl LagMeter {
    /// Bytes a second by which the position here has grown since the first look; negative while there is only one.
    fn written(&mut self, now: Instant, replication: &crate::engine::Replication) -> f64 {
        let Some(end) = replication.position.as_ref().map(Position::written) else { return -1.0 };
        let (then, begin) = *self.first.get_or_insert((now, end));
        let seconds = now.duration_since(then).as_secs_f64();
        if seconds > 0.0 { end.saturating_sub(begin) as f64 / seconds } else { -1.0 }
    }

    /// (seconds behind, bytes a second that the lag grows).
    fn measure(&mut self, now: Instant, replication: &crate::engine::Replication) -> (f64, f64) {
        if let Some(upstream) = &replication.upstream
            && self.seen.back().is_none_or(|(_, last)| last != upstream)
        {
            self.seen.push_back((now, upstream.clone()));
        }
        if let Some(applied) = &replication.position {
            while self.seen.front().is_some_and(|(_, first)| applied.covers(first) == Some(true)) {
                self.seen.pop_front();
            }
        }
        if self.seen.len() > 3_600 {
            self.seen.pop_front();
        }
        let seconds = self.seen.front().map_or(0.0, |(first, _)| now.duration_since(*first).as_secs_f64());
        self.lags.push_back((now, replication.lag_bytes));
        if self.lags.len() > 10 {
            self.lags.pop_front();
        }
        let trend = match (self.lags.front(), self.lags.back()) {
            (Some((then, before)), Some((last, after))) if last > then => {
                (*after as f64 - *before as f64) / last.duration_since(*then).as_secs_f64()
            }
            _ => 0.0,
        };
        (seconds, trend)
    }
}

#[cfg(test)]
mod tests {
    use flytt_proto::name::Lsn;

    use super::*;
    use crate::engine::Replication;

    #[test]
    fn lag_is_the_age_of_the_oldest_position_not_yet_applied() {
        let start = Instant::now();
        let mut meter = LagMeter::default();
        let mut at = |second: u64, upstream: u64, applied: u64| {
            let replication = Replication {
                streaming: true,
                position: Some(Position::Postgres(Lsn(applied))),
                upstream: Some(Position::Postgres(Lsn(upstream))),
                lag_bytes: upstream - applied,
                ..Replication::default()
            };
            meter.measure(start + Duration::from_secs(second), &replication)
        };
        assert_eq!(at(0, 100, 100).0, 0.0);
        assert_eq!(at(1, 200, 100).0, 0.0, "first seen just now");
        assert_eq!(at(4, 400, 100).0, 3.0);
        assert_eq!(at(5, 400, 200).0, 1.0, "200 is applied; 400 was first seen a second ago");
        let (seconds, trend) = at(6, 400, 400);
        assert_eq!(seconds, 0.0);
        assert!(trend <= 0.0, "{trend}");
    }
}
