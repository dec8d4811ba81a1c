//! Source (C10), once the target is open: fenced for good. Where the way back is armed it follows the target from now on; elsewhere
//! our slot goes and the server ends at once, so that it can follow once it is started again, which is begun here and waited for by
//! nobody.

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

    async fn conclude(&self, at: &At) -> Result<v1::Outcome, Failure> {
        at.host.end_pouring(&at.migration).await;
        let end = at.host.ledger.baton(&at.migration).and_then(|baton| baton.position());
        let follows = match end {
            Some(end) => at.host.engine()?.follows_back(&at.migration, &end).await?,
            None => None,
        };
        crate::recovery::rejoin(&at.host, &at.migration);
        Ok(plain(follows.unwrap_or_else(|| "done".to_owned())))
    }

    async fn before_undo(&self, _at: &At) -> Result<(), Failure> {
        Err(past_the_point())
    }
}
