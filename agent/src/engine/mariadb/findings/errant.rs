//! The target has no history of its own that the source does not know.

use flytt_proto::v1::Finding;

use super::{Sides, block, warn};

pub(super) fn look(sides: &Sides<'_>) -> Vec<Finding> {
    let (source, target) = (&sides.source.own, &sides.target.own);
    // What a move in progress looks like: it replicates as an account of ours.
    let follows = sides.target.common.live.replicates_as.starts_with("flytt_");
    if target.binlog_pos.is_empty() || follows {
        return Vec::new();
    }
    let known = source.binlog_pos.parse::<flytt_proto::gtid::GtidPosition>().unwrap_or_default();
    let own = target.binlog_pos.parse::<flytt_proto::gtid::GtidPosition>().unwrap_or_default();
    // The same domain by another server may be another history with lower numbers: only the source's own are known to be its.
    let is_known = |gtid: flytt_proto::gtid::Gtid| {
        known.iter().any(|one| (one.domain, one.server) == (gtid.domain, gtid.server) && gtid.sequence <= one.sequence)
    };
    if own.iter().all(is_known) {
        return Vec::new();
    }
    let sentence = format!("the target's binary log has transactions that the source does not have: {own}");
    vec![if sides.by_dump {
        // That log stays, and the source follows it from its beginning.
        block("TARGET_HAS_HISTORY", sentence, "RESET MASTER on the target: on the way back the source would do all of it, too")
    } else {
        warn(
            "TARGET_HAS_HISTORY",
            sentence,
            "RESET MASTER on the target before it is seeded, if its data is to go: otherwise they stay in its position for ever",
        )
    }]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::mariadb::findings::sample::{codes, codes_of_dump};

    #[test]
    fn errant_is_looked_at() {
        assert_eq!(codes(look, |_, _| {}), [""; 0]);
        assert_eq!(codes(look, |_, target| target.own.binlog_pos = "0-2-7".into()), ["TARGET_HAS_HISTORY"]);
        assert_eq!(codes_of_dump(look, |_, target| target.own.binlog_pos = "0-2-7".into()), ["TARGET_HAS_HISTORY"]);
        let level =
            |sides: &Sides<'_>| assert!(look(sides).iter().all(|found| found.level() == flytt_proto::v1::finding::Level::Block));
        codes_of_dump(
            |sides| {
                level(sides);
                Vec::new()
            },
            |_, target| target.own.binlog_pos = "0-2-7".into(),
        );
        assert_eq!(codes(look, |_, target| target.own.binlog_pos = "0-1-7".into()), [""; 0], "a copy of the source");
    }
}
