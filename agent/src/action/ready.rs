//! Both sides, before the window (C0): nothing stands in its way, and a checkpoint makes what follows short.

use std::time::{Duration, Instant};

use super::*;
use crate::import;

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

    /// Lag in time, by this host's clock alone: how long it takes to apply what the source has announced by now.
    async fn conclude(&self, at: &At) -> Result<v1::Outcome, Failure> {
        if v1::Ready::role(self) != v1::Role::Target {
            return Ok(plain("nothing is in the way"));
        }
        let engine = at.host.engine()?;
        let began = Instant::now();
        if let Some(announced) = engine.replication(&at.migration).await?.upstream {
            let limit = Duration::from_millis(self.lag_ms);
            tokio::time::timeout(limit, engine.caught_up(&announced)).await.map_err(|_| {
                Failure::refused(
                    "LAG",
                    format!("the target needs more than {} ms to apply what the source has announced", self.lag_ms),
                    "wait until it has caught up, or look at its disk and at long queries on it; then cut over again",
                )
            })??;
        }
        Ok(plain(format!("the target is at most {} ms behind", began.elapsed().as_millis())))
    }
}
