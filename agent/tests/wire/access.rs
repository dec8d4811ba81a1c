//! Every method of the wire × every kind of identity, against one table.

use std::{collections::BTreeMap, sync::Arc};

use flytt_proto::{
    DESCRIPTORS,
    identity::{Credentials, channel_over, handshake, server_name},
};
use prost::Message;
use rcgen::ExtendedKeyUsagePurpose;
use rustls::{ClientConfig, RootCertStore, version::TLS13};

use super::*;

/// Method, operator, agent. Written by hand a second time, so that a slip in the agent's table shows.
const EXPECTED: &[(&str, bool, bool)] = &[
    ("/flytt.v1.Observe/Facts", true, false),
    ("/flytt.v1.Observe/Survey", true, false),
    ("/flytt.v1.Observe/Operation", true, false),
    ("/flytt.v1.Observe/Replication", true, false),
    ("/flytt.v1.Observe/Samples", true, false),
    ("/flytt.v1.Observe/Ledger", true, false),
    ("/flytt.v1.Verify/Survey", true, false),
    ("/flytt.v1.Verify/Tables", true, false),
    ("/flytt.v1.Verify/Digests", true, false),
    ("/flytt.v1.Verify/Cuts", true, false),
    ("/flytt.v1.Verify/Rows", true, false),
    ("/flytt.v1.Verify/Image", true, false),
    ("/flytt.v1.Verify/Position", true, false),
    ("/flytt.v1.Verify/Objects", true, false),
    ("/flytt.v1.Operate/Apply", true, false),
    ("/flytt.v1.Operate/Undo", true, false),
    ("/flytt.v1.Operate/Renew", true, false),
    ("/flytt.v1.Operate/Probe", true, false),
    ("/flytt.v1.Link/Open", false, true),
    ("/flytt.v1.Link/Draw", false, true),
    ("/flytt.v1.Peer/Hand", true, true),
    ("/flytt.v1.Peer/Baton", true, true),
    ("/flytt.v1.Peer/Vitals", false, true),
    ("/flytt.v1.Enrol/Ask", false, false),
    ("/flytt.v1.Enrol/Install", false, false),
];

const OK: u16 = 0;
const PERMISSION_DENIED: u16 = 7;

/// The fields of google/protobuf/descriptor.proto that name methods.
#[derive(Clone, PartialEq, Message)]
struct FileSet {
    #[prost(message, repeated, tag = "1")]
    files: Vec<File>,
}
#[derive(Clone, PartialEq, Message)]
struct File {
    #[prost(string, tag = "2")]
    package: String,
    #[prost(message, repeated, tag = "6")]
    services: Vec<Service>,
}
#[derive(Clone, PartialEq, Message)]
struct Service {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(message, repeated, tag = "2")]
    methods: Vec<Method>,
}
#[derive(Clone, PartialEq, Message)]
struct Method {
    #[prost(string, tag = "1")]
    name: String,
}

fn methods() -> Vec<String> {
    let mut methods = Vec::new();
    for file in FileSet::decode(DESCRIPTORS).unwrap().files {
        for service in &file.services {
            methods.extend(service.methods.iter().map(|method| format!("/{}.{}/{}", file.package, service.name, method.name)));
        }
    }
    methods
}

#[test]
fn every_method_has_a_row() {
    let (mut found, mut expected) = (methods(), EXPECTED.iter().map(|row| row.0.to_owned()).collect::<Vec<_>>());
    found.sort();
    expected.sort();
    assert!(!found.is_empty());
    assert_eq!(found, expected);
}

fn without_certificate(deployment: &Deployment) -> Arc<ClientConfig> {
    let mut roots = RootCertStore::empty();
    roots.add(identity::certificate_from_pem(deployment.authority.certificate_pem()).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider).with_protocol_versions(&[&TLS13]).unwrap();
    let mut config = config.with_root_certificates(roots).with_no_client_auth();
    config.alpn_protocols = vec![b"h2".to_vec()];
    Arc::new(config)
}

/// Signed by somebody else, but believing in our authority: whether it gets in is the agent's decision alone.
fn stranger(deployment: &Deployment, claims: &Claims, issuer: Option<&Deployment>) -> Arc<ClientConfig> {
    let key = identity::generate_key().unwrap();
    let certificate = match issuer {
        Some(foreign) => claims.params().signed_by(&key, &foreign.issuer()).unwrap(),
        None => claims.params().self_signed(&key).unwrap(),
    };
    Credentials::new(key, &certificate.pem(), deployment.authority.certificate_pem()).unwrap().client_config()
}

#[tokio::test]
async fn who_is_not_of_the_deployment_does_not_get_in_for_any_method() {
    let (ours, foreign) = (Deployment::new(), Deployment::new());
    let agent = ours.open(generous()).await;
    let now = SystemTime::now();
    let claims = || Claims::of("operator", "kari");
    let kinds: BTreeMap<&str, (Arc<ClientConfig>, &str)> = BTreeMap::from([
        ("foreign authority", (stranger(&ours, &claims(), Some(&foreign)), "WRONG_AUTHORITY")),
        ("self-signed", (stranger(&ours, &claims(), None), "WRONG_AUTHORITY")),
        ("no certificate", (without_certificate(&ours), "CERTIFICATE_REFUSED")),
        ("expired", (ours.mint(&Claims { to: now - HOUR / 2, ..claims() }).client_config(), "CERTIFICATE_EXPIRED")),
        ("not yet valid", (ours.mint(&Claims { from: now + HOUR / 2, ..claims() }).client_config(), "CERTIFICATE_EXPIRED")),
        (
            "made for servers only",
            (
                ours.mint(&Claims { usages: vec![ExtendedKeyUsagePurpose::ServerAuth], ..claims() }).client_config(),
                "CERTIFICATE_REFUSED",
            ),
        ),
    ]);
    for method in methods() {
        for (kind, (config, code)) in &kinds {
            let refused = handshake(Arc::clone(config), server_name(&"db-1".parse().unwrap()), &agent.address()).await;
            let failure = refused.map(drop).expect_err(kind);
            assert_eq!(failure.code, *code, "{kind} {method}: {failure}");
        }
    }
    assert_eq!(agent.reached(), 0);
}

