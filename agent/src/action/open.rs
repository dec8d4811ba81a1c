//! Target (C8): written down as open, then the gate goes, then a durable write proves it.

use super::*;
use crate::baton::Command;

#[tonic::async_trait]
impl Intent for v1::Open {
    fn role(&self) -> v1::Role {
        v1::Role::Target
    }

    async fn survey(&self, at: &At) -> Result<Survey, Failure> {
        claim(at, self.permit.as_ref(), ClaimKind::Permit).await?;
        recipe(at, engine::Intent::Open).await
    }

    async fn begin(&self, at: &At) -> Result<(), Failure> {
        let permit = claim(at, self.permit.as_ref(), ClaimKind::Permit).await?;
        at.host.baton(&at.migration, &Command::Open { permit }).await
    }

    async fn conclude(&self, at: &At) -> Result<v1::Outcome, Failure> {
        let permit = claim(at, self.permit.as_ref(), ClaimKind::Permit).await?;
        let fork = permit.position.ok_or_else(|| missing("the final position"))?;
        at.host.engine()?.proven_primary(&at.migration, &fork).await?;
        Ok(artefact(at.host.sign_newest(&at.migration)?))
    }

    async fn before_undo(&self, _at: &At) -> Result<(), Failure> {
        Err(past_the_point())
    }
}
