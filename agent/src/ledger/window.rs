//! What an agent's death would cost now, by its ledger alone: the window of a move, or a copy that would begin anew. Asked by packages
//! before they exchange the program; which of the two forbids what is theirs to say.

use std::time::Duration;

use flytt_proto::{
    name::{
        Migration,
        step::{OPEN, RETIRE},
    },
    v1::action::Kind,
};

use super::{Book, Operation, State};
use crate::baton::Phase;

/// A source has looked at C0, and its ledger says nothing more until the fence. So long may that take: the limits of the target's two
/// steps of C0 and of the routers' hold, and some.
const C0_LASTS: Duration = Duration::from_mins(5);

impl Book {
    /// The move whose window this host is in, C0 to C10, and what stands. `quiet`: since the ledger's last row.
    pub fn window(&self, quiet: Duration) -> Option<(Migration, &'static str)> {
        let legs = self.batons.keys().filter(|leg| !self.is_over(leg));
        let of_batons = legs.filter_map(|leg| Some((leg.clone(), self.stands_in_window(leg, quiet)?)));
        of_batons.chain(self.held().map(|leg| (leg, "this router holds its connections"))).next()
    }

    fn stands_in_window(&self, leg: &Migration, quiet: Duration) -> Option<&'static str> {
        let done = |step: &str| {
            let found = self.operations.iter().find(|(id, _)| id.migration == *leg && id.step.as_str() == step);
            found.is_some_and(|(_, operation)| matches!(operation.state, State::Done(_)))
        };
        match self.batons.get(leg)?.phase() {
            Phase::Fencing | Phase::Fenced => Some("this source is fenced"),
            Phase::Surrendered => {
                Some("this source has given the right to accept writes away, and the target is not known to be open")
            }
            Phase::Retired if !done(RETIRE) => Some("this source is being retired"),
            Phase::Promoting | Phase::Closed => Some("this target is promoted and not open yet"),
            Phase::Open if !done(OPEN) => Some("this target is being opened"),
            Phase::Replica | Phase::Burned => {
                self.stands(leg, |kind| matches!(kind, Kind::Gate(_))).then_some("this target is closed for its promotion")
            }
            Phase::Serving => {
                self.stands(leg, |kind| matches!(kind, Kind::Fence(_))).then_some("this source is being fenced or let go")
            }
            Phase::NoPart | Phase::Unspecified | Phase::Retired | Phase::Open => None,
        }
        .or_else(|| self.is_at_c0(leg, quiet).then_some("this host looks whether the window may begin"))
    }

    /// Begun by an action of this kind, and not taken back.
    fn stands(&self, leg: &Migration, is: fn(&Kind) -> bool) -> bool {
        self.steps_of(leg).any(|operation| operation.action.kind.as_ref().is_some_and(is) && operation.state != State::Undone)
    }

    fn is_at_c0(&self, leg: &Migration, quiet: Duration) -> bool {
        let Some(newest) = self.steps_of(leg).last().filter(|it| matches!(it.action.kind, Some(Kind::Ready(_)))) else {
            return false;
        };
        match newest.state {
            State::Began => true,
            State::Done(_) => quiet < C0_LASTS,
            State::Failed(_) | State::Undoing | State::Undone => false,
        }
    }

    /// Moves with a hold here that was neither taken back nor released.
    fn held(&self) -> impl Iterator<Item = Migration> {
        self.operations.iter().filter_map(|(id, operation)| {
            let Some(Kind::Hold(hold)) = &operation.action.kind else { return None };
            let released = self.steps_of(&id.migration).any(|other| {
                let Some(Kind::Release(release)) = &other.action.kind else { return false };
                release.route == hold.route && matches!(other.state, State::Done(_))
            });
            (operation.state != State::Undone && !released).then(|| id.migration.clone())
        })
    }

    /// The move whose copy is being made here, or is being read from here, as far as the ledger knows. A source has let the target in,
    /// and hears of nothing more until the copy follows.
    pub fn copying(&self) -> Option<Migration> {
        self.operations.iter().find_map(|(id, operation)| {
            let at_work = matches!(operation.state, State::Began | State::Undoing);
            let is_newest = self.order.iter().rfind(|other| other.migration == id.migration) == Some(id);
            let copies = match &operation.action.kind {
                Some(Kind::Seed(_)) => at_work,
                Some(Kind::Admit(_)) => is_newest && !matches!(operation.state, State::Undone | State::Failed(_)),
                _ => false,
            };
            copies.then(|| id.migration.clone())
        })
    }

    /// In the order of their beginning.
    fn steps_of<'a>(&'a self, leg: &'a Migration) -> impl Iterator<Item = &'a Operation> {
        self.order.iter().filter(move |id| id.migration == *leg).filter_map(|id| self.operations.get(id))
    }
}
