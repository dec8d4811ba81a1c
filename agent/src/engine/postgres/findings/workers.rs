//! Subscriptions and job schedulers: the server starts their workers itself, past pg_hba.conf and so past the fence.

use flytt_proto::v1::Finding;

use super::{Sides, block};

pub(super) fn look(sides: &Sides<'_>) -> Vec<Finding> {
    let live = &sides.source.live;
    let mut found = Vec::new();
    for database in &live.databases {
        if !database.subscriptions.is_empty() {
            found.push(block(
                "SUBSCRIPTIONS",
                format!("database {} subscribes: {}", database.name, database.subscriptions.join(", ")),
                "ALTER SUBSCRIPTION … DISABLE before the move, and enable them on the target after it",
            ));
        }
        if database.jobs > 0 {
            found.push(block(
                "SCHEDULED_JOBS",
                format!("{} jobs of pg_cron are active in database {}", database.jobs, database.name),
                "deactivate them before the move",
            ));
        }
    }
    // With the server stopped, none of its workers runs.
    if !live.workers.is_empty() && !sides.check.stop_fence {
        found.push(block(
            "BACKGROUND_WORKERS",
            format!("workers which the fence does not stop run on the source: {}", live.workers.join(", ")),
            "switch them off before the move, or use fence = \"stop\"",
        ));
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::postgres::findings::sample::codes;

    #[test]
    fn workers_is_looked_at() {
        assert_eq!(codes(look, |_, _| {}), [""; 0]);
        assert_eq!(codes(look, |source, _| source.live.databases[0].subscriptions = vec!["s".into()]), ["SUBSCRIPTIONS"]);
        assert_eq!(codes(look, |source, _| source.live.databases[0].jobs = 1), ["SCHEDULED_JOBS"]);
        assert_eq!(codes(look, |source, _| source.live.workers = vec!["pg_cron launcher".into()]), ["BACKGROUND_WORKERS"]);
    }
}
