//! A real tunnel between two engines: the agents' own code at both ends, over a gRPC connection of this test's.

use std::{path::Path, sync::Arc, time::Duration};

use flytt_agent::{
    command::Command,
    engine::{self, Blocks, Engine, Origin},
    link::{Terms, Tunnel, greeted, pipe, serve},
};
use flytt_proto::{
    failure::Failure,
    v1::{
        DrawRequest, Frame, draw_request,
        link_client::LinkClient,
        link_server::{Link, LinkServer},
    },
};
use tokio::{io::AsyncReadExt as _, net::UnixListener};
use tokio_stream::wrappers::{ReceiverStream, UnixListenerStream};
use tonic::{
    Request, Response, Status, Streaming,
    transport::{Channel, Endpoint},
};

use crate::{apply::shop, server::Server};

struct Agent(Arc<dyn Engine>);

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

    async fn draw(&self, request: Request<DrawRequest>) -> Result<Response<Self::DrawStream>, Status> {
        let ask = request.into_inner();
        let migration = ask.migration.parse().unwrap();
        Ok(Response::new(match ask.producer() {
            draw_request::Producer::MariadbBackup | draw_request::Producer::Unspecified => {
                let producer = self.0.producer(&migration, ask.producer()).await?;
                pipe::send(producer, ask.max_rate, std::future::pending())
            }
            draw_request::Producer::Snapshot | draw_request::Producer::Rows | draw_request::Producer::SnapshotEnd => {
                pipe::pour(self.0.pour(&migration, &ask).await?, ask.max_rate, std::future::pending())
            }
        }))
    }
}

/// Serves as the source's agent.
pub(crate) fn agent(base: &Path, source: &Server) {
    agent_at(&base.join("agent"), source);
}

pub(crate) fn agent_at(socket: &Path, of: &Server) {
    let incoming = UnixListenerStream::new(UnixListener::bind(socket).unwrap());
    let service = LinkServer::new(Agent(of.engine.clone()));
    tokio::spawn(tonic::transport::Server::builder().add_service(service).serve_with_incoming(incoming));
}

pub(crate) fn channel(base: &Path) -> Channel {
    channel_to(&base.join("agent"))
}

fn channel_to(socket: &Path) -> Channel {
    Endpoint::from_shared(format!("unix://{}", socket.display())).unwrap().connect_lazy()
}

/// From the source's loopback port to the target's server. The target's agent serves from the first time on.
pub(crate) async fn back(base: &Path, source: &Server, target: &Server) -> Tunnel {
    let socket = base.join("agent-of-target");
    if !socket.exists() {
        agent_at(&socket, target);
    }
    listen(channel_to(&socket), source).await
}

/// Those of a target, from wherever `agent` serves.
#[derive(Debug)]
struct Pipes(Channel);

pub(crate) fn pipes(base: &Path) -> Arc<dyn engine::Pipes> {
    Arc::new(Pipes(channel(base)))
}

#[tonic::async_trait]
impl engine::Pipes for Pipes {
    async fn draw(
        &self,
        from: &Origin,
        producer: draw_request::Producer,
        max_rate: u64,
        consumer: &Command,
        progress: &(dyn Fn(u64) + Send + Sync),
    ) -> Result<u64, Failure> {
        let ask =
            DrawRequest { migration: from.migration.to_string(), producer: producer.into(), max_rate, ..DrawRequest::default() };
        let frames = LinkClient::new(self.0.clone()).draw(ask).await?.into_inner();
        pipe::receive(frames, consumer, progress).await
    }

    async fn pull(&self, _: &Origin, ask: DrawRequest) -> Result<Blocks, Failure> {
        Ok(pipe::blocks(LinkClient::new(self.0.clone()).draw(ask).await?.into_inner()))
    }
}

/// From the target's loopback port to the source's socket, as long as it is held.
pub(crate) async fn between(base: &Path, source: &Server, target: &Server) -> Tunnel {
    agent(base, source);
    through(base, target).await
}

/// The same where the source's agent serves already.
pub(crate) async fn through(base: &Path, target: &Server) -> Tunnel {
    listen(channel(base), target).await
}

async fn listen(channel: Channel, here: &Server) -> Tunnel {
    let open = move |frames| {
        let mut client = LinkClient::new(channel.clone());
        async move { client.open(frames).await.map(Response::into_inner) }
    };
    let port = here.engine.tunnel_port().unwrap();
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

/// What became of the newest stream that did not end in order: told a moment after its client has noticed.
pub(crate) async fn trouble(tunnel: &Tunnel) -> Failure {
    for _ in 0..500 {
        if let Some(failure) = tunnel.trouble() {
            return failure;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("the tunnel tells of no trouble");
}
