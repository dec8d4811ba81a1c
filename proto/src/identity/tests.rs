//! Who is believed, and who is not.

use rcgen::{BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, KeyPair, SanType};
use std::{os::unix::fs::PermissionsExt as _, path::Path};

use super::*;

fn authority(at: &Path) -> Authority {
    Authority::create(at, "test".parse().unwrap()).unwrap()
}

fn request(key: &KeyPair) -> String {
    CertificateParams::default().serialize_request(key).unwrap().pem().unwrap()
}

fn agent(authority: &Authority, host: &str) -> Credentials {
    let key = generate_key().unwrap();
    let certificate = authority.sign_agent(&request(&key), &host.parse().unwrap()).unwrap();
    Credentials::new(key, &certificate, authority.certificate_pem()).unwrap()
}

fn operator(authority: &Authority) -> Credentials {
    authority.issue_operator(&"kari".parse().unwrap(), OPERATOR_LIFETIME).unwrap()
}

#[test]
fn an_identity_reads_back_and_nothing_like_it_does() {
    let text = "spiffe://flytt/prod/agent/db-1";
    let identity: Identity = text.parse().unwrap();
    assert_eq!(identity.to_string(), text);
    assert_eq!(identity.role, Role::Agent);
    for bad in [
        "",
        "spiffe://flytt/prod/agent",
        "spiffe://flytt/prod/agent/db-1/",
        "spiffe://flytt/prod/agent/db-1/x",
        "spiffe://flytt//agent/db-1",
        "spiffe://flytt/prod/root/db-1",
        "spiffe://flytt/prod/Agent/db-1",
        "spiffe://flytt/prod/agent/DB-1",
        "spiffe://flytt/prod/agent/db%2d1",
        "spiffe://other/prod/agent/db-1",
        "https://flytt/prod/agent/db-1",
        " spiffe://flytt/prod/agent/db-1",
    ] {
        assert!(bad.parse::<Identity>().is_err(), "{bad:?}");
    }
}

#[test]
fn a_request_decides_nothing_but_the_key() {
    let home = tempfile::tempdir().unwrap();
    let authority = authority(&home.path().join("ca"));
    let key = generate_key().unwrap();
    let mut params = CertificateParams::new(vec!["evil.example".into(), "10.0.0.1".into()]).unwrap();
    params.subject_alt_names.push(SanType::URI("spiffe://flytt/test/operator/root".try_into().unwrap()));
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::CodeSigning];
    let hostile = params.serialize_request(&key).unwrap().pem().unwrap();

    let signed = authority.sign_agent(&hostile, &"db-1".parse().unwrap()).unwrap();
    let der = certificate_from_pem(&signed).unwrap();
    let parsed = parse(&der).unwrap();
    let names: Vec<String> =
        parsed.subject_alternative_name().unwrap().unwrap().value.general_names.iter().map(|name| format!("{name:?}")).collect();
    assert_eq!(names, ["URI(\"spiffe://flytt/test/agent/db-1\")", "DNSName(\"db-1.agent.flytt\")"]);
    assert!(!parsed.is_ca());
    let usage = parsed.extended_key_usage().unwrap().unwrap().value;
    assert!(usage.server_auth && usage.client_auth && !usage.code_signing && !usage.any);
    assert_eq!(parsed.subject().to_string(), "CN=db-1");
    let (from, to) = validity(&der).unwrap();
    let now = SystemTime::now();
    assert!(from < now - Duration::from_secs(590) && from > now - Duration::from_secs(700));
    assert!(to > now + AGENT_LIFETIME - Duration::from_secs(60) && to <= now + AGENT_LIFETIME);
    assert_eq!(key_of_certificate(&der).unwrap(), rcgen::PublicKeyData::subject_public_key_info(&key));
}

