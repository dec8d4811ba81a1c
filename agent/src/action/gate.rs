//! Target, before the window (C0): nobody but us gets in, so that its promotion makes nobody writable.

use std::time::Duration;

use super::*;
use crate::{import, revert};

/// The source serves meanwhile, so what piled up while it was closed may take its time; the window comes after.
const PATIENCE: Duration = Duration::from_secs(10);

#[tonic::async_trait]
impl Intent for v1::Gate {
    fn role(&self) -> v1::Role {
        v1::Role::Target
    }

    async fn survey(&self, at: &At) -> Result<Survey, Failure> {
        recipe(at, engine::Intent::Gate).await
    }

    /// Asked here, too: a server that applications will write to has its own settings, whoever looked before.
    async fn begin(&self, at: &At) -> Result<(), Failure> {
        import::must_be_over(&at.host).await
    }

    async fn conclude(&self, at: &At) -> Result<v1::Outcome, Failure> {
        must_be_closed(at).await?;
        // MySQL's appliers may stand still for a second while accounts are locked (tried: 9.7, eight workers that keep the order of
        // commits): what piled up goes here, not in the window.
        let lag = Duration::from_millis(self.lag_ms);
        super::ready::near(at, lag, lag.max(PATIENCE)).await?;
        Ok(plain("gated"))
    }

    /// An open gate is not closed by going back, and a gate in front of an open target is gone already.
    async fn before_undo(&self, at: &At) -> Result<(), Failure> {
        revert::gate_may_go(at.host.phase(&at.migration))
    }
}

/// The gate holds: a login of each kind of account is refused now.
pub(super) async fn must_be_closed(at: &At) -> Result<(), Failure> {
    if at.host.engine()?.is_closed(&at.migration).await? {
        return Ok(());
    }
    Err(Failure::unknown(
        "NOT_CLOSED",
        "somebody can still log in",
        "PostgreSQL: look at pg_hba_file_rules on that host for an error or an include; MariaDB: at accounts made since, and its process list",
    ))
}
