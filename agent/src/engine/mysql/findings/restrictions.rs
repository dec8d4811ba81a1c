//! What was revoked of an account for one database stays revoked.

use flytt_proto::v1::Finding;

use super::{Sides, block};

pub(super) fn look(sides: &Sides<'_>) -> Vec<Finding> {
    if sides.source.own.restricted == 0 || sides.target.is_on("partial_revokes") {
        return Vec::new();
    }
    vec![block(
        "PARTIAL_REVOKES",
        format!(
            "{} accounts of the source have partial revokes; the target's partial_revokes is off",
            sides.source.own.restricted
        ),
        "set partial_revokes = ON in the target's option file: those accounts could do more there",
    )]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::mysql::findings::sample::codes;

    #[test]
    fn restrictions_is_looked_at() {
        assert_eq!(codes(look, |_, _| {}), [""; 0]);
        assert_eq!(codes(look, |source, _| source.own.restricted = 1), ["PARTIAL_REVOKES"]);
        let on = |source: &mut super::super::MyFacts, target: &mut super::super::MyFacts| {
            source.own.restricted = 1;
            target.common.settings.insert("partial_revokes".into(), "TRUE".into());
        };
        assert_eq!(codes(look, on), [""; 0]);
    }
}
