//! Who is who on the wire: a certificate of the deployment's own authority names deployment, role and host in one URI; common
//! names are ignored. What each role may do is the agent's `access`; how a host gets its certificate is enrolment.

mod authority;
mod credentials;
mod dial;
mod key;
mod pin;
mod tls;

use std::{
    fmt,
    str::FromStr,
    time::{Duration, SystemTime},
};

use rustls_pki_types::{CertificateDer, ServerName, pem::PemObject as _};
use x509_parser::prelude::{FromDer as _, GeneralName, X509Certificate};

pub use authority::{AGENT_LIFETIME, Authority, OPERATOR_LIFETIME};
pub use credentials::{Credentials, verify_certificate, verify_signed};
pub use dial::{Stream, buffered, channel_over, dial, handshake};
pub use key::{Pin, fingerprint, generate_key, key_of_certificate, load_key, pin_of_certificate, save_key};
pub use pin::{dial_pinned, self_signed};
pub use tls::enrolment_config;

use crate::{
    failure::Failure,
    name::{Deployment, HostName},
};

/// What a certificate lets its holder be. What each may do stands in one table of the agent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Role {
    /// Orders moves; holds the authority.
    Operator,
    /// Serves one host.
    Agent,
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Role::Operator => "operator",
            Role::Agent => "agent",
        })
    }
}

/// The holder of a certificate, printed as it stands there: `spiffe://flytt/<deployment>/<role>/<host>`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Identity {
    pub deployment: Deployment,
    pub role: Role,
    /// The host of an agent; the name of an operator.
    pub host: HostName,
}

const SCHEME: &str = "spiffe://flytt/";

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{SCHEME}{}/{}/{}", self.deployment, self.role, self.host)
    }
}

impl FromStr for Identity {
    type Err = Failure;
    fn from_str(text: &str) -> Result<Self, Failure> {
        let bad = || invalid("the name in the certificate is not one of flytt's");
        let mut parts = text.strip_prefix(SCHEME).ok_or_else(bad)?.split('/');
        let (Some(deployment), Some(role), Some(host), None) = (parts.next(), parts.next(), parts.next(), parts.next()) else {
            return Err(bad());
        };
        let role = match role {
            "operator" => Role::Operator,
            "agent" => Role::Agent,
            _ => return Err(bad()),
        };
        Ok(Self { deployment: deployment.parse().map_err(|_| bad())?, role, host: host.parse().map_err(|_| bad())? })
    }
}

impl Identity {
    /// Reads the one URI of a certificate. Says nothing of whether the certificate may be believed.
    pub fn of_certificate(der: &[u8]) -> Result<Self, Failure> {
        let certificate = parse(der)?;
        let names = certificate.subject_alternative_name().map_err(|_| invalid("the certificate names its holder twice"))?;
        let mut uris = names
            .iter()
            .flat_map(|names| &names.value.general_names)
            .filter_map(|name| if let GeneralName::URI(uri) = name { Some(*uri) } else { None });
        match (uris.next(), uris.next()) {
            (Some(uri), None) => uri.parse(),
            (None, _) | (Some(_), Some(_)) => Err(invalid("the certificate does not carry exactly one name of flytt's")),
        }
    }
}

/// The name under which an agent's certificate must be valid: `<host>.agent.flytt`.
pub fn server_name(host: &HostName) -> ServerName<'static> {
    ServerName::try_from(dns_name(host)).expect("a host name is a DNS label")
}

fn dns_name(host: &HostName) -> String {
    format!("{host}.{DOMAIN}")
}

/// No public name ends like this, so a certificate of ours is of no use anywhere else.
const DOMAIN: &str = "agent.flytt";

/// The one certificate of a PEM text.
pub fn certificate_from_pem(pem: &str) -> Result<CertificateDer<'static>, Failure> {
    CertificateDer::from_pem_slice(pem.as_bytes()).map_err(|_| invalid("the certificate is not a PEM text"))
}

fn parse(der: &[u8]) -> Result<X509Certificate<'_>, Failure> {
    match X509Certificate::from_der(der) {
        Ok(([], certificate)) => Ok(certificate),
        Ok(_) | Err(_) => Err(invalid("the certificate cannot be read")),
    }
}

/// From when until when a certificate is valid.
fn validity(der: &[u8]) -> Result<(SystemTime, SystemTime), Failure> {
    let certificate = parse(der)?;
    let at = |seconds: i64| u64::try_from(seconds).map(|s| SystemTime::UNIX_EPOCH + Duration::from_secs(s));
    let outside = |_| invalid("the certificate's dates cannot be read");
    let validity = certificate.validity();
    Ok((at(validity.not_before.timestamp()).map_err(outside)?, at(validity.not_after.timestamp()).map_err(outside)?))
}

fn invalid(sentence: &str) -> Failure {
    Failure::refused("IDENTITY_INVALID", sentence, "let the host join again, and add it again with `flytt host add`")
}

#[cfg(test)]
mod tests;
