//! Events go on at the target as they did at the source.

use flytt_proto::v1::Finding;

use super::{Sides, warn};

pub(super) fn look(sides: &Sides<'_>) -> Vec<Finding> {
    let runs = |facts: &crate::engine::mysql_family::facts::Common| facts.setting("event_scheduler").eq_ignore_ascii_case("on");
    if sides.source.live.events == 0
        || !runs(sides.source)
        || runs(sides.target)
        || sides.to.serving != crate::engine::Serving::Down
    {
        return Vec::new();
    }
    vec![warn(
        "EVENTS_STOP",
        format!("the source runs {} events; the target's option file does not switch the scheduler on", sides.source.live.events),
        "set event_scheduler = ON in the target's option file, if they are to go on there",
    )]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::mysql_family::{facts::Common, findings::sample::codes};

    #[test]
    fn events_is_looked_at() {
        assert_eq!(codes(look, |_, _| {}), [""; 0]);
        let events = |source: &mut Common, _: &mut Common| {
            source.live.events = 2;
            source.settings.insert("event_scheduler".into(), "ON".into());
        };
        assert_eq!(codes(look, events), ["EVENTS_STOP"]);
    }
}
