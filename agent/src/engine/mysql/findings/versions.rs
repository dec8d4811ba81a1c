//! A supported version, and a target that is not older and skips no series with long-term support (MySQL manual, "MySQL Releases:
//! Innovation and LTS": from one LTS series an upgrade goes no further than to the next).

use flytt_proto::v1::Finding;

use super::{Sides, block, warn};

pub(super) fn look(sides: &Sides<'_>) -> Vec<Finding> {
    let (source, target) = (sides.source.common.version(), sides.target.common.version());
    let mut found = Vec::new();
    for (side, facts) in [("source", sides.source), ("target", sides.target)] {
        let (major, minor, _) = facts.common.version();
        if (major, minor) < (8, 4) {
            found.push(block(
                "VERSION_NOT_SUPPORTED",
                format!("the {side} is MySQL {:?}; 8.4 and later are supported", facts.common.version),
                "update it, or correct `server` in agent.toml",
            ));
        }
    }
    let series = |(major, minor, _): (u32, u32, u32)| (major, minor);
    let both = format!("the source is {}, the target {}", sides.source.common.version, sides.target.common.version);
    if target < source {
        found.push(block(
            "TARGET_OLDER",
            format!("{both}: a server reads neither files nor positions of a later one"),
            "install the source's version on the target, or a later one",
        ));
    } else if target.0 > source.0 + 1 {
        found.push(block(
            "SERIES_SKIPPED",
            format!("{both}: that skips a series with long-term support"),
            "move to the next LTS series first",
        ));
    } else if series(target) > series(source) {
        found.push(warn(
            "MAJOR_VERSION_DIFFERS",
            format!(
                "{both}: an older server cannot be relied on to replicate from a newer one, and CLONE copies within a series only"
            ),
            "know that there is no replicating way back from such a move, and that its copy is made by statements",
        ));
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::mysql::findings::sample::codes;

    #[test]
    fn versions_is_looked_at() {
        let versions = |source: &'static str, target: &'static str| {
            codes(look, move |from, to| {
                from.common.version = source.into();
                to.common.version = target.into();
            })
        };
        assert_eq!(versions("9.7.4", "9.7.4-2"), [""; 0]);
        assert_eq!(versions("8.4.3", "8.4.9"), [""; 0]);
        assert_eq!(versions("8.4.3", "9.7.0"), ["MAJOR_VERSION_DIFFERS"]);
        assert_eq!(versions("9.2.0", "9.7.0"), ["MAJOR_VERSION_DIFFERS"]);
        assert_eq!(versions("8.4.3", "10.1.0"), ["SERIES_SKIPPED"]);
        assert_eq!(versions("9.7.4", "9.7.3"), ["TARGET_OLDER"]);
        assert_eq!(versions("8.0.40", "8.4.3"), ["VERSION_NOT_SUPPORTED", "MAJOR_VERSION_DIFFERS"]);
        assert_eq!(versions("8.4.3", ""), ["VERSION_NOT_SUPPORTED", "TARGET_OLDER"]);
    }
}
