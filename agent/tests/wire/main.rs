//! The agent's door over real TLS: who gets in, who may call what, what strangers can use up.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on ends there")]

mod access;
mod door;

use std::{
    net::SocketAddr,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, SystemTime},
};

use axum::{body::Body, extract::Request, response::Response};
use flytt_agent::{
    access::guard,
    serve::{Caller, Limits, serve_routes},
};
use flytt_proto::{
    failure::Failure,
    identity::{self, Authority, Credentials, OPERATOR_LIFETIME},
};
use rcgen::{CertificateParams, ExtendedKeyUsagePurpose, Issuer, KeyPair, SanType};
use tokio::{net::TcpListener, task::JoinHandle};
use tokio_util::sync::CancellationToken;
use tonic::{codegen::Service as _, service::Routes, transport::Channel};

/// A deployment `test` with its authority on disk.
struct Deployment {
    home: tempfile::TempDir,
    authority: Authority,
}

/// What a certificate says; signed by whoever is asked to.
struct Claims {
    uri: Option<String>,
    host: String,
    usages: Vec<ExtendedKeyUsagePurpose>,
    from: SystemTime,
    to: SystemTime,
}

const BOTH: [ExtendedKeyUsagePurpose; 2] = [ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
const HOUR: Duration = Duration::from_secs(3600);

impl Claims {
    fn of(role: &str, host: &str) -> Self {
        let now = SystemTime::now();
        let uri = Some(format!("spiffe://flytt/test/{role}/{host}"));
        Self { uri, host: host.into(), usages: BOTH.into(), from: now - HOUR, to: now + HOUR }
    }

    fn params(&self) -> CertificateParams {
        let mut params = CertificateParams::new(vec![format!("{}.agent.flytt", self.host)]).unwrap();
        params.subject_alt_names.extend(self.uri.as_ref().map(|uri| SanType::URI(uri.as_str().try_into().unwrap())));
        params.extended_key_usages = self.usages.clone();
        (params.not_before, params.not_after) = (self.from.into(), self.to.into());
        params
    }
}

impl Deployment {
    fn new() -> Self {
        let home = tempfile::tempdir().unwrap();
        let authority = Authority::create(&home.path().join("ca"), "test".parse().unwrap()).unwrap();
        Self { home, authority }
    }

    fn agent(&self, host: &str) -> Credentials {
        let key = identity::generate_key().unwrap();
        let request = CertificateParams::default().serialize_request(&key).unwrap().pem().unwrap();
        let certificate = self.authority.sign_agent(&request, &host.parse().unwrap()).unwrap();
        Credentials::new(key, &certificate, self.authority.certificate_pem()).unwrap()
    }

    fn operator(&self) -> Credentials {
        self.authority.issue_operator(&"kari".parse().unwrap(), OPERATOR_LIFETIME).unwrap()
    }

    /// Credentials of any content, signed by our authority and believing in it.
    fn mint(&self, claims: &Claims) -> Credentials {
        let key = identity::generate_key().unwrap();
        let certificate = claims.params().signed_by(&key, &self.issuer()).unwrap().pem();
        Credentials::new(key, &certificate, self.authority.certificate_pem()).unwrap()
    }

    fn issuer(&self) -> Issuer<'static, KeyPair> {
        let place: PathBuf = self.home.path().join("ca");
        let key = identity::load_key(&place.join("key.pem")).unwrap();
        Issuer::from_ca_cert_pem(self.authority.certificate_pem(), key).unwrap()
    }

    /// An agent `db-1` that answers every call that gets past the table, and counts them.
    async fn open(&self, limits: Limits) -> Agent {
        self.open_as(&self.agent("db-1"), limits).await
    }

    async fn open_as(&self, credentials: &Credentials, limits: Limits) -> Agent {
        self.open_at("127.0.0.1:0".parse().unwrap(), credentials, limits).await
    }

    async fn open_at(&self, listen: SocketAddr, credentials: &Credentials, limits: Limits) -> Agent {
        let reached = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&reached);
        let answer = move |request: Request| {
            let counted = Arc::clone(&counted);
            async move {
                let caller = request.extensions().get::<Caller>().expect("a caller");
                assert!(caller.identity.is_some() && caller.peer.ip().is_loopback());
                counted.fetch_add(1, Ordering::SeqCst);
                if request.uri().path() == SLOW {
                    std::future::pending::<()>().await;
                }
                tonic::Status::ok("").into_http::<Body>()
            }
        };
        let services = Routes::from(axum::Router::new().fallback(answer));
        let listener = TcpListener::bind(listen).await.unwrap();
        let address = listener.local_addr().unwrap();
        let stop = CancellationToken::new();
        let routes = guard(services, "test".parse().unwrap());
        let task = tokio::spawn(serve_routes(listener, credentials.server_config(), routes, limits, stop.clone()));
        Agent { address, reached, stop, task }
    }
}

/// A method that an operator may call; here it never answers.
const SLOW: &str = "/flytt.v1.Operate/Apply";

/// A served agent; ends with the test.
struct Agent {
    address: SocketAddr,
    reached: Arc<AtomicUsize>,
    stop: CancellationToken,
    task: JoinHandle<Result<(), Failure>>,
}

impl Agent {
    fn address(&self) -> String {
        self.address.to_string()
    }

    fn reached(&self) -> usize {
        self.reached.load(Ordering::SeqCst)
    }

    async fn dial(&self, credentials: &Credentials) -> Result<Channel, Failure> {
        identity::dial(credentials, &"db-1".parse().unwrap(), &self.address()).await
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn generous() -> Limits {
    Limits { per_peer: 64, ..Limits::default() }
}

/// One call with a body that is no protobuf; `grpc-status` of the answer.
async fn call(channel: &mut Channel, path: &str) -> Result<u16, tonic::transport::Error> {
    std::future::poll_fn(|context| channel.poll_ready(context)).await?;
    let garbage = tonic::body::Body::new(Body::from(&b"\0\0\0\0\x01\xff"[..]));
    let request = tonic::codegen::http::Request::post(path).header("content-type", "application/grpc").body(garbage).unwrap();
    let answer: Response<_> = channel.call(request).await?;
    Ok(answer.headers()["grpc-status"].to_str().unwrap().parse().unwrap())
}

/// For what comes soon but not at once.
async fn soon<T>(what: &str, mut attempt: impl AsyncFnMut() -> Option<T>) -> T {
    for _ in 0..200 {
        if let Some(value) = attempt().await {
            return value;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("not within 10 s: {what}");
}
