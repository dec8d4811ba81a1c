//! The door of the agent: accepts connections, shakes hands within a time limit, counts them, and tells the services who called.
//! What a caller may do is `access`'s; what the calls do is the services'.

use std::{
    collections::HashMap,
    fmt, io,
    net::{IpAddr, SocketAddr},
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll},
    time::Duration,
};

use flytt_proto::{
    code,
    failure::Failure,
    identity::{self, Credentials, Identity},
    v1::{
        link_server::{Link, LinkServer},
        observe_server::{Observe, ObserveServer},
        operate_server::{Operate, OperateServer},
        peer_server::{Peer, PeerServer},
        verify_server::{Verify, VerifyServer},
    },
};
use rustls::ServerConfig;
use socket2::{SockRef, TcpKeepalive};
use tokio::{
    io::{AsyncRead, AsyncWrite, BufReader, ReadBuf},
    net::{TcpListener, TcpStream},
    sync::mpsc,
    time::{sleep, timeout},
};
use tokio_rustls::{TlsAcceptor, server::TlsStream};
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};
use tonic::{
    service::Routes,
    transport::{Server, server::Connected},
};
use tracing::{debug, warn};

use crate::access;

/// Longest message of a call that orders or asks.
const CONTROL_MESSAGE: usize = 1 << 20;
/// Longest frame of a link.
const LINK_MESSAGE: usize = 4 << 20;
const KEEPALIVE: Duration = Duration::from_secs(10);

/// How long and how many.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// From the TCP connection to the end of the TLS handshake.
    pub handshake: Duration,
    /// Connections at once, handshakes included.
    pub total: usize,
    /// Of these from one address.
    pub per_peer: usize,
    /// From the order to stop until what is still open is cut.
    pub grace: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self { handshake: Duration::from_secs(5), total: 64, per_peer: 8, grace: Duration::from_secs(5) }
    }
}

/// Who called, by the connection and not by what is said over it. In every request's extensions.
#[derive(Clone)]
pub struct Caller {
    pub peer: SocketAddr,
    /// `None` only where no certificate is asked for: in enrolment.
    pub identity: Option<Identity>,
    /// Keying material of this connection, to which enrolment's proofs are bound.
    pub exporter: [u8; 32],
}

impl Caller {
    pub fn of<T>(request: &tonic::Request<T>) -> Result<&Self, tonic::Status> {
        request.extensions().get().ok_or_else(|| tonic::Status::internal("the connection is not known"))
    }
}

impl fmt::Debug for Caller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Caller").field("peer", &self.peer).field("identity", &self.identity).finish_non_exhaustive()
    }
}

/// The services of a host that has joined.
#[derive(Debug)]
pub struct Services<O, P, L, E, V> {
    pub observe: ObserveServer<O>,
    pub operate: OperateServer<P>,
    pub link: LinkServer<L>,
    pub peer: PeerServer<E>,
    pub verify: VerifyServer<V>,
}

impl<O: Observe, P: Operate, L: Link, E: Peer, V: Verify> Services<O, P, L, E, V> {
    /// Each with the limit of its messages.
    fn routes(self) -> Routes {
        Routes::new(self.observe.max_decoding_message_size(CONTROL_MESSAGE))
            .add_service(self.operate.max_decoding_message_size(CONTROL_MESSAGE))
            .add_service(self.link.max_decoding_message_size(LINK_MESSAGE))
            .add_service(self.peer.max_decoding_message_size(CONTROL_MESSAGE))
            .add_service(self.verify.max_decoding_message_size(CONTROL_MESSAGE))
    }
}

/// Serves the deployment's own, each as far as the table of `access` allows, until `stop`.
pub async fn serve<O: Observe, P: Operate, L: Link, E: Peer, V: Verify>(
    listener: TcpListener,
    credentials: &Credentials,
    services: Services<O, P, L, E, V>,
    stop: CancellationToken,
    grace: Duration,
) -> Result<(), Failure> {
    let routes = access::guard(services.routes(), credentials.identity().deployment.clone());
    serve_routes(listener, credentials.server_config(), routes, Limits { grace, ..Limits::default() }, stop).await
}

/// Serves whatever `routes` allow, until `stop`. Then nothing new is accepted, what runs may end by itself for a while, and the
/// rest is cut.
pub async fn serve_routes(
    listener: TcpListener,
    tls: Arc<ServerConfig>,
    routes: Routes,
    limits: Limits,
    stop: CancellationToken,
) -> Result<(), Failure> {
    let cut = CancellationToken::new();
    // Whatever way this function ends, no connection outlives it.
    let _cut = cut.clone().drop_guard();
    let (accepted, incoming) = mpsc::channel(limits.total.max(1));
    let accepting = stop.child_token();
    let _accepting = accepting.clone().drop_guard();
    let door = Door { tls: TlsAcceptor::from(tls), limits, count: Arc::default(), accepted, cut: cut.clone() };
    tokio::spawn(async move {
        tokio::select! {
            () = door.accept(&listener) => {}
            () = accepting.cancelled() => {}
        }
    });
    let server = Server::builder()
        .max_concurrent_streams(64)
        .initial_stream_window_size(4 << 20)
        .initial_connection_window_size(16 << 20)
        .max_frame_size(1 << 20)
        .http2_max_header_list_size(16 << 10)
        .http2_max_pending_accept_reset_streams(Some(20))
        .http2_max_local_error_reset_streams(Some(64))
        .http2_keepalive_interval(Some(KEEPALIVE))
        .http2_keepalive_timeout(Some(KEEPALIVE))
        .add_routes(routes)
        .serve_with_incoming_shutdown(ReceiverStream::new(incoming), stop.clone().cancelled_owned());
    let hard_limit = async {
        stop.cancelled().await;
        sleep(limits.grace).await;
        debug!("connections are still open: cut");
        cut.cancel();
        // Their tasks see it at once; a handler that never yields is not waited for.
        sleep(limits.grace).await;
    };
    tokio::select! {
        outcome = server => outcome.map_err(|e| Failure::refused("SERVE_FAILED", e.to_string(), "see the agent's log")),
        () = hard_limit => Ok(()),
    }
}

