//! What strangers can use up, and how the door closes.

use std::io::ErrorKind;

use flytt_proto::identity::{Stream, handshake, server_name};
use rustls::{HandshakeKind, ServerConfig, client::Resumption};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::timeout,
};

use super::*;

/// What comes back until the other side closes; a reset counts as closing.
async fn read_out(tcp: &mut TcpStream) -> Vec<u8> {
    let mut answer = Vec::new();
    match timeout(Duration::from_secs(10), tcp.read_to_end(&mut answer)).await.expect("it closes") {
        Ok(_) => answer,
        Err(error) if error.kind() == ErrorKind::ConnectionReset => answer,
        Err(error) => panic!("{error}"),
    }
}

/// A ClientHello of TLS 1.2 (RFC 5246, 7.4.1.2): no supported_versions extension.
fn client_hello_of_1_2() -> Vec<u8> {
    let mut body = vec![3, 3];
    body.extend([7; 32]); // random
    body.push(0); // no session
    body.extend([0, 4, 0xc0, 0x2b, 0xc0, 0x2f]); // ECDHE with AES-128-GCM, ECDSA and RSA
    body.extend([1, 0]); // no compression
    let groups = [0, 10, 0, 4, 0, 2, 0, 29]; // x25519
    let signatures = [0, 13, 0, 8, 0, 6, 4, 3, 8, 4, 8, 7]; // ECDSA P-256, RSA-PSS, Ed25519
    body.extend([0, (groups.len() + signatures.len()) as u8]);
    body.extend(groups);
    body.extend(signatures);
    let mut hello = vec![22, 3, 1, 0, body.len() as u8 + 4, 1, 0, 0, body.len() as u8];
    hello.extend(body);
    hello
}

#[tokio::test]
async fn tls_1_2_and_plain_text_are_refused() {
    let ours = Deployment::new();
    let agent = ours.open(generous()).await;
    let mut old = TcpStream::connect(agent.address).await.unwrap();
    old.write_all(&client_hello_of_1_2()).await.unwrap();
    let (alert, fatal, protocol_version) = (21, 2, 70);
    let answer = read_out(&mut old).await;
    assert_eq!((answer[0], &answer[5..]), (alert, &[fatal, protocol_version][..]), "{answer:?}");

    for plain in [&b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0"[..], b"GET / HTTP/1.1\r\n\r\n"] {
        let mut plain_text = TcpStream::connect(agent.address).await.unwrap();
        plain_text.write_all(plain).await.unwrap();
        let answer = read_out(&mut plain_text).await;
        assert!(answer.is_empty() || answer[0] == alert, "{answer:?}");
    }
    assert_eq!(agent.reached(), 0);
}

#[tokio::test]
async fn silent_clients_are_cut_while_a_good_one_is_served() {
    let ours = Deployment::new();
    let agent = ours.open(Limits { handshake: Duration::from_secs(1), ..generous() }).await;
    let mut silent = Vec::new();
    for _ in 0..20 {
        silent.push(TcpStream::connect(agent.address).await.unwrap());
    }
    let mut channel = agent.dial(&ours.operator()).await.unwrap();
    assert_eq!(call(&mut channel, "/flytt.v1.Observe/Facts").await.unwrap(), 0);
    for tcp in &mut silent {
        assert_eq!(read_out(tcp).await, b"");
    }
    assert_eq!(call(&mut channel, "/flytt.v1.Observe/Facts").await.unwrap(), 0, "the good one stays");
}

#[tokio::test]
async fn the_ninth_connection_of_one_address_is_refused_until_one_ends() {
    let ours = Deployment::new();
    let agent = ours.open(Limits::default()).await;
    let operator = ours.operator();
    let mut held = Vec::new();
    for _ in 0..8 {
        held.push(agent.dial(&operator).await.unwrap());
    }
    let failure = agent.dial(&operator).await.map(drop).unwrap_err();
    assert_eq!(failure.code, "UNREACHABLE", "{failure}");
    assert_eq!(call(&mut held[0], "/flytt.v1.Observe/Facts").await.unwrap(), 0);
    held.pop();
    soon("a place is free again", async || agent.dial(&operator).await.ok()).await;
}

#[tokio::test]
async fn all_connections_together_are_limited_too() {
    let ours = Deployment::new();
    let agent = ours.open(Limits { total: 2, ..Limits::default() }).await;
    let operator = ours.operator();
    let _held = (agent.dial(&operator).await.unwrap(), agent.dial(&operator).await.unwrap());
    assert_eq!(agent.dial(&operator).await.map(drop).unwrap_err().code, "UNREACHABLE");
}

