//! `Operate`: what changes this host.

use std::sync::Arc;

use flytt_proto::{name::Epoch, v1};
use tonic::{Request, Response, Status};

use super::{Streamed, migration, operation, stream};
use crate::{action, apply, host::Host};

#[derive(Clone, Debug)]
pub struct Operate(pub Arc<Host>);

#[tonic::async_trait]
impl v1::operate_server::Operate for Operate {
    type ApplyStream = Streamed<v1::Event>;
    type UndoStream = Streamed<v1::Event>;
    type ProbeStream = Streamed<v1::Event>;

    async fn probe(&self, request: Request<v1::ProbeRequest>) -> Result<Response<Self::ProbeStream>, Status> {
        Ok(Response::new(stream(action::probe::start(&self.0, request.into_inner())?)))
    }

    async fn apply(&self, request: Request<v1::ApplyRequest>) -> Result<Response<Self::ApplyStream>, Status> {
        let request = request.into_inner();
        let action = request.action.unwrap_or_default();
        action::intent(&action)?;
        Ok(Response::new(stream(apply::start(&self.0, operation(&request.id)?, Epoch(request.epoch), action))))
    }

    async fn undo(&self, request: Request<v1::UndoRequest>) -> Result<Response<Self::UndoStream>, Status> {
        let request = request.into_inner();
        Ok(Response::new(stream(apply::start_undo(&self.0, operation(&request.id)?, Epoch(request.epoch)))))
    }

    async fn renew(&self, request: Request<v1::RenewRequest>) -> Result<Response<v1::Lease>, Status> {
        let request = request.into_inner();
        let migration = migration(&request.migration)?;
        self.0.ledger.in_charge(&migration, Epoch(request.epoch))?;
        Ok(Response::new(v1::Lease { remaining_ms: self.0.leases.renew(&migration)? }))
    }
}
