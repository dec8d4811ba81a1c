//! The deployment's own certificate authority. It lives with the operator; agents know its certificate only.

use std::{
    path::Path,
    time::{Duration, SystemTime},
};

use rcgen::{
    BasicConstraints, CertificateParams, CertificateSigningRequestParams, CidrSubnet, DistinguishedName, DnType,
    ExtendedKeyUsagePurpose, GeneralSubtree, IsCa, Issuer, KeyPair, KeyUsagePurpose, NameConstraints, SanType,
};

use super::{Credentials, DOMAIN, Identity, Role, dns_name, key};
use crate::{
    durable,
    failure::Failure,
    name::{Deployment, HostName},
};

/// How long an agent's certificate is valid.
pub const AGENT_LIFETIME: Duration = Duration::from_secs(90 * 24 * 3600);
/// How long an operator's certificate is valid; the controller issues itself another.
pub const OPERATOR_LIFETIME: Duration = Duration::from_secs(12 * 3600);
const AUTHORITY_LIFETIME: Duration = Duration::from_secs(10 * 365 * 24 * 3600);
/// Hosts whose clocks are this far behind still accept a fresh certificate.
const CLOCK_SKEW: Duration = Duration::from_secs(600);

/// Signs the certificates of one deployment.
#[derive(Debug)]
pub struct Authority {
    deployment: Deployment,
    certificate: String,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    /// Creates key and certificate in `directory`, which must not hold them yet.
    pub fn create(directory: &Path, deployment: Deployment) -> Result<Self, Failure> {
        let key = key::generate_key()?;
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::OrganizationName, deployment.as_str());
        params.distinguished_name.push(DnType::CommonName, format!("flytt {deployment}"));
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        // Even where somebody trusts it by mistake, it can vouch for no web site and no address.
        params.name_constraints = Some(NameConstraints {
            permitted_subtrees: vec![GeneralSubtree::DnsName(DOMAIN.into())],
            excluded_subtrees: vec![
                GeneralSubtree::IpAddress(CidrSubnet::from_v4_prefix([0; 4], 0)),
                GeneralSubtree::IpAddress(CidrSubnet::from_v6_prefix([0; 16], 0)),
            ],
        });
        (params.not_before, params.not_after) = period(AUTHORITY_LIFETIME);
        let certificate = params.self_signed(&key).map_err(signing)?.pem();
        durable::directory(directory, 0o700).map_err(disk)?;
        key::save_key(&directory.join("key.pem"), &key)?;
        durable::create(&directory.join("cert.pem"), certificate.as_bytes(), 0o644).map_err(disk)?;
        Ok(Self { deployment, certificate, issuer: Issuer::new(params, key) })
    }

    /// Reads what [`Authority::create`] wrote.
    pub fn load(directory: &Path) -> Result<Self, Failure> {
        let key = key::load_key(&directory.join("key.pem"))?;
        let certificate = std::fs::read_to_string(directory.join("cert.pem")).map_err(disk)?;
        let broken = || {
            let sentence = format!("the authority in {} cannot be read", directory.display());
            Failure::refused("AUTHORITY_BROKEN", sentence, "restore the directory from a backup, both files of the same time")
        };
        let der = super::certificate_from_pem(&certificate).map_err(|_| broken())?;
        let parsed = super::parse(&der).map_err(|_| broken())?;
        if parsed.public_key().raw != rcgen::PublicKeyData::subject_public_key_info(&key) {
            return Err(broken());
        }
        let organisation = parsed.subject().iter_organization().next().and_then(|name| name.as_str().ok());
        let deployment = organisation.and_then(|name| name.parse().ok()).ok_or_else(broken)?;
        let issuer = Issuer::from_ca_cert_der(&der, key).map_err(|_| broken())?;
        Ok(Self { deployment, certificate, issuer })
    }

    pub fn deployment(&self) -> &Deployment {
        &self.deployment
    }

    /// The authority's own certificate, PEM.
    pub fn certificate_pem(&self) -> &str {
        &self.certificate
    }

    /// Signs the key of a request (PEM) for the agent of `host`. Whatever else the request asks for is ignored.
    pub fn sign_agent(&self, request: &str, host: &HostName) -> Result<String, Failure> {
        let bad = |sentence: String| Failure::refused("REQUEST_REFUSED", sentence, "let the host join again");
        // Checks the request's own signature, too: the host holds the key.
        let request = CertificateSigningRequestParams::from_pem(request)
            .map_err(|e| bad(format!("the request of {host} cannot be accepted: {e}")))?;
        if request.public_key.algorithm() != &rcgen::PKCS_ED25519 {
            return Err(bad(format!("the request of {host} does not carry an Ed25519 key")));
        }
        let mut params = self.leaf(Role::Agent, host, AGENT_LIFETIME)?;
        params.subject_alt_names.push(SanType::DnsName(dns_name(host).try_into().map_err(signing)?));
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        Ok(params.signed_by(&request.public_key, &self.issuer).map_err(signing)?.pem())
    }

    /// A fresh key with a certificate for the operator `name`.
    pub fn issue_operator(&self, name: &HostName, lifetime: Duration) -> Result<Credentials, Failure> {
        let key = key::generate_key()?;
        let mut params = self.leaf(Role::Operator, name, lifetime)?;
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        let certificate = params.signed_by(&key, &self.issuer).map_err(signing)?.pem();
        Credentials::new(key, &certificate, &self.certificate)
    }

    /// All that the certificates of both roles have in common.
    fn leaf(&self, role: Role, host: &HostName, lifetime: Duration) -> Result<CertificateParams, Failure> {
        let identity = Identity { deployment: self.deployment.clone(), role, host: host.clone() };
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, host.as_str());
        params.subject_alt_names = vec![SanType::URI(identity.to_string().try_into().map_err(signing)?)];
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.use_authority_key_identifier_extension = true;
        (params.not_before, params.not_after) = period(lifetime);
        Ok(params)
    }
}

/// The types are `time`'s, which is rcgen's dependency and not ours.
fn period<T: From<SystemTime>>(lifetime: Duration) -> (T, T) {
    let now = SystemTime::now();
    ((now - CLOCK_SKEW).into(), (now + lifetime).into())
}

fn signing(error: rcgen::Error) -> Failure {
    Failure::refused("SIGNING_FAILED", format!("the certificate cannot be made: {error}"), "look at the authority's files")
}

fn disk(error: std::io::Error) -> Failure {
    Failure::refused("AUTHORITY_BROKEN", error.to_string(), "see that the directory exists, is ours, and has room")
}
