//! Enrolment, from the code on the host's terminal to the first call under the new identity: both sides for real.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on ends there")]

use std::{
    os::unix::fs::PermissionsExt as _,
    path::Path,
    sync::Arc,
    time::{Duration, SystemTime},
};

use flytt::{
    enrol::add_host,
    home::{Home, Host},
};
use flytt_agent::{
    config::Config,
    join::{identity_directory, join, join_on},
    serve::{Limits, serve_routes},
};
use flytt_proto::{
    code::{Claim, Code},
    failure::Failure,
    identity::{self, Credentials, Identity},
    v1::{AskRequest, FactsRequest, InstallRequest, enrol_client::EnrolClient, observe_client::ObserveClient},
};
use tokio::{
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};
use tonic::service::Routes;

const LONG: Duration = Duration::from_secs(60);

fn home(at: &tempfile::TempDir) -> Home {
    Home::init(&at.path().join("home"), "test".parse().unwrap()).unwrap()
}

/// A host that joins, in a directory of its own.
struct Joining {
    config: Arc<Config>,
    code: Code,
    address: String,
    task: JoinHandle<Result<Identity, Failure>>,
}

impl Drop for Joining {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn config(state: &Path) -> Arc<Config> {
    let text = format!("listen = \"127.0.0.1:0\"\nstate = \"{0}/state\"\nruntime = \"{0}/run\"\n", state.display());
    let path = state.join("agent.toml");
    flytt_proto::durable::write(&path, text.as_bytes(), 0o600).unwrap();
    Arc::new(Config::read(&path).unwrap())
}

impl Joining {
    async fn begin(config: Arc<Config>, lifetime: Duration, again: bool) -> Self {
        let (show, shown) = tokio::sync::oneshot::channel();
        let listener = TcpListener::bind(config.listen).await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let its = Arc::clone(&config);
        let task =
            tokio::spawn(
                async move { join_on(listener, &its, lifetime, again, move |code| drop(show.send(code.clone()))).await },
            );
        let code = shown.await.expect("the code is shown");
        Self { config, code, address, task }
    }

    async fn fresh(at: &tempfile::TempDir) -> Self {
        Self::begin(config(at.path()), LONG, false).await
    }

    async fn end(&mut self) -> Result<Identity, Failure> {
        tokio::time::timeout(Duration::from_secs(20), &mut self.task).await.expect("the join ends").expect("no panic")
    }

