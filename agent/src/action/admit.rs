//! Source: lets this move's target in, and nobody else: roles, access rules, a slot, and the grant to open links.

use super::*;
use crate::ledger::Entry;

#[tonic::async_trait]
impl Intent for v1::Admit {
    fn role(&self) -> v1::Role {
        v1::Role::Source
    }

    async fn survey(&self, at: &At) -> Result<Survey, Failure> {
        let (_, address) = peer(self.target.as_ref())?;
        let peer_address = match self.transport() {
            v1::Transport::Direct => Some(peer_ip(&address).await?),
            v1::Transport::Tunnel | v1::Transport::Unspecified => None,
        };
        recipe(at, engine::Intent::Admit { verifier: self.verifier.clone(), peer_address }).await
    }

    async fn begin(&self, at: &At) -> Result<(), Failure> {
        let (name, _) = peer(self.target.as_ref())?;
        at.host.ledger.write(Entry::Granted { migration: at.migration.clone(), peer: name }).await
    }

    async fn after_undo(&self, at: &At) -> Result<v1::Outcome, Failure> {
        at.host.ledger.write(Entry::Withdrawn { migration: at.migration.clone() }).await?;
        at.host.end_pouring(&at.migration).await;
        Ok(plain("the target is no longer admitted"))
    }
}
