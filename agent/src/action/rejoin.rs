//! Source, retired: the server that was ended is started again, as a follower of the target. Nothing waits for it: the move is complete,
//! and what fails here is said, and may be tried again. On the leg back it is that leg's target, and follows again where it was
//! promoted and given up.

use std::time::{Duration, Instant};

use flytt_proto::name::step::RETIRE;

use super::*;
use crate::{
    baton::{Command, Phase},
    engine::Upstream,
    ledger::State,
};

/// One that the primary is about to turn away says for a moment that it streams.
const STEADY: Duration = Duration::from_millis(500);
/// From its start until the log arrives.
const STREAM_LIMIT: Duration = Duration::from_secs(60);

#[tonic::async_trait]
impl Intent for v1::Rejoin {
    fn role(&self) -> v1::Role {
        if self.again { v1::Role::Target } else { v1::Role::Source }
    }

    fn stays(&self) -> bool {
        !self.again
    }

    async fn survey(&self, at: &At) -> Result<Survey, Failure> {
        // Its end is to be on record as done: what of it is done again would end the follower.
        let there = at.migration.there();
        let retired = at.host.ledger.operation(&at.host.id(&there, RETIRE));
        let has_ended = retired.is_some_and(|operation| matches!(operation.state, State::Done(_)));
        if at.host.phase(&there) != Some(Phase::Retired) || !has_ended {
            let sentence = "the source is not retired: it follows the target only once that is open";
            return Err(Failure::refused("NOT_RETIRED", sentence, "run `flytt status`"));
        }
        if self.again && at.host.phase(&at.migration) != Some(Phase::Burned) {
            let now = at.host.engine()?.replication(&at.migration).await?;
            if now.streaming {
                return Ok(Survey::default());
            }
        }
        let upstream = Upstream::Tunnel { directory: at.host.tunnel_directory(&at.migration), port: crate::link::PORT };
        recipe(at, engine::Intent::Rejoin(upstream)).await
    }

    async fn conclude(&self, at: &At) -> Result<v1::Outcome, Failure> {
        let (engine, begun, mut since) = (at.host.engine()?, Instant::now(), None);
        loop {
            let now = engine.replication(&at.migration.back()).await?;
            since = if now.streaming { since.or_else(|| Some(Instant::now())) } else { None };
            if since.is_some_and(|since: Instant| since.elapsed() > STEADY) {
                // Only now: on the history that it was given up with, its positions mean nothing to the new primary.
                if self.again && at.host.phase(&at.migration) == Some(Phase::Burned) {
                    at.host.baton(&at.migration, &Command::Reseed { epoch: at.epoch }).await?;
                }
                return Ok(plain("the old source follows the target, fenced for good"));
            }
            if begun.elapsed() > STREAM_LIMIT {
                let sentence = format!("the old source is up and does not follow the target: {}", now.trouble);
                return Err(Failure::refused("WAY_BACK_DOWN", sentence, REMEDY));
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    async fn before_undo(&self, _at: &At) -> Result<(), Failure> {
        Err(past_the_point())
    }
}

const REMEDY: &str = "see to its tunnel and to the target's agent, and run `flytt resume`; where the log that it waits for is gone, \
                      finish this move, and move in the other direction with a new copy";
