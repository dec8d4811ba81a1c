//! What happens when nobody comes back: a fence un-fences, a hold settles on whoever holds the baton.
//!
//! Deadlines are on CLOCK_BOOTTIME, which goes on while the host sleeps; another boot id means that a lease has ended.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex},
    time::Duration,
};

use flytt_proto::{
    failure::Failure,
    name::{
        Epoch, Migration, OperationId, StepId,
        step::{FENCE, SURRENDER},
    },
    v1::{self, baton_state::Phase},
};
use nix::time::{ClockId, clock_gettime};

use crate::{
    action::At,
    apply::{self, Events},
    baton::Command,
    change::{RouteChange, RouteState},
    host::Host,
    ledger::{Entry, State},
};

/// Time since boot, with the time asleep.
pub(crate) fn boot_time() -> Duration {
    let time = clock_gettime(ClockId::CLOCK_BOOTTIME).expect("every Linux since 2.6.39 has this clock");
    Duration::new(time.tv_sec().try_into().unwrap_or(0), time.tv_nsec().try_into().unwrap_or(0))
}

fn boot_id() -> String {
    std::fs::read_to_string("/proc/sys/kernel/random/boot_id").map(|id| id.trim().to_owned()).unwrap_or_default()
}

/// A fence's lease, as it is on record.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct GrantedLease {
    pub length_ms: u64,
    /// CLOCK_BOOTTIME, in the boot of that id.
    pub until_ms: u64,
    pub boot_id: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Fence,
    Hold,
}

#[derive(Clone, Copy, Debug)]
struct Lease {
    kind: Kind,
    length: Duration,
    deadline: Duration,
}

/// The leases of this agent. One move has at most one on a host: a fence or a hold.
#[derive(Debug, Default)]
pub struct Leases {
    running: Mutex<BTreeMap<Migration, Lease>>,
    /// Moves whose fence is being taken back until that succeeds.
    reopening: Mutex<BTreeSet<Migration>>,
}

impl Leases {
    /// What goes on record for a lease that begins now.
    pub(crate) fn grant(&self, lease_ms: u64) -> GrantedLease {
        let until = boot_time() + Duration::from_millis(lease_ms);
        GrantedLease { length_ms: lease_ms, boot_id: boot_id(), until_ms: until.as_millis().try_into().unwrap_or(u64::MAX) }
    }

    pub(crate) fn arm_fence(&self, host: &Arc<Host>, migration: &Migration, granted: &GrantedLease) {
        let ended = granted.boot_id != boot_id();
        let deadline = if ended { Duration::ZERO } else { Duration::from_millis(granted.until_ms) };
        self.arm(host, migration, Lease { kind: Kind::Fence, length: Duration::from_millis(granted.length_ms), deadline });
    }

    pub(crate) fn arm_hold(&self, host: &Arc<Host>, migration: &Migration, lease_ms: u64) {
        let length = Duration::from_millis(lease_ms);
        self.arm(host, migration, Lease { kind: Kind::Hold, length, deadline: boot_time() + length });
    }

    fn arm(&self, host: &Arc<Host>, migration: &Migration, lease: Lease) {
        let before = self.running.lock().expect("no panic while held").insert(migration.clone(), lease);
        if before.is_none() {
            tokio::spawn(watch(host.clone(), migration.clone()));
        }
    }

    pub(crate) fn disarm(&self, migration: &Migration) {
        self.running.lock().expect("no panic while held").remove(migration);
    }

    /// Whether nobody is at it already.
    pub(crate) fn begin_reopening(&self, migration: &Migration) -> bool {
        self.reopening.lock().expect("no panic while held").insert(migration.clone())
    }

    pub(crate) fn end_reopening(&self, migration: &Migration) {
        self.reopening.lock().expect("no panic while held").remove(migration);
    }

    /// A lease that has ended stays ended.
    pub(crate) fn renew(&self, migration: &Migration) -> Result<u64, Failure> {
        let mut running = self.running.lock().expect("no panic while held");
        match running.get_mut(migration) {
            Some(lease) if lease.deadline > boot_time() => {
                lease.deadline = boot_time() + lease.length;
                Ok(lease.length.as_millis().try_into().unwrap_or(u64::MAX))
            }
            Some(_) | None => Err(Failure::refused(
                "NO_LEASE",
                "there is no lease to renew",
                "the host has un-fenced by itself: run `flytt status`",
            )),
        }
    }

