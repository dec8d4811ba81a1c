//! Both sides, before the window (C0): nothing stands in its way, and a checkpoint makes what follows short.

use std::time::{Duration, Instant};

use super::*;
use crate::import;

/// As near as that, a follower has nothing left to catch up with that an outage would feel.
const NEAR: Duration = Duration::from_millis(50);
/// A heartbeat comes once a second, and the one that is on its way is no lag.
const BEAT_MS: u64 = 2_000;

#[tonic::async_trait]
impl Intent for v1::Ready {
    fn role(&self) -> v1::Role {
        self.role()
    }

    fn stays(&self) -> bool {
        false
    }

    async fn survey(&self, at: &At) -> Result<Survey, Failure> {
        let engine = at.host.engine()?;
        if let Some(reason) = at.host.ledger.book().guarded.get(&at.migration) {
            return Err(Failure::refused(
                "GUARDED",
                reason.clone(),
                "make room on the source, then `flytt rollback` and start again",
            ));
        }
        let mut findings = engine.obstacles(&at.migration, self).await?;
        findings.extend(import::left(&at.host).await?);
        let changes = engine.recipe(&at.migration, &engine::Intent::Ready).await?;
        Ok(Survey { findings, changes })
    }

    /// The last records of a cutover must find room on a full disk.
    async fn begin(&self, at: &At) -> Result<(), Failure> {
        at.host.ledger.reserve().await
    }

    /// Lag in time: by this host's clock, how long it takes to apply what the source has by now; and by the source's, how late its
    /// heartbeat is here after that.
    async fn conclude(&self, at: &At) -> Result<v1::Outcome, Failure> {
        if v1::Ready::role(self) != v1::Role::Target {
            return Ok(plain("nothing is in the way"));
        }
        crate::guard::must_have_room(&at.host)?;
        let engine = at.host.engine()?;
        let lag = Duration::from_millis(self.lag_ms);
        let took = near(at, lag, lag).await?;
        let now = engine.replication(&at.migration).await?;
        if let Some(behind) = crate::beat::behind(&at.host, &at.migration, &now).await
            && behind > Duration::from_millis(self.lag_ms.max(BEAT_MS))
        {
            return Err(late(format!("is {} ms behind by the source's heartbeat", behind.as_millis())));
        }
        Ok(plain(format!("the target is at most {} ms behind", took.as_millis())))
    }
}

/// How long it takes to apply what the source has by now: no longer than `lag` in the end. One that needs long is looked at again
/// for as long as `patience`: it is behind again by as much, but what keeps its disk or its appliers busy may pass.
pub(super) async fn near(at: &At, lag: Duration, patience: Duration) -> Result<Duration, Failure> {
    let (engine, begun) = (at.host.engine()?, Instant::now());
    let slow = || late(format!("needs more than {} ms to apply what the source has", lag.as_millis()));
    loop {
        // What it has announced is less than what it has, where the network is the slower part.
        let source = at.host.ask_vitals(&at.migration).await?.position.parse().ok();
        let announced = engine.replication(&at.migration).await?.upstream;
        let asked = Instant::now();
        if let Some(announced) = source.or(announced) {
            tokio::time::timeout(patience, engine.caught_up(&announced)).await.map_err(|_| slow())??;
        }
        let took = asked.elapsed();
        if took <= NEAR {
            return Ok(took);
        }
        if begun.elapsed() > patience {
            return if took <= lag { Ok(took) } else { Err(slow()) };
        }
    }
}

fn late(how: String) -> Failure {
    let remedy = "wait until it has caught up, or look at its disk and at long queries on it; then cut over again";
    Failure::refused("LAG", format!("the target {how}"), remedy)
}
