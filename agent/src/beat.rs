//! The heartbeat of the moves that this host is the source of, and what it says of a target: a lag in time, by one clock.
//!
//! A beat takes the agent's turn, so none is under way when a fence begins, and there is none once it has begun: the final position
//! stands still.

use std::{sync::Arc, time::Duration};

use flytt_proto::{name::Migration, v1};

use crate::{baton::Phase, engine::Replication, host::Host, ledger::State};

const EVERY: Duration = Duration::from_secs(1);

/// Beats for as long as the agent runs.
pub(crate) async fn beat(host: Arc<Host>) {
    loop {
        tokio::select! {
            () = tokio::time::sleep(EVERY) => {}
            () = host.ended.cancelled() => return,
        }
        // Whoever is at work here may be fencing.
        let Ok(_turn) = host.turn.try_lock() else { continue };
        for migration in serving(&host) {
            let Ok(engine) = host.engine() else { return };
            if let Err(failure) = engine.beat(&migration).await {
                tracing::debug!(%migration, code = failure.code, "the heartbeat: {failure}");
            }
        }
    }
}

/// The moves that this host is the source of, and has not begun to fence.
fn serving(host: &Host) -> Vec<Migration> {
    let book = host.ledger.book();
    let admitted = book.operations.iter().filter(|(id, operation)| {
        matches!(operation.action.kind, Some(v1::action::Kind::Admit(_)))
            && matches!(operation.state, State::Done(_))
            && book.batons.get(&id.migration).is_none_or(|baton| baton.phase() == Phase::Serving)
    });
    admitted.map(|(id, _)| id.migration.clone()).collect()
}

/// How much later the source's newest heartbeat is than the newest one applied here: by the source's clock alone. `None` where there is
/// none, and where the source does not answer.
pub(crate) async fn behind(host: &Host, migration: &Migration, here: &Replication) -> Option<Duration> {
    if here.beat_us == 0 {
        return None;
    }
    let newest = host.ask_vitals(migration).await.ok()?.beat_us;
    Some(Duration::from_micros(newest.saturating_sub(here.beat_us)))
}
