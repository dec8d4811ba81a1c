//! Source (C7): the point of no return. The fence becomes durable, it is written down, and only then the permit leaves.

use super::*;
use crate::baton::Command;

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
        let left = at.host.leases.remaining_ms(&at.migration);
        at.host.may_surrender(&at.migration, &Command::Surrender { closed, lease_left_ms: left, margin_ms: self.margin_ms })
    }

    async fn conclude(&self, at: &At) -> Result<v1::Outcome, Failure> {
        let closed = claim(at, self.closed.as_ref(), ClaimKind::ClosedProof).await?;
        let left = at.host.leases.remaining_ms(&at.migration);
        at.host.baton(&at.migration, &Command::Surrender { closed, lease_left_ms: left, margin_ms: self.margin_ms }).await?;
        at.host.leases.disarm(&at.migration);
        let permit = at.host.sign_newest(&at.migration)?;
        at.host.hand_on(&at.migration, peer(self.target.as_ref())?, permit.clone());
        Ok(artefact(permit))
    }

    async fn before_undo(&self, at: &At) -> Result<(), Failure> {
        at.host.not_surrendered(&at.migration)
    }
}
