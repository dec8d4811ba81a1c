//! Target: lets this move's source in, and nobody else, so that it can follow once the target is the primary.

use super::*;
use crate::ledger::Entry;

#[tonic::async_trait]
impl Intent for v1::Welcome {
    fn role(&self) -> v1::Role {
        v1::Role::Target
    }

    async fn survey(&self, at: &At) -> Result<Survey, Failure> {
        let (name, _) = peer(self.source.as_ref())?;
        if at.host.upstream_of(&at.migration).is_none_or(|(upstream, _)| upstream != name) {
            let sentence = format!("{name} is not the host that this one copies from");
            return Err(Failure::refused("NOT_THE_SOURCE", sentence, "correct migration.toml"));
        }
        recipe(at, engine::Intent::Welcome { verifier: self.verifier.clone() }).await
    }

    async fn begin(&self, at: &At) -> Result<(), Failure> {
        let (name, _) = peer(self.source.as_ref())?;
        at.host.ledger.write(Entry::Granted { migration: at.migration.clone(), peer: name }).await
    }

    async fn after_undo(&self, at: &At) -> Result<v1::Outcome, Failure> {
        at.host.ledger.write(Entry::Withdrawn { migration: at.migration.clone() }).await?;
        Ok(plain("the source is no longer let in"))
    }
}
