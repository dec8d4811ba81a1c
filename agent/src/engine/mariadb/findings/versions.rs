//! A supported version, and a target that is not older.

use flytt_proto::v1::Finding;

use super::{Sides, block, warn};

pub(super) fn look(sides: &Sides<'_>) -> Vec<Finding> {
    let (source, target) = (sides.source.common.version(), sides.target.common.version());
    let mut found = Vec::new();
    for (side, facts) in [("source", sides.source), ("target", sides.target)] {
        let (major, minor, _) = facts.common.version();
        if (major, minor) < (10, 11) {
            found.push(block(
                "VERSION_NOT_SUPPORTED",
                format!("the {side} is MariaDB {:?}; 10.11 and later are supported", facts.common.version),
                "update it, or correct `server` in agent.toml",
            ));
        }
    }
    let series = |(major, minor, _): (u32, u32, u32)| (major, minor);
    if series(target) < series(source) {
        found.push(block(
            "TARGET_OLDER",
            format!("the target's {} is older than the source's {}", sides.target.common.version, sides.source.common.version),
            "install the source's series on the target, or a later one",
        ));
    } else if series(target) > series(source) {
        found.push(warn(
            "MAJOR_VERSION_DIFFERS",
            format!(
                "the source is {}, the target {}: an older server cannot be relied on to replicate from a newer one",
                sides.source.common.version, sides.target.common.version
            ),
            "know that there is no replicating way back from such a move",
        ));
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::mariadb::findings::sample::codes;

    #[test]
    fn versions_is_looked_at() {
        assert_eq!(codes(look, |_, _| {}), [""; 0]);
        assert_eq!(
            codes(look, |_, target| target.common.version = "10.6.1-MariaDB".into()),
            ["VERSION_NOT_SUPPORTED", "TARGET_OLDER"]
        );
        assert_eq!(codes(look, |_, target| target.common.version = "11.4.5-MariaDB".into()), ["MAJOR_VERSION_DIFFERS"]);
        assert_eq!(codes(look, |_, target| target.common.version = String::new()), ["VERSION_NOT_SUPPORTED", "TARGET_OLDER"]);
    }
}
