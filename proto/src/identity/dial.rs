//! Connections to agents: TCP, TLS, and a first byte from the other side before a call is made, so that a refusal is told with
//! its reason. (In TLS 1.3 a refused client learns of it only when it reads.) What is called over them is left to others.

use std::{
    io,
    sync::{Arc, Mutex},
    time::Duration,
};

use hyper_util::rt::TokioIo;
use rustls::{AlertDescription, CertificateError, ClientConfig, Error as TlsError};
use rustls_pki_types::ServerName;
use tokio::{
    io::{AsyncBufReadExt as _, BufReader},
    net::TcpStream,
};
use tokio_rustls::TlsConnector;
use tonic::transport::{Channel, Endpoint};

use super::{Credentials, Identity, Role, pin::Mismatch, server_name};
use crate::{
    failure::Failure,
    name::{Deployment, HostName},
};

/// An established connection, as the client sees it.
pub type Stream = tokio_rustls::client::TlsStream<BufReader<TcpStream>>;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
const KEEPALIVE: Duration = Duration::from_secs(10);
/// A stream carries at most one window for each round trip: 4 MiB at 50 ms are 80 MiB/s.
const STREAM_WINDOW: u32 = 4 << 20;
const CONNECTION_WINDOW: u32 = 16 << 20;
/// As the agents' side has it; HTTP/2's own 16 KiB would cut each piece of a link into sixteen.
const FRAME: u32 = 1 << 20;
/// Bytes read from a connection at once.
const READ: usize = 256 << 10;

/// A connection as rustls should see it: by itself it reads 4 KiB at a time, which is a system call for each.
pub fn buffered(tcp: TcpStream) -> BufReader<TcpStream> {
    BufReader::with_capacity(READ, tcp)
}

/// Connects to the agent of `host` at `address` (`host:port`), and makes sure that it is that one. The channel reconnects by
/// itself, with the same check. It has no deadline of its own: one would end transfers, too.
pub async fn dial(credentials: &Credentials, host: &HostName, address: &str) -> Result<Channel, Failure> {
    let route = Arc::new(Route {
        config: credentials.client_config(),
        deployment: credentials.identity().deployment.clone(),
        host: host.clone(),
        address: address.to_owned(),
    });
    let first = route.open().await?;
    channel(first, Some(route)).await
}

/// A channel over this connection alone: when it ends, so does the channel.
pub async fn channel_over(stream: Stream) -> Result<Channel, Failure> {
    channel(stream, None).await
}

/// Who is to be found where.
struct Route {
    config: Arc<ClientConfig>,
    deployment: Deployment,
    host: HostName,
    address: String,
}

impl Route {
    async fn open(&self) -> Result<Stream, Failure> {
        let stream = handshake(Arc::clone(&self.config), server_name(&self.host), &self.address).await?;
        let certificate = stream.get_ref().1.peer_certificates().and_then(<[_]>::first);
        let peer = certificate.map(|der| Identity::of_certificate(der)).transpose()?;
        match peer {
            Some(Identity { deployment, role: Role::Agent, host }) if deployment == self.deployment && host == self.host => {
                Ok(stream)
            }
            Some(other) => Err(wrong_host(&self.address, &format!("it is {other}"))),
            None => Err(wrong_host(&self.address, "it shows no certificate")),
        }
    }
}

async fn channel(first: Stream, route: Option<Arc<Route>>) -> Result<Channel, Failure> {
    let first = Arc::new(Mutex::new(Some(first)));
    let connector = tower::service_fn(move |_| {
        let (first, route) = (Arc::clone(&first), route.clone());
        async move {
            let first = first.lock().ok().and_then(|mut stream| stream.take());
            match (first, route) {
                (Some(stream), _) => Ok(TokioIo::new(stream)),
                (None, Some(route)) => route.open().await.map(TokioIo::new),
                (None, None) => Err(Failure::unknown("UNREACHABLE", "the connection has ended", "begin again")),
            }
        }
    });
    // Plain http only for tonic: the connector brings the encryption.
    Endpoint::from_static("http://agent.flytt")
        .http2_keep_alive_interval(KEEPALIVE)
        .keep_alive_timeout(KEEPALIVE)
        .keep_alive_while_idle(true)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_frame_size(FRAME)
        .connect_with_connector(connector)
        .await
        .map_err(|e| Failure::refused("UNREACHABLE", chain(&e), "look at the host and its agent"))
}

