//! What the entries of a ledger come to: operations, batons and leases of a host. A fold, and nothing that is kept anywhere else.

use std::collections::BTreeMap;

use flytt_proto::{
    failure::Failure,
    name::{Epoch, HostName, Migration, OperationId},
    v1,
};

use super::{Entry, Part};
use crate::{
    baton::{Baton, Phase, Stance},
    change::Change,
    lease::GrantedLease,
};

#[derive(Clone, Debug, PartialEq)]
pub enum State {
    Began,
    Done(v1::Outcome),
    Failed(Failure),
    Undoing,
    Undone,
}

impl State {
    /// Of an operation that nobody is at work on.
    pub fn at_rest(&self) -> v1::operation_state::State {
        use v1::operation_state::State as Wire;
        match self {
            State::Began | State::Undoing => Wire::Interrupted,
            State::Done(_) => Wire::Done,
            State::Failed(_) => Wire::Failed,
            State::Undone => Wire::Undone,
        }
    }
}

#[derive(Clone, Debug, PartialEq)]
pub struct Operation {
    pub epoch: Epoch,
    pub action: v1::Action,
    pub changes: Vec<Change>,
    pub state: State,
}

/// What the entries come to.
#[derive(Clone, Debug, Default)]
pub struct Book {
    /// In the order of their (latest) beginning.
    pub operations: BTreeMap<OperationId, Operation>,
    pub order: Vec<OperationId>,
    pub batons: BTreeMap<Migration, Baton>,
    pub parts: BTreeMap<Migration, Part>,
    pub charges: BTreeMap<Migration, Epoch>,
    pub leases: BTreeMap<Migration, GrantedLease>,
    /// The identity of the ledger: a target's baton is bound to it.
    journal: String,
    pub grants: BTreeMap<Migration, HostName>,
    pub guarded: BTreeMap<Migration, String>,
}

impl Book {
    /// The empty book of the ledger with this identity.
    pub fn of(journal: &str) -> Self {
        Self { journal: journal.to_owned(), ..Self::default() }
    }

    /// The highest controller's epoch that was seen.
    pub fn command_epoch(&self, migration: &Migration) -> Epoch {
        let baton = self.batons.get(migration).map(Baton::command_epoch).unwrap_or_default();
        baton.max(self.charges.get(migration).copied().unwrap_or_default())
    }

    /// The book after one more entry; an order of entries that cannot be is an error.
    pub fn after(mut self, entry: &Entry) -> Result<Self, Failure> {
        match entry {
            Entry::Began { id, epoch, action, changes } => {
                // An operation that was begun before keeps its recorded originals: a second survey sees our own work.
                self.order.retain(|other| other != id);
                self.order.push(id.clone());
                let operation =
                    Operation { epoch: *epoch, action: action.clone(), changes: changes.clone(), state: State::Began };
                self.operations.insert(id.clone(), operation);
            }
            Entry::Done { id, outcome } => self.set(id, State::Done(outcome.clone()))?,
            Entry::Failed { id, failure } => self.set(id, State::Failed(failure.clone()))?,
            Entry::Undoing { id } => self.set(id, State::Undoing)?,
            Entry::Undone { id } => self.set(id, State::Undone)?,
            Entry::Part { migration, role } => {
                if migration.is_back() {
                    self.may_turn_back(migration, *role)?;
                }
                let baton = match role {
                    Part::Source => Baton::source(migration.clone()),
                    Part::Target => Baton::target(migration.clone(), &self.journal),
                };
                self.batons.insert(migration.clone(), baton);
                self.parts.insert(migration.clone(), *role);
            }
            Entry::Charged { migration, epoch } => {
                self.charges.insert(migration.clone(), *epoch);
            }
            Entry::Leased { migration, lease } => {
                self.leases.insert(migration.clone(), lease.clone());
            }
            Entry::Baton { migration, event } => {
                let baton = self
                    .batons
                    .get(migration)
                    .ok_or_else(|| disorder(format!("a baton of {migration}, which has no part here")))?;
                self.batons.insert(migration.clone(), baton.after(event)?);
            }
            Entry::Granted { migration, peer } => {
                self.grants.insert(migration.clone(), peer.clone());
            }
            Entry::Withdrawn { migration } => {
                self.grants.remove(migration);
                // The slot that was given up is gone with the rest: another try begins unblamed, and is guarded anew.
                self.guarded.remove(migration);
                self.guarded.remove(&migration.back());
            }
            Entry::Guarded { migration, reason } => {
                self.guarded.insert(migration.clone(), reason.clone());
            }
            Entry::Finished { migration } => {
                let (there, back) = (migration.there(), migration.back());
                self.operations.retain(|id, _| id.migration.there() != there);
                self.order.retain(|id| id.migration.there() != there);
                for leg in [&there, &back] {
                    self.grants.remove(leg);
                    self.guarded.remove(leg);
                    self.batons.remove(leg);
                    self.parts.remove(leg);
                    self.charges.remove(leg);
                    self.leases.remove(leg);
                }
            }
        }
        Ok(self)
    }

