//! One process's own identity: its key, its certificate, the authority that both sides of a connection believe. Also the check
//! of what others have signed with theirs.

use std::{
    fmt,
    path::Path,
    sync::Arc,
    time::{Duration, SystemTime},
};

use aws_lc_rs::signature::{ED25519, UnparsedPublicKey};
use rcgen::{KeyPair, PublicKeyData as _, SigningKey as _};
use rustls::{ClientConfig, ServerConfig};
use rustls_pki_types::{CertificateDer, UnixTime};

use super::{Authority, Identity, key, tls};
use crate::{durable, failure::Failure};

/// Key, certificate and authority, ready to serve and to dial.
pub struct Credentials {
    key: KeyPair,
    identity: Identity,
    certificate: CertificateDer<'static>,
    authority: CertificateDer<'static>,
    validity: (SystemTime, SystemTime),
    server: Arc<ServerConfig>,
    client: Arc<ClientConfig>,
}

impl Credentials {
    /// Puts the three together; refuses a certificate of another key. Whether it is valid now is left to those who are shown it.
    pub fn new(key: KeyPair, certificate: &str, authority: &str) -> Result<Self, Failure> {
        let (certificate, authority) = (super::certificate_from_pem(certificate)?, super::certificate_from_pem(authority)?);
        if key::key_of_certificate(&certificate)? != key.subject_public_key_info() {
            return Err(super::invalid("the certificate belongs to another key"));
        }
        Ok(Self {
            identity: Identity::of_certificate(&certificate)?,
            validity: super::validity(&certificate)?,
            server: Arc::new(tls::server_config(&key, &certificate, &authority)?),
            client: Arc::new(tls::client_config(&key, &certificate, &authority)?),
            key,
            certificate,
            authority,
        })
    }

    /// Reads `key.pem`, `cert.pem` and `ca.pem`.
    pub fn load(directory: &Path) -> Result<Self, Failure> {
        let read = |name: &str| {
            std::fs::read_to_string(directory.join(name)).map_err(|e| {
                let sentence = format!("{} cannot be read: {e}", directory.join(name).display());
                Failure::refused("IDENTITY_UNREADABLE", sentence, "see that it exists and is ours")
            })
        };
        let key = key::load_key(&directory.join("key.pem"))?;
        Self::new(key, &read("cert.pem")?, &read("ca.pem")?)
    }

    /// Writes what [`Credentials::load`] reads, the certificate last: with it, the identity is complete.
    pub fn save(&self, directory: &Path) -> Result<(), Failure> {
        let disk = |e: std::io::Error| Failure::refused("IDENTITY_UNWRITABLE", e.to_string(), "see that there is room");
        durable::directory(directory, 0o700).map_err(disk)?;
        durable::write(&directory.join("key.pem"), self.key.serialize_pem().as_bytes(), 0o600).map_err(disk)?;
        durable::write(&directory.join("ca.pem"), tls::pem(&self.authority).as_bytes(), 0o644).map_err(disk)?;
        durable::write(&directory.join("cert.pem"), tls::pem(&self.certificate).as_bytes(), 0o644).map_err(disk)
    }

    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    /// Our own certificate, DER: what goes with a signature, so that others can check it.
    pub fn certificate(&self) -> &CertificateDer<'static> {
        &self.certificate
    }

    /// The authority's certificate, DER.
    pub fn authority(&self) -> &CertificateDer<'static> {
        &self.authority
    }

    /// Whether this authority, and not one that was there before it, stands behind the certificate.
    pub fn is_of(&self, authority: &Authority) -> bool {
        super::certificate_from_pem(authority.certificate_pem()).is_ok_and(|der| der == self.authority)
    }

    /// SHA-256 of our public key, in hexadecimal.
    pub fn fingerprint(&self) -> String {
        key::fingerprint(&self.key.subject_public_key_info())
    }

    /// A raw Ed25519 signature (RFC 8032) by the key of our certificate.
    pub fn sign(&self, message: &[u8]) -> Vec<u8> {
        self.key.sign(message).expect("Ed25519 signs any message")
    }

    /// [`verify_signed`], for signers of our own deployment.
    pub fn verify_signed(&self, certificate: &[u8], message: &[u8], signature: &[u8]) -> Result<Identity, Failure> {
        let signer = verify_signed(&self.authority, certificate, message, signature)?;
        if signer.deployment == self.identity.deployment {
            return Ok(signer);
        }
        let sentence = format!("{signer} belongs to another deployment");
        Err(Failure::refused("CERTIFICATE_REFUSED", sentence, "use an artefact of this deployment"))
    }

    /// How long the certificate is still valid, as a share of its whole life: 1 = fresh, 0 = expired.
    pub fn life_left(&self) -> f64 {
        let whole = self.validity.1.duration_since(self.validity.0).unwrap_or(Duration::ZERO);
        let left = self.validity.1.duration_since(SystemTime::now()).unwrap_or(Duration::ZERO);
        if whole.is_zero() { 0.0 } else { left.as_secs_f64() / whole.as_secs_f64() }
    }

    /// TLS 1.3, mutual, this authority only, no resumption.
    pub fn server_config(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.server)
    }

    /// TLS 1.3, mutual, this authority only, no resumption.
    pub fn client_config(&self) -> Arc<ClientConfig> {
        Arc::clone(&self.client)
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials").field("identity", &self.identity).finish_non_exhaustive()
    }
}

/// Whose certificate this is: signed by `authority` (DER), valid now, made for flytt's connections.
pub fn verify_certificate(authority: &[u8], certificate: &[u8]) -> Result<Identity, Failure> {
    let refused = |sentence: String| Failure::refused("CERTIFICATE_REFUSED", sentence, "see which host it comes from");
    let verifier = tls::verifier(&CertificateDer::from(authority))?;
    verifier
        .verify_client_cert(&CertificateDer::from(certificate), &[], UnixTime::now())
        .map_err(|e| refused(format!("the certificate is not valid in this deployment: {e}")))?;
    Identity::of_certificate(certificate)
}

/// Who signed `message`: the holder of `certificate` (DER), which [`verify_certificate`] accepts.
pub fn verify_signed(authority: &[u8], certificate: &[u8], message: &[u8], signature: &[u8]) -> Result<Identity, Failure> {
    let identity = verify_certificate(authority, certificate)?;
    let parsed = super::parse(certificate)?;
    let key = &parsed.public_key().subject_public_key.data;
    UnparsedPublicKey::new(&ED25519, key).verify(message, signature).map_err(|_| {
        let sentence = format!("the signature is not {identity}'s");
        Failure::refused("SIGNATURE_INVALID", sentence, "nothing was believed; fetch the artefact from its agent again")
    })?;
    Ok(identity)
}
