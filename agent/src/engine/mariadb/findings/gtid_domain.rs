//! Each side numbers its own transactions: a domain of its own for each.

use flytt_proto::v1::Finding;

use super::{Sides, block, warn};

pub(super) fn look(sides: &Sides<'_>) -> Vec<Finding> {
    let (source, target) = (sides.source.setting("gtid_domain_id"), sides.target.setting("gtid_domain_id"));
    let mut found = Vec::new();
    if source == target {
        found.push(block(
            "SAME_GTID_DOMAIN",
            format!("source and target both write into gtid_domain_id {source}"),
            "set another gtid_domain_id in the target's option file: two writers of one domain cannot be told apart",
        ));
    }
    if !sides.source.is_on("gtid_strict_mode") || !sides.target.is_on("gtid_strict_mode") {
        found.push(warn(
            "GTID_NOT_STRICT",
            "gtid_strict_mode is off on a side: a transaction out of order would not be refused there".into(),
            "SET GLOBAL gtid_strict_mode = 1, and in the option file",
        ));
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::mariadb::findings::sample::codes;

    #[test]
    fn gtid_domain_is_looked_at() {
        assert_eq!(codes(look, |_, _| {}), [""; 0]);
        assert_eq!(
            codes(look, |_, target| drop(target.common.settings.insert("gtid_domain_id".into(), "0".into()))),
            ["SAME_GTID_DOMAIN"]
        );
        assert_eq!(codes(look, |source, _| drop(source.common.settings.remove("gtid_strict_mode"))), ["GTID_NOT_STRICT"]);
    }
}
