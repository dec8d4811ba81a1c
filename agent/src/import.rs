//! The lease on what is set for an import: held while the load shows signs of life, taken back by the agent itself when it does
//! not, when the load ends in whatever way, when the agent ends, and first of all when it starts. What is set, and whether it
//! stands, only the engine knows; what was there before is in the ledger.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use flytt_proto::{failure::Failure, name::OperationId, v1};

use crate::{
    change::{Change, Import},
    host::Host,
    lease::boot_time,
    ledger::State,
};

/// Between two tries to set back; longer each time, to this.
const PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// An agent that starts waits so long for a server that is there and does not answer yet; then it goes on trying beside its work.
const PATIENCE: Duration = Duration::from_secs(5);

/// The leases that run: until when, by CLOCK_BOOTTIME, and how long each is.
#[derive(Debug, Default)]
pub(crate) struct Imports {
    running: Mutex<BTreeMap<OperationId, (Duration, Duration)>>,
}

impl Imports {
    /// From now on the settings of `import` are taken back unless it is renewed.
    pub(crate) fn arm(&self, host: &Arc<Host>, id: &OperationId, import: &Import) {
        let length = Duration::from_millis(import.lease_ms);
        let before = self.running.lock().expect("no panic while held").insert(id.clone(), (boot_time() + length, length));
        if before.is_none() {
            tokio::spawn(watch(host.clone(), id.clone(), import.clone()));
        }
    }

    /// The load shows a sign of life. A lease that has ended stays ended.
    pub(crate) fn renew(&self, id: &OperationId) {
        if let Some((deadline, length)) = self.running.lock().expect("no panic while held").get_mut(id)
            && *deadline > boot_time()
        {
            *deadline = boot_time() + *length;
        }
    }

    pub(crate) fn disarm(&self, id: &OperationId) {
        self.running.lock().expect("no panic while held").remove(id);
    }

    /// What has ended is done with; an import that has begun anew meanwhile keeps its lease.
    fn conclude(&self, id: &OperationId) {
        let mut running = self.running.lock().expect("no panic while held");
        if running.get(id).is_some_and(|(deadline, _)| *deadline <= boot_time()) {
            running.remove(id);
        }
    }

    fn left(&self, id: &OperationId) -> Option<Duration> {
        let running = self.running.lock().expect("no panic while held");
        running.get(id).map(|(deadline, _)| deadline.saturating_sub(boot_time()))
    }
}

/// Waits for the lease's end, and then sets back until it is done.
async fn watch(host: Arc<Host>, id: OperationId, import: Import) {
    let mut pause = PAUSE;
    while let Some(left) = host.imports.left(&id) {
        tokio::select! {
            () = tokio::time::sleep(left) => {}
            () = host.ended.cancelled() => return,
        }
        if host.imports.left(&id) != Some(Duration::ZERO) {
            continue;
        }
        tracing::warn!(operation = %id, "the import has shown no sign of life: its settings are set back");
        let done = tokio::select! {
            done = set_back(&host, &id, &import) => done,
            () = host.ended.cancelled() => return,
        };
        match done {
            Ok(()) => host.imports.conclude(&id),
            Err(_) => {
                tokio::select! {
                    () = tokio::time::sleep(pause) => {}
                    () = host.ended.cancelled() => return,
                }
                pause = (pause * 2).min(LONGEST_PAUSE);
            }
        }
    }
}

/// The operation has ended without having come to its own end: what its changes set is set back, now or by the lease.
pub(crate) async fn end(host: &Arc<Host>, id: &OperationId, changes: &[Change]) {
    for import in of(changes) {
        match set_back(host, id, import).await {
            Ok(()) => host.imports.disarm(id),
            Err(_) => keep_trying(host, id, import),
        }
    }
}

/// First of all when an agent starts: no import of an earlier process of it is running any more.
pub(crate) async fn take_up(host: &Arc<Host>) {
    for (id, import) in unfinished(host) {
        if !matches!(tokio::time::timeout(PATIENCE, until_back(host, &id, &import)).await, Ok(())) {
            tracing::error!(operation = %id, "what was set for an import is not set back yet: no cutover until it is");
            keep_trying(host, &id, &import);
        }
    }
}

/// The agent ends in order. What it cannot set back now, it will when it starts.
pub(crate) async fn take_back_all(host: &Host) {
    for (id, import) in unfinished(host) {
        let _ = tokio::time::timeout(PATIENCE, set_back(host, &id, &import)).await;
    }
}

/// What stands on this host's server of any import.
pub(crate) async fn left(host: &Host) -> Result<Vec<v1::Finding>, Failure> {
    let mut found = Vec::new();
    for operation in host.ledger.book().operations.into_values() {
        for import in of(&operation.changes) {
            found.extend(host.engine()?.left_of_import(import).await?);
        }
    }
    Ok(found)
}

/// Refuses while anything of an import stands.
pub(crate) async fn must_be_over(host: &Host) -> Result<(), Failure> {
    let mut stands = left(host).await?;
    stands.retain(|finding| finding.level() == v1::finding::Level::Block);
    match stands.into_iter().next() {
        Some(finding) => Err(Failure::refused(&finding.code, finding.sentence, finding.remedy)),
        None => Ok(()),
    }
}

/// What an operation is done with or taken back from has set everything back itself; any other may have left something.
fn unfinished(host: &Host) -> Vec<(OperationId, Import)> {
    let operations = host.ledger.book().operations.into_iter();
    let open = operations.filter(|(_, operation)| !matches!(operation.state, State::Done(_) | State::Undone));
    open.flat_map(|(id, operation)| of(&operation.changes).map(|import| (id.clone(), import.clone())).collect::<Vec<_>>())
        .collect()
}

fn of(changes: &[Change]) -> impl Iterator<Item = &Import> {
    changes.iter().filter_map(|change| if let Change::ImportSettings(import) = change { Some(import) } else { None })
}

async fn set_back(host: &Host, id: &OperationId, import: &Import) -> Result<(), Failure> {
    match host.hands.undo(&id.migration, &Change::ImportSettings(import.clone())).await {
        Ok(note) => {
            tracing::info!(operation = %id, note, "the settings of the import are set back");
            Ok(())
        }
        Err(failure) => {
            tracing::warn!(operation = %id, code = failure.code, "{failure}");
            Err(failure)
        }
    }
}

async fn until_back(host: &Host, id: &OperationId, import: &Import) {
    while set_back(host, id, import).await.is_err() {
        tokio::time::sleep(PAUSE).await;
    }
}

/// Beside whatever the agent does; ends when an import of the same operation begins anew, which begins by setting back.
fn keep_trying(host: &Arc<Host>, id: &OperationId, import: &Import) {
    host.imports.disarm(id);
    let over = Import { lease_ms: 0, ..import.clone() };
    host.imports.arm(host, id, &over);
}
