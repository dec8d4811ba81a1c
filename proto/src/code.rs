//! The one-time code of enrolment: shown on the host, typed at the controller. It carries the pin of the host's key, so that the
//! controller knows whom it talks to, and a secret that both prove to know without ever sending it.

use std::{fmt, str::FromStr};

use data_encoding::BASE32_NOPAD;

use crate::{failure::Failure, identity::Pin};

const PIN: usize = 16;
const SECRET: usize = 16;
/// Not a protection: tells a slip of the finger from a code that is not the right one.
const CHECK: usize = 3;
const GROUP: usize = 4;

/// What the connection's keying material is exported under (RFC 8446, 7.5).
const EXPORTER: &[u8] = b"flytt enrolment 1";

/// The code. Neither `Debug` nor `Display` shows it: [`Code::reveal`] does.
#[derive(Clone)]
pub struct Code {
    pin: Pin,
    secret: [u8; SECRET],
}

/// What is proven: each has its own label, so that no proof can be sent back or used for the other call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Claim {
    /// The controller asks for the request.
    Ask,
    /// The host answers with it.
    Answer,
    /// The controller brings the certificate.
    Install,
}

impl Claim {
    fn label(self) -> &'static [u8] {
        match self {
            Claim::Ask => b"ask",
            Claim::Answer => b"answer",
            Claim::Install => b"install",
        }
    }
}

impl Code {
    /// A fresh code for the host with this key (SubjectPublicKeyInfo).
    pub fn generate(pin: Pin) -> Result<Self, Failure> {
        let mut secret = [0; SECRET];
        aws_lc_rs::rand::fill(&mut secret)
            .map_err(|_| Failure::refused("KEY_FAILED", "no random bytes can be had", "look at the host's random source"))?;
        Ok(Self { pin, secret })
    }

    /// The pin of the key that the host must show.
    pub fn pin(&self) -> Pin {
        self.pin
    }

    /// The code as it is typed. For the terminal of the host that is joining, and nothing else.
    pub fn reveal(&self) -> String {
        let bytes = [&self.pin[..], &self.secret, &self.check()].concat();
        let text = BASE32_NOPAD.encode(&bytes);
        let groups: Vec<&str> = (0..text.len()).step_by(GROUP).map(|at| &text[at..(at + GROUP).min(text.len())]).collect();
        groups.join("-")
    }

    /// Proof of knowing the code, good for this connection and this claim only.
    pub fn prove(&self, claim: Claim, exporter: &[u8; 32]) -> Vec<u8> {
        self.mac(claim, exporter).as_bytes().to_vec()
    }

    /// Whether `proof` is [`Code::prove`]'s, in a time that does not depend on how much of it is right.
    pub fn accepts(&self, claim: Claim, exporter: &[u8; 32], proof: &[u8]) -> bool {
        // blake3 compares hashes in constant time.
        proof.try_into().is_ok_and(|proof: [u8; 32]| self.mac(claim, exporter) == blake3::Hash::from_bytes(proof))
    }

    fn mac(&self, claim: Claim, exporter: &[u8; 32]) -> blake3::Hash {
        let key = blake3::derive_key("flytt 2026 enrolment code to proof key", &self.secret);
        blake3::Hasher::new_keyed(&key).update(exporter).update(claim.label()).finalize()
    }

    fn check(&self) -> [u8; CHECK] {
        let hash = blake3::Hasher::new().update(b"flytt code check").update(&self.pin).update(&self.secret).finalize();
        let mut check = [0; CHECK];
        check.copy_from_slice(&hash.as_bytes()[..CHECK]);
        check
    }
}

impl fmt::Debug for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Code(..)")
    }
}