    /// What stands in the state directory.
    fn left(&self) -> Vec<String> {
        let entries = std::fs::read_dir(&self.config.state).map(|entries| entries.map(|entry| entry.unwrap()).collect());
        let mut names: Vec<String> =
            entries.unwrap_or_else(|_| Vec::new()).iter().map(|entry| entry.file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    async fn assert_closed(&self) {
        let error = TcpStream::connect(&self.address).await.map(drop).unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::ConnectionRefused);
    }

    async fn add(&self, home: &Home, name: &str, code: &Code) -> Result<Host, Failure> {
        add_host(home.authority(), &name.parse().unwrap(), &self.address, code).await
    }
}

/// The agent as it serves after joining; only refuses calls, which is enough to see who it is.
async fn serving(config: &Config) -> (String, JoinHandle<Result<(), Failure>>) {
    let credentials = Credentials::load(&identity_directory(config)).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let routes = flytt_agent::access::guard(Routes::default(), credentials.identity().deployment.clone());
    let served = serve_routes(listener, credentials.server_config(), routes, Limits::default(), Default::default());
    (address, tokio::spawn(served))
}

#[tokio::test]
async fn a_host_joins_and_is_then_known_by_its_certificate() {
    let (ours, theirs) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let home = home(&ours);
    let mut host = Joining::fresh(&theirs).await;
    let typed: Code = host.code.reveal().to_lowercase().replace('-', " ").parse().unwrap();
    let added = host.add(&home, "db-1", &typed).await.unwrap();
    assert_eq!(host.end().await.unwrap().to_string(), "spiffe://flytt/test/agent/db-1");
    host.assert_closed().await;

    let place = identity_directory(&host.config);
    assert_eq!(host.left(), ["identity"]);
    assert_eq!(place.metadata().unwrap().permissions().mode() & 0o777, 0o700);
    assert_eq!(place.join("key.pem").metadata().unwrap().permissions().mode() & 0o777, 0o600);
    let credentials = Credentials::load(&place).unwrap();
    assert_eq!((added.key, added.address), (credentials.fingerprint(), host.address.clone()));

    let (address, task) = serving(&host.config).await;
    let channel = identity::dial(&home.credentials().unwrap(), &"db-1".parse().unwrap(), &address).await.unwrap();
    let status = ObserveClient::new(channel).facts(FactsRequest {}).await.unwrap_err();
    assert_eq!(status.code(), tonic::Code::Unimplemented, "past TLS and table, where no service stands");

    // Who is enrolled already says so, to us and not to strangers.
    let other = Code::generate([0; 16]).unwrap();
    for code in [&typed, &other] {
        let again = add_host(home.authority(), &"db-1".parse().unwrap(), &address, code).await.unwrap_err();
        assert_eq!(again.code, "ALREADY_ENROLLED", "{again}");
    }
    let foreign = Home::init(&ours.path().join("foreign"), "other".parse().unwrap()).unwrap();
    let stranger = add_host(foreign.authority(), &"db-1".parse().unwrap(), &address, &other).await.unwrap_err();
    assert_eq!(stranger.code, "PIN_MISMATCH", "{stranger}");
    task.abort();
}

#[tokio::test]
async fn three_wrong_codes_close_the_door_and_leave_nothing() {
    let (ours, theirs) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let home = home(&ours);
    let mut host = Joining::fresh(&theirs).await;
    let wrong = Code::generate(host.code.pin()).unwrap();
    for code in ["WRONG_CODE", "WRONG_CODE", "ENROLMENT_CLOSED"] {
        assert_eq!(host.add(&home, "db-1", &wrong).await.unwrap_err().code, code);
    }
    assert_eq!(host.end().await.unwrap_err().code, "ENROLMENT_CLOSED");
    assert!(host.left().is_empty(), "{:?}", host.left());
    host.assert_closed().await;
    let late = host.add(&home, "db-1", &host.code.clone()).await.unwrap_err();
    assert_eq!(late.code, "UNREACHABLE");
    assert!(late.remedy.contains("flytt-agent join"), "{}", late.remedy);
}

#[tokio::test]
async fn the_right_code_still_works_after_two_wrong_ones() {
    let (ours, theirs) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let home = home(&ours);
    let mut host = Joining::fresh(&theirs).await;
    let wrong = Code::generate(host.code.pin()).unwrap();
    for _ in 0..2 {
        host.add(&home, "db-1", &wrong).await.unwrap_err();
    }
    host.add(&home, "db-1", &host.code.clone()).await.unwrap();
    assert!(host.end().await.is_ok());
}

#[tokio::test]
async fn the_door_closes_when_the_time_is_over() {
    let (ours, theirs) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let home = home(&ours);
    let mut host = Joining::begin(config(theirs.path()), Duration::from_millis(100), false).await;
    assert_eq!(host.end().await.unwrap_err().code, "ENROLMENT_EXPIRED");
    assert!(host.left().is_empty(), "{:?}", host.left());
    assert_eq!(host.add(&home, "db-1", &host.code.clone()).await.unwrap_err().code, "UNREACHABLE");
}

#[tokio::test]
async fn somebody_else_at_the_address_is_told_nothing() {
    let (ours, theirs, others) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let home = home(&ours);
    let host = Joining::fresh(&theirs).await;
    let mut other = Joining::fresh(&others).await;
    // More often than wrong codes are allowed: the other never gets as far as being asked.
    for _ in 0..4 {
        let failure = other.add(&home, "db-1", &host.code).await.unwrap_err();
        assert_eq!(failure.code, "PIN_MISMATCH", "{failure}");
    }
    other.add(&home, "db-2", &other.code.clone()).await.unwrap();
    assert_eq!(other.end().await.unwrap().host.as_str(), "db-2");
}

#[tokio::test]
async fn who_shows_the_hosts_certificate_without_its_key_is_not_believed() {
    let ours = tempfile::tempdir().unwrap();
    let home = home(&ours);
    let (key, stolen) = (identity::generate_key().unwrap(), identity::generate_key().unwrap());
    let certificate = identity::self_signed(&key).unwrap();
    let code = Code::generate(identity::pin_of_certificate(&certificate).unwrap()).unwrap();
    let pair = rustls::pki_types::PrivateKeyDer::Pkcs8(stolen.serialize_der().into());
    let signer = rustls::crypto::aws_lc_rs::sign::any_supported_type(&pair).unwrap();
    let mut tls = identity::enrolment_config(&key, &certificate).unwrap();
    let shown = rustls::sign::CertifiedKey::new(vec![certificate], signer);
    tls.cert_resolver = Arc::new(rustls::sign::SingleCertAndKey::from(shown));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let imposter = tokio::spawn(serve_routes(listener, Arc::new(tls), Routes::default(), Limits::default(), Default::default()));
    let failure = add_host(home.authority(), &"db-1".parse().unwrap(), &address, &code).await.unwrap_err();
    assert!(failure.sentence.contains("BadSignature"), "{failure}");
    imposter.abort();
}

#[tokio::test]
async fn joining_again_is_asked_for_and_keeps_the_old_identity_until_the_new_one_is_whole() {
    let (ours, theirs) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let home = home(&ours);
    let mut host = Joining::fresh(&theirs).await;
    host.add(&home, "db-1", &host.code.clone()).await.unwrap();
    host.end().await.unwrap();
    let held = || Credentials::load(&identity_directory(&host.config)).unwrap().fingerprint();
    let first = held();

    let refused = join(&host.config, LONG, false, |_| panic!("no code is shown")).await.unwrap_err();
    assert_eq!(refused.code, "ALREADY_JOINED");
    let mut in_vain = Joining::begin(Arc::clone(&host.config), Duration::from_millis(100), true).await;
    in_vain.end().await.unwrap_err();
    assert_eq!((held(), host.left()), (first.clone(), vec!["identity".to_owned()]));

    // What a killed join left behind is no obstacle.
    std::fs::create_dir(host.config.state.join("identity.new")).unwrap();
    flytt_proto::durable::write(&host.config.state.join("identity.new/key.pem"), b"old", 0o600).unwrap();
    let mut again = Joining::begin(Arc::clone(&host.config), LONG, true).await;
    assert_eq!(held(), first);
    again.add(&home, "db-9", &again.code.clone()).await.unwrap();
    assert_eq!(again.end().await.unwrap().host.as_str(), "db-9");
    assert_ne!(held(), first);
    assert_eq!(again.left(), ["identity"]);
}

#[tokio::test]
async fn of_two_controllers_with_the_code_one_succeeds() {
    let (ours, theirs) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let home = home(&ours);
    let mut host = Joining::fresh(&theirs).await;
    let (one, two) = tokio::join!(host.add(&home, "db-1", &host.code), host.add(&home, "db-2", &host.code));
    let (winner, loser) = match (&one, &two) {
        (Ok(_), Err(failure)) => ("db-1", failure),
        (Err(failure), Ok(_)) => ("db-2", failure),
        both => panic!("{both:?}"),
    };
    assert!(["ALREADY_ENROLLED", "ENROLMENT_UNKNOWN", "UNREACHABLE"].contains(&loser.code.as_str()), "{loser}");
    assert_eq!(host.end().await.unwrap().host.as_str(), winner);
    assert_eq!(Credentials::load(&identity_directory(&host.config)).unwrap().identity().host.as_str(), winner);
}

/// A controller that knows the code, and abuses it.
struct Rogue {
    client: EnrolClient<tonic::transport::Channel>,
    exporter: [u8; 32],
}

impl Rogue {
    async fn connect(host: &Joining) -> Self {
        let (channel, exporter) = identity::dial_pinned(host.code.pin(), &host.address, &[]).await.unwrap();
        Self { client: EnrolClient::new(channel), exporter }
    }

