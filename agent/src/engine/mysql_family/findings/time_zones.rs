//! Named time zones of the source are known to the target.

use flytt_proto::v1::Finding;

use super::{Sides, warn};

pub(super) fn look(sides: &Sides<'_>) -> Vec<Finding> {
    let running = sides.to.serving != crate::engine::Serving::Down;
    if !running || !sides.source.live.has_time_zones || sides.target.live.has_time_zones {
        return Vec::new();
    }
    vec![warn(
        "NO_TIME_ZONES",
        "the source has time zone tables, the target has none".into(),
        "load them with the vendor's `tzinfo_to_sql` program, unless the seed brings the whole mysql database along",
    )]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::mysql_family::findings::sample::codes;

    #[test]
    fn time_zones_is_looked_at() {
        assert_eq!(codes(look, |_, _| {}), [""; 0]);
        assert_eq!(
            codes(look, |source, _| source.live.has_time_zones = true),
            [""; 0],
            "a target at rest gets them with its seed"
        );
    }
}
