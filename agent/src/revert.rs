//! What flytt has on this host, by the host's own ledger; and how the host takes it back when no controller can be had.
//!
//! It is the same undo, under the same guards of the baton, with an epoch above every controller's: one that comes back later is
//! refused until it takes charge anew. Where the right to accept writes has moved, or is on its way, nothing is taken back here.

use std::{os::unix::fs::MetadataExt as _, path::Path, sync::Arc};

use flytt_proto::{
    failure::Failure,
    name::{Migration, OperationId},
    v1::{self, action::Kind, event, ledger_reply as reply},
};

use crate::{
    apply::{self, Feed},
    baton::{Baton, Phase},
    host::Host,
    lease,
    ledger::{Book, Operation, State, no_part},
};

/// What stands here of each move.
pub fn standing(host: &Host) -> v1::LedgerReply {
    let state = |id: &OperationId, operation: &Operation| host.becomes(id, Some(&operation.state));
    listing(&host.ledger.book(), state, |migration| host.leases.remaining_ms(migration))
}

/// The same by the ledger alone, whoever has it open: of what is under way, and of leases, it does not tell.
pub fn recorded(book: &Book) -> v1::LedgerReply {
    listing(book, |_, operation| operation.state.at_rest(), |_| 0)
}

fn listing(
    book: &Book,
    state: impl Fn(&OperationId, &Operation) -> v1::operation_state::State,
    lease_ms: impl Fn(&Migration) -> u64,
) -> v1::LedgerReply {
    let moves = names(book).into_iter().map(|migration| {
        let operations = begun(book, &migration).into_iter().map(|id| {
            let operation = &book.operations[&id];
            let changes = operation.changes.iter().map(ToString::to_string).collect();
            reply::Operation { step: id.step.to_string(), state: state(&id, operation).into(), changes }
        });
        reply::Move {
            phase: phase(book, &migration).unwrap_or(Phase::NoPart).into(),
            command_epoch: book.command_epoch(&migration).0,
            lease_ms: lease_ms(&migration),
            peer: book.grants.get(&migration).map(ToString::to_string).unwrap_or_default(),
            guarded: book.guarded.get(&migration).cloned().unwrap_or_default(),
            operations: operations.collect(),
            kept: may_go(book, &migration).err().map(Into::into),
            migration: migration.to_string(),
        }
    });
    v1::LedgerReply { moves: moves.collect() }
}

fn phase(book: &Book, migration: &Migration) -> Option<Phase> {
    book.batons.get(migration).map(Baton::phase)
}

/// Takes back what this host did for the move, the last first. `say` is told each change. Safe to repeat: what is taken back
/// already is not touched again.
pub async fn revert(host: &Arc<Host>, migration: &Migration, mut say: impl FnMut(&str)) -> Result<(), Failure> {
    if host.ledger.book().order.iter().all(|id| id.migration != *migration) {
        return Err(no_part());
    }
    match may_go(&host.ledger.book(), migration) {
        // What it was promoted for is over once its source serves again.
        Err(failure) if failure.code == "PROMOTED" => source_serves(host, migration, failure).await?,
        said => said?,
    }
    // A router that holds lets go to whoever may accept writes, as both sides say. A hold that is over then led to the source.
    if !host.holds(migration).is_empty() {
        lease::settle(host, migration).await?;
        if !host.holds(migration).is_empty() {
            return Err(past(LEADS_ON));
        }
    }
    let epoch = host.ledger.command_epoch(migration).next();
    for id in begun(&host.ledger.book(), migration).into_iter().rev() {
        let Feed { mut receiver, mut end } = apply::start_undo(host, id, epoch);
        loop {
            tokio::select! {
                biased;
                Ok(event) = receiver.recv() => {
                    if let Some(event::Kind::Doing(text)) = &event.kind {
                        say(text);
                    }
                }
                done = &mut end => {
                    done.unwrap_or_else(|_| Err(stopped()))?;
                    break;
                }
            }
        }
    }
    Ok(())
}

