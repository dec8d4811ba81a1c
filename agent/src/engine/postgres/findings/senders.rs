//! A walsender for the stream and one for the base backup, and a slot, are free on the source.

use flytt_proto::v1::Finding;

use super::{Sides, block};

pub(super) fn look(sides: &Sides<'_>) -> Vec<Finding> {
    let source = sides.source;
    let mut found = Vec::new();
    let senders = source.number("max_wal_senders") - i64::from(source.live.walsenders);
    if senders < 2 {
        found.push(block(
            "NO_FREE_WALSENDER",
            format!("{senders} of max_wal_senders are free on the source; the copy needs 2"),
            "raise max_wal_senders and restart the source, or end a standby",
        ));
    }
    let slots = source.number("max_replication_slots") - i64::from(source.live.slots);
    if slots < 1 {
        found.push(block(
            "NO_FREE_SLOT",
            "no replication slot is free on the source".into(),
            "drop one that nobody uses, or raise max_replication_slots and restart the source",
        ));
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::postgres::findings::sample::codes;

    #[test]
    fn senders_is_looked_at() {
        assert_eq!(codes(look, |_, _| {}), [""; 0]);
        assert_eq!(codes(look, |source, _| source.live.walsenders = 9), ["NO_FREE_WALSENDER"]);
        assert_eq!(codes(look, |source, _| source.live.slots = 10), ["NO_FREE_SLOT"]);
    }
}