    pub(crate) fn remaining_ms(&self, migration: &Migration) -> u64 {
        let running = self.running.lock().expect("no panic while held");
        let left = running.get(migration).map(|lease| lease.deadline.saturating_sub(boot_time())).unwrap_or_default();
        left.as_millis().try_into().unwrap_or(u64::MAX)
    }

    fn state(&self, migration: &Migration) -> Option<(Kind, Duration)> {
        let running = self.running.lock().expect("no panic while held");
        running.get(migration).map(|lease| (lease.kind, lease.deadline.saturating_sub(boot_time())))
    }
}

/// How often the router's agent asks whether the target has opened, while it holds.
const LOOK: Duration = Duration::from_millis(250);

/// Waits for the lease's end and then acts until it is settled. A hold ends before that when the target has opened.
async fn watch(host: Arc<Host>, migration: Migration) {
    let mut failed = false;
    while let Some((kind, left)) = host.leases.state(&migration) {
        let pause = match kind {
            Kind::Fence if !failed => left,
            Kind::Hold if !failed => left.min(LOOK),
            Kind::Fence | Kind::Hold => LOOK,
        };
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = host.ended.cancelled() => return,
        }
        // It may have been renewed, or taken back, in the meantime.
        let settled = match host.leases.state(&migration) {
            None => return,
            Some((Kind::Fence, Duration::ZERO)) => unfence(&host, &migration).await.map(|()| true),
            Some((Kind::Hold, Duration::ZERO)) => settle(&host, &migration).await.map(|()| true),
            Some((Kind::Fence, _)) => Ok(false),
            Some((Kind::Hold, left)) => Ok(released(&host, &migration, left).await.unwrap_or_else(|failure| {
                tracing::debug!(%migration, code = failure.code, "{failure}");
                false
            })),
        };
        match &settled {
            Ok(true) => return host.leases.disarm(&migration),
            Ok(false) => {}
            Err(failure) => tracing::warn!(%migration, code = failure.code, "{failure}"),
        }
        failed = settled.is_err();
    }
}

fn step(name: &str) -> StepId {
    name.parse().expect("a literal of the right form")
}

/// The fence goes, because nobody renewed its lease. Refused by the baton once the source has surrendered.
async fn unfence(host: &Arc<Host>, migration: &Migration) -> Result<(), Failure> {
    host.interrupt_all(migration);
    let _turn = host.turn.lock().await;
    if host.leases.remaining_ms(migration) > 0 || host.not_surrendered(migration).is_err() {
        return Ok(());
    }
    host.baton(migration, &Command::LeaseEnded).await?;
    tracing::warn!(%migration, "nobody renewed the lease: un-fencing");
    reopen(host, migration).await
}

/// Takes the fence's own changes back, in whatever state they are. The baton has been raised before.
pub(crate) async fn reopen(host: &Arc<Host>, migration: &Migration) -> Result<(), Failure> {
    let at = At { host: host.clone(), migration: migration.clone(), epoch: Epoch::default(), events: Events::new() };
    for name in [SURRENDER, FENCE] {
        apply::take_back(&at, &OperationId { migration: migration.clone(), step: step(name) }).await?;
    }
    Ok(())
}

/// The hold ends: connections go to whoever holds the baton. If neither side answers, they keep waiting.
pub(crate) async fn settle(host: &Arc<Host>, migration: &Migration) -> Result<(), Failure> {
    host.interrupt_all(migration);
    for (id, hold) in host.holds(migration) {
        let to = holder(host, migration, &hold).await?;
        let _turn = host.turn.lock().await;
        tracing::warn!(%migration, "nobody renewed the hold");
        lead(host, &id, hold, to).await?;
    }
    Ok(())
}

