//! Settings that would slow or stop the target's recovery or hold up its first commit. The move overrides them until it is over.

use flytt_proto::v1::Finding;

use super::{Sides, warn};

const EMPTY: [&str; 4] = ["restore_command", "recovery_end_command", "synchronous_standby_names", "recovery_min_apply_delay"];

pub(super) fn look(sides: &Sides<'_>) -> Vec<Finding> {
    let mut found = Vec::new();
    for (side, facts) in [("source", sides.source), ("target", sides.target)] {
        for name in EMPTY {
            let value = facts.setting(name);
            if !value.is_empty() && value != "0" {
                found.push(warn(
                    "RECOVERY_SETTING",
                    format!("{name} is set on the {side}; the target has it empty until the move is finished"),
                    "decide what it shall be on the target, and set it there after the move",
                ));
            }
        }
    }
    if sides.target.setting("hot_standby") == "off" {
        found.push(warn(
            "HOT_STANDBY_OFF",
            "hot_standby is off on the target; the move switches it on until it is finished".into(),
            "remove the setting",
        ));
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::postgres::facts::PgFacts;
    use crate::engine::postgres::findings::sample::codes;

    #[test]
    fn recovery_settings_is_looked_at() {
        assert_eq!(codes(look, |_, _| {}), [""; 0]);
        let restore = |_: &mut PgFacts, target: &mut PgFacts| {
            target.settings.insert("restore_command".into(), "cp /a/%f %p".into());
            target.settings.insert("recovery_min_apply_delay".into(), "0".into());
            target.settings.insert("hot_standby".into(), "off".into());
        };
        assert_eq!(codes(look, restore), ["RECOVERY_SETTING", "HOT_STANDBY_OFF"]);
    }
}