async fn connect(agent: &Agent, config: &Arc<rustls::ClientConfig>) -> Stream {
    handshake(Arc::clone(config), server_name(&"db-1".parse().unwrap()), &agent.address()).await.unwrap()
}

/// How a client that would like to resume gets in the second time.
async fn second_handshake(agent: &Agent, operator: &Credentials) -> HandshakeKind {
    let mut config = (*operator.client_config()).clone();
    config.resumption = Resumption::in_memory_sessions(8);
    let config = Arc::new(config);
    let _first = connect(agent, &config).await;
    connect(agent, &config).await.get_ref().1.handshake_kind().unwrap()
}

#[tokio::test]
async fn no_session_is_resumed() {
    let ours = Deployment::new();
    let operator = ours.operator();
    let agent = ours.open(generous()).await;
    let full = |kind| matches!(kind, HandshakeKind::Full | HandshakeKind::FullWithHelloRetryRequest);
    assert!(full(second_handshake(&agent, &operator).await));

    // The same client against rustls' defaults, so that the above means something.
    let credentials = ours.agent("db-1");
    let mut lax: ServerConfig = (*credentials.server_config()).clone();
    lax.session_storage = rustls::server::ServerSessionMemoryCache::new(8);
    lax.send_tls13_tickets = 2;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (address, stop) = (listener.local_addr().unwrap(), CancellationToken::new());
    let task = tokio::spawn(serve_routes(listener, Arc::new(lax), Routes::default(), generous(), stop.clone()));
    let agent = Agent { address, reached: Arc::default(), stop, task };
    assert_eq!(second_handshake(&agent, &operator).await, HandshakeKind::Resumed);
}

#[tokio::test]
async fn a_stop_ends_what_is_idle_at_once_and_cuts_what_hangs() {
    let ours = Deployment::new();
    let mut agent = ours.open(Limits { grace: Duration::from_secs(1), ..generous() }).await;
    let operator = ours.operator();
    let mut idle = agent.dial(&operator).await.unwrap();
    assert_eq!(call(&mut idle, "/flytt.v1.Observe/Facts").await.unwrap(), 0);
    let mut hanging = agent.dial(&operator).await.unwrap();
    let hanging = tokio::spawn(async move { call(&mut hanging, SLOW).await.map_err(drop) });
    soon("the slow call has begun", async || (agent.reached() == 2).then_some(())).await;

    agent.stop.cancel();
    soon("nobody is let in any more", async || agent.dial(&operator).await.is_err().then_some(())).await;
    let ended = timeout(Duration::from_secs(10), &mut agent.task).await.expect("the stop has a limit").unwrap();
    assert_eq!(ended, Ok(()));
    let cut = timeout(Duration::from_secs(10), hanging).await.expect("the call ends").unwrap();
    assert_eq!(cut, Err(()));
    TcpListener::bind(agent.address).await.expect("the port is free");
}

#[tokio::test]
async fn an_aborted_server_leaves_no_connection_behind() {
    let ours = Deployment::new();
    let agent = ours.open(generous()).await;
    let config = ours.operator().client_config();
    let mut stream = connect(&agent, &config).await;
    let mut silent = TcpStream::connect(agent.address).await.unwrap();
    agent.task.abort();
    let (mut rest, limit) = (Vec::new(), Duration::from_secs(10));
    let _ = timeout(limit, stream.read_to_end(&mut rest)).await.expect("an established connection is cut");
    assert_eq!(read_out(&mut silent).await, b"", "so is one in its handshake");
}

#[tokio::test]
async fn a_channel_comes_back_to_the_same_agent_and_to_no_other() {
    let ours = Deployment::new();
    let mut agent = ours.open(generous()).await;
    let mut channel = agent.dial(&ours.operator()).await.unwrap();
    assert_eq!(call(&mut channel, "/flytt.v1.Observe/Facts").await.unwrap(), 0);
    let stopped = async |agent: &mut Agent| {
        agent.stop.cancel();
        timeout(Duration::from_secs(10), &mut agent.task).await.expect("it stops").unwrap().unwrap();
    };
    stopped(&mut agent).await;
    let mut other = ours.open_at(agent.address, &ours.agent("db-2"), generous()).await;
    for _ in 0..3 {
        assert!(call(&mut channel, "/flytt.v1.Observe/Facts").await.is_err());
    }
    assert_eq!(other.reached(), 0);
    stopped(&mut other).await;
    let same = ours.open_at(agent.address, &ours.agent("db-1"), generous()).await;
    soon("the channel is connected again", async || call(&mut channel, "/flytt.v1.Observe/Facts").await.ok()).await;
    assert!(same.reached() > 0);
}
