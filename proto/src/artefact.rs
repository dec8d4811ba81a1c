//! What one agent states over its signature, so that anyone may carry it: fence proof, closed proof, permit, receipts.
//!
//! Only form and signer are judged here. Keys and certificates are `identity`'s; what a claim permits is the baton's.

use prost::Message as _;

use crate::{
    failure::Failure,
    name::{Epoch, HostName, Migration, Position},
    v1,
};

/// What a claim says of its signer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// Source: nobody writes here any more, and `position` was read after that.
    FenceProof,
    /// Target: promoted behind its gate, with everything up to `position`.
    ClosedProof,
    /// Source: never again by itself; the target may open.
    Permit,
    /// Target: open.
    OpenReceipt,
    /// Target: down and gated; nothing of this epoch or an earlier one will ever open here.
    BurnReceipt,
}

/// A claim in checked form. `position` and `journal` are there exactly where the kind has them.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Claim {
    pub kind: Kind,
    pub migration: Migration,
    /// The epoch of the fence this belongs to; in a burn receipt, the newest epoch that it ends.
    pub epoch: Epoch,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub position: Option<Position>,
    /// Identity of the target's record: 32 lower-case hexadecimal digits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub journal: Option<String>,
    /// Who signed, by its certificate.
    pub signer: HostName,
}

/// Far above any claim or certificate of ours.
const MOST_BYTES: usize = 16 * 1024;

/// Signs `claim` with the key that belongs to `certificate` (DER).
pub fn sign(claim: &Claim, certificate: &[u8], sign: impl FnOnce(&[u8]) -> Vec<u8>) -> v1::Artefact {
    let bytes = encode(claim);
    let signature = sign(&bytes);
    v1::Artefact { claim: bytes, certificate: certificate.to_vec(), signature }
}

/// The claim of `artefact`, if `signer` signed it. `verify(certificate, message, signature)` answers with the host that the
/// certificate names, or why certificate or signature do not hold.
pub fn verify(
    artefact: &v1::Artefact,
    signer: &HostName,
    verify: impl FnOnce(&[u8], &[u8], &[u8]) -> Result<HostName, Failure>,
) -> Result<Claim, Failure> {
    let v1::Artefact { claim, certificate, signature } = artefact;
    if claim.len() + certificate.len() + signature.len() > MOST_BYTES {
        return Err(bad("is too long"));
    }
    let host = verify(certificate, claim, signature)?;
    if host != *signer {
        return Err(Failure::refused(
            "ARTEFACT_SIGNER",
            format!("the artefact is signed by {host}, not by {signer}"),
            format!("get the artefact from {signer}, whose statement this is in this move"),
        ));
    }
    decode(claim, host)
}

/// What an artefact says it is about, unverified: enough to know against whom to verify it.
pub fn about(artefact: &v1::Artefact) -> Result<(Migration, Kind), Failure> {
    if artefact.claim.len() > MOST_BYTES {
        return Err(bad("is too long"));
    }
    let nobody = "unverified".parse().map_err(|_| bad("has no signer"))?;
    let claim = decode(&artefact.claim, nobody)?;
    Ok((claim.migration, claim.kind))
}

fn encode(claim: &Claim) -> Vec<u8> {
    let kind = match claim.kind {
        Kind::FenceProof => v1::claim::Kind::FenceProof,
        Kind::ClosedProof => v1::claim::Kind::ClosedProof,
        Kind::Permit => v1::claim::Kind::Permit,
        Kind::OpenReceipt => v1::claim::Kind::OpenReceipt,
        Kind::BurnReceipt => v1::claim::Kind::BurnReceipt,
    };
    v1::Claim {
        kind: kind.into(),
        migration: claim.migration.to_string(),
        epoch: claim.epoch.0,
        position: claim.position.as_ref().map(ToString::to_string).unwrap_or_default(),
        journal: claim.journal.clone().unwrap_or_default(),
    }
    .encode_to_vec()
}

fn decode(bytes: &[u8], signer: HostName) -> Result<Claim, Failure> {
    let wire = v1::Claim::decode(bytes).map_err(|_| bad("does not decode"))?;
    let (kind, has_position, has_journal) = match wire.kind() {
        v1::claim::Kind::FenceProof => (Kind::FenceProof, true, false),
        v1::claim::Kind::ClosedProof => (Kind::ClosedProof, true, true),
        v1::claim::Kind::Permit => (Kind::Permit, true, true),
        v1::claim::Kind::OpenReceipt => (Kind::OpenReceipt, false, true),
        v1::claim::Kind::BurnReceipt => (Kind::BurnReceipt, false, true),
        v1::claim::Kind::Unspecified => return Err(bad("is of no known kind")),
    };
    if wire.position.is_empty() == has_position || wire.journal.is_empty() == has_journal {
        return Err(bad("lacks a part that its kind has, or has one that its kind lacks"));
    }
    let migration = wire.migration.parse().map_err(|_| bad("names no valid migration"))?;
    let position = match wire.position.as_str() {
        "" => None,
        text => Some(text.parse().map_err(|_| bad("names no valid position"))?),
    };
    if has_journal && !is_journal(&wire.journal) {
        return Err(bad("names no valid journal"));
    }
    let journal = has_journal.then_some(wire.journal);
    let claim = Claim { kind, migration, epoch: Epoch(wire.epoch), position, journal, signer };
    // The key signs other things, too: only bytes that we would have written ourselves are a claim.
    if encode(&claim) == bytes { Ok(claim) } else { Err(bad("is not in the form that agents write")) }
}

