//! The primary's disk comes first: a move's slot is dropped before the WAL it keeps can fill it; the source's for its target, and
//! after the move the target's for the old source.

use std::{path::Path, sync::Arc, time::Duration};

use flytt_proto::{failure::Failure, name::Migration, v1};
use nix::sys::statvfs::statvfs;

use crate::{
    change::{Change, Verb},
    host::Host,
    ledger::State,
};

const EVERY: Duration = Duration::from_secs(2);
/// One segment of WAL: a server whose disk has no more than that is about to accept no write.
const LEAST: u64 = 16 << 20;

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

/// A target without room would be opened and serve nobody, and after the surrender nobody else may: refused before.
///
/// # Errors
/// `NO_ROOM`.
pub(crate) fn must_have_room(host: &Host) -> Result<(), Failure> {
    let Some(data) = host.config.data_directory() else { return Ok(()) };
    let places = [data.to_owned(), data.join("pg_wal")];
    places
        .iter()
        .filter_map(|place| Some((place, statvfs(place).ok()?)))
        .try_for_each(|(place, about)| enough(place, about.blocks_available() * about.fragment_size()))
}

fn enough(place: &Path, free: u64) -> Result<(), Failure> {
    if free >= LEAST {
        return Ok(());
    }
    let sentence = format!("the disk of {} has {free} bytes left: the server would accept no write", place.display());
    Err(Failure::refused("NO_ROOM", sentence, "make room on the target, then cut over again"))
}

/// Free space of the file system, as an unprivileged user has it.
fn free_percent(path: &Path) -> Option<u64> {
    let about = statvfs(path).ok()?;
    (about.blocks() > 0).then(|| about.blocks_available() * 100 / about.blocks())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_is_full_before_its_last_block_is_taken() {
        assert!(enough(Path::new("/data"), LEAST).is_ok());
        let full = enough(Path::new("/data"), LEAST - 1).expect_err("less than a segment");
        assert_eq!(full.code, "NO_ROOM");
        assert!(full.sentence.contains("/data"), "{}", full.sentence);
    }
}
