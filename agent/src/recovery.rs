//! What an agent does when it comes back: leases go on or end, tunnels open again, copies are ended, and past the point of no
//! return the move is completed.

use std::{sync::Arc, time::Duration};

use flytt_proto::{
    name::{
        Migration,
        step::{ARM, FENCE, OPEN, REJOIN, RETIRE, SURRENDER},
    },
    v1,
};

use crate::{apply, baton::Phase, change::Change, host::Host, import, lease, ledger::State};

/// Nobody is served before this is over. Whoever copies next ends what is left then, and waits for as long as the disk needs.
const END_LIMIT: Duration = Duration::from_secs(20);

/// What an earlier process of this agent left at work: leases go on or end, tunnels open again, copies are ended, and
/// past the point of no return the move is completed.
pub(crate) async fn take_up(host: &Arc<Host>) {
    import::take_up(host).await;
    let book = host.ledger.book();
    if let Ok(engine) = host.engine() {
        engine.end_producers().await;
    }
    for (id, operation) in &book.operations {
        let over = matches!(operation.state, State::Undone);
        match &operation.action.kind {
            Some(v1::action::Kind::Tunnel(tunnel)) if !over => {
                if let Ok((peer, address)) = crate::action::peer(tunnel.source.as_ref())
                    && let Err(failure) = host.open_tunnel(&id.migration, peer, address).await
                {
                    tracing::error!(migration = %id.migration, code = failure.code, "{failure}");
                }
            }
            Some(v1::action::Kind::Arm(arm)) if !over => {
                if let Ok((peer, address)) = crate::action::peer(arm.target.as_ref())
                    && let Err(failure) = host.open_tunnel(&id.migration, peer, address).await
                {
                    tracing::error!(migration = %id.migration, code = failure.code, "{failure}");
                }
            }
            Some(v1::action::Kind::Seed(_)) if matches!(operation.state, State::Began | State::Undoing) => {
                for change in &operation.changes {
                    if let (Change::Backup(backup), Ok(engine)) = (change, host.engine())
                        && let Ok(Err(failure)) = tokio::time::timeout(END_LIMIT, engine.end_backup(backup)).await
                    {
                        tracing::error!(migration = %id.migration, code = failure.code, "{failure}");
                    }
                }
            }
            Some(v1::action::Kind::Hold(hold)) if !over && host.holds(&id.migration).iter().any(|(held, _)| held == id) => {
                // Whoever held it may be gone: give them one short lease to come back.
                host.leases.arm_hold(host, &id.migration, hold.lease_ms.min(2_000));
            }
            _ => {}
        }
    }
    for (migration, baton) in book.batons.iter().filter(|(leg, _)| !book.is_over(leg)) {
        match baton.phase() {
            Phase::Fencing | Phase::Fenced => {
                if let Some(granted) = book.leases.get(migration) {
                    host.leases.arm_fence(host, migration, granted);
                }
            }
            Phase::Surrendered => {
                if let Some(v1::action::Kind::Surrender(surrender)) = host.action_of(migration, SURRENDER)
                    && let (Ok(peer), Ok(permit)) = (crate::action::peer(surrender.target.as_ref()), host.sign_newest(migration))
                {
                    host.hand_on(migration, peer, permit);
                }
            }
            Phase::Open => complete(host, migration, OPEN),
            Phase::Serving => complete_reopen(host, migration),
            Phase::Retired => {
                complete(host, migration, RETIRE);
                // What is completed now goes on to that by itself.
                if host.ledger.operation(&host.id(migration, RETIRE)).is_some_and(|it| matches!(it.state, State::Done(_))) {
                    rejoin(host, migration);
                }
            }
            Phase::Replica | Phase::Promoting | Phase::Closed | Phase::Burned => {}
            Phase::NoPart | Phase::Unspecified => {}
        }
    }
}

/// The ledger says OPEN, or RETIRED: what was begun with it is brought to its end.
fn complete(host: &Arc<Host>, migration: &Migration, step: &str) {
    let id = host.id(migration, step);
    if let Some(operation) = host.ledger.operation(&id)
        && matches!(operation.state, State::Began | State::Failed(_))
    {
        let feed = apply::start(host, id, operation.epoch, operation.action);
        drop(feed);
    }
}

/// The old source follows, where that was prepared and has not been begun: also when no controller is left to ask for it. What was
/// begun and failed is for somebody to look at first. It takes its turn after whatever is at work here.
pub(crate) fn rejoin(host: &Arc<Host>, migration: &Migration) {
    if host.ledger.book().is_over(migration) {
        return;
    }
    let armed = host.ledger.operation(&host.id(migration, ARM)).filter(|operation| matches!(operation.state, State::Done(_)));
    let Some(armed) = armed.filter(|_| host.engine().is_ok_and(|engine| engine.rejoins())) else { return };
    let id = host.id(migration, REJOIN);
    if host.ledger.operation(&id).is_none_or(|operation| operation.state == State::Began) {
        let epoch = host.ledger.command_epoch(migration).max(armed.epoch);
        let action = v1::Action { kind: Some(v1::action::Kind::Rejoin(v1::Rejoin::default())) };
        drop(apply::start(host, id, epoch, action));
    }
}

/// The ledger says SERVING: whatever of a fence is still there goes, however long its server takes to come up.
pub(crate) fn complete_reopen(host: &Arc<Host>, migration: &Migration) {
    let is_fenced = |host: &Host, migration: &Migration| {
        let stands = |step: &&str| {
            host.ledger.operation(&host.id(migration, step)).is_some_and(|operation| operation.state != State::Undone)
        };
        host.phase(migration) == Some(Phase::Serving) && [FENCE, SURRENDER].iter().any(stands)
    };
    if !is_fenced(host, migration) || !host.leases.begin_reopening(migration) {
        return;
    }
    let (host, migration) = (host.clone(), migration.clone());
    tokio::spawn(async move {
        loop {
            {
                let _turn = host.turn.lock().await;
                // By now somebody else may have done it, or have fenced anew.
                let done = match is_fenced(&host, &migration) {
                    true => lease::reopen(&host, &migration).await,
                    false => Ok(()),
                };
                match done {
                    Ok(()) => return host.leases.end_reopening(&migration),
                    Err(failure) => tracing::error!(%migration, code = failure.code, "{failure}"),
                }
            }
            tokio::select! {
                () = tokio::time::sleep(Duration::from_millis(500)) => {}
                () = host.ended.cancelled() => return,
            }
        }
    });
}
