//! Private keys on disk, and what names a key in public: its fingerprint and its pin.

use std::{io::Read as _, os::unix::fs::PermissionsExt as _, path::Path};

use aws_lc_rs::digest;
use rcgen::KeyPair;

use crate::{durable, failure::Failure};

/// The first half of a key's fingerprint: enough that nobody finds a second key for it, short enough to type.
pub type Pin = [u8; 16];

/// A fresh Ed25519 key.
pub fn generate_key() -> Result<KeyPair, Failure> {
    KeyPair::generate_for(&rcgen::PKCS_ED25519)
        .map_err(|e| Failure::refused("KEY_FAILED", format!("no key can be generated: {e}"), "look at the host's random source"))
}

/// Writes a private key, readable by its owner alone. An existing file is never overwritten.
pub fn save_key(path: &Path, key: &KeyPair) -> Result<(), Failure> {
    durable::create(path, key.serialize_pem().as_bytes(), 0o600).map_err(|e| {
        Failure::refused("KEY_FAILED", e.to_string(), "remove the old key if it is not needed any more, or make room")
    })
}

/// Reads a private key; one that others can read is refused, because it may be known already.
pub fn load_key(path: &Path) -> Result<KeyPair, Failure> {
    let shown = path.display();
    let unreadable = |e: std::io::Error| {
        Failure::refused("IDENTITY_UNREADABLE", format!("{shown} cannot be read: {e}"), "see that it exists and is ours")
    };
    let mut file = std::fs::File::open(path).map_err(unreadable)?;
    // Asked of the open file, not of the name: nobody can put another in its place between the two.
    let mode = file.metadata().map_err(unreadable)?.permissions().mode() & 0o7777;
    if mode & 0o077 != 0 {
        return Err(Failure::refused(
            "KEY_EXPOSED",
            format!("the private key {shown} can be read by others (mode {mode:04o})"),
            "replace it by joining again; if nobody can have read it, `chmod 600` is enough",
        ));
    }
    let mut pem = String::new();
    file.read_to_string(&mut pem).map_err(unreadable)?;
    key_from_pem(&pem).map_err(|_| Failure::refused("IDENTITY_UNREADABLE", format!("{shown} holds no Ed25519 key"), "join again"))
}

pub(super) fn key_from_pem(pem: &str) -> Result<KeyPair, Failure> {
    match KeyPair::from_pem(pem) {
        Ok(key) if key.is_compatible(&rcgen::PKCS_ED25519) => Ok(key),
        Ok(_) | Err(_) => Err(super::invalid("the private key is not an Ed25519 key")),
    }
}

/// SHA-256 of a key's SubjectPublicKeyInfo (RFC 5280, 4.1), in hexadecimal.
pub fn fingerprint(public_key_info: &[u8]) -> String {
    data_encoding::HEXLOWER.encode(digest::digest(&digest::SHA256, public_key_info).as_ref())
}

/// The pin of a certificate's key.
pub fn pin_of_certificate(der: &[u8]) -> Result<Pin, Failure> {
    Ok(pin(&key_of_certificate(der)?))
}

fn pin(public_key_info: &[u8]) -> Pin {
    let digest = digest::digest(&digest::SHA256, public_key_info);
    let mut pin = Pin::default();
    pin.copy_from_slice(&digest.as_ref()[..16]);
    pin
}

/// The SubjectPublicKeyInfo of a certificate, whose [`fingerprint`] and pin are its key's.
pub fn key_of_certificate(der: &[u8]) -> Result<Vec<u8>, Failure> {
    Ok(super::parse(der)?.public_key().raw.to_vec())
}