#[tokio::test]
async fn a_certificate_of_ours_that_names_nobody_is_cut_off() {
    let ours = Deployment::new();
    let agent = ours.open(generous()).await;
    let key = identity::generate_key().unwrap();
    let nameless = Claims { uri: None, ..Claims::of("agent", "db-1") }.params().signed_by(&key, &ours.issuer()).unwrap();
    let mut roots = RootCertStore::empty();
    roots.add(identity::certificate_from_pem(ours.authority.certificate_pem()).unwrap()).unwrap();
    let mut config = (*ours.operator().client_config()).clone();
    let pair = rustls::pki_types::PrivateKeyDer::Pkcs8(key.serialize_der().into());
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let named = ClientConfig::builder_with_provider(provider).with_protocol_versions(&[&TLS13]).unwrap();
    let named = named.with_root_certificates(roots).with_client_auth_cert(vec![nameless.der().clone()], pair).unwrap();
    config.client_auth_cert_resolver = named.client_auth_cert_resolver;
    let refused = handshake(Arc::new(config), server_name(&"db-1".parse().unwrap()), &agent.address()).await;
    assert_eq!(refused.map(drop).unwrap_err().code, "UNREACHABLE");
    assert_eq!(agent.reached(), 0);
}

#[tokio::test]
async fn who_gets_in_may_call_what_the_table_says() {
    let ours = Deployment::new();
    let agent = ours.open(generous()).await;
    let elsewhere = |role: &str| {
        let uri = Some(format!("spiffe://flytt/other/{role}/kari"));
        ours.mint(&Claims { uri, ..Claims::of(role, "kari") })
    };
    let kinds = [
        ("operator", ours.operator()),
        ("agent", ours.agent("db-2")),
        ("operator of another deployment", elsewhere("operator")),
        ("agent of another deployment", elsewhere("agent")),
    ];
    let mut expected_calls = 0;
    for (kind, credentials) in &kinds {
        let name = server_name(&"db-1".parse().unwrap());
        let stream = handshake(credentials.client_config(), name, &agent.address()).await.unwrap();
        let mut channel = channel_over(stream).await.unwrap();
        for (method, operator, agent_may) in EXPECTED {
            let allowed = match *kind {
                "operator" => *operator,
                "agent" => *agent_may,
                _ => false,
            };
            if allowed && *method == SLOW {
                continue;
            }
            let status = call(&mut channel, method).await.unwrap();
            assert_eq!(status, if allowed { OK } else { PERMISSION_DENIED }, "{kind} {method}");
            expected_calls += usize::from(allowed);
        }
        for unlisted in
            ["/flytt.v1.Operate/Drop", "/flytt.v1.Observe/Facts/", "/flytt.v1.observe/Facts", "/", "/other.Service/Call"]
        {
            assert_eq!(call(&mut channel, unlisted).await.unwrap(), PERMISSION_DENIED, "{kind} {unlisted}");
        }
    }
    assert!(expected_calls > 10);
    assert_eq!(agent.reached(), expected_calls, "what was denied must not have reached a service");
}

#[tokio::test]
async fn a_client_believes_only_the_very_agent_it_asked_for() {
    let (ours, foreign) = (Deployment::new(), Deployment::new());
    let operator = ours.operator();
    let now = SystemTime::now();
    let claims = || Claims::of("agent", "db-1");
    let elsewhere = Claims { uri: Some("spiffe://flytt/other/agent/db-1".into()), ..claims() };
    let kinds = [
        ("another host", ours.agent("db-2"), "WRONG_HOST"),
        ("another deployment", ours.mint(&elsewhere), "WRONG_HOST"),
        ("an operator with an agent's DNS name", ours.mint(&Claims::of("operator", "db-1")), "WRONG_HOST"),
        ("foreign authority", foreign.agent("db-1"), "WRONG_AUTHORITY"),
        ("expired", ours.mint(&Claims { to: now - HOUR / 2, ..claims() }), "CERTIFICATE_EXPIRED"),
        ("not yet valid", ours.mint(&Claims { from: now + HOUR / 2, ..claims() }), "CERTIFICATE_EXPIRED"),
        (
            "made for clients only",
            ours.mint(&Claims { usages: vec![ExtendedKeyUsagePurpose::ClientAuth], ..claims() }),
            "TLS_FAILED",
        ),
    ];
    for (kind, credentials, code) in kinds {
        let agent = ours.open_as(&credentials, generous()).await;
        let failure = agent.dial(&operator).await.map(drop).expect_err(kind);
        assert_eq!(failure.code, code, "{kind}: {failure}");
        assert!(!failure.remedy.is_empty());
    }
    let closed = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().to_string();
    let failure = identity::dial(&operator, &"db-1".parse().unwrap(), &closed).await.map(drop).unwrap_err();
    assert_eq!(failure.code, "UNREACHABLE");
    assert!(failure.sentence.contains("refused"), "{failure}");
    let agent = ours.open(generous()).await;
    assert_eq!(call(&mut agent.dial(&operator).await.unwrap(), "/flytt.v1.Observe/Facts").await.unwrap(), OK);
}
