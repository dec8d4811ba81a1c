//! The right to accept writes in one migration, as one agent knows it: a pure fold over its record. No clock, no host.
//!
//! A command is asked of [`Baton::decide`]; the event it answers is recorded durably, folded in by [`Baton::after`], and only
//! then brought about on the host ([`Baton::stance`]) and told to others ([`Baton::statement`]). In this order the epoch is
//! raised before the fence goes, OPEN is recorded before the gate goes, and SURRENDERED before the permit leaves.
//! Signatures are checked before a claim gets here; leases are timed by whoever owns the clock.

mod guard;
#[cfg(test)]
mod model;
mod source;
mod target;
#[cfg(test)]
mod tests;

use std::time::Duration;

pub use flytt_proto::v1::baton_state::Phase;
use flytt_proto::{
    artefact::{Claim, Kind},
    failure::Failure,
    name::{Epoch, HostName, Migration, Position},
};
use serde::{Deserialize, Serialize};

use guard::{Guard, Guards};
use source::Source;
use target::Target;

/// Why a command or an event has no place; nothing was changed.
pub type Refusal = Failure;

/// One agent's part in one migration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Baton {
    migration: Migration,
    /// The highest controller's epoch seen. A lower one belongs to a forgotten terminal.
    command_epoch: Epoch,
    /// The epoch of this agent's own fence or promotion: what its claims carry.
    epoch: Epoch,
    part: Part,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Source(Source),
    Target(Target),
}

/// What is asked. Claims are verified: signed by the other side's agent of this migration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// A controller takes charge.
    TakeCharge { epoch: Epoch },

    /// Source: begin to fence.
    Fence { epoch: Epoch },
    /// Source: every kind of account was tried and refused, and no session is left.
    Shut,
    /// Source: the final position, read after [`Command::Shut`] was recorded.
    Fenced { position: Position },
    /// Source: the controller takes the fence back.
    Abort { epoch: Epoch },
    /// Source: nobody renewed the lease.
    LeaseEnded,
    /// Source: give the right away, with so much of the lease left. The point of no return.
    Surrender { epoch: Epoch, closed: Claim, lease_left: Duration, margin: Duration },
    /// Source: the right comes back on the target's burn receipt.
    Return { receipt: Claim },
    /// Source: the target is open; follow it.
    Retire { open: Claim },

    /// Target: promote behind the gate.
    Promote { epoch: Epoch, fence: Claim, applied: Position },
    /// Target: promoted, proven, still gated.
    Closed { applied: Position },
    /// Target: open, on the source's permit.
    Open { permit: Claim },
    /// Target: end the copy, so that the source may have the right back.
    Burn { epoch: Epoch },
    /// Target: the database was seen to be down, and gated.
    Down,
    /// Target: a new copy takes the place of the burned one.
    Reseed { epoch: Epoch },

    /// Either side, between surrender and opening: a person vouches that the other is lost for good. It stands on no artefact.
    Recover { epoch: Epoch },
}

/// What is recorded. Each carries what it was decided on, so that the fold checks the same guards again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "baton", rename_all = "snake_case")]
pub enum BatonEvent {
    Charged { epoch: Epoch },

    Fencing { epoch: Epoch },
    Shut,
    Fenced { position: Position },
    Reclaimed { epoch: Epoch },
    Surrendered { closed: Claim },
    Returned { receipt: Claim, epoch: Epoch },
    Retired { open: Claim },

    Promoting { fence: Claim, applied: Position },
    Closed { applied: Position },
    Opened { permit: Claim },
    Burning { epoch: Epoch },
    Burned,
    Reseeded,

    Recovered { epoch: Epoch },
}

/// What the host must look like, once the event is recorded; brought about again after every restart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stance {
    /// The baton asks nothing: a replica.
    Any,
    /// No fence and no gate of ours may stand. Only in this stance may one be removed.
    Open,
    /// Fence or gate must stand.
    Shut,
    /// The fence must stand, and whatever restarts must come up read-only.
    ShutForGood,
    /// Gated, and the database down.
    Down,
}

impl Baton {
    /// The source at the beginning of a move: it holds the right.
    pub fn source(migration: Migration) -> Self {
        Self { migration, command_epoch: Epoch(0), epoch: Epoch(0), part: Part::Source(Source::Serving) }
    }

