//! Two servers that archive to the same place spoil the archive for both.

use flytt_proto::v1::Finding;

use super::{Sides, block, warn};
use crate::engine::postgres::facts::PgFacts;

pub(super) fn look(sides: &Sides<'_>) -> Vec<Finding> {
    if !sides.source.is_on("archive_mode") {
        return Vec::new();
    }
    let place = |facts: &PgFacts| format!("{}{}", facts.setting("archive_library"), facts.setting("archive_command"));
    let comes = super::is_inside(&sides.target.config_file, sides.target);
    if comes || (sides.target.is_on("archive_mode") && place(sides.target) == place(sides.source)) {
        return vec![block(
            "SAME_ARCHIVE",
            "source and target archive their WAL with the same command".into(),
            "give the target a repository or stanza of its own",
        )];
    }
    if sides.target.setting("archive_mode") == "off" {
        return vec![warn(
            "TARGET_WITHOUT_ARCHIVE",
            "the source archives its WAL, the target does not: after the move there is no point-in-time recovery".into(),
            "configure archiving on the target; archive_mode needs a restart",
        )];
    }
    Vec::new()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::postgres::findings::sample::codes;

    #[test]
    fn archiving_is_looked_at() {
        let archive = |on_target: &'static str, command: &'static str| {
            move |source: &mut PgFacts, target: &mut PgFacts| {
                source.settings.insert("archive_mode".into(), "on".into());
                source.settings.insert("archive_command".into(), "push %p".into());
                target.settings.insert("archive_mode".into(), on_target.into());
                target.settings.insert("archive_command".into(), command.into());
            }
        };
        assert_eq!(codes(look, |_, _| {}), [""; 0]);
        assert_eq!(codes(look, archive("on", "push %p")), ["SAME_ARCHIVE"]);
        assert_eq!(codes(look, archive("on", "push --other %p")), [""; 0]);
        assert_eq!(codes(look, archive("off", "")), ["TARGET_WITHOUT_ARCHIVE"]);
    }
}
