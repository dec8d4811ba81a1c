//! Source (C10), once the target is open: our slot goes, and the server ends at once, so that it can follow later.

use super::*;
use crate::baton::Command;

#[tonic::async_trait]
impl Intent for v1::Retire {
    fn role(&self) -> v1::Role {
        v1::Role::Source
    }

    async fn survey(&self, at: &At) -> Result<Survey, Failure> {
        claim(at, self.open.as_ref(), ClaimKind::OpenReceipt).await?;
        recipe(at, engine::Intent::Retire).await
    }

    async fn begin(&self, at: &At) -> Result<(), Failure> {
        let open = claim(at, self.open.as_ref(), ClaimKind::OpenReceipt).await?;
        at.host.baton(&at.migration, &Command::Retire { open }).await
    }

    async fn before_undo(&self, _at: &At) -> Result<(), Failure> {
        Err(past_the_point())
    }
}