/// Whoever opens a ledger writes beside it: what another user made there, its agent could not open any more.
pub fn is_owner(state: &Path) -> Result<(), Failure> {
    let us = nix::unistd::geteuid();
    let owner = std::fs::metadata(state).map_err(|error| {
        Failure::refused("NO_LEDGER", format!("{}: {error}", state.display()), "name the agent.toml of the agent in question")
    })?;
    if owner.uid() == us.as_raw() {
        return Ok(());
    }
    let user = nix::unistd::User::from_uid(owner.uid().into()).ok().flatten().map_or(owner.uid().to_string(), |user| user.name);
    Err(Failure::refused(
        "OTHER_USER",
        format!("{} belongs to {user}, and this process does not run as that user", state.display()),
        format!("run it as {user}: runuser -u {user} -- flytt-agent revert"),
    ))
}

/// The moves of which something is here.
fn names(book: &Book) -> Vec<Migration> {
    let mut names: Vec<Migration> = book.order.iter().map(|id| id.migration.clone()).collect();
    names.sort();
    names.dedup();
    names.retain(|migration| !begun(book, migration).is_empty());
    names
}

/// What has begun and is not taken back, in that order.
fn begun(book: &Book, migration: &Migration) -> Vec<OperationId> {
    let stands = |id: &&OperationId| {
        let operation = &book.operations[*id];
        id.migration == *migration && operation.state != State::Undone && !has_only_looked(operation)
    };
    book.order.iter().filter(stands).cloned().collect()
}

/// Of it there is a record, and nothing else.
fn has_only_looked(operation: &Operation) -> bool {
    let looks = matches!(
        operation.action.kind,
        Some(Kind::Check(_) | Kind::Probe(_) | Kind::Judge(_) | Kind::Prove(_) | Kind::Recover(_))
    );
    looks && operation.changes.is_empty()
}

const LEADS_ON: &str = "this router leads to the target";

fn may_go(book: &Book, migration: &Migration) -> Result<(), Failure> {
    match phase(book, migration) {
        Some(Phase::Surrendered | Phase::Retired) => Err(past("this source has given the right to accept writes away")),
        Some(Phase::Open) => Err(past("this target holds the right to accept writes")),
        promoted @ Some(Phase::Promoting | Phase::Closed) => gate_may_go(promoted),
        _ if has_released(book, migration) => Err(past(LEADS_ON)),
        _ => Ok(()),
    }
}

/// The gate stays while the target is promoted, and is gone for good once it is open.
pub(crate) fn gate_may_go(phase: Option<Phase>) -> Result<(), Failure> {
    match phase {
        Some(Phase::Promoting | Phase::Closed) => Err(Failure::refused(
            "PROMOTED",
            "the target is promoted: its gate stays until it is burned or opened",
            "run `flytt rollback` or `flytt resume`",
        )),
        Some(Phase::Open) => Err(crate::action::past_the_point()),
        _ => Ok(()),
    }
}

fn past(sentence: &str) -> Failure {
    let remedy = "start the agents and run `flytt resume`; once the move is over, `flytt finish` removes what is left";
    Failure::refused("POINT_OF_NO_RETURN", sentence, remedy)
}

async fn source_serves(host: &Host, migration: &Migration, otherwise: Failure) -> Result<(), Failure> {
    let source = host.upstream_of(migration).ok_or_else(no_part)?;
    match host.ask_baton(migration, &source).await {
        Ok(said) if matches!(said.phase(), Phase::Serving | Phase::NoPart) => Ok(()),
        Ok(_) | Err(_) => Err(otherwise),
    }
}

fn has_released(book: &Book, migration: &Migration) -> bool {
    book.operations.iter().any(|(id, operation)| {
        let released = matches!(operation.action.kind, Some(Kind::Release(_))) && operation.state != State::Undone;
        id.migration == *migration && released
    })
}

fn stopped() -> Failure {
    Failure::unknown("STOPPED", "it was stopped in the middle", "run `flytt-agent revert` again")
}
