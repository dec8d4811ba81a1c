//! A tunnel through a real gRPC server between real sockets: order, half close, refusals, and every way to die.

use std::{path::PathBuf, time::Duration};

use bytes::Bytes;
use flytt_proto::v1::{
    DrawRequest, Frame,
    link_client::LinkClient,
    link_server::{Link, LinkServer},
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{UnixListener, UnixStream},
    runtime::Runtime,
    sync::mpsc,
    time::timeout,
};
use tokio_stream::wrappers::{ReceiverStream, UnixListenerStream};
use tonic::{Request, Response, Status, Streaming, transport::Endpoint};

use super::*;
use crate::engine::{Admission, Inlet};

const SOON: Duration = Duration::from_secs(20);

/// The source's agent: admits whatever has four bytes and does not begin with an X.
struct Agent {
    server: PathBuf,
}

#[tonic::async_trait]
impl Link for Agent {
    type OpenStream = ReceiverStream<Result<Frame, Status>>;

    async fn open(&self, request: Request<Streaming<Frame>>) -> Result<Response<Self::OpenStream>, Status> {
        let mut frames = request.into_inner();
        assert_eq!(greeted(&mut frames).await?.as_str(), "shop");
        let admit = |first: &[u8]| match first {
            [b'X', ..] => Admission::No("it begins with an X".into()),
            [_, _, _, _, ..] => Admission::Yes,
            _ => Admission::More,
        };
        Ok(Response::new(serve(frames, Inlet::Socket(self.server.clone()), Terms { admit, greets: false, screen: None })))
    }

    type DrawStream = ReceiverStream<Result<Frame, Status>>;

    async fn draw(&self, request: Request<DrawRequest>) -> Result<Response<Self::DrawStream>, Status> {
        Err(Status::unimplemented(request.into_inner().migration))
    }
}

/// A source with a database socket, its agent, and a tunnel to it. All ends with it.
struct Lab {
    home: tempfile::TempDir,
    database: UnixListener,
    /// A runtime of its own, so that all its tasks can die at once.
    agent: Option<Runtime>,
    tunnel: Tunnel,
}

impl Drop for Lab {
    fn drop(&mut self) {
        self.kill_agent();
    }
}

fn migration() -> Migration {
    "shop".parse().unwrap()
}

impl Lab {
    async fn new() -> Self {
        let home = tempfile::tempdir().unwrap();
        let server = home.path().join("database");
        let database = UnixListener::bind(&server).unwrap();
        let address = home.path().join("agent");
        let listener = std::os::unix::net::UnixListener::bind(&address).unwrap();
        listener.set_nonblocking(true).unwrap();
        let agent = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        agent.spawn(async move {
            let incoming = UnixListenerStream::new(UnixListener::from_std(listener).unwrap());
            let service = LinkServer::new(Agent { server });
            tonic::transport::Server::builder().add_service(service).serve_with_incoming(incoming).await.unwrap();
        });
        let channel = Endpoint::from_shared(format!("unix://{}", address.display()))
            .unwrap()
            .initial_stream_window_size(4 << 20)
            .initial_connection_window_size(16 << 20)
            .connect_lazy();
        let open = move |frames| {
            let mut client = LinkClient::new(channel.clone());
            async move { client.open(frames).await.map(Response::into_inner) }
        };
        let tunnel = Tunnel::listen(&home.path().join("run"), 5432, &migration(), open).await.unwrap();
        Self { home, database, agent: Some(agent), tunnel }
    }

    fn kill_agent(&mut self) {
        if let Some(agent) = self.agent.take() {
            agent.shutdown_background();
        }
    }

    async fn client(&self) -> UnixStream {
        UnixStream::connect(self.tunnel.path()).await.unwrap()
    }

    /// Both ends of one admitted link, `PASS` already through.
    async fn linked(&self) -> (UnixStream, UnixStream) {
        let mut client = self.client().await;
        client.write_all(b"PASS").await.unwrap();
        let mut server = timeout(SOON, self.database.accept()).await.expect("admitted").unwrap().0;
        assert_eq!(take(&mut server, 4).await, b"PASS");
        (client, server)
    }

