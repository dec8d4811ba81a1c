//! What an application relies on without saying so is the same on both sides.

use flytt_proto::v1::Finding;

use super::{Sides, block, warn};

pub(super) fn look(sides: &Sides<'_>) -> Vec<Finding> {
    let mut found = Vec::new();
    for name in ["sql_mode", "character_set_server", "collation_server"] {
        let words = |text: &str| text.split(',').map(str::to_owned).collect::<std::collections::BTreeSet<_>>();
        let (source, target) = (sides.source.setting(name), sides.target.setting(name));
        if words(source) != words(target) {
            found.push(warn(
                "DEFAULT_DIFFERS",
                format!("{name} is {source:?} on the source and {target:?} on the target"),
                "set the source's value in the target's option file",
            ));
        }
    }
    let (source, target) = (sides.source.number("max_allowed_packet"), sides.target.number("max_allowed_packet"));
    if target < source {
        found.push(block(
            "PACKET_TOO_SMALL",
            format!("max_allowed_packet is {source} on the source and {target} on the target"),
            "set at least the source's value in the target's option file: a large row would stop the target",
        ));
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::mysql_family::{facts::Common, findings::sample::codes};

    #[test]
    fn session_defaults_is_looked_at() {
        assert_eq!(codes(look, |_, _| {}), [""; 0]);
        let set = |key: &'static str, value: &'static str| {
            move |_: &mut Common, target: &mut Common| {
                target.settings.insert(key.into(), value.into());
            }
        };
        assert_eq!(codes(look, set("sql_mode", "ANSI")), ["DEFAULT_DIFFERS"]);
        assert_eq!(codes(look, set("max_allowed_packet", "1024")), ["PACKET_TOO_SMALL"]);
    }
}