    /// The leg back begins on a host only where the leg there has come to its end, and with the other part.
    fn may_turn_back(&self, back: &Migration, role: Part) -> Result<(), Failure> {
        use flytt_proto::name::step::{OPEN, RETIRE};
        let there = back.there();
        let (phase, was, end) = match role {
            Part::Source => (Phase::Open, Part::Target, OPEN),
            Part::Target => (Phase::Retired, Part::Source, RETIRE),
        };
        let id = OperationId { migration: there.clone(), step: end.parse().expect("a literal of the right form") };
        let has_ended = self.operations.get(&id).is_some_and(|operation| matches!(operation.state, State::Done(_)));
        let now = self.batons.get(&there).map(Baton::phase);
        if self.parts.get(&there) == Some(&was) && now == Some(phase) && has_ended {
            return Ok(());
        }
        let sentence = format!("the move of {there} has not come to its end here, so there is no way back from it");
        Err(Failure::refused("LEG_TOO_EARLY", sentence, "run `flytt status`, then `flytt resume`"))
    }

    /// Once the leg back has begun here, the leg there is over: whatever is still said of it comes too late.
    pub fn is_over(&self, leg: &Migration) -> bool {
        !leg.is_back() && self.batons.contains_key(&leg.back())
    }

    /// What the host must look like: of each migration, as its newest leg that asks for something says.
    pub fn stances(&self) -> impl Iterator<Item = Stance> {
        self.batons
            .iter()
            .filter(|(leg, _)| {
                let back = self.batons.get(&leg.back()).map(Baton::stance);
                leg.is_back() || back.is_none_or(|stance| stance == Stance::Any)
            })
            .map(|(_, baton)| baton.stance())
    }

    fn set(&mut self, id: &OperationId, state: State) -> Result<(), Failure> {
        let operation = self.operations.get_mut(id).ok_or_else(|| disorder(format!("{id}, which never began")))?;
        operation.state = state;
        Ok(())
    }
}

