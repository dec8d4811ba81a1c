//! The TLS that both sides speak: version 1.3 and nothing else, the deployment's authority and no other, no resumption (a
//! resumed session would skip the check of the certificate).

use std::sync::Arc;

use rcgen::KeyPair;
use rustls::{
    ClientConfig, RootCertStore, ServerConfig,
    client::Resumption,
    crypto::CryptoProvider,
    server::{NoServerSessionStorage, WebPkiClientVerifier, danger::ClientCertVerifier},
    version::TLS13,
};
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

use crate::failure::Failure;

pub(super) fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::aws_lc_rs::default_provider())
}

fn broken(error: impl std::fmt::Display) -> Failure {
    super::invalid(&format!("key, certificate and authority do not fit together: {error}"))
}

fn roots(authority: &CertificateDer<'_>) -> Result<Arc<RootCertStore>, Failure> {
    let mut roots = RootCertStore::empty();
    roots.add(authority.clone().into_owned()).map_err(broken)?;
    Ok(Arc::new(roots))
}

/// Accepts what the authority signed for use as a client.
pub(super) fn verifier(authority: &CertificateDer<'_>) -> Result<Arc<dyn ClientCertVerifier>, Failure> {
    WebPkiClientVerifier::builder_with_provider(roots(authority)?, provider()).build().map_err(broken)
}

pub(super) fn private(key: &KeyPair) -> PrivateKeyDer<'static> {
    PrivateKeyDer::Pkcs8(key.serialize_der().into())
}

pub(super) fn server_config(
    key: &KeyPair,
    certificate: &CertificateDer<'static>,
    authority: &CertificateDer<'_>,
) -> Result<ServerConfig, Failure> {
    let config = ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&TLS13])
        .map_err(broken)?
        .with_client_cert_verifier(verifier(authority)?)
        .with_single_cert(vec![certificate.clone()], private(key))
        .map_err(broken)?;
    Ok(without_resumption(config))
}

/// For a host that has not joined: its caller has no certificate it could check, and is asked for a proof of the code instead.
pub fn enrolment_config(key: &KeyPair, certificate: &CertificateDer<'static>) -> Result<ServerConfig, Failure> {
    let config = ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&TLS13])
        .map_err(broken)?
        .with_no_client_auth()
        .with_single_cert(vec![certificate.clone()], private(key))
        .map_err(broken)?;
    Ok(without_resumption(config))
}

fn without_resumption(mut config: ServerConfig) -> ServerConfig {
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    config.alpn_protocols = vec![b"h2".to_vec()];
    config
}

pub(super) fn client_config(
    key: &KeyPair,
    certificate: &CertificateDer<'static>,
    authority: &CertificateDer<'_>,
) -> Result<ClientConfig, Failure> {
    let mut config = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&TLS13])
        .map_err(broken)?
        .with_root_certificates(roots(authority)?)
        .with_client_auth_cert(vec![certificate.clone()], private(key))
        .map_err(broken)?;
    config.resumption = Resumption::disabled();
    config.alpn_protocols = vec![b"h2".to_vec()];
    Ok(config)
}

/// A certificate as text (RFC 7468).
pub(super) fn pem(certificate: &CertificateDer<'_>) -> String {
    let text = data_encoding::BASE64.encode(certificate);
    let mut pem = String::from("-----BEGIN CERTIFICATE-----\n");
    for line in text.as_bytes().chunks(64) {
        pem.extend(line.iter().map(|&byte| char::from(byte)));
        pem.push('\n');
    }
    pem + "-----END CERTIFICATE-----\n"
}
