//! Both sides number their transactions globally.

use flytt_proto::v1::Finding;

use super::{Sides, block};

/// What is missing, as the steps that are left (MySQL manual, "Enabling GTID Transactions Online").
fn steps(facts: &super::MyFacts) -> Vec<&'static str> {
    let order = ["off", "off_permissive", "on_permissive", "on"];
    let mode = facts.setting("gtid_mode").to_ascii_lowercase();
    let at = order.iter().position(|step| *step == mode).unwrap_or(0);
    let mut steps = Vec::new();
    if !facts.is_on("enforce_gtid_consistency") {
        steps.push("SET GLOBAL enforce_gtid_consistency = WARN; once its log warns of nothing any more: = ON");
    }
    let each = [
        "SET GLOBAL gtid_mode = OFF_PERMISSIVE",
        "SET GLOBAL gtid_mode = ON_PERMISSIVE; wait until Ongoing_anonymous_transaction_count is 0, and replicas have all of before",
        "SET GLOBAL gtid_mode = ON; then both settings into the option file, or by SET PERSIST",
    ];
    steps.extend(&each[at..]);
    steps
}

pub(super) fn look(sides: &Sides<'_>) -> Vec<Finding> {
    let off = [("source", sides.source), ("target", sides.target)].into_iter().filter_map(|(side, facts)| {
        let steps = steps(facts);
        (!steps.is_empty()).then(|| {
            block(
                "NO_GTIDS",
                format!(
                    "on the {side} gtid_mode is {:?} and enforce_gtid_consistency {:?}",
                    facts.setting("gtid_mode"),
                    facts.setting("enforce_gtid_consistency")
                ),
                &format!("without a restart, on every server of the topology before the next step: {}", steps.join(" · ")),
            )
        })
    });
    off.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::mysql::findings::sample::codes;

    #[test]
    fn gtid_mode_is_looked_at() {
        assert_eq!(codes(look, |_, _| {}), [""; 0]);
        let set = |key: &'static str, value: &'static str| {
            codes(look, move |source, _| drop(source.common.settings.insert(key.into(), value.into())))
        };
        assert_eq!(set("gtid_mode", "OFF"), ["NO_GTIDS"]);
        assert_eq!(set("enforce_gtid_consistency", "WARN"), ["NO_GTIDS"]);
    }

    #[test]
    fn only_the_steps_that_are_left_are_told() {
        let mut facts = super::super::MyFacts::default();
        let mut of = |mode: &str, consistency: &str| {
            facts.common.settings.insert("gtid_mode".into(), mode.into());
            facts.common.settings.insert("enforce_gtid_consistency".into(), consistency.into());
            steps(&facts).len()
        };
        assert_eq!([of("OFF", "OFF"), of("OFF", "ON"), of("OFF_PERMISSIVE", "ON"), of("ON_PERMISSIVE", "ON")], [4, 3, 2, 1]);
        assert_eq!([of("ON", "ON"), of("", "")], [0, 4]);
    }
}
