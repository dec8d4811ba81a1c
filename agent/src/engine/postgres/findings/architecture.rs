//! Data files are read as they are: the same architecture, word order and page layout on both sides.

use flytt_proto::v1::Finding;

use super::{Sides, block, warn};

/// Labels of `pg_controldata` that must agree where both sides have a cluster.
const LABELS: [&str; 7] = [
    "Catalog version number",
    "Database block size",
    "WAL block size",
    "Maximum data alignment",
    "Blocks per segment of large relation",
    "Float8 argument passing",
    "Default char data signedness",
];

pub(super) fn look(sides: &Sides<'_>) -> Vec<Finding> {
    let (source, target) = (sides.source, sides.target);
    let mut found = Vec::new();
    if source.host.architecture != target.host.architecture {
        found.push(block(
            "ARCHITECTURE_DIFFERS",
            format!("the source is {}, the target {}", source.host.architecture, target.host.architecture),
            "choose a target of the source's architecture: signedness and collation differ between them",
        ));
    }
    if source.host.page_size != target.host.page_size {
        found.push(warn(
            "PAGE_SIZE_DIFFERS",
            format!("memory pages have {} bytes on the source, {} on the target", source.host.page_size, target.host.page_size),
            "measure the target under load first",
        ));
    }
    for label in LABELS {
        if let (Some(here), Some(there)) = (source.control.get(label), target.control.get(label))
            && here != there
            && source.version / 10_000 == target.version / 10_000
        {
            found.push(block(
                "BUILD_DIFFERS",
                format!("`{label}` is {here} on the source and {there} on the target"),
                "install the same build of PostgreSQL on both",
            ));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::postgres::facts::PgFacts;
    use crate::engine::postgres::findings::sample::codes;

    #[test]
    fn architecture_is_looked_at() {
        assert_eq!(codes(look, |_, _| {}), [""; 0]);
        assert_eq!(codes(look, |_, target| target.host.architecture = "aarch64".into()), ["ARCHITECTURE_DIFFERS"]);
        assert_eq!(codes(look, |_, target| target.host.page_size = 65536), ["PAGE_SIZE_DIFFERS"]);
        let blocks = |source: &mut PgFacts, target: &mut PgFacts| {
            source.control.insert("Database block size".into(), "8192".into());
            target.control.insert("Database block size".into(), "16384".into());
        };
        assert_eq!(codes(look, blocks), ["BUILD_DIFFERS"]);
    }
}