/// Whether every hold here is released: whoever was to say so may be gone, so the target is asked. Its answer counts when it
/// has opened, proven, in the epoch of the hold or a later one. Anything else, and no answer, changes nothing.
async fn released(host: &Arc<Host>, migration: &Migration, left: Duration) -> Result<bool, Failure> {
    let holds = host.holds(migration);
    for (id, hold) in &holds {
        let target = crate::action::peer(hold.target.as_ref())?;
        let Ok(said) = tokio::time::timeout(left, host.ask_baton(migration, &target)).await else { return Ok(false) };
        let (said, held_in) = (said?, host.ledger.operation(id).map(|operation| operation.epoch).unwrap_or_default());
        if said.phase() != Phase::Open || !said.proven || Epoch(said.epoch) < held_in {
            return Ok(false);
        }
        let _turn = host.turn.lock().await;
        // It may have been said by now.
        if host.holds(migration).iter().any(|(held, _)| held == id) {
            lead(host, id, hold.clone(), RouteState::Target).await?;
        }
    }
    Ok(!holds.is_empty())
}

/// Brings what is held by that operation there.
async fn lead(host: &Arc<Host>, id: &OperationId, hold: v1::Hold, to: RouteState) -> Result<(), Failure> {
    let route = hold.route.ok_or_else(|| Failure::refused("BAD_REQUEST", "the hold names no route", "look at the router"))?;
    let v1::Route { backend, source, target } = route.clone();
    let was = host.router()?.state(&route).await?;
    let change = crate::change::Change::Route(RouteChange { backend, source, target, to, was });
    tracing::warn!(migration = %id.migration, "{change}");
    let (progress, _) = tokio::sync::mpsc::channel(1);
    host.hands.apply(&id.migration, &change, progress).await?;
    if to == RouteState::Source {
        take_back_route(host, id, &route).await?;
    }
    Ok(())
}

/// Who may accept writes, as both sides say.
async fn holder(host: &Arc<Host>, migration: &Migration, hold: &v1::Hold) -> Result<RouteState, Failure> {
    let (source, target) = (crate::action::peer(hold.source.as_ref())?, crate::action::peer(hold.target.as_ref())?);
    let phase = async |peer| host.ask_baton(migration, peer).await.map(|state| state.phase());
    let (source, target) = tokio::join!(phase(&source), phase(&target));
    let said = |answer: &Result<Phase, Failure>| answer.as_ref().ok().copied();
    leads_to(said(&source), said(&target)).ok_or_else(|| {
        Failure::unknown(
            "NO_HOLDER",
            format!("neither side holds the right to accept writes yet (source: {source:?}, target: {target:?})"),
            "connections keep waiting; look at both hosts with `flytt status`",
        )
    })
}

/// Where connections go by what source and target say; `None` of a side: it does not answer.
fn leads_to(source: Option<Phase>, target: Option<Phase>) -> Option<RouteState> {
    match (source, target) {
        (_, Some(Phase::Open)) => Some(RouteState::Target),
        (Some(Phase::Serving | Phase::NoPart), _) => Some(RouteState::Source),
        // It was shown the target's own receipt that it has opened.
        (Some(Phase::Retired), _) => Some(RouteState::Target),
        _ => None,
    }
}

/// What the controller would have written: the hold of this route, and its staging, are taken back.
async fn take_back_route(host: &Arc<Host>, hold: &OperationId, route: &v1::Route) -> Result<(), Failure> {
    for (id, operation) in host.ledger.book().operations {
        let staged =
            matches!(&operation.action.kind, Some(v1::action::Kind::Stage(stage)) if stage.route.as_ref() == Some(route));
        let ours = id == *hold || (staged && id.migration == hold.migration);
        if ours && operation.state != State::Undone {
            host.ledger.write(Entry::Undoing { id: id.clone() }).await?;
            host.ledger.write(Entry::Undone { id }).await?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_router_follows_proof_and_never_a_guess() {
        let (to_source, to_target) = (Some(RouteState::Source), Some(RouteState::Target));
        for (source, target, to) in [
            (Some(Phase::Serving), Some(Phase::Replica), to_source),
            (Some(Phase::Serving), None, to_source),
            (Some(Phase::Fenced), Some(Phase::Closed), None),
            (Some(Phase::Surrendered), Some(Phase::Closed), None),
            (Some(Phase::Surrendered), None, None),
            (None, Some(Phase::Closed), None),
            (None, None, None),
            (Some(Phase::Surrendered), Some(Phase::Open), to_target),
            (None, Some(Phase::Open), to_target),
            (Some(Phase::Retired), None, to_target),
        ] {
            assert_eq!(leads_to(source, target), to, "{source:?} {target:?}");
        }
    }
}
