//! The guards of the baton: what each forbids, and what an operator is told. Where each is asked is `source` and `target`.
//!
//! In a build for use all of them stand. Only this crate's own tests can take one away, to see what it was there for.

use flytt_proto::failure::Failure;

use super::{Baton, Refusal};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Guard {
    // who asks
    StaleController,
    InCharge,
    LeaseLeft,
    SameMigration,
    // source
    FenceEpoch,
    FinalAfterShut,
    EpochRaised,
    NoWayBackAfterSurrender,
    SurrenderedKeepsEpoch,
    SurrenderNeedsClosedProof,
    ProofEpoch,
    ProofReplayed,
    ReturnNeedsBurnReceipt,
    ReceiptJournal,
    ReceiptEpoch,
    RetireNeedsOpenReceipt,
    OpenedWhatWasSurrendered,
    // target
    PromoteNeedsFenceProof,
    FenceProofEpoch,
    EpochNotBurned,
    TargetReplayed,
    OpenNeedsPermit,
    PermitEpoch,
    PermitJournal,
    NoOpenAfterBurn,
    NoBurnAfterOpen,
    BurnEpoch,
}

impl Guard {
    /// Code, sentence and remedy.
    fn words(self) -> (&'static str, &'static str, &'static str) {
        const STATUS: &str = "look at `flytt status` for who holds the right to write, then run `flytt resume`";
        const AGAIN: &str = "take charge with a new epoch (`flytt resume`) and begin the cutover again";
        const OTHER: &str = "this artefact belongs elsewhere: ask the other agent for the one of this cutover";
        match self {
            Guard::StaleController => ("STALE_EPOCH", "a newer controller is in charge of this move", STATUS),
            Guard::InCharge => ("NOT_IN_CHARGE", "this controller has not taken charge of this move here", STATUS),
            Guard::LeaseLeft => ("LEASE_TOO_SHORT", "too little of the fence's lease is left to give the right away", AGAIN),
            Guard::SameMigration => ("OTHER_MIGRATION", "the artefact is another migration's", OTHER),
            Guard::FenceEpoch => ("EPOCH_SPENT", "the epoch is not the one that may fence now", AGAIN),
            Guard::FinalAfterShut => {
                ("FINAL_TOO_EARLY", "the final position counts only once writes are seen to be refused", "fence first")
            }
            Guard::EpochRaised => ("EPOCH_NOT_RAISED", "the right comes back only with a higher epoch", STATUS),
            Guard::NoWayBackAfterSurrender => (
                "POINT_OF_NO_RETURN",
                "the right to write has been given away, and time or a controller cannot bring it back",
                "let the target open, or burn it and bring its receipt; where it is lost for good, see docs/runbook.md",
            ),
            Guard::SurrenderedKeepsEpoch => ("SURRENDERED", "a surrendered source keeps the epoch of its fence", STATUS),
            Guard::SurrenderNeedsClosedProof => ("NOT_A_CLOSED_PROOF", "the artefact is not a closed proof", OTHER),
            Guard::ProofEpoch => ("PROOF_EPOCH", "the closed proof is not of this fence's epoch", AGAIN),
            Guard::ProofReplayed => ("PROOF_BEHIND", "the target has not applied all that was written here", AGAIN),
            Guard::ReturnNeedsBurnReceipt => ("NOT_A_BURN_RECEIPT", "the artefact is not a burn receipt", OTHER),
            Guard::ReceiptJournal => (
                "RECEIPT_JOURNAL",
                "the receipt comes from another record than the one the right was given to",
                "find the target's former state directory; where it is lost for good, see docs/runbook.md",
            ),
            Guard::ReceiptEpoch => ("RECEIPT_EPOCH", "the receipt does not end the epoch that was given away", OTHER),
            Guard::RetireNeedsOpenReceipt => ("NOT_AN_OPEN_RECEIPT", "the artefact is not an open receipt", OTHER),
            Guard::OpenedWhatWasSurrendered => {
                ("RECEIPT_OTHER", "the open receipt is not for the right that was given away here", OTHER)
            }
            Guard::PromoteNeedsFenceProof => ("NOT_A_FENCE_PROOF", "the artefact is not a fence proof", OTHER),
            Guard::FenceProofEpoch => ("PROOF_EPOCH", "the fence proof is not of the epoch in charge here", AGAIN),
            Guard::EpochNotBurned => ("EPOCH_BURNED", "nothing of this epoch can open here any more", AGAIN),
            Guard::TargetReplayed => {
                ("BEHIND_FINAL", "the target has not applied the final position", "wait until it has, then promote again")
            }
            Guard::OpenNeedsPermit => ("NOT_A_PERMIT", "the artefact is not a permit", OTHER),
            Guard::PermitEpoch => ("PERMIT_EPOCH", "the permit is not for this promotion", OTHER),
            Guard::PermitJournal => (
                "PERMIT_JOURNAL",
                "the permit was given to another record than this agent's",
                "find this agent's former state directory; where it is lost for good, see docs/runbook.md",
            ),
            Guard::NoOpenAfterBurn => ("BURNED", "this copy was given up and never opens", STATUS),
            Guard::NoBurnAfterOpen => {
                ("OPEN", "the target is open and has writes of its own", "to go back, finish, and move in the other direction")
            }
            Guard::BurnEpoch => ("BURN_EPOCH", "a copy is given up only by its own epoch or a later one", STATUS),
        }
    }

    pub(super) fn refusal(self, baton: &Baton) -> Refusal {
        let (code, sentence, remedy) = self.words();
        let (phase, epoch) = (baton.phase().as_str_name(), baton.epoch);
        Failure::refused(code, format!("{sentence} ({}: {phase} at epoch {epoch})", baton.migration), remedy)
    }
}

/// Which guards stand.
#[derive(Clone, Copy, Debug)]
pub(super) struct Guards {
    #[cfg(test)]
    pub(super) off: &'static [Guard],
}

impl Guards {
    pub(super) const ALL: Guards = Guards {
        #[cfg(test)]
        off: &[],
    };

    #[cfg(not(test))]
    pub(super) fn is_off(self, _: Guard) -> bool {
        false
    }

    #[cfg(test)]
    pub(super) fn is_off(self, guard: Guard) -> bool {
        self.off.contains(&guard)
    }
}
