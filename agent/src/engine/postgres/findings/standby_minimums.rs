//! Settings that a standby must have at least as high as its primary; below, replay stops in the middle (manual,
//! "Hot Standby").

use flytt_proto::v1::Finding;

use super::{Sides, block};

const MINIMUMS: [&str; 5] =
    ["max_connections", "max_worker_processes", "max_wal_senders", "max_prepared_transactions", "max_locks_per_transaction"];

pub(super) fn look(sides: &Sides<'_>) -> Vec<Finding> {
    let mut found = Vec::new();
    for name in MINIMUMS {
        let (source, target) = (sides.source.number(name), sides.target.number(name));
        // Not known where the target's configuration will come with the copy.
        if sides.target.settings.contains_key(name) && target < source {
            found.push(block(
                "BELOW_STANDBY_MINIMUM",
                format!("{name} is {target} on the target and {source} on the source"),
                "raise it on the target to at least the source's value",
            ));
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
    fn standby_minimums_is_looked_at() {
        assert_eq!(codes(look, |_, _| {}), [""; 0]);
        let low = |_: &mut PgFacts, target: &mut PgFacts| {
            target.settings.insert("max_connections".into(), "99".into());
        };
        assert_eq!(codes(look, low), ["BELOW_STANDBY_MINIMUM"]);
        assert_eq!(codes(look, |_, target| target.settings.clear()), [""; 0]);
    }
}
