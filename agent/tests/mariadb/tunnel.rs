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
use tokio::{io::AsyncReadExt as _, net::UnixListener};
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

/// Needs two users, so it can be tried by root alone; others have but one.
#[test]
fn another_user_of_the_host_is_turned_away_unread() {
    if !nix::unistd::geteuid().is_root() {
        return;
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let opened = Arc::new(std::sync::atomic::AtomicUsize::new(0));
        let count = opened.clone();
        let open = move |_| {
            count.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
            async { Err::<Streaming<Frame>, _>(Status::unavailable("nobody")) }
        };
        let port = crate::server::free_port();
        let _tunnel = Tunnel::listen_on_loopback(port, &shop(), open).await.unwrap();
        // Bash knows /dev/tcp; it says what it hears until the connection ends.
        let script = format!("exec 3<>/dev/tcp/127.0.0.1/{port}; cat <&3; echo ended");
        let other = tokio::task::spawn_blocking(move || {
            let mut command = std::process::Command::new("/usr/sbin/runuser");
            command.args(["-u", "nobody", "--", "/bin/bash", "-c", &script]).current_dir("/").output().unwrap()
        });
        let other = tokio::time::timeout(std::time::Duration::from_secs(20), other).await.unwrap().unwrap();
        assert!(String::from_utf8_lossy(&other.stdout).contains("ended"), "{other:?}");
        assert_eq!(opened.load(std::sync::atomic::Ordering::SeqCst), 0, "the source was asked for a stranger");

        let mut own = tokio::net::TcpStream::connect(("127.0.0.1", port)).await.unwrap();
        assert_eq!(own.read(&mut [0; 8]).await.unwrap_or(0), 0);
        assert_eq!(opened.load(std::sync::atomic::Ordering::SeqCst), 1, "our own was not let through");
    });
}