    async fn ask(&mut self, proof: Vec<u8>) -> Result<String, Failure> {
        Ok(self.client.ask(AskRequest { proof }).await?.into_inner().request)
    }

    async fn install(&mut self, code: &Code, certificate: &str, authority: &str) -> Result<(), Failure> {
        let proof = code.prove(Claim::Install, &self.exporter);
        let request = InstallRequest { proof, certificate: certificate.into(), authority: authority.into() };
        self.client.install(request).await.map(drop).map_err(Failure::from)
    }
}

#[tokio::test]
async fn a_host_takes_no_certificate_but_its_own() {
    let (ours, theirs) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let home = home(&ours);
    let foreign = Home::init(&ours.path().join("foreign"), "other".parse().unwrap()).unwrap();
    let (authority, name) = (home.authority(), "db-1".parse().unwrap());
    let mut host = Joining::fresh(&theirs).await;
    let mut rogue = Rogue::connect(&host).await;
    let request = rogue.ask(host.code.prove(Claim::Ask, &rogue.exporter)).await.unwrap();
    let good = authority.sign_agent(&request, &name).unwrap();

    let key = identity::generate_key().unwrap();
    let other_request = rcgen::CertificateParams::default().serialize_request(&key).unwrap().pem().unwrap();
    let for_another_key = authority.sign_agent(&other_request, &name).unwrap();
    let ca = authority.certificate_pem();
    let ca_key = identity::load_key(&home.path().join("ca/key.pem")).unwrap();
    let issuer = rcgen::Issuer::from_ca_cert_pem(ca, ca_key).unwrap();
    let mut asked = rcgen::CertificateSigningRequestParams::from_pem(&request).unwrap();
    let uri = "spiffe://flytt/test/operator/db-1".try_into().unwrap();
    asked.params.subject_alt_names = vec![rcgen::SanType::URI(uri)];
    asked.params.extended_key_usages = vec![rcgen::ExtendedKeyUsagePurpose::ClientAuth];
    (asked.params.not_before, asked.params.not_after) = (SystemTime::now().into(), (SystemTime::now() + LONG).into());
    let operators = asked.signed_by(&issuer).unwrap().pem();
    for (why, certificate, authority) in [
        ("another key", for_another_key.as_str(), ca),
        ("an operator's, for the right key", &operators, ca),
        ("another authority", &good, foreign.authority().certificate_pem()),
        ("not a certificate", "", ca),
        ("no authority", &good, ""),
        ("its own authority", &good, &good),
    ] {
        let failure = rogue.install(&host.code, certificate, authority).await.expect_err(why);
        assert!(["IDENTITY_INVALID", "CERTIFICATE_REFUSED"].contains(&failure.code.as_str()), "{why}: {failure}");
        assert!(!identity_directory(&host.config).exists(), "{why}");
    }
    rogue.install(&host.code, &good, ca).await.unwrap();
    assert!(host.end().await.is_ok());
}

#[tokio::test]
async fn a_proof_is_good_for_one_connection_and_one_claim() {
    let theirs = tempfile::tempdir().unwrap();
    let mut host = Joining::fresh(&theirs).await;
    let (mut here, there) = (Rogue::connect(&host).await, Rogue::connect(&host).await);
    assert_eq!(here.ask(host.code.prove(Claim::Ask, &there.exporter)).await.unwrap_err().code, "WRONG_CODE");
    assert_eq!(here.ask(host.code.prove(Claim::Answer, &here.exporter)).await.unwrap_err().code, "WRONG_CODE");
    assert_eq!(here.ask(Vec::new()).await.unwrap_err().code, "ENROLMENT_CLOSED");
    // Closed for who knows the code, too, on connections that are still there.
    assert!(here.ask(host.code.prove(Claim::Ask, &here.exporter)).await.is_err());
    assert_eq!(host.end().await.unwrap_err().code, "ENROLMENT_CLOSED");
}

#[tokio::test]
async fn a_host_that_joins_serves_nothing_else() {
    let theirs = tempfile::tempdir().unwrap();
    let host = Joining::fresh(&theirs).await;
    let (channel, _) = identity::dial_pinned(host.code.pin(), &host.address, &[]).await.unwrap();
    let status = ObserveClient::new(channel).facts(FactsRequest {}).await.unwrap_err();
    assert_eq!(status.code(), tonic::Code::Unimplemented);
}
