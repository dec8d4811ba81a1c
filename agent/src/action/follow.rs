//! Target: the copy is started as a standby; done when it streams, is no further behind than asked, and has at once what the source
//! has.

use std::time::Duration;

use super::*;
use crate::watch;

/// What the source has by now must be applied within this time: what has not arrived yet does not count as lag.
const SOON: Duration = Duration::from_secs(1);

#[tonic::async_trait]
impl Intent for v1::Follow {
    fn role(&self) -> v1::Role {
        v1::Role::Target
    }

    async fn survey(&self, at: &At) -> Result<Survey, Failure> {
        recipe(at, engine::Intent::Follow(super::seed::upstream(at, self.transport(), &self.server)?)).await
    }

    async fn watch(&self, at: &At) -> Failure {
        watch::catch_up(at, self.gates.as_ref(), self.lag_bytes).await
    }

    async fn conclude(&self, at: &At) -> Result<v1::Outcome, Failure> {
        let engine = at.host.engine()?;
        loop {
            let now = engine.replication(&at.migration).await?;
            if now.streaming && now.lag_bytes <= self.lag_bytes && has_what_the_source_has(at).await? {
                return Ok(plain(format!("streaming, {} bytes behind", now.lag_bytes)));
            }
            let text = if now.streaming { format!("{} bytes behind", now.lag_bytes) } else { now.trouble };
            at.events.say(v1::Progress { text, eta_seconds: -1.0, ..v1::Progress::default() });
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }
}

/// A source that does not answer does not keep a copy from following.
async fn has_what_the_source_has(at: &At) -> Result<bool, Failure> {
    let Some(position) = at.host.ask_vitals(&at.migration).await.ok().and_then(|vitals| vitals.position.parse().ok()) else {
        return Ok(true);
    };
    Ok(matches!(tokio::time::timeout(SOON, at.host.engine()?.caught_up(&position)).await, Ok(Ok(_))))
}
