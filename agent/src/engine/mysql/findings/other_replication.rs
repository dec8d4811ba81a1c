//! Nobody else replicates from the source, and the target from nobody else.

use flytt_proto::v1::Finding;

use super::{Sides, block, warn};

pub(super) fn look(sides: &Sides<'_>) -> Vec<Finding> {
    let mut found = Vec::new();
    if !sides.source.common.live.replicas.is_empty() {
        found.push(warn(
            "OTHER_REPLICAS",
            format!("other replicas read from the source, as {}", sides.source.common.live.replicas.join(", ")),
            "they are cut off by the fence: point them to the target afterwards, with SOURCE_AUTO_POSITION",
        ));
    }
    let target = &sides.target.common.live;
    if !target.replicates_from.is_empty() && !target.replicates_as.starts_with("flytt_") {
        found.push(block(
            "REPLICATES_ALREADY",
            format!("the target replicates from {} already", target.replicates_from),
            "STOP REPLICA and RESET REPLICA ALL there, if this server is to be the target",
        ));
    }
    if !sides.target.own.filters.is_empty() {
        found.push(block(
            "REPLICATION_FILTER",
            format!("the target leaves out part of what it replicates: {}", sides.target.own.filters.join(", ")),
            "remove the replicate_* filters from its option file: a whole server is moved",
        ));
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::mysql::findings::sample::codes;

    #[test]
    fn other_replication_is_looked_at() {
        assert_eq!(codes(look, |_, _| {}), [""; 0]);
        assert_eq!(codes(look, |source, _| source.common.live.replicas = vec!["repl".into()]), ["OTHER_REPLICAS"]);
        assert_eq!(codes(look, |_, target| target.common.live.replicates_from = "x:1".into()), ["REPLICATES_ALREADY"]);
        assert_eq!(codes(look, |_, target| target.own.filters = vec!["REPLICATE_DO_DB = a".into()]), ["REPLICATION_FILTER"]);
    }
}