    /// The target at the beginning of a move. `journal` is the identity of the record that holds this baton.
    pub fn target(migration: Migration, journal: &str) -> Self {
        Self { migration, command_epoch: Epoch(0), epoch: Epoch(0), part: Part::Target(Target::new(journal)) }
    }

    pub fn migration(&self) -> &Migration {
        &self.migration
    }

    /// The epoch of the fence or promotion: what this agent's claims carry.
    pub fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// The highest controller's epoch seen.
    pub fn command_epoch(&self) -> Epoch {
        self.command_epoch
    }

    pub fn phase(&self) -> Phase {
        match &self.part {
            Part::Source(source) => source.phase(),
            Part::Target(target) => target.phase(),
        }
    }

    /// The final position of a fenced or surrendered source, or the one a promoted target had applied.
    pub fn position(&self) -> Option<Position> {
        self.claimed().and_then(|(_, _, position)| position)
    }

    /// Whether a dead-man lease runs: when it ends, [`Command::LeaseEnded`] must be brought.
    pub fn is_leased(&self) -> bool {
        matches!(self.part, Part::Source(Source::Fencing { .. } | Source::Fenced { .. }))
    }

    pub fn stance(&self) -> Stance {
        match &self.part {
            Part::Source(source) => source.stance(),
            Part::Target(target) => target.stance(),
        }
    }

    /// What this agent may sign now, and again whenever it is asked: nothing that is not recorded yet.
    pub fn statement(&self, signer: &HostName) -> Option<Claim> {
        let (kind, epoch, position) = self.claimed()?;
        let journal = match &self.part {
            Part::Source(source) => source.journal(),
            Part::Target(target) => Some(target.journal()),
        };
        let (migration, signer) = (self.migration.clone(), signer.clone());
        Some(Claim { kind, migration, epoch, position, journal: journal.map(str::to_owned), signer })
    }

    fn claimed(&self) -> Option<(Kind, Epoch, Option<Position>)> {
        match &self.part {
            Part::Source(source) => source.claimed().map(|(kind, position)| (kind, self.epoch, Some(position))),
            Part::Target(target) => target.claimed(self.epoch),
        }
    }

    /// The event that `command` comes to; it is recorded before anything else happens. `None`: it is so already, there is
    /// nothing to record, and the [`Baton::statement`] may be given out again.
    pub fn decide(&self, command: &Command) -> Result<Option<BatonEvent>, Refusal> {
        self.decide_under(command, Guards::ALL)
    }

    fn decide_under(&self, command: &Command, guards: Guards) -> Result<Option<BatonEvent>, Refusal> {
        if let Some(epoch) = command.epoch() {
            self.check(guards, Guard::StaleController, epoch >= self.command_epoch)?;
            let takes_charge = matches!(command, Command::TakeCharge { .. });
            self.check(guards, Guard::InCharge, takes_charge || epoch == self.command_epoch)?;
        }
        if let Command::Surrender { lease_left, margin, .. } = command {
            let given_already = matches!(self.phase(), Phase::Surrendered | Phase::Retired);
            self.check(guards, Guard::LeaseLeft, given_already || lease_left >= margin)?;
        }
        if self.is_so_already(command) {
            return Ok(None);
        }
        let event = self.event_of(command);
        self.after_under(&event, guards)?;
        Ok(Some(event))
    }

    /// The event in the record's words. Whether it has a place is for [`Baton::after`] to say.
    fn event_of(&self, command: &Command) -> BatonEvent {
        // Beyond whatever was seen: neither an old artefact nor the controller at work now can fence with it.
        let raised = self.epoch.max(self.command_epoch).next();
        match command.clone() {
            Command::TakeCharge { epoch } => BatonEvent::Charged { epoch },
            Command::Fence { epoch } => BatonEvent::Fencing { epoch },
            Command::Shut => BatonEvent::Shut,
            Command::Fenced { position } => BatonEvent::Fenced { position },
            Command::Abort { .. } | Command::LeaseEnded => BatonEvent::Reclaimed { epoch: raised },
            Command::Surrender { closed, .. } => BatonEvent::Surrendered { closed },
            Command::Return { receipt } => BatonEvent::Returned { receipt, epoch: raised },
            Command::Retire { open } => BatonEvent::Retired { open },
            Command::Promote { fence, applied, .. } => BatonEvent::Promoting { fence, applied },
            Command::Closed { applied } => BatonEvent::Closed { applied },
            Command::Open { permit } => BatonEvent::Opened { permit },
            Command::Burn { epoch } => BatonEvent::Burning { epoch },
            Command::Down => BatonEvent::Burned,
            Command::Reseed { .. } => BatonEvent::Reseeded,
            Command::Recover { .. } => BatonEvent::Recovered { epoch: raised },
        }
    }