fn is_journal(text: &str) -> bool {
    text.len() == 32 && text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
}

fn bad(why: &str) -> Failure {
    Failure::refused(
        "ARTEFACT_MALFORMED",
        format!("the artefact {why}"),
        "get it again from the agent that signed it; agents of one move run the same version",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    const CERTIFICATE: &[u8] = b"db-new";

    /// A stand-in for Ed25519: a digest keyed by the certificate. What it must do here is to break when a byte changes.
    fn seal(certificate: &[u8], message: &[u8]) -> Vec<u8> {
        blake3::Hasher::new().update(certificate).update(b"|").update(message).finalize().as_bytes().to_vec()
    }

    fn check(certificate: &[u8], message: &[u8], signature: &[u8]) -> Result<HostName, Failure> {
        if seal(certificate, message) == signature {
            Ok(std::str::from_utf8(certificate).expect("text").parse().expect("a name"))
        } else {
            Err(Failure::refused("SIGNATURE", "the signature does not hold", "-"))
        }
    }

    fn host() -> HostName {
        "db-new".parse().expect("a name")
    }

    fn claim(kind: Kind) -> Claim {
        let position = matches!(kind, Kind::FenceProof | Kind::ClosedProof | Kind::Permit);
        Claim {
            kind,
            migration: "shop".parse().expect("a name"),
            epoch: Epoch(7),
            position: position.then(|| "postgres:1/2A".parse().expect("a position")),
            journal: (kind != Kind::FenceProof).then(|| "0123456789abcdef".repeat(2)),
            signer: host(),
        }
    }

    fn signed(wire: &v1::Claim) -> v1::Artefact {
        let bytes = wire.encode_to_vec();
        v1::Artefact { signature: seal(CERTIFICATE, &bytes), claim: bytes, certificate: CERTIFICATE.to_vec() }
    }

    #[test]
    fn what_is_signed_reads_back() {
        for kind in [Kind::FenceProof, Kind::ClosedProof, Kind::Permit, Kind::OpenReceipt, Kind::BurnReceipt] {
            let artefact = sign(&claim(kind), CERTIFICATE, |message| seal(CERTIFICATE, message));
            assert_eq!(verify(&artefact, &host(), check), Ok(claim(kind)));
        }
    }

    #[test]
    fn a_changed_byte_or_another_signer_is_refused() {
        let artefact = sign(&claim(Kind::Permit), CERTIFICATE, |message| seal(CERTIFICATE, message));
        for at in 0..artefact.claim.len() {
            let mut forged = artefact.clone();
            forged.claim[at] ^= 1;
            assert_eq!(verify(&forged, &host(), check).expect_err("forged").code, "SIGNATURE", "byte {at}");
        }
        let other = "db-old".parse().expect("a name");
        assert_eq!(verify(&artefact, &other, check).expect_err("not its signer").code, "ARTEFACT_SIGNER");
    }

    #[test]
    fn a_signed_claim_of_the_wrong_form_is_refused() {
        let good = v1::Claim::decode(&*encode(&claim(Kind::Permit))).expect("decodes");
        assert!(verify(&signed(&good), &host(), check).is_ok());
        let wrong = [
            v1::Claim { kind: 0, ..good.clone() },
            v1::Claim { kind: 99, ..good.clone() },
            v1::Claim { migration: "../x".into(), ..good.clone() },
            v1::Claim { position: String::new(), ..good.clone() },
            v1::Claim { position: "postgres:0/02A".into(), ..good.clone() },
            v1::Claim { position: "mysql:1".into(), ..good.clone() },
            v1::Claim { journal: String::new(), ..good.clone() },
            v1::Claim { journal: "XYZ".into(), ..good.clone() },
            v1::Claim { kind: v1::claim::Kind::FenceProof.into(), ..good.clone() },
            v1::Claim { kind: v1::claim::Kind::BurnReceipt.into(), ..good.clone() },
        ];
        for wire in wrong {
            assert_eq!(verify(&signed(&wire), &host(), check).expect_err("wrong form").code, "ARTEFACT_MALFORMED", "{wire:?}");
        }
        let mut longer = signed(&good);
        longer.claim.extend([0x30, 0x01]); // an unknown field, skipped by decoders
        longer.signature = seal(CERTIFICATE, &longer.claim);
        assert_eq!(verify(&longer, &host(), check).expect_err("not canonical").code, "ARTEFACT_MALFORMED");
    }
}
