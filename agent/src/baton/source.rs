//! The source's side: it holds the right, lends it to a lease, gives it away once, and has it back only on a burn receipt.

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
pub(super) enum Source {
    Serving,
    /// `shut`: writes were seen to be refused.
    Fencing {
        shut: bool,
    },
    Fenced {
        position: Position,
    },
    /// Given to the target whose record is `journal`.
    Surrendered {
        position: Position,
        journal: String,
    },
    /// Ended after the target opened. What it gave away it states again when asked.
    Retired {
        position: Position,
        journal: String,
    },
}

impl Source {
    pub(super) fn phase(&self) -> Phase {
        match self {
            Source::Serving => Phase::Serving,
            Source::Fencing { .. } => Phase::Fencing,
            Source::Fenced { .. } => Phase::Fenced,
            Source::Surrendered { .. } => Phase::Surrendered,
            Source::Retired { .. } => Phase::Retired,
        }
    }

    pub(super) fn stance(&self) -> Stance {
        match self {
            Source::Serving => Stance::Open,
            Source::Fencing { .. } | Source::Fenced { .. } => Stance::Shut,
            Source::Surrendered { .. } | Source::Retired { .. } => Stance::ShutForGood,
        }
    }

    pub(super) fn claimed(&self) -> Option<(Kind, Position)> {
        match self {
            Source::Fenced { position } => Some((Kind::FenceProof, position.clone())),
            Source::Surrendered { position, .. } | Source::Retired { position, .. } => Some((Kind::Permit, position.clone())),
            Source::Serving | Source::Fencing { .. } => None,
        }
    }

    pub(super) fn journal(&self) -> Option<&str> {
        match self {
            Source::Surrendered { journal, .. } | Source::Retired { journal, .. } => Some(journal),
            Source::Serving | Source::Fencing { .. } | Source::Fenced { .. } => None,
        }
    }

    pub(super) fn is_so_already(&self, baton: &Baton, command: &Command) -> bool {
        match (self, command) {
            (Source::Fencing { .. } | Source::Fenced { .. }, Command::Fence { epoch }) => *epoch == baton.epoch,
            (Source::Fencing { shut }, Command::Shut) => *shut,
            (Source::Fenced { position }, Command::Fenced { position: again }) => position == again,
            (Source::Serving, Command::Abort { .. } | Command::LeaseEnded) => true,
            (Source::Surrendered { journal, .. } | Source::Retired { journal, .. }, Command::Surrender { closed, .. }) => {
                closed.epoch == baton.epoch && closed.journal.as_ref() == Some(journal)
            }
            (Source::Serving, Command::Return { receipt }) => receipt.kind == Kind::BurnReceipt,
            (Source::Retired { .. }, Command::Retire { .. }) => true,
            (Source::Serving, Command::Recover { .. }) => true,
            _ => false,
        }
    }

    pub(super) fn after(&self, baton: &Baton, event: &BatonEvent, guards: Guards) -> Result<(Epoch, Self), Refusal> {
        let check = |guard, holds| baton.check(guards, guard, holds);
        let same = baton.epoch;
        match (self, event) {
            (Source::Serving, BatonEvent::Fencing { epoch }) => {
                check(Guard::FenceEpoch, *epoch == baton.epoch)?;
                Ok((*epoch, Source::Fencing { shut: false }))
            }
            (Source::Fencing { .. }, BatonEvent::Shut) => Ok((same, Source::Fencing { shut: true })),
            (Source::Fencing { shut }, BatonEvent::Fenced { position }) => {
                check(Guard::FinalAfterShut, *shut)?;
                Ok((same, Source::Fenced { position: position.clone() }))
            }
            (Source::Fencing { .. } | Source::Fenced { .. } | Source::Surrendered { .. }, BatonEvent::Reclaimed { epoch }) => {
                check(Guard::NoWayBackAfterSurrender, !matches!(self, Source::Surrendered { .. }))?;
                check(Guard::EpochRaised, *epoch > baton.epoch.max(baton.command_epoch))?;
                Ok((*epoch, Source::Serving))
            }
            (Source::Fenced { position }, BatonEvent::Surrendered { closed }) => {
                baton.check_claim(guards, Guard::SurrenderNeedsClosedProof, closed, Kind::ClosedProof)?;
                check(Guard::ProofEpoch, closed.epoch == baton.epoch)?;
                let covers = closed.position.as_ref().and_then(|applied| applied.covers(position)) == Some(true);
                check(Guard::ProofReplayed, covers)?;
                let journal = closed.journal.clone().ok_or_else(|| Guard::SurrenderNeedsClosedProof.refusal(baton))?;
                Ok((same, Source::Surrendered { position: position.clone(), journal }))
            }
            (Source::Surrendered { journal, .. }, BatonEvent::Returned { receipt, epoch }) => {
                baton.check_claim(guards, Guard::ReturnNeedsBurnReceipt, receipt, Kind::BurnReceipt)?;
                check(Guard::ReceiptJournal, receipt.journal.as_ref() == Some(journal))?;
                check(Guard::ReceiptEpoch, receipt.epoch >= baton.epoch)?;
                check(Guard::EpochRaised, *epoch > baton.epoch.max(baton.command_epoch))?;
                Ok((*epoch, Source::Serving))
            }
            (Source::Surrendered { .. }, BatonEvent::Recovered { epoch }) => {
                check(Guard::EpochRaised, *epoch > baton.epoch.max(baton.command_epoch))?;
                Ok((*epoch, Source::Serving))
            }
            (Source::Surrendered { position, journal }, BatonEvent::Retired { open }) => {
                baton.check_claim(guards, Guard::RetireNeedsOpenReceipt, open, Kind::OpenReceipt)?;
                let opened = open.epoch == baton.epoch && open.journal.as_ref() == Some(journal);
                check(Guard::OpenedWhatWasSurrendered, opened)?;
                Ok((same, Source::Retired { position: position.clone(), journal: journal.clone() }))
            }
            _ => Err(baton.out_of_order(event)),
        }
    }
}
