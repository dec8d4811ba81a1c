//! Every extension is installed on the target, and its scripts know the version in use.

use std::collections::BTreeSet;

use flytt_proto::v1::Finding;

use super::{Sides, block};

pub(super) fn look(sides: &Sides<'_>) -> Vec<Finding> {
    let mut missing = BTreeSet::new();
    for database in &sides.source.live.databases {
        for (extension, version) in &database.extensions {
            if !sides.target.available.get(extension).is_some_and(|versions| versions.contains(version)) {
                missing.insert(format!("{extension} {version}"));
            }
        }
    }
    if missing.is_empty() {
        return Vec::new();
    }
    vec![block(
        "EXTENSION_MISSING",
        format!("the target lacks {}", Vec::from_iter(missing).join(", ")),
        "install the packages of these extensions on the target, in these versions",
    )]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::postgres::facts::PgFacts;
    use crate::engine::postgres::findings::sample::codes;

    #[test]
    fn extensions_is_looked_at() {
        assert_eq!(codes(look, |_, _| {}), [""; 0]);
        assert_eq!(codes(look, |_, target| target.available.clear()), ["EXTENSION_MISSING"]);
        let newer = |_: &mut PgFacts, target: &mut PgFacts| {
            target.available.insert("plpgsql".into(), ["2.0".to_owned()].into());
        };
        assert_eq!(codes(look, newer), ["EXTENSION_MISSING"]);
    }
}
