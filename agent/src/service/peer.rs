//! `Peer`: signed artefacts handed over, who holds the baton, and how the source does.

use std::sync::Arc;

use flytt_proto::{failure::Failure, v1};
use tonic::{Request, Response, Status};

use super::migration;
use crate::{host::Host, serve::Caller, watch};

#[derive(Clone, Debug)]
pub struct Peer(pub Arc<Host>);

#[tonic::async_trait]
impl v1::peer_server::Peer for Peer {
    async fn hand(&self, request: Request<v1::HandRequest>) -> Result<Response<v1::HandReply>, Status> {
        let outcome = self.0.receive(request.into_inner().artefact.unwrap_or_default()).await?;
        Ok(Response::new(v1::HandReply { outcome: Some(outcome) }))
    }

    /// For the target that was admitted, and for nobody else.
    async fn vitals(&self, request: Request<v1::VitalsRequest>) -> Result<Response<v1::Vitals>, Status> {
        let caller = Caller::of(&request)?.identity.clone();
        let caller = caller.ok_or_else(|| Failure::refused("DENIED", "the caller has no identity", "join this deployment"))?;
        let migration = migration(&request.into_inner().migration)?;
        self.0.granted(&migration, &caller.host)?;
        Ok(Response::new(watch::vitals(&self.0, &migration).await?))
    }

    async fn baton(&self, request: Request<v1::BatonRequest>) -> Result<Response<v1::BatonState>, Status> {
        use v1::baton_state::Phase as Wire;
        let migration = migration(&request.into_inner().migration)?;
        let mut reply = v1::BatonState { command_epoch: self.0.ledger.command_epoch(&migration).0, ..Default::default() };
        let phase = match self.0.ledger.baton(&migration) {
            None => Wire::NoPart,
            Some(baton) => {
                reply.epoch = baton.epoch().0;
                reply.position = baton.position().map(|position| position.to_string()).unwrap_or_default();
                reply.lease_ms = self.0.leases.remaining_ms(&migration);
                reply.artefact = self.0.sign_newest(&migration).ok();
                reply.proven = baton.phase() == Wire::Open && self.0.has_opened(&migration);
                baton.phase()
            }
        };
        reply.set_phase(phase);
        Ok(Response::new(reply))
    }
}
