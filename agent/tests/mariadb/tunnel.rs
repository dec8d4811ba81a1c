//! A real tunnel between two engines: the agents' own code at both ends, over a gRPC connection of this test's.

use std::{path::Path, sync::Arc};

use flytt_agent::{
    engine::{Engine, mariadb::Mariadb},
    link::{Terms, Tunnel, greeted, pipe, serve},
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

struct Agent(Arc<Mariadb>);

#[tonic::async_trait]
impl Link for Agent {
    type OpenStream = ReceiverStream<Result<Frame, Status>>;

    async fn open(&self, request: Request<Streaming<Frame>>) -> Result<Response<Self::OpenStream>, Status> {
        let mut frames = request.into_inner();
        let migration = greeted(&mut frames).await?;
        let engine = self.0.clone();
        let (greets, screen, socket) = (engine.greets(), engine.screen(), engine.socket());
        let admit = move |packet: &[u8]| engine.admits(&migration, packet);
        Ok(Response::new(serve(frames, socket, Terms { admit, greets, screen })))
    }

    type DrawStream = ReceiverStream<Result<Frame, Status>>;

    async fn draw(&self, request: Request<DrawRequest>) -> Result<Response<Self::DrawStream>, Status> {
        let ask = request.into_inner();
        let producer = self.0.producer(&ask.migration.parse().unwrap(), ask.producer()).await?;
        Ok(Response::new(pipe::send(producer, ask.max_rate, std::future::pending())))
    }
}

/// From the target's loopback port to the source's socket, as long as it is held.
pub(crate) async fn between(base: &Path, source: &Server, target: &Server) -> Tunnel {
    let address = base.join("agent");
    let incoming = UnixListenerStream::new(UnixListener::bind(&address).unwrap());
    let service = LinkServer::new(Agent(source.engine.clone()));
    tokio::spawn(tonic::transport::Server::builder().add_service(service).serve_with_incoming(incoming));
    let channel = Endpoint::from_shared(format!("unix://{}", address.display())).unwrap().connect_lazy();
    let open = move |frames| {
        let mut client = LinkClient::new(channel.clone());
        async move { client.open(frames).await.map(Response::into_inner) }
    };
    let port = target.engine.tunnel_port().unwrap();
    Tunnel::listen_on_loopback(port, &shop(), open).await.unwrap()
}
