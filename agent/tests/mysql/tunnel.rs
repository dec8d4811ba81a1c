//! A real tunnel between two engines: the agents' own code at both ends, over a gRPC connection of this test's.

use std::{path::Path, sync::Arc};

use flytt_agent::{
    engine::{Engine as _, mysql::Mysql},
    link::{Terms, Tunnel, greeted, serve},
};
use flytt_proto::v1::{
    DrawRequest, Frame,
    link_client::LinkClient,
    link_server::{Link, LinkServer},
};
use tokio::net::UnixListener;
use tokio_stream::wrappers::{ReceiverStream, UnixListenerStream};
use tonic::{Request, Response, Status, Streaming, transport::Endpoint};

use crate::{apply::shop, server::Server};

struct Agent(Arc<Mysql>);

#[tonic::async_trait]
impl Link for Agent {
    type OpenStream = ReceiverStream<Result<Frame, Status>>;

    async fn open(&self, request: Request<Streaming<Frame>>) -> Result<Response<Self::OpenStream>, Status> {
        let mut frames = request.into_inner();
        let migration = greeted(&mut frames).await?;
        let engine = self.0.clone();
        let (greets, screen, inlet) = (engine.greets(), engine.screen(), engine.inlet());
        let admit = move |packet: &[u8]| engine.admits(&migration, packet);
        Ok(Response::new(serve(frames, inlet, Terms { admit, greets, screen })))
    }

    type DrawStream = ReceiverStream<Result<Frame, Status>>;

    async fn draw(&self, _: Request<DrawRequest>) -> Result<Response<Self::DrawStream>, Status> {
        Err(Status::unimplemented("no part of these tests"))
    }
}

/// Serves as the source's agent.
pub(crate) fn agent(base: &Path, source: &Server) {
    agent_at(&base.join("agent"), source);
}

fn agent_at(socket: &Path, of: &Server) {
    let incoming = UnixListenerStream::new(UnixListener::bind(socket).unwrap());
    let service = LinkServer::new(Agent(of.engine.clone()));
    tokio::spawn(tonic::transport::Server::builder().add_service(service).serve_with_incoming(incoming));
}

/// From the source's loopback port to the target's server. The target's agent serves from the first time on.
pub(crate) async fn back(base: &Path, source: &Server, target: &Server) -> Tunnel {
    let socket = base.join("agent-of-target");
    if !socket.exists() {
        agent_at(&socket, target);
    }
    listen(&socket, source).await
}

/// From the target's loopback port to the source's server, as long as it is held.
pub(crate) async fn between(base: &Path, source: &Server, target: &Server) -> Tunnel {
    agent(base, source);
    through(base, target).await
}

/// The same where the source's agent serves already.
pub(crate) async fn through(base: &Path, target: &Server) -> Tunnel {
    listen(&base.join("agent"), target).await
}

async fn listen(agent: &Path, here: &Server) -> Tunnel {
    let channel = Endpoint::from_shared(format!("unix://{}", agent.display())).unwrap().connect_lazy();
    let open = move |frames| {
        let mut client = LinkClient::new(channel.clone());
        async move { client.open(frames).await.map(Response::into_inner) }
    };
    let port = here.engine.tunnel_port().unwrap();
    Tunnel::listen_on_loopback(port, &shop(), open).await.unwrap()
}
