//! The connection to a host that has no certificate yet: believed because its key is the one that the code names, and for no
//! other reason.

use std::sync::Arc;

use rcgen::{CertificateParams, DistinguishedName, DnType, KeyPair};
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, Error, OtherError, SignatureScheme,
    client::{
        Resumption,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    },
    crypto::{CryptoProvider, verify_tls13_signature},
    version::TLS13,
};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use tonic::transport::Channel;

use super::{DOMAIN, Pin, dial, key, tls, verify_certificate};
use crate::{code::exporter, failure::Failure};

/// The certificate by which a host that has not joined shows its key.
pub fn self_signed(key: &KeyPair) -> Result<CertificateDer<'static>, Failure> {
    let failed = |e| Failure::refused("SIGNING_FAILED", format!("the certificate cannot be made: {e}"), "try again");
    let mut params = CertificateParams::new(vec![format!("enrol.{DOMAIN}")]).map_err(failed)?;
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, "flytt enrolment");
    Ok(params.self_signed(key).map_err(failed)?.der().clone())
}

/// Connects to the host whose key has this pin. Gives the one connection and its exporter, over which the code is proven; the
/// channel does not reconnect. `authority` (DER) only serves to recognise a host that has joined already.
pub async fn dial_pinned(pin: Pin, address: &str, authority: &[u8]) -> Result<(Channel, [u8; 32]), Failure> {
    let provider = tls::provider();
    let mut config = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(&[&TLS13])
        .map_err(|e| Failure::refused("TLS_FAILED", e.to_string(), "report this"))?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(PinVerifier { pin, provider, authority: authority.to_vec() }))
        .with_no_client_auth();
    config.resumption = Resumption::disabled();
    config.alpn_protocols = vec![b"h2".to_vec()];
    let name = ServerName::try_from(format!("enrol.{DOMAIN}")).expect("a constant DNS name");
    let stream = dial::handshake(Arc::new(config), name, address).await.map_err(|failure| match failure.code.as_str() {
        // The right key, but it asks for a certificate: it has been enrolled with this very code.
        "CERTIFICATE_REFUSED" => already_enrolled(address),
        _ => failure,
    })?;
    let exporter = exporter(stream.get_ref().1)?;
    Ok((dial::channel_over(stream).await?, exporter))
}

fn already_enrolled(host: &str) -> Failure {
    let remedy = "if it is to get a new identity, stop its agent and run `flytt-agent join --again` there";
    Failure::refused("ALREADY_ENROLLED", format!("{host} has joined already"), remedy)
}

/// Somebody else than the host that showed the code; kept in rustls' error so that [`dial::handshake`] can say it.
#[derive(Clone, Debug, thiserror::Error)]
#[error(transparent)]
pub(super) struct Mismatch(pub(super) Failure);

#[derive(Debug)]
struct PinVerifier {
    pin: Pin,
    provider: Arc<CryptoProvider>,
    authority: Vec<u8>,
}

impl ServerCertVerifier for PinVerifier {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        if key::pin_of_certificate(certificate).map_err(|_| CertificateError::BadEncoding)? == self.pin {
            return Ok(ServerCertVerified::assertion());
        }
        let failure = match verify_certificate(&self.authority, certificate) {
            Ok(identity) => already_enrolled(identity.host.as_str()),
            Err(_) => Failure::refused(
                "PIN_MISMATCH",
                "who answers at this address is not the host that showed the code",
                "check the address, and that the code is the one shown last; if both are right, somebody is in between",
            ),
        };
        Err(CertificateError::Other(OtherError(Arc::new(Mismatch(failure)))).into())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(Error::General("TLS 1.2 is never offered".into()))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signature, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ED25519]
    }
}
