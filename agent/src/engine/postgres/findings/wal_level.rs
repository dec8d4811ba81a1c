//! The source writes enough into its WAL for a standby, and does so durably.

use flytt_proto::v1::Finding;

use super::{Sides, block};

pub(super) fn look(sides: &Sides<'_>) -> Vec<Finding> {
    let mut found = Vec::new();
    if sides.source.setting("wal_level") == "minimal" {
        found.push(block("WAL_LEVEL", "wal_level is minimal on the source".into(), "set it to replica and restart the source"));
    }
    if sides.target.setting("wal_level") == "minimal" {
        found.push(block("WAL_LEVEL", "wal_level is minimal on the target".into(), "set it to the source's value there"));
    }
    for (side, facts) in [("source", sides.source), ("target", sides.target)] {
        for name in ["fsync", "full_page_writes"] {
            if facts.setting(name) == "off" {
                found.push(block(
                    "NOT_DURABLE",
                    format!("{name} is off on the {side}: a power cut would take acknowledged writes"),
                    "switch it on",
                ));
            }
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
    fn wal_level_is_looked_at() {
        assert_eq!(codes(look, |_, _| {}), [""; 0]);
        let set = |name: &'static str, value: &'static str| {
            move |source: &mut PgFacts, _: &mut PgFacts| {
                source.settings.insert(name.into(), value.into());
            }
        };
        assert_eq!(codes(look, set("wal_level", "minimal")), ["WAL_LEVEL"]);
        assert_eq!(codes(look, set("fsync", "off")), ["NOT_DURABLE"]);
    }
}
