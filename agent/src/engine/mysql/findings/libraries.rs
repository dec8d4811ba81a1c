//! The target has the files of the plugins and components that the source has loaded.

use flytt_proto::v1::Finding;

use super::{Sides, block, warn};

pub(super) fn look(sides: &Sides<'_>) -> Vec<Finding> {
    let wanted = &sides.source.own.libraries_used;
    if sides.by_dump {
        // CLONE's plugin comes with a move and goes with it.
        let loaded = &sides.target.own.libraries_used;
        let other: Vec<&str> =
            wanted.difference(loaded).map(String::as_str).filter(|library| *library != "mysql_clone.so").collect();
        if other.is_empty() {
            return Vec::new();
        }
        return vec![warn(
            "LIBRARY_NOT_LOADED",
            format!("the source has loaded what the target has not, and a dump loads none: {}", other.join(", ")),
            "install those plugins and components on the target that are still wanted",
        )];
    }
    let missing: Vec<&str> = wanted.difference(&sides.target.libraries).map(String::as_str).collect();
    if missing.is_empty() {
        return Vec::new();
    }
    vec![block(
        "LIBRARY_MISSING",
        format!("the target's plugin directory lacks what the source has loaded: {}", missing.join(", ")),
        "install their packages on the target, or uninstall them on the source",
    )]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::mysql::findings::sample::{codes, codes_of_dump};

    #[test]
    fn libraries_is_looked_at() {
        assert_eq!(codes(look, |_, _| {}), [""; 0]);
        let other = codes(look, |source, _| source.own.libraries_used.extend(["rewriter.so".to_owned()]));
        assert_eq!(other, ["LIBRARY_MISSING"]);
        let loaded = |source: &mut super::super::MyFacts, target: &mut super::super::MyFacts| {
            target.own.libraries_used = source.own.libraries_used.clone();
            source.own.libraries_used.insert("mysql_clone.so".to_owned());
        };
        assert_eq!(codes_of_dump(look, loaded), [""; 0]);
        assert_eq!(
            codes_of_dump(look, |source, _| source.own.libraries_used.extend(["rewriter.so".to_owned()])),
            ["LIBRARY_NOT_LOADED"]
        );
    }
}