    fn is_so_already(&self, command: &Command) -> bool {
        match (&self.part, command) {
            (_, Command::TakeCharge { epoch }) => *epoch == self.command_epoch,
            (Part::Source(source), _) => source.is_so_already(self, command),
            (Part::Target(target), _) => target.is_so_already(self, command),
        }
    }

    /// The baton after a recorded event. An event that has no place there is an error of the record.
    pub fn after(&self, event: &BatonEvent) -> Result<Self, Refusal> {
        self.after_under(event, Guards::ALL)
    }

    fn after_under(&self, event: &BatonEvent, guards: Guards) -> Result<Self, Refusal> {
        if let BatonEvent::Charged { epoch } = event {
            self.check(guards, Guard::StaleController, *epoch > self.command_epoch)?;
            let next = if self.takes_epochs(guards) { self.epoch.max(*epoch) } else { self.epoch };
            return Ok(Self { command_epoch: *epoch, epoch: next, ..self.clone() });
        }
        let (epoch, part) = match &self.part {
            Part::Source(source) => source.after(self, event, guards).map(|(epoch, next)| (epoch, Part::Source(next)))?,
            Part::Target(target) => target.after(self, event, guards).map(|(epoch, next)| (epoch, Part::Target(next)))?,
        };
        Ok(Self { epoch, part, ..self.clone() })
    }

    /// Whether a new controller's epoch becomes the baton's own. Once given away, or promoted, permits and receipts are
    /// bound to the old one.
    fn takes_epochs(&self, guards: Guards) -> bool {
        match &self.part {
            Part::Source(Source::Serving | Source::Fencing { .. } | Source::Fenced { .. }) => true,
            Part::Source(Source::Surrendered { .. }) => guards.is_off(Guard::SurrenderedKeepsEpoch),
            Part::Source(Source::Retired { .. }) => false,
            Part::Target(target) => target.takes_epochs(),
        }
    }

    /// `holds`, or the guard's refusal.
    fn check(&self, guards: Guards, guard: Guard, holds: bool) -> Result<(), Refusal> {
        if holds || guards.is_off(guard) { Ok(()) } else { Err(guard.refusal(self)) }
    }

    /// Every claim: of this migration, and of the kind that is called for.
    fn check_claim(&self, guards: Guards, guard: Guard, claim: &Claim, kind: Kind) -> Result<(), Refusal> {
        self.check(guards, Guard::SameMigration, claim.migration == self.migration)?;
        self.check(guards, guard, claim.kind == kind)
    }

    fn out_of_order(&self, event: &BatonEvent) -> Refusal {
        let event = serde_json::to_value(event).ok().and_then(|json| Some(json.get("baton")?.as_str()?.to_owned()));
        Failure::refused(
            "BATON_ORDER",
            format!("{:?} cannot follow on {}", event.unwrap_or_default(), self.phase().as_str_name()),
            "look at `flytt status`: this step has been done, has been taken back, or has come too early",
        )
    }
}

impl Command {
    /// The controller's epoch, where a controller's word is what counts. Claims speak for themselves.
    fn epoch(&self) -> Option<Epoch> {
        match self {
            Command::TakeCharge { epoch }
            | Command::Fence { epoch }
            | Command::Abort { epoch }
            | Command::Surrender { epoch, .. }
            | Command::Promote { epoch, .. }
            | Command::Burn { epoch }
            | Command::Reseed { epoch }
            | Command::Recover { epoch } => Some(*epoch),
            Command::Shut
            | Command::Fenced { .. }
            | Command::LeaseEnded
            | Command::Return { .. }
            | Command::Retire { .. }
            | Command::Closed { .. }
            | Command::Open { .. }
            | Command::Down => None,
        }
    }
}
