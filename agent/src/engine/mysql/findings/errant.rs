//! The target has no history of its own that the source does not know.

use flytt_proto::v1::Finding;

use super::{Sides, block, warn};

pub(super) fn look(sides: &Sides<'_>) -> Vec<Finding> {
    let errant = sides.target.own.executed().without(&sides.source.own.executed());
    if errant.is_empty() {
        return Vec::new();
    }
    // What a move in progress looks like: it replicates as an account of ours. Then its data are the source's and more.
    if sides.target.common.live.replicates_as.starts_with("flytt_") {
        return vec![block(
            "ERRANT_TRANSACTIONS",
            format!("the target has transactions that the source does not have: {errant}"),
            "find out who wrote on the target; seed it again",
        )];
    }
    vec![warn(
        "TARGET_HAS_HISTORY",
        format!("the target has transactions that the source does not have: {errant}"),
        if sides.by_dump {
            "nothing, if nobody reads its binary log: a dump begins that anew"
        } else {
            "nothing, if its data is to go: they go with it"
        },
    )]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::mysql::findings::sample::codes;

    #[test]
    fn errant_is_looked_at() {
        assert_eq!(codes(look, |_, _| {}), [""; 0]);
        let own = "9e11fa47-71ca-11e1-9e33-c80aa9429562:1-3";
        assert_eq!(codes(look, |_, target| target.own.gtid_executed = own.into()), ["TARGET_HAS_HISTORY"]);
        let follows = codes(look, |_, target| {
            target.own.gtid_executed = own.into();
            target.common.live.replicates_as = "flytt_shop_repl".into();
        });
        assert_eq!(follows, ["ERRANT_TRANSACTIONS"]);
        let copy = |source: &mut super::super::MyFacts, target: &mut super::super::MyFacts| {
            target.own.gtid_executed = source.own.gtid_executed.replace("1-9", "1-5:7");
        };
        assert_eq!(codes(look, copy), [""; 0], "a copy of the source");
    }
}
