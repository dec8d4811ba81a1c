//! Same major version, a target that is not older, and neither below what is supported or safe.

use flytt_proto::v1::Finding;

use super::{Sides, block, warn};

/// Minor versions that close holes a move would meet (CVE-2026-6475, CVE-2026-6477).
const FLOORS: [(u32, u32); 5] = [(14, 23), (15, 18), (16, 14), (17, 10), (18, 4)];

pub(super) fn look(sides: &Sides<'_>) -> Vec<Finding> {
    let (source, target) = (sides.source.version, sides.target.version);
    let split = |version: u32| (version / 10_000, version % 10_000);
    let shown = |version: u32| format!("{}.{}", split(version).0, split(version).1);
    let mut found = Vec::new();
    if split(source).0 != split(target).0 {
        found.push(block(
            "MAJOR_VERSION_DIFFERS",
            format!("the source is PostgreSQL {}, the target {}", shown(source), shown(target)),
            "install the source's major version on the target: a physical copy cannot change it",
        ));
    } else if target < source {
        found.push(block(
            "TARGET_OLDER",
            format!("the target's {} is older than the source's {}", shown(target), shown(source)),
            "update the target's packages: a standby must not be older than its primary",
        ));
    }
    for (side, version) in [("source", source), ("target", target)] {
        let (major, minor) = split(version);
        match FLOORS.iter().find(|(floor, _)| *floor == major) {
            None => found.push(block(
                "VERSION_NOT_SUPPORTED",
                format!("the {side} is PostgreSQL {}; 14 to 18 are supported", shown(version)),
                "use a supported version, or correct `bin` in agent.toml",
            )),
            Some((_, floor)) if minor < *floor => found.push(warn(
                "SECURITY_UPDATE_MISSING",
                format!("the {side}'s {} lacks security fixes of {major}.{floor}", shown(version)),
                "update it before the move",
            )),
            Some(_) => {}
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::postgres::findings::sample::codes;

    #[test]
    fn versions_are_compared() {
        assert_eq!(codes(look, |_, _| {}), [""; 0]);
        assert_eq!(codes(look, |_, target| target.version = 160_014), ["MAJOR_VERSION_DIFFERS"]);
        assert_eq!(codes(look, |source, _| source.version = 150_019), ["TARGET_OLDER"]);
        assert_eq!(codes(look, |source, _| source.version = 150_017), ["SECURITY_UPDATE_MISSING"]);
        assert_eq!(
            codes(look, |source, target| (source.version, target.version) = (130_020, 130_020)),
            ["VERSION_NOT_SUPPORTED", "VERSION_NOT_SUPPORTED"]
        );
    }
}