#[test]
fn requests_without_a_proof_of_the_key_or_with_another_kind_of_key_are_refused() {
    let home = tempfile::tempdir().unwrap();
    let authority = authority(&home.path().join("ca"));
    let host = "db-1".parse().unwrap();
    let ecdsa = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).unwrap();
    assert_eq!(authority.sign_agent(&request(&ecdsa), &host).unwrap_err().code, "REQUEST_REFUSED");

    let good = request(&generate_key().unwrap());
    let body: String = good.lines().filter(|line| !line.starts_with('-')).collect();
    let mut der = data_encoding::BASE64.decode(body.as_bytes()).unwrap();
    *der.last_mut().unwrap() ^= 1;
    let label = "CERTIFICATE REQUEST";
    let forged = format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", data_encoding::BASE64.encode(&der));
    assert_eq!(authority.sign_agent(&forged, &host).unwrap_err().code, "REQUEST_REFUSED");
    assert_eq!(authority.sign_agent("", &host).unwrap_err().code, "REQUEST_REFUSED");
}

#[test]
fn a_key_that_others_can_read_is_refused() {
    let home = tempfile::tempdir().unwrap();
    let credentials = operator(&authority(&home.path().join("ca")));
    let place = home.path().join("operator");
    credentials.save(&place).unwrap();
    assert_eq!(Credentials::load(&place).unwrap().fingerprint(), credentials.fingerprint());
    let key = place.join("key.pem");
    assert_eq!(key.metadata().unwrap().permissions().mode() & 0o7777, 0o600);
    for mode in [0o640, 0o604, 0o620, 0o601] {
        std::fs::set_permissions(&key, std::fs::Permissions::from_mode(mode)).unwrap();
        assert_eq!(Credentials::load(&place).unwrap_err().code, "KEY_EXPOSED", "{mode:o}");
    }
    assert!(save_key(&key, &generate_key().unwrap()).is_err(), "a key is never overwritten");
}

#[test]
fn an_authority_is_created_once_and_reads_back() {
    let home = tempfile::tempdir().unwrap();
    let place = home.path().join("ca");
    let first = authority(&place);
    assert!(Authority::create(&place, "other".parse().unwrap()).is_err());
    let again = Authority::load(&place).unwrap();
    assert_eq!((again.deployment(), again.certificate_pem()), (first.deployment(), first.certificate_pem()));
    // What the one signs, the other vouches for.
    let held = operator(&again);
    assert!(verify_certificate(&certificate_from_pem(first.certificate_pem()).unwrap(), held.certificate()).is_ok());
    // The key of another authority is noticed, not used.
    let other = home.path().join("other");
    authority(&other);
    std::fs::copy(other.join("key.pem"), place.join("key.pem")).unwrap();
    assert_eq!(Authority::load(&place).unwrap_err().code, "AUTHORITY_BROKEN");
}

#[test]
fn a_certificate_of_another_key_makes_no_credentials() {
    let home = tempfile::tempdir().unwrap();
    let authority = authority(&home.path().join("ca"));
    let certificate = authority.sign_agent(&request(&generate_key().unwrap()), &"db-1".parse().unwrap()).unwrap();
    let stranger = generate_key().unwrap();
    let failure = Credentials::new(stranger, &certificate, authority.certificate_pem()).unwrap_err();
    assert_eq!(failure.sentence, "the certificate belongs to another key");
}

#[test]
fn a_signature_names_its_signer_or_nobody() {
    let home = tempfile::tempdir().unwrap();
    let (ours, foreign) = (authority(&home.path().join("ca")), authority(&home.path().join("foreign")));
    let (one, two, stranger) = (agent(&ours, "db-1"), agent(&ours, "db-2"), agent(&foreign, "db-1"));
    let ca = one.authority();
    let signature = one.sign(b"permit");
    let who = verify_signed(ca, one.certificate(), b"permit", &signature).unwrap();
    assert_eq!(who.to_string(), "spiffe://flytt/test/agent/db-1");
    let code = |outcome: Result<Identity, Failure>| outcome.unwrap_err().code;
    assert_eq!(code(verify_signed(ca, one.certificate(), b"permit!", &signature)), "SIGNATURE_INVALID");
    assert_eq!(code(verify_signed(ca, two.certificate(), b"permit", &signature)), "SIGNATURE_INVALID");
    assert_eq!(code(verify_signed(ca, one.certificate(), b"permit", &[])), "SIGNATURE_INVALID");
    let foreign_signature = stranger.sign(b"permit");
    assert_eq!(code(verify_signed(ca, stranger.certificate(), b"permit", &foreign_signature)), "CERTIFICATE_REFUSED");
    assert_eq!(code(verify_signed(ca, ca, b"permit", &signature)), "CERTIFICATE_REFUSED");
    assert_eq!(code(verify_signed(ca, b"", b"permit", &signature)), "CERTIFICATE_REFUSED");
}

