//! `flytt-agent join`: opens the agent's port for enrolment and nothing else, until a controller that knows the code has brought
//! a certificate. The new identity comes into being whole, by one rename, or not at all.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use flytt_proto::{
    code::Code,
    durable,
    failure::Failure,
    identity::{self, Credentials, Identity, Role},
    v1::enrol_server::EnrolServer,
};
use rustix::fs::{CWD, RenameFlags, renameat_with};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tonic::service::Routes;

use crate::{
    config::Config,
    serve::{Limits, serve_routes},
    service::enrol::Enrolment,
};

/// How long the port stays open for enrolment, unless the operator says otherwise.
pub const LIFETIME: Duration = Duration::from_secs(600);
/// A request with a certificate and its authority is some two thousand bytes.
const MESSAGE: usize = 64 << 10;

/// Where the agent's identity is kept: `key.pem`, `cert.pem`, `ca.pem`, all three or none.
pub fn identity_directory(config: &Config) -> PathBuf {
    config.state.join("identity")
}

/// Waits for a controller to enrol this host; `show` is given the code. With `again` the identity that the host has is replaced,
/// and kept until the new one is complete.
pub async fn join(config: &Config, lifetime: Duration, again: bool, show: impl FnOnce(&Code)) -> Result<Identity, Failure> {
    // The port first: while the agent runs, nothing is touched.
    let listener = TcpListener::bind(config.listen).await.map_err(|e| {
        let sentence = format!("{} cannot be opened: {e}", config.listen);
        Failure::refused("PORT_TAKEN", sentence, "stop the agent while it joins, or correct `listen` in agent.toml")
    })?;
    join_on(listener, config, lifetime, again, show).await
}

/// [`join`] on a bound socket.
pub async fn join_on(
    listener: TcpListener,
    config: &Config,
    lifetime: Duration,
    again: bool,
    show: impl FnOnce(&Code),
) -> Result<Identity, Failure> {
    let place = identity_directory(config);
    if place.exists() && !again {
        let sentence = format!("this host has joined already: its identity is in {}", place.display());
        return Err(Failure::refused("ALREADY_JOINED", sentence, "use --again to give it a new one"));
    }
    let staging = Staging::create(&config.state)?;
    let key = identity::generate_key()?;
    identity::save_key(&staging.path.join("key.pem"), &key)?;
    let certificate = identity::self_signed(&key)?;
    let tls = identity::enrolment_config(&key, &certificate)?;
    let code = Code::generate(identity::pin_of_certificate(&certificate)?)?;
    let request = rcgen::CertificateParams::default().serialize_request(&key).and_then(|request| request.pem());
    let request = request.map_err(|e| Failure::refused("KEY_FAILED", e.to_string(), "try again"))?;

    show(&code);
    let ended = CancellationToken::new();
    let install = Box::new(move |certificate: &str, authority: &str| staging.install(certificate, authority, &place));
    let enrolment = Arc::new(Enrolment::new(code, request, install, ended.clone()));
    let service = EnrolServer::from_arc(Arc::clone(&enrolment)).max_decoding_message_size(MESSAGE);
    let expiry = async {
        tokio::time::sleep(lifetime).await;
        ended.cancel();
        std::future::pending::<()>().await;
    };
    tokio::select! {
        served = serve_routes(listener, Arc::new(tls), Routes::new(service), Limits::default(), ended.clone()) => served?,
        () = expiry => {}
    }
    let sentence = format!("nobody has enrolled this host within {} s", lifetime.as_secs());
    let remedy = "run `flytt-agent join` again, then `flytt host add` with the new code";
    enrolment.finish(Failure::refused("ENROLMENT_EXPIRED", sentence, remedy))
}

/// The identity that is coming into being; what is left of it when it does not is removed.
struct Staging {
    path: PathBuf,
}

impl Staging {
    fn create(state: &Path) -> Result<Self, Failure> {
        durable::directory(state, 0o700).map_err(disk)?;
        let path = state.join("identity.new");
        // Of a join that was killed: the key in it belongs to no certificate.
        remove_all(&path)?;
        durable::directory(&path, 0o700).map_err(disk)?;
        Ok(Self { path })
    }

    /// Believes a certificate only if it is for our key, for an agent, and by the authority that comes with it.
    fn install(&self, certificate: &str, authority: &str, place: &Path) -> Result<Identity, Failure> {
        let refused = |sentence: &str| {
            Failure::refused("CERTIFICATE_REFUSED", sentence, "compare the clocks of both hosts, then add the host again")
        };
        let key = identity::load_key(&self.path.join("key.pem"))?;
        let credentials = Credentials::new(key, certificate, authority)?;
        let identity = identity::verify_certificate(credentials.authority(), credentials.certificate())?;
        if identity.role != Role::Agent {
            return Err(refused("the certificate is not an agent's"));
        }
        credentials.save(&self.path)?;
        if place.exists() {
            // Swaps the two in one step; the old identity is then in our place, and goes. C libraries before 2.28 have no function for
            // it, so the kernel is asked.
            renameat_with(CWD, &self.path, CWD, place, RenameFlags::EXCHANGE)
                .map_err(|e| disk(e.into()))
                .and_then(|()| durable::sync_parent(place).map_err(disk))?;
            if let Err(error) = remove_all(&self.path) {
                tracing::warn!(%error, "the old identity is still in {}", self.path.display());
            }
        } else {
            durable::rename(&self.path, place).map_err(disk)?;
        }
        Ok(identity)
    }
}

impl Drop for Staging {
    fn drop(&mut self) {
        let _ = remove_all(&self.path);
    }
}

fn remove_all(path: &Path) -> Result<(), Failure> {
    match std::fs::remove_dir_all(path) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(disk(e)),
        Ok(()) | Err(_) => Ok(()),
    }
}

fn disk(error: std::io::Error) -> Failure {
    Failure::refused("IDENTITY_UNWRITABLE", error.to_string(), "see that the state directory is ours and has room")
}
