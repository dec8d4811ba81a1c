//! A slot keeps WAL on the source: too little loses the copy, without a limit it can fill the disk.

use flytt_proto::v1::Finding;

use super::{Sides, warn};

pub(super) fn look(sides: &Sides<'_>) -> Vec<Finding> {
    // In megabytes, as `pg_settings` has it; -1 = no limit.
    let limit = sides.source.number("max_slot_wal_keep_size");
    if limit < 0 {
        return vec![warn(
            "SLOT_WITHOUT_LIMIT",
            "max_slot_wal_keep_size sets no limit on the source".into(),
            "set one; until then only the agent's own guard drops the slot before the disk is full",
        )];
    }
    let kept = u64::try_from(limit).unwrap_or(0) << 20;
    if kept < sides.source.live.data_bytes / 20 {
        return vec![warn(
            "SLOT_LIMIT_SMALL",
            format!("max_slot_wal_keep_size keeps {limit} MB on the source, which a long copy may need more of"),
            "raise it for the time of the move, within what the disk holds",
        )];
    }
    Vec::new()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::postgres::facts::PgFacts;
    use crate::engine::postgres::findings::sample::codes;

    #[test]
    fn slot_limit_is_looked_at() {
        assert_eq!(codes(look, |_, _| {}), [""; 0]);
        let set = |value: &'static str| {
            move |source: &mut PgFacts, _: &mut PgFacts| {
                source.settings.insert("max_slot_wal_keep_size".into(), value.into());
            }
        };
        assert_eq!(codes(look, set("-1")), ["SLOT_WITHOUT_LIMIT"]);
        assert_eq!(codes(look, set("10")), ["SLOT_LIMIT_SMALL"]);
    }
}