struct Door {
    tls: TlsAcceptor,
    limits: Limits,
    count: Arc<Mutex<Count>>,
    accepted: mpsc::Sender<io::Result<Connection>>,
    cut: CancellationToken,
}

impl Door {
    async fn accept(&self, listener: &TcpListener) {
        loop {
            let (tcp, peer) = match listener.accept().await {
                Ok(accepted) => accepted,
                // Too many open files, or a peer that went away in between: neither ends the agent.
                Err(error) => {
                    warn!(%error, "a connection cannot be accepted");
                    sleep(Duration::from_millis(50)).await;
                    continue;
                }
            };
            let Some(slot) = Slot::take(&self.count, peer.ip(), self.limits) else {
                debug!(%peer, "too many connections: refused");
                continue;
            };
            let (tls, accepted, cut, limit) = (self.tls.clone(), self.accepted.clone(), self.cut.clone(), self.limits.handshake);
            // In a task of its own: one silent client must not hold up the others.
            tokio::spawn(async move {
                let handshake = timeout(limit, Connection::establish(tls, tcp, peer, slot, &cut));
                let connection = tokio::select! {
                    outcome = handshake => outcome,
                    () = cut.cancelled() => return,
                };
                match connection {
                    Ok(Ok(connection)) => drop(accepted.send(Ok(connection)).await),
                    Ok(Err(error)) => debug!(%peer, %error, "no handshake"),
                    Err(_) => debug!(%peer, "no handshake in time"),
                }
            });
        }
    }
}

/// How many connections there are, in all and by address.
#[derive(Debug, Default)]
struct Count {
    total: usize,
    by_peer: HashMap<IpAddr, usize>,
}

/// One counted connection; given back when dropped.
#[derive(Debug)]
struct Slot {
    count: Arc<Mutex<Count>>,
    peer: IpAddr,
}

impl Slot {
    fn take(count: &Arc<Mutex<Count>>, peer: IpAddr, limits: Limits) -> Option<Self> {
        let peer = peer.to_canonical();
        let mut counted = count.lock().unwrap_or_else(PoisonError::into_inner);
        let of_peer = counted.by_peer.get(&peer).copied().unwrap_or(0);
        if counted.total >= limits.total || of_peer >= limits.per_peer {
            return None;
        }
        counted.total += 1;
        counted.by_peer.insert(peer, of_peer + 1);
        Some(Self { count: Arc::clone(count), peer })
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let mut counted = self.count.lock().unwrap_or_else(PoisonError::into_inner);
        counted.total = counted.total.saturating_sub(1);
        match counted.by_peer.get_mut(&self.peer) {
            Some(of_peer) if *of_peer > 1 => *of_peer -= 1,
            Some(_) | None => drop(counted.by_peer.remove(&self.peer)),
        }
    }
}

/// An established connection. It ends when the server is cut, whatever runs over it.
struct Connection {
    stream: TlsStream<BufReader<TcpStream>>,
    caller: Caller,
    cut: Pin<Box<WaitForCancellationFutureOwned>>,
    _slot: Slot,
}

impl Connection {
    async fn establish(
        tls: TlsAcceptor,
        tcp: TcpStream,
        peer: SocketAddr,
        slot: Slot,
        cut: &CancellationToken,
    ) -> io::Result<Self> {
        tcp.set_nodelay(true)?;
        let keepalive = TcpKeepalive::new().with_time(Duration::from_secs(30)).with_interval(KEEPALIVE).with_retries(3);
        SockRef::from(&tcp).set_tcp_keepalive(&keepalive)?;
        let stream = tls.accept(identity::buffered(tcp)).await?;
        let connection = stream.get_ref().1;
        let certificate = connection.peer_certificates().and_then(<[_]>::first);
        // The authority's signature has been checked by the handshake; a certificate of it that names nobody is refused here.
        let identity = certificate.map(|der| Identity::of_certificate(der)).transpose().map_err(io::Error::other)?;
        let exporter = code::exporter(connection).map_err(io::Error::other)?;
        let caller = Caller { peer, identity, exporter };
        Ok(Self { stream, caller, cut: Box::pin(cut.clone().cancelled_owned()), _slot: slot })
    }

    fn check_cut(&mut self, context: &mut Context<'_>) -> io::Result<()> {
        match self.cut.as_mut().poll(context) {
            Poll::Ready(()) => Err(io::ErrorKind::ConnectionAborted.into()),
            Poll::Pending => Ok(()),
        }
    }
}

impl Connected for Connection {
    type ConnectInfo = Caller;
    fn connect_info(&self) -> Caller {
        self.caller.clone()
    }
}

impl AsyncRead for Connection {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        self.check_cut(context)?;
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for Connection {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}