    async fn trouble(&self) -> Failure {
        let wait = async {
            loop {
                if let Some(failure) = self.tunnel.trouble() {
                    return failure;
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        timeout(SOON, wait).await.expect("trouble is reported")
    }
}

async fn take(socket: &mut UnixStream, bytes: usize) -> Vec<u8> {
    let mut taken = vec![0; bytes];
    timeout(SOON, socket.read_exact(&mut taken)).await.expect("bytes arrive").unwrap();
    taken
}

/// Everything up to the end, orderly or by reset.
async fn rest(socket: &mut UnixStream) -> Vec<u8> {
    let mut rest = Vec::new();
    let _ = timeout(SOON, socket.read_to_end(&mut rest)).await.expect("the socket ends");
    rest
}

/// Bytes that repeat only after a long while, so that a lost, doubled or displaced piece shows.
fn noise(block: u64, into: &mut [u8]) {
    blake3::Hasher::new().update(&block.to_le_bytes()).finalize_xof().fill(into);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_hundred_mebibytes_each_way_arrive_whole_and_in_order() {
    const BLOCK: usize = 1 << 20;
    const BLOCKS: u64 = 200;
    let lab = Lab::new().await;
    let (client, server) = lab.linked().await;
    let (mut reads, mut writes) = client.into_split();
    let echo = tokio::spawn(async move {
        let (mut from, mut to) = server.into_split();
        tokio::io::copy(&mut from, &mut to).await.unwrap()
    });
    let sent = tokio::spawn(async move {
        let (mut block, mut digest) = (vec![0; BLOCK], blake3::Hasher::new());
        for number in 0..BLOCKS {
            noise(number, &mut block);
            digest.update(&block);
            writes.write_all(&block).await.unwrap();
        }
        digest.finalize()
        // dropped here: the half close that ends the echo
    });
    let (mut buffer, mut digest, mut total) = (vec![0; BLOCK], blake3::Hasher::new(), 0);
    loop {
        match timeout(SOON, reads.read(&mut buffer)).await.expect("it flows").unwrap() {
            0 => break,
            read => {
                digest.update(&buffer[..read]);
                total += read as u64;
            }
        }
    }
    assert_eq!(total, BLOCKS * BLOCK as u64);
    assert_eq!(digest.finalize(), sent.await.unwrap());
    assert_eq!(echo.await.unwrap(), total);
    assert_eq!(lab.tunnel.trouble(), None);
}

#[tokio::test]
async fn either_side_may_end_its_own_direction_and_go_on_with_the_other() {
    let lab = Lab::new().await;
    let (mut client, mut server) = lab.linked().await;
    client.write_all(b"question").await.unwrap();
    client.shutdown().await.unwrap();
    assert_eq!(rest(&mut server).await, b"question");
    server.write_all(b"answer").await.unwrap();
    drop(server);
    assert_eq!(rest(&mut client).await, b"answer");

    let (mut client, mut server) = lab.linked().await;
    server.write_all(b"greeting").await.unwrap();
    server.shutdown().await.unwrap();
    assert_eq!(rest(&mut client).await, b"greeting");
    client.write_all(b"thanks").await.unwrap();
    drop(client);
    assert_eq!(rest(&mut server).await, b"thanks");
    assert_eq!(lab.tunnel.trouble(), None, "orderly ends are no trouble");
}

#[tokio::test]
async fn nothing_reaches_the_server_before_the_first_packet_is_admitted() {
    let lab = Lab::new().await;
    let mut refused = lab.client().await;
    refused.write_all(b"XASS").await.unwrap();
    assert_eq!(rest(&mut refused).await, b"");
    let failure = lab.trouble().await;
    assert_eq!(failure.code, "LINK_REFUSED");
    assert!(failure.sentence.contains("begins with an X"), "{failure}");

    let mut split = lab.client().await;
    split.write_all(b"PA").await.unwrap();
    let early = timeout(Duration::from_millis(200), lab.database.accept()).await;
    assert!(early.is_err(), "neither the refused connection nor the undecided one came through");
    split.write_all(b"SSword").await.unwrap();
    let mut server = timeout(SOON, lab.database.accept()).await.expect("admitted").unwrap().0;
    assert_eq!(take(&mut server, 8).await, b"PASSword");
    assert_eq!(lab.tunnel.trouble(), None);
}

/// Looks at every byte after the first packet: a question mark does not pass.
struct NoQuestions;

impl crate::engine::Screen for NoQuestions {
    fn passes(&mut self, bytes: &[u8]) -> Result<(), String> {
        if bytes.contains(&b'?') { Err("it asks".into()) } else { Ok(()) }
    }
}

#[tokio::test]
async fn a_server_that_greets_is_heard_before_the_client_is_judged_and_the_client_is_watched_afterwards() {
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("database");
    let database = UnixListener::bind(&path).unwrap();
    let data = |text: &'static [u8]| Ok(frame(v1::frame::Kind::Data(Bytes::from_static(text))));
    let open = |frames: mpsc::Receiver<Result<Frame, Status>>| {
        let admit = |first: &[u8]| if first == b"me" { Admission::Yes } else { Admission::No("not me".into()) };
        let terms = Terms { admit, greets: true, screen: Some(Box::new(NoQuestions)) };
        serve(ReceiverStream::new(frames), Inlet::Socket(path.clone()), terms)
    };
    let heard = |frame: Option<Result<Frame, Status>>| match frame.expect("an answer").map(|frame| frame.kind) {
        Ok(Some(v1::frame::Kind::Data(data))) => String::from_utf8_lossy(&data).into_owned(),
        Ok(other) => panic!("{other:?}"),
        Err(status) => Failure::from(status).code,
    };

    for (says, refused) in [("me", false), ("you", true)] {
        let (client, frames) = mpsc::channel(8);
        let mut answer = open(frames);
        let mut server = timeout(SOON, database.accept()).await.expect("it is connected to at once").unwrap().0;
        server.write_all(b"hello").await.unwrap();
        assert_eq!(heard(answer.next().await), "hello");
        client.send(data(says.as_bytes())).await.unwrap();
        if refused {
            assert_eq!(heard(answer.next().await), "LINK_REFUSED");
            assert_eq!(rest(&mut server).await, b"", "not a byte of it reaches the server");
            continue;
        }
        client.send(data(b" and more")).await.unwrap();
        assert_eq!(take(&mut server, 11).await, b"me and more");
        client.send(data(b"what?")).await.unwrap();
        assert_eq!(heard(answer.next().await), "LINK_REFUSED");
        assert_eq!(rest(&mut server).await, b"", "what does not pass is not passed in part");
    }
}

#[tokio::test]
async fn a_server_that_is_gone_ends_the_connection_with_its_reason() {
    let mut lab = Lab::new().await;
    let gone = lab.home.path().join("gone");
    lab.database = UnixListener::bind(&gone).unwrap();
    let mut client = lab.client().await;
    client.write_all(b"PASS").await.unwrap();
    assert_eq!(rest(&mut client).await, b"");
    assert_eq!(lab.trouble().await.code, "LINK_NO_SERVER");
}

#[tokio::test]
async fn whoever_dies_the_other_end_hears_of_it() {
    let mut lab = Lab::new().await;
    let (client, mut server) = lab.linked().await;
    drop(client);
    assert_eq!(rest(&mut server).await, b"");

    let (mut client, server) = lab.linked().await;
    drop(server);
    assert_eq!(rest(&mut client).await, b"");

    let (mut client, mut server) = lab.linked().await;
    let (mut waiting, mut answering) = lab.linked().await;
    waiting.shutdown().await.unwrap();
    assert_eq!(rest(&mut answering).await, b"", "one direction has ended already");
    lab.kill_agent();
    for socket in [&mut client, &mut server, &mut waiting] {
        assert_eq!(rest(socket).await, b"");
    }
    let written = async { while answering.write_all(&[0; 4096]).await.is_ok() {} };
    timeout(SOON, written).await.expect("the source's server is let go, too");
    let code = lab.trouble().await.code;
    assert!(["UNREACHABLE", "LINK_BROKEN"].contains(&&*code), "{code}");
}

#[tokio::test]
async fn a_stream_without_its_end_frame_is_broken() {
    for (last, whole) in [(Some(v1::frame::Kind::End(v1::frame::End {})), true), (None, false)] {
        let (mut local, socket) = UnixStream::pair().unwrap();
        let data = v1::frame::Kind::Data(Bytes::from_static(b"half a ba"));
        let frames = futures::stream::iter([Some(data), last].into_iter().flatten().map(|kind| Ok(frame(kind))));
        let (out, mut sent) = mpsc::channel(8);
        local.shutdown().await.unwrap();
        let outcome = splice::splice(frames, out, std::convert::identity, socket.into_split(), Bytes::new(), None).await;
        assert_eq!(outcome.map_err(|failure| failure.code), if whole { Ok(()) } else { Err("LINK_BROKEN".into()) });
        assert_eq!(rest(&mut local).await, b"half a ba");
        let end = frame(v1::frame::Kind::End(v1::frame::End {}));
        assert!(!whole || sent.recv().await == Some(end));
    }
}

#[tokio::test]
async fn a_transport_that_takes_no_more_ends_an_idle_socket_and_its_last_word_is_the_reason() {
    let end = || Ok(frame(v1::frame::Kind::End(v1::frame::End {})));
    let (mut local, socket) = UnixStream::pair().unwrap();
    let (out, sent) = mpsc::channel(8);
    drop(sent);
    let halves = socket.into_split();
    let idle = splice::splice(futures::stream::iter([end()]), out, std::convert::identity, halves, Bytes::new(), None);
    assert_eq!(timeout(SOON, idle).await.expect("it does not wait for bytes").expect_err("gone").code, "LINK_BROKEN");
    assert_eq!(rest(&mut local).await, b"");

    let (_local, socket) = UnixStream::pair().unwrap();
    let (out, sent) = mpsc::channel(8);
    drop(sent);
    let late = futures::stream::once(Box::pin(async {
        tokio::time::sleep(Duration::from_millis(50)).await;
        Err(Failure::refused("LINK_REFUSED", "it is not let through", "-").into())
    }));
    let outcome = splice::splice(late, out, std::convert::identity, socket.into_split(), Bytes::new(), None).await;
    assert_eq!(outcome.expect_err("refused").code, "LINK_REFUSED");
}

#[tokio::test]
async fn a_reader_that_stops_stops_the_writer() {
    let lab = Lab::new().await;
    let (mut client, _server) = lab.linked().await;
    let (block, mut written) = (vec![0; 1 << 20], 0_usize);
    while let Ok(wrote) = timeout(Duration::from_secs(1), client.write(&block)).await {
        written += wrote.unwrap();
        assert!(written < 64 << 20, "nothing holds the writer back");
    }
    assert!(written > 0);
}

#[tokio::test]
async fn the_socket_is_private_and_one_listener_s_and_gone_afterwards() {
    use std::os::unix::fs::PermissionsExt as _;
    let lab = Lab::new().await;
    let directory = lab.home.path().join("run");
    assert_eq!(lab.tunnel.path(), directory.join(".s.PGSQL.5432"));
    assert_eq!(std::fs::metadata(&directory).unwrap().permissions().mode() & 0o777, 0o700);
    let nowhere = |_| async { Err::<Streaming<Frame>, _>(Status::unavailable("nobody")) };
    let second = Tunnel::listen(&directory, 5432, &migration(), nowhere).await;
    assert_eq!(second.expect_err("in use").code, "TUNNEL_IN_USE");

    let stale = directory.join(".s.PGSQL.5433");
    drop(std::os::unix::net::UnixListener::bind(&stale).unwrap());
    let tunnel = Tunnel::listen(&directory, 5433, &migration(), nowhere).await.expect("a dead socket is replaced");
    let mut client = UnixStream::connect(&stale).await.unwrap();
    assert_eq!(rest(&mut client).await, b"");
    drop(tunnel);
    assert!(!stale.exists());

    std::fs::set_permissions(&directory, std::fs::Permissions::from_mode(0o755)).unwrap();
    let open = Tunnel::listen(&directory, 5434, &migration(), nowhere).await;
    assert_eq!(open.expect_err("others can enter").code, "TUNNEL_DIRECTORY");
    let long = lab.home.path().join("x".repeat(120));
    assert_eq!(Tunnel::listen(&long, 1, &migration(), nowhere).await.expect_err("too long").code, "TUNNEL_SOCKET");
}

#[tokio::test]
async fn dropping_the_tunnel_ends_its_links() {
    let mut lab = Lab::new().await;
    let (mut client, mut server) = lab.linked().await;
    let elsewhere = lab.home.path().join("elsewhere");
    let nowhere = |_| async { Err::<Streaming<Frame>, _>(Status::unavailable("nobody")) };
    lab.tunnel = Tunnel::listen(&elsewhere, 1, &migration(), nowhere).await.unwrap();
    assert_eq!(rest(&mut client).await, b"");
    assert_eq!(rest(&mut server).await, b"");
}
