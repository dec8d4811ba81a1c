//! A password may be given to the source as its hash.

use flytt_proto::v1::Finding;

use super::{Sides, block};

pub(super) fn look(sides: &Sides<'_>) -> Vec<Finding> {
    if !sides.source.is_on("strict_password_validation") || !sides.source.own.validates_passwords {
        return Vec::new();
    }
    vec![block(
        "HASHES_REFUSED",
        "the source's password validation refuses passwords that are given as a hash".into(),
        "SET GLOBAL strict_password_validation = 0 for the time of the move: the move's account has 256 random bits",
    )]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::mariadb::{facts::MaFacts, findings::sample::codes};

    #[test]
    fn passwords_is_looked_at() {
        assert_eq!(codes(look, |_, _| {}), [""; 0]);
        let strict = |source: &mut MaFacts, _: &mut MaFacts| {
            source.common.settings.insert("strict_password_validation".into(), "ON".into());
            source.own.validates_passwords = true;
        };
        assert_eq!(codes(look, strict), ["HASHES_REFUSED"]);
    }
}