/// TCP and TLS, until the agent has sent its first byte; at most three seconds in all.
pub async fn handshake(config: Arc<ClientConfig>, name: ServerName<'static>, address: &str) -> Result<Stream, Failure> {
    let connect = async {
        let tcp = TcpStream::connect(address).await?;
        tcp.set_nodelay(true)?;
        let mut stream = TlsConnector::from(config).connect(name, buffered(tcp)).await?;
        // HTTP/2 servers speak first. The byte stays in the buffer for the one who reads next.
        if stream.fill_buf().await?.is_empty() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(stream)
    };
    match tokio::time::timeout(CONNECT_TIMEOUT, connect).await {
        Ok(outcome) => outcome.map_err(|e: io::Error| explain(address, &e)),
        Err(_) => Err(Failure::refused(
            "UNREACHABLE",
            format!("{address} does not answer within {} s", CONNECT_TIMEOUT.as_secs()),
            "check the address, the network and its filters, and that the agent runs",
        )),
    }
}

fn explain(address: &str, error: &io::Error) -> Failure {
    let why = chain(error);
    let Some(tls) = error.get_ref().and_then(|inner| inner.downcast_ref::<TlsError>()) else {
        let remedy = if error.kind() == io::ErrorKind::ConnectionRefused {
            "start the agent there, or correct the address"
        } else if matches!(error.kind(), io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset) {
            "see the agent's log: it takes a limited number of connections from one address"
        } else {
            "check the address, the network and its filters, and that the agent runs"
        };
        return Failure::refused("UNREACHABLE", format!("{address} cannot be reached: {why}"), remedy);
    };
    if let TlsError::InvalidCertificate(CertificateError::Other(other)) = tls
        && let Some(Mismatch(failure)) = other.0.downcast_ref::<Mismatch>()
    {
        return failure.clone();
    }
    use CertificateError as Bad;
    if let TlsError::InvalidCertificate(bad) = tls {
        if matches!(bad, Bad::NotValidForName | Bad::NotValidForNameContext { .. }) {
            return wrong_host(address, &why);
        }
        if matches!(bad, Bad::UnknownIssuer | Bad::BadSignature) {
            let remedy = "if the host waits to be added, use `flytt host add`; else check the address and the deployment";
            return Failure::refused("WRONG_AUTHORITY", format!("{address} is not of this deployment: {why}"), remedy);
        }
        if matches!(bad, Bad::Expired | Bad::ExpiredContext { .. } | Bad::NotValidYet | Bad::NotValidYetContext { .. }) {
            let remedy = "compare the clocks of both hosts; if they are right, let the host join again";
            return Failure::refused(
                "CERTIFICATE_EXPIRED",
                format!("the certificate of {address} is not valid now: {why}"),
                remedy,
            );
        }
    }
    if let TlsError::AlertReceived(alert) = tls {
        // A failed decryption is what comes of two authorities that bear the same name.
        let (code, remedy) = if matches!(alert, AlertDescription::UnknownCA | AlertDescription::DecryptError) {
            ("WRONG_AUTHORITY", "use the directory of the deployment to which that host belongs")
        } else if *alert == AlertDescription::CertificateExpired {
            ("CERTIFICATE_EXPIRED", "compare the clocks of both hosts, then try again")
        } else {
            ("CERTIFICATE_REFUSED", "see the agent's log, and compare the clocks of both hosts")
        };
        return Failure::refused(code, format!("{address} refuses our certificate: {why}"), remedy);
    }
    Failure::refused(
        "TLS_FAILED",
        format!("no secure connection to {address}: {why}"),
        "check that an agent of flytt listens there",
    )
}

fn wrong_host(address: &str, why: &str) -> Failure {
    let sentence = format!("another host than the one asked for answers at {address}: {why}");
    Failure::refused("WRONG_HOST", sentence, "correct the host's address")
}

/// An error with all that caused it; a cause that only repeats is left out.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        source = cause.source();
    }
    text
}
