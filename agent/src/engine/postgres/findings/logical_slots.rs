//! Logical slots, and whoever reads from them, stay behind.

use flytt_proto::v1::Finding;

use super::{Sides, warn};

pub(super) fn look(sides: &Sides<'_>) -> Vec<Finding> {
    let slots = &sides.source.live.logical_slots;
    if slots.is_empty() {
        return Vec::new();
    }
    vec![warn(
        "LOGICAL_SLOTS",
        format!("the source's logical slots do not come along: {}", slots.join(", ")),
        "let their readers start anew from the target, or stop them before the cutover",
    )]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::postgres::findings::sample::codes;

    #[test]
    fn logical_slots_is_looked_at() {
        assert_eq!(codes(look, |_, _| {}), [""; 0]);
        assert_eq!(codes(look, |source, _| source.live.logical_slots = vec!["cdc".into()]), ["LOGICAL_SLOTS"]);
    }
}