#[test]
fn a_signer_of_another_deployment_under_the_same_authority_is_refused() {
    let home = tempfile::tempdir().unwrap();
    let place = home.path().join("ca");
    let ours = authority(&place);
    let issuer = rcgen::Issuer::from_ca_cert_pem(ours.certificate_pem(), load_key(&place.join("key.pem")).unwrap()).unwrap();
    let key = generate_key().unwrap();
    let mut params = CertificateParams::default();
    params.subject_alt_names = vec![SanType::URI("spiffe://flytt/other/agent/db-1".try_into().unwrap())];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    let certificate = params.signed_by(&key, &issuer).unwrap().pem();
    let (other, own) = (Credentials::new(key, &certificate, ours.certificate_pem()).unwrap(), agent(&ours, "db-1"));
    let check = |signer: &Credentials| operator(&ours).verify_signed(signer.certificate(), b"x", &signer.sign(b"x"));
    assert_eq!(check(&own).unwrap(), *own.identity());
    assert_eq!(check(&other).unwrap_err().code, "CERTIFICATE_REFUSED");
}

#[test]
fn certificates_carry_exactly_one_name() {
    let key = generate_key().unwrap();
    let uri = |host: &str| SanType::URI(format!("spiffe://flytt/test/agent/{host}").try_into().unwrap());
    let with = |names: Vec<SanType>| {
        let mut params = CertificateParams::default();
        params.subject_alt_names = names;
        Identity::of_certificate(params.self_signed(&key).unwrap().der())
    };
    assert!(with(vec![uri("db-1")]).is_ok());
    assert!(with(vec![]).is_err());
    assert!(with(vec![uri("db-1"), uri("db-2")]).is_err());
    assert!(with(vec![SanType::DnsName("db-1.agent.flytt".try_into().unwrap())]).is_err());
}

#[test]
fn the_authority_vouches_for_no_name_outside() {
    let home = tempfile::tempdir().unwrap();
    let place = home.path().join("ca");
    let ours = authority(&place);
    let issuer = rcgen::Issuer::from_ca_cert_pem(ours.certificate_pem(), load_key(&place.join("key.pem")).unwrap()).unwrap();
    let sign = |name: &str| {
        let key = generate_key().unwrap();
        let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        params.subject_alt_names.push(SanType::URI("spiffe://flytt/test/agent/db-1".try_into().unwrap()));
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        let ca = certificate_from_pem(ours.certificate_pem()).unwrap();
        verify_certificate(&ca, params.signed_by(&key, &issuer).unwrap().der())
    };
    assert!(sign("db-1.agent.flytt").is_ok());
    for name in ["www.example.org", "10.0.0.1", "::1"] {
        assert_eq!(sign(name).unwrap_err().code, "CERTIFICATE_REFUSED", "{name}");
    }
}

#[test]
fn nothing_is_resumed_and_nothing_older_is_spoken() {
    let home = tempfile::tempdir().unwrap();
    let config = agent(&authority(&home.path().join("ca")), "db-1").server_config();
    assert_eq!((config.send_tls13_tickets, config.max_early_data_size), (0, 0));
    assert!(!config.session_storage.can_cache() && !config.ticketer.enabled());
    assert_eq!(config.alpn_protocols, [b"h2".to_vec()]);
}

#[test]
fn debug_output_holds_no_key() {
    let home = tempfile::tempdir().unwrap();
    let authority = authority(&home.path().join("ca"));
    let secret = load_key(&home.path().join("ca/key.pem")).unwrap().serialize_pem();
    let shown = format!("{authority:?} {:?}", operator(&authority));
    let line = secret.lines().nth(1).unwrap();
    assert!(!shown.contains(line) && !shown.contains("PRIVATE"), "{shown}");
}
