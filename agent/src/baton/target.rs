//! The target's side: promoted behind a gate, it opens on a permit, or is burned and says so. Never both.

use flytt_proto::{
    artefact::Kind,
    name::{Epoch, Position},
    v1::baton_state::Phase,
};

use super::{
    Baton, BatonEvent, Command, Refusal, Stance,
    guard::{Guard, Guards},
};

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Target {
    journal: String,
    /// Nothing of this epoch or an earlier one opens here any more.
    burned: Epoch,
    at: At,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum At {
    /// Seeding, or following the source.
    Replica,
    /// On its way to primary; must have `final_position`.
    Promoting {
        final_position: Position,
    },
    Closed {
        applied: Position,
    },
    Open,
    /// Given up; the database is not known to be down yet.
    Burning,
    Burned,
}

impl Target {
    pub(super) fn new(journal: &str) -> Self {
        Self { journal: journal.to_owned(), burned: Epoch(0), at: At::Replica }
    }

    pub(super) fn journal(&self) -> &str {
        &self.journal
    }

    pub(super) fn phase(&self) -> Phase {
        match self.at {
            At::Replica => Phase::Replica,
            At::Promoting { .. } => Phase::Promoting,
            At::Closed { .. } => Phase::Closed,
            At::Open => Phase::Open,
            At::Burning | At::Burned => Phase::Burned,
        }
    }

    pub(super) fn stance(&self) -> Stance {
        match self.at {
            At::Replica => Stance::Any,
            At::Promoting { .. } | At::Closed { .. } => Stance::Shut,
            At::Open => Stance::Open,
            At::Burning | At::Burned => Stance::Down,
        }
    }

    pub(super) fn claimed(&self, epoch: Epoch) -> Option<(Kind, Epoch, Option<Position>)> {
        match &self.at {
            At::Closed { applied } => Some((Kind::ClosedProof, epoch, Some(applied.clone()))),
            At::Open => Some((Kind::OpenReceipt, epoch, None)),
            At::Burned => Some((Kind::BurnReceipt, self.burned, None)),
            At::Replica | At::Promoting { .. } | At::Burning => None,
        }
    }

    pub(super) fn takes_epochs(&self) -> bool {
        match self.at {
            At::Replica | At::Burning | At::Burned => true,
            At::Promoting { .. } | At::Closed { .. } | At::Open => false,
        }
    }

    pub(super) fn is_so_already(&self, baton: &Baton, command: &Command) -> bool {
        match (&self.at, command) {
            (At::Promoting { .. } | At::Closed { .. }, Command::Promote { fence, .. }) => fence.epoch == baton.epoch,
            (At::Closed { .. }, Command::Closed { .. }) => true,
            (At::Open, Command::Open { permit }) => permit.epoch == baton.epoch && permit.journal.as_ref() == Some(&self.journal),
            (At::Burning | At::Burned, Command::Burn { .. }) => true,
            (At::Burned, Command::Down) => true,
            (At::Open, Command::Recover { .. }) => true,
            _ => false,
        }
    }

    pub(super) fn after(&self, baton: &Baton, event: &BatonEvent, guards: Guards) -> Result<(Epoch, Self), Refusal> {
        let check = |guard, holds| baton.check(guards, guard, holds);
        let to = |at| Self { at, ..self.clone() };
        let same = baton.epoch;
        match (&self.at, event) {
            (At::Replica, BatonEvent::Promoting { fence, applied }) => {
                baton.check_claim(guards, Guard::PromoteNeedsFenceProof, fence, Kind::FenceProof)?;
                check(Guard::FenceProofEpoch, fence.epoch == baton.epoch)?;
                check(Guard::EpochNotBurned, fence.epoch > self.burned)?;
                let final_position = fence.position.clone().ok_or_else(|| Guard::PromoteNeedsFenceProof.refusal(baton))?;
                check(Guard::TargetReplayed, applied.covers(&final_position) == Some(true))?;
                Ok((fence.epoch, to(At::Promoting { final_position })))
            }
            (At::Promoting { final_position }, BatonEvent::Closed { applied }) => {
                check(Guard::TargetReplayed, applied.covers(final_position) == Some(true))?;
                Ok((same, to(At::Closed { applied: applied.clone() })))
            }
            (At::Closed { .. } | At::Burning | At::Burned, BatonEvent::Opened { permit }) => {
                check(Guard::NoOpenAfterBurn, matches!(self.at, At::Closed { .. }) && permit.epoch > self.burned)?;
                baton.check_claim(guards, Guard::OpenNeedsPermit, permit, Kind::Permit)?;
                check(Guard::PermitEpoch, permit.epoch == baton.epoch)?;
                check(Guard::PermitJournal, permit.journal.as_ref() == Some(&self.journal))?;
                Ok((same, to(At::Open)))
            }
            // In the epoch of its promotion: a permit of that epoch says nothing else, should it turn up after all.
            (At::Closed { .. }, BatonEvent::Recovered { .. }) => Ok((same, to(At::Open))),
            (At::Replica | At::Promoting { .. } | At::Closed { .. } | At::Open, BatonEvent::Burning { epoch }) => {
                check(Guard::NoBurnAfterOpen, self.at != At::Open)?;
                check(Guard::BurnEpoch, *epoch >= baton.epoch && *epoch > self.burned)?;
                Ok((*epoch, Self { burned: *epoch, ..to(At::Burning) }))
            }
            (At::Burning, BatonEvent::Burned) => Ok((same, to(At::Burned))),
            (At::Burned, BatonEvent::Reseeded) => Ok((same, to(At::Replica))),
            _ => Err(baton.out_of_order(event)),
        }
    }
}