impl FromStr for Code {
    type Err = Failure;
    /// Upper or lower case, with hyphens, spaces and line ends anywhere.
    fn from_str(text: &str) -> Result<Self, Failure> {
        let typo = |sentence: &str| {
            let remedy = "type the code again as the host shows it, groups and all";
            Failure::refused("CODE_MISTYPED", sentence, remedy)
        };
        let plain: String = text.chars().filter(|c| !c.is_whitespace() && *c != '-').map(|c| c.to_ascii_uppercase()).collect();
        let length = (PIN + SECRET + CHECK) * 8 / 5;
        if plain.chars().count() != length {
            return Err(typo(&format!("the code has {} characters instead of {length}", plain.chars().count())));
        }
        let bytes = BASE32_NOPAD
            .decode(plain.as_bytes())
            .map_err(|_| typo("the code has characters other than the letters A to Z and the digits 2 to 7"))?;
        let mut code = Self { pin: [0; PIN], secret: [0; SECRET] };
        code.pin.copy_from_slice(&bytes[..PIN]);
        code.secret.copy_from_slice(&bytes[PIN..PIN + SECRET]);
        if bytes[PIN + SECRET..] == code.check() { Ok(code) } else { Err(typo("the code is mistyped: its check does not fit")) }
    }
}

/// The keying material of a connection to which proofs are bound: only its two ends can know it.
pub fn exporter<Side>(connection: &rustls::ConnectionCommon<Side>) -> Result<[u8; 32], Failure> {
    connection
        .export_keying_material([0; 32], EXPORTER, None)
        .map_err(|e| Failure::refused("TLS_FAILED", format!("the connection gives no keying material: {e}"), "try again"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code() -> Code {
        Code { pin: [7; PIN], secret: *b"sixteen byte sec" }
    }

    #[test]
    fn a_code_reads_back_however_it_is_typed() {
        let code = code();
        let shown = code.reveal();
        assert_eq!(shown.len(), 56 + 13, "{shown}");
        for typed in [shown.clone(), shown.to_lowercase(), shown.replace('-', ""), shown.replace('-', " ") + "\r\n"] {
            let read: Code = typed.parse().unwrap();
            assert_eq!((read.pin, read.secret), (code.pin, code.secret));
        }
    }

    #[test]
    fn every_single_slip_is_called_one() {
        let shown = code().reveal().replace('-', "");
        for at in 0..shown.len() {
            for other in "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567".chars().filter(|c| !shown[at..].starts_with(*c)) {
                let typed = format!("{}{other}{}", &shown[..at], &shown[at + 1..]);
                assert_eq!(typed.parse::<Code>().unwrap_err().code, "CODE_MISTYPED");
            }
        }
        for bad in ["", "AAAA", &shown[1..], &format!("{shown}A"), &shown.replacen('A', "0", 1), &"Å".repeat(56)] {
            assert_eq!(bad.parse::<Code>().unwrap_err().code, "CODE_MISTYPED", "{bad}");
        }
    }

    #[test]
    fn a_proof_holds_for_its_code_claim_and_connection_only() {
        let (code, here, there) = (code(), [1; 32], [2; 32]);
        let proof = code.prove(Claim::Ask, &here);
        assert!(code.accepts(Claim::Ask, &here, &proof));
        assert!(!code.accepts(Claim::Install, &here, &proof));
        assert!(!code.accepts(Claim::Answer, &here, &proof));
        assert!(!code.accepts(Claim::Ask, &there, &proof));
        assert!(!code.accepts(Claim::Ask, &here, &proof[..31]));
        assert!(!code.accepts(Claim::Ask, &here, &[]));
        let other = Code { secret: [0; SECRET], ..code.clone() };
        assert!(!other.accepts(Claim::Ask, &here, &proof));
    }

    #[test]
    fn the_code_is_not_in_its_debug_output() {
        assert_eq!(format!("{:?}", code()), "Code(..)");
        let (one, two) = (Code::generate([0; PIN]).unwrap(), Code::generate([0; PIN]).unwrap());
        assert_ne!(one.secret, two.secret);
    }
}
