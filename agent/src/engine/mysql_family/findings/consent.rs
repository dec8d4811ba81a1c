//! The target's owner lets its data be replaced. A dump replaces none.

use flytt_proto::v1::Finding;

use super::{Sides, block};

pub(super) fn look(sides: &Sides<'_>) -> Vec<Finding> {
    if sides.by_dump {
        return Vec::new();
    }
    // A target that replicates as an account of ours is a move in progress.
    if sides.target.may_replace || sides.target.live.replicates_as.starts_with("flytt_") {
        return Vec::new();
    }
    vec![block(
        "NO_CONSENT",
        "the target does not allow its data directory to be replaced".into(),
        "set `may_replace_data = true` in its agent.toml",
    )]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::mysql_family::findings::sample::{codes, codes_of_dump};

    #[test]
    fn consent_is_looked_at() {
        assert_eq!(codes(look, |_, _| {}), [""; 0]);
        assert_eq!(codes(look, |_, target| target.may_replace = false), ["NO_CONSENT"]);
        assert_eq!(codes_of_dump(look, |_, target| target.may_replace = false), [""; 0]);
    }
}
