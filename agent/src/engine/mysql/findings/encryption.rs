//! What is encrypted at rest can be read where it arrives.

use flytt_proto::v1::Finding;

use super::{Sides, block, warn};
use crate::engine::Serving;

pub(super) fn look(sides: &Sides<'_>) -> Vec<Finding> {
    let encrypted = sides.source.own.encrypted;
    let log = sides.source.is_on("binlog_encryption");
    if encrypted == 0 && !log {
        return Vec::new();
    }
    let what = format!("the source encrypts at rest ({encrypted} tablespaces{})", if log { ", its binary log" } else { "" });
    if sides.to.serving != Serving::Down && !sides.target.own.keyring {
        return vec![block(
            "NO_KEYRING",
            format!("{what}, and the target has no keyring"),
            "set a keyring component up on the target: it could not make such tables",
        )];
    }
    vec![warn(
        "ENCRYPTED_AT_REST",
        what,
        "set a keyring component up on the target, too; CLONE does not copy such a server through the tunnel, so it is copied by statements",
    )]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::mysql::findings::sample::codes;

    #[test]
    fn encryption_is_looked_at() {
        assert_eq!(codes(look, |_, _| {}), [""; 0]);
        assert_eq!(codes(look, |source, _| source.own.encrypted = 1), ["ENCRYPTED_AT_REST"]);
        let log = |source: &mut super::super::MyFacts, _: &mut super::super::MyFacts| {
            source.common.settings.insert("binlog_encryption".into(), "ON".into());
        };
        assert_eq!(codes(look, log), ["ENCRYPTED_AT_REST"]);
        let running = |sides: &Sides<'_>| {
            let to = crate::engine::Facts { serving: Serving::Writable, ..sides.to.clone() };
            look(&Sides { to: &to, ..*sides })
        };
        assert_eq!(codes(running, |source, _| source.own.encrypted = 1), ["NO_KEYRING"]);
    }
}