fn disorder(what: String) -> Failure {
    Failure::refused("LEDGER_ORDER", format!("the ledger speaks of {what}"), "keep the file as it is and ask for help")
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::baton::BatonEvent;

    #[test]
    fn another_try_after_the_guard_gave_one_up_is_guarded_anew() {
        let migration: Migration = "shop".parse().unwrap();
        let gave_up = Entry::Guarded { migration: migration.clone(), reason: "the disk is full".into() };
        let book = Book::default().after(&gave_up).unwrap();
        assert!(book.guarded.contains_key(&migration));
        let book = book.after(&Entry::Withdrawn { migration }).unwrap();
        assert!(book.guarded.is_empty());
    }

    /// The book of a host that has played its part in the leg there to this end.
    pub(in crate::ledger) fn ended(role: Part, step: &str, state: State, phase: Phase) -> Book {
        let shop: Migration = "shop".parse().unwrap();
        let id = OperationId { migration: shop.clone(), step: step.parse().unwrap() };
        let mut book = Book::of("journal").after(&Entry::Part { migration: shop.clone(), role }).unwrap();
        let operation = Operation { epoch: Epoch(1), action: v1::Action::default(), changes: Vec::new(), state };
        book.operations.insert(id, operation);
        let claim = |kind, position: Option<u64>| flytt_proto::artefact::Claim {
            kind,
            migration: shop.clone(),
            epoch: Epoch(1),
            position: position.map(|at| flytt_proto::name::Position::Postgres(flytt_proto::name::Lsn(at))),
            journal: Some("journal".into()),
            signer: "db".parse().unwrap(),
        };
        use flytt_proto::artefact::Kind;
        let at = flytt_proto::name::Position::Postgres(flytt_proto::name::Lsn(1));
        let events = match role {
            Part::Source => vec![
                BatonEvent::Charged { epoch: Epoch(1) },
                BatonEvent::Fencing { epoch: Epoch(1) },
                BatonEvent::Shut,
                BatonEvent::Fenced { position: at },
                BatonEvent::Surrendered { closed: claim(Kind::ClosedProof, Some(1)) },
                BatonEvent::Retired { open: claim(Kind::OpenReceipt, None) },
            ],
            Part::Target => vec![
                BatonEvent::Charged { epoch: Epoch(1) },
                BatonEvent::Promoting { fence: claim(Kind::FenceProof, Some(1)), applied: at.clone() },
                BatonEvent::Closed { applied: at },
                BatonEvent::Opened { permit: claim(Kind::Permit, Some(1)) },
            ],
        };
        for event in events {
            if book.batons[&shop].phase() != phase {
                book = book.after(&Entry::Baton { migration: shop.clone(), event }).unwrap();
            }
        }
        assert_eq!(book.batons[&shop].phase(), phase);
        book
    }

    #[test]
    fn the_leg_back_begins_where_the_leg_there_has_ended_and_with_the_other_part() {
        let done = || State::Done(v1::Outcome::default());
        let back = |role| Entry::Part { migration: "shop.back".parse().unwrap(), role };
        let (open, retired) = ("cut-open", "cut-retire");
        for (book, role, begins) in [
            (ended(Part::Target, open, done(), Phase::Open), Part::Source, true),
            (ended(Part::Source, retired, done(), Phase::Retired), Part::Target, true),
            (ended(Part::Target, open, done(), Phase::Open), Part::Target, false),
            (ended(Part::Source, retired, done(), Phase::Retired), Part::Source, false),
            (ended(Part::Target, open, State::Began, Phase::Open), Part::Source, false),
            (ended(Part::Target, open, done(), Phase::Closed), Part::Source, false),
            (ended(Part::Source, retired, State::Began, Phase::Retired), Part::Target, false),
            (ended(Part::Source, retired, done(), Phase::Surrendered), Part::Target, false),
            (Book::of("journal"), Part::Source, false),
            (Book::of("journal"), Part::Target, false),
        ] {
            let there: Migration = "shop".parse().unwrap();
            let stances: Vec<Stance> = book.stances().collect();
            match book.after(&back(role)) {
                Ok(after) => {
                    assert!(begins && after.is_over(&there) && !after.is_over(&there.back()), "{role:?}");
                    // It serves as it did, and the follower stays shut: a leg that has only begun changes nothing.
                    assert_eq!(
                        after.stances().collect::<Vec<_>>(),
                        if role == Part::Source { vec![Stance::Open] } else { vec![stances[0], Stance::Any] }
                    );
                    let after = after.after(&Entry::Finished { migration: there.clone() }).unwrap();
                    assert!(after.batons.is_empty() && after.parts.is_empty() && after.operations.is_empty());
                }
                Err(failure) => assert!(!begins && failure.code == "LEG_TOO_EARLY", "{role:?}: {failure:?}"),
            }
        }
    }
}
