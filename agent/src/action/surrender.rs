//! Source (C7): the point of no return. The fence becomes durable, it is written down, and only then the permit leaves.

use std::time::Duration;

use super::*;
use crate::baton::Command;

/// With what is left of the lease at this very moment.
fn command(surrender: &v1::Surrender, at: &At, closed: Claim) -> Command {
    let lease_left = Duration::from_millis(at.host.leases.remaining_ms(&at.migration));
    Command::Surrender { epoch: at.epoch, closed, lease_left, margin: Duration::from_millis(surrender.margin_ms) }
}

#[tonic::async_trait]
impl Intent for v1::Surrender {
    fn role(&self) -> v1::Role {
        v1::Role::Source
    }

    async fn survey(&self, at: &At) -> Result<Survey, Failure> {
        recipe(at, engine::Intent::Surrender).await
    }

    async fn begin(&self, at: &At) -> Result<(), Failure> {
        let closed = claim(at, self.closed.as_ref(), ClaimKind::ClosedProof).await?;
        at.host.would(&at.migration, &command(self, at, closed))
    }

    async fn conclude(&self, at: &At) -> Result<v1::Outcome, Failure> {
        let closed = claim(at, self.closed.as_ref(), ClaimKind::ClosedProof).await?;
        at.host.baton(&at.migration, &command(self, at, closed)).await?;
        at.host.leases.disarm(&at.migration);
        let permit = at.host.sign_newest(&at.migration)?;
        at.host.hand_on(&at.migration, peer(self.target.as_ref())?, permit.clone());
        Ok(artefact(permit))
    }

    async fn before_undo(&self, at: &At) -> Result<(), Failure> {
        at.host.not_surrendered(&at.migration)
    }
}
