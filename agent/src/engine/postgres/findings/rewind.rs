//! Without checksums or hint-bit logging, a source that diverged can only come back by a new seed.

use flytt_proto::v1::Finding;

use super::{Sides, warn};

pub(super) fn look(sides: &Sides<'_>) -> Vec<Finding> {
    let checksums = sides.source.control.get("Data page checksum version").is_some_and(|version| version != "0");
    if checksums || sides.source.is_on("wal_log_hints") {
        return Vec::new();
    }
    vec![warn(
        "NO_REWIND",
        "the source has neither data checksums nor wal_log_hints, so pg_rewind cannot bring it back if it diverges".into(),
        "set wal_log_hints = on and restart it, or accept a new seed for the way back",
    )]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::postgres::facts::PgFacts;
    use crate::engine::postgres::findings::sample::codes;

    #[test]
    fn rewind_is_looked_at() {
        assert_eq!(codes(look, |_, _| {}), [""; 0]);
        assert_eq!(codes(look, |source, _| source.control.clear()), ["NO_REWIND"]);
        let hints = |source: &mut PgFacts, _: &mut PgFacts| {
            source.control.clear();
            source.settings.insert("wal_log_hints".into(), "on".into());
        };
        assert_eq!(codes(look, hints), [""; 0]);
    }
}
