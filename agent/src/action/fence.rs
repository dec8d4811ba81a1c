//! Source (C2, C3): nobody writes any more, under a dead-man lease; the position after the last write is what it comes to.

use super::*;
use crate::{baton::Command, ledger::Entry};

#[tonic::async_trait]
impl Intent for v1::Fence {
    fn role(&self) -> v1::Role {
        v1::Role::Source
    }

    async fn survey(&self, at: &At) -> Result<Survey, Failure> {
        recipe(at, engine::Intent::Fence { drain_ms: self.drain_ms }).await
    }

    async fn begin(&self, at: &At) -> Result<(), Failure> {
        let granted = at.host.leases.grant(self.lease_ms);
        let leased = Entry::Leased { migration: at.migration.clone(), lease: granted.clone() };
        at.host.ledger.write(leased).await?;
        at.host.baton(&at.migration, &Command::Fence { epoch: at.epoch }).await?;
        at.host.leases.arm_fence(&at.host, &at.migration, &granted);
        Ok(())
    }

    async fn conclude(&self, at: &At) -> Result<v1::Outcome, Failure> {
        super::gate::must_be_closed(at).await?;
        at.host.baton(&at.migration, &Command::Shut).await?;
        let position = at.host.engine()?.final_position(&at.migration).await?;
        at.host.baton(&at.migration, &Command::Fenced { position }).await?;
        Ok(artefact(at.host.sign_newest(&at.migration)?))
    }

    /// The epoch is raised before the fence goes: whatever was signed under it is void.
    async fn before_undo(&self, at: &At) -> Result<(), Failure> {
        at.host.baton(&at.migration, &Command::Abort { epoch: at.epoch }).await?;
        at.host.leases.disarm(&at.migration);
        Ok(())
    }
}
