//! An agent of another protocol version: it has joined, it answers, and what it would say of its host is of no use.

use flytt::stage::Agent;
use flytt_agent::serve::{Limits, serve_routes};
use flytt_proto::{
    PROTOCOL,
    identity::Credentials,
    v1::{self, observe_server::ObserveServer},
};
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status, service::Routes};

struct Other;

type Nothing<T> = tokio_stream::Empty<Result<T, Status>>;

fn unknown<T>() -> Result<Response<T>, Status> {
    Err(Status::unimplemented("this was not to be asked of another version"))
}

#[tonic::async_trait]
impl v1::observe_server::Observe for Other {
    type ReplicationStream = Nothing<v1::ReplicationSample>;
    type SamplesStream = Nothing<v1::Sample>;

    async fn facts(&self, _: Request<v1::FactsRequest>) -> Result<Response<v1::FactsReply>, Status> {
        Ok(Response::new(v1::FactsReply { protocol: PROTOCOL + 1, version: "9.9.9".into(), ..v1::FactsReply::default() }))
    }

    async fn survey(&self, _: Request<v1::SurveyRequest>) -> Result<Response<v1::SurveyReply>, Status> {
        unknown()
    }

    async fn operation(&self, _: Request<v1::OperationRequest>) -> Result<Response<v1::OperationState>, Status> {
        unknown()
    }

    async fn replication(&self, _: Request<v1::ReplicationRequest>) -> Result<Response<Self::ReplicationStream>, Status> {
        unknown()
    }

    async fn ledger(&self, _: Request<v1::LedgerRequest>) -> Result<Response<v1::LedgerReply>, Status> {
        unknown()
    }

    async fn samples(&self, _: Request<v1::SamplesRequest>) -> Result<Response<Self::SamplesStream>, Status> {
        unknown()
    }
}

/// Takes the place of this agent, which must be down, until the token is cancelled.
pub(crate) async fn takes_the_place_of(agent: &Agent) -> CancellationToken {
    let identity = agent.config.parent().expect("its directory").join("state/identity");
    let credentials = Credentials::load(&identity).expect("it has joined");
    let listener = tokio::net::TcpListener::bind(agent.address).await.expect("the agent is down");
    let routes = Routes::new(ObserveServer::new(Other));
    let routes = flytt_agent::access::guard(routes, credentials.identity().deployment.clone());
    let stop = CancellationToken::new();
    tokio::spawn(serve_routes(listener, credentials.server_config(), routes, Limits::default(), stop.clone()));
    stop
}
