//! The primary's disk comes first: a move's slot is dropped before the WAL it keeps can fill it; the source's for its target, and
//! after the move the target's for the old source.

use std::{path::Path, sync::Arc, time::Duration};

use flytt_proto::{name::Migration, v1};
use nix::sys::statvfs::statvfs;

use crate::{
    change::{Change, Verb},
    host::Host,
    ledger::State,
};

const EVERY: Duration = Duration::from_secs(2);

/// Watches for as long as the agent runs.
pub(crate) async fn watch(host: Arc<Host>) {
    loop {
        tokio::select! {
            () = tokio::time::sleep(EVERY) => {}
            () = host.ended.cancelled() => return,
        }
        for migration in admitted(&host) {
            if let Err(failure) = look(&host, &migration).await {
                tracing::warn!(%migration, code = failure.code, "the WAL guard: {failure}");
            }
        }
    }
}

/// The legs whose slot stands on this host: of an admitted target, of an old source that will follow or does.
fn admitted(host: &Host) -> Vec<Migration> {
    let book = host.ledger.book();
    let slots = book.operations.iter().filter(|(_, operation)| operation.state != State::Undone).filter_map(|(id, operation)| {
        let leg = match &operation.action.kind {
            Some(v1::action::Kind::Admit(_)) => id.migration.clone(),
            Some(_) if operation.changes.iter().any(keeps_log) => id.migration.back(),
            _ => return None,
        };
        Some(leg).filter(|leg| !book.guarded.contains_key(leg))
    });
    slots.collect()
}

fn keeps_log(change: &Change) -> bool {
    *change == Change::Server(Verb::KeepLog)
}

async fn look(host: &Arc<Host>, migration: &Migration) -> Result<(), flytt_proto::failure::Failure> {
    let Some(postgres) = &host.config.postgres else { return Ok(()) };
    let Some(free) = free_percent(&postgres.data_directory.join("pg_wal")) else { return Ok(()) };
    if free >= u64::from(host.config.guard_free_percent) {
        return Ok(());
    }
    let held = host.engine()?.replication(migration).await?.held_bytes;
    // A disk that others fill is not freed by giving up the move; it is worth it only when the slot keeps something.
    if held < 64 << 20 {
        return Ok(());
    }
    let whose = if migration.is_back() { "new primary" } else { "source" };
    let reason =
        format!("the disk of the {whose}'s WAL has {free} % left and the slot kept {held} bytes, so the slot was dropped");
    tracing::error!(%migration, "{reason}");
    host.guarded(migration, reason).await?;
    if migration.is_back() {
        return host.hands.undo(migration, &Change::Server(Verb::KeepLog)).await.map(drop);
    }
    for change in host.changes_of(migration, |action| matches!(action, v1::action::Kind::Admit(_))) {
        if let Change::Statement(statement) = &change
            && statement.about.contains("slot")
        {
            host.hands.undo(migration, &change).await?;
        }
    }
    Ok(())
}

/// How many bytes more the disk of the WAL takes before the guard acts.
pub(crate) fn room(host: &Host) -> Option<u64> {
    let about = statvfs(&host.config.postgres.as_ref()?.data_directory.join("pg_wal")).ok()?;
    let kept = about.blocks() / 100 * u64::from(host.config.guard_free_percent);
    Some(about.blocks_available().saturating_sub(kept) * about.fragment_size())
}

/// Free space of the file system, as an unprivileged user has it.
fn free_percent(path: &Path) -> Option<u64> {
    let about = statvfs(path).ok()?;
    (about.blocks() > 0).then(|| about.blocks_available() * 100 / about.blocks())
}
