//! The way back: steps taken back, last first. A host that does not answer keeps nobody else waiting: it is asked again once
//! the others are back, for a bounded time. Whether anything may be taken back is for each agent's own record to say.

use std::collections::BTreeSet;

use super::*;

/// How long the window's way back waits for who does not answer. A router that restarts needs a second; leases have ended
/// long before.
const IN_WINDOW: Duration = Duration::from_secs(10);
/// Before the window nobody is kept waiting, and a host may be restarting.
const BEFORE: Duration = Duration::from_secs(120);

/// The code of an agent's refusal once the source has surrendered.
pub(crate) const PAST: &str = "POINT_OF_NO_RETURN";

/// A step that is not taken back yet, and why; `None` where its host was not asked, since it did not answer for another step.
type Left = (Step, Option<Failure>);

impl Drive<'_> {
    /// Takes back every step of these phases that may have had an effect. One that cannot be taken back now does not keep
    /// the others from it. Returns what is left. The caller has made sure that nothing has surrendered.
    pub async fn back(&mut self, phases: RangeInclusive<Phase>) -> Result<Vec<(String, Failure)>, Failure> {
        let steps = self.plan.steps.iter().filter(|step| phases.contains(&step.phase)).rev().cloned().collect();
        self.take_back(steps).await
    }

    /// The same with those alone that somebody has begun to take back.
    pub async fn half_taken_back(&mut self, phases: RangeInclusive<Phase>) -> Result<Vec<(String, Failure)>, Failure> {
        let is_half = |step: &&Step| phases.contains(&step.phase) && self.journal.status.is_half_taken_back(&step.id);
        let steps = self.plan.steps.iter().filter(is_half).rev().cloned().collect();
        self.take_back(steps).await
    }

    /// These steps, in this order.
    pub async fn take_back(&mut self, steps: Vec<Step>) -> Result<Vec<(String, Failure)>, Failure> {
        let in_window = steps.iter().all(|step| step.phase >= Phase::Ready);
        let patience = if in_window { IN_WINDOW } else { BEFORE };
        let mut left = self.round(steps).await?;
        let (others_are_back, mut pause) = (Instant::now(), Duration::from_millis(250));
        while left.iter().any(|(_, failure)| failure.as_ref().is_some_and(may_pass)) && others_are_back.elapsed() < patience {
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(Duration::from_secs(2));
            left = self.round(left.into_iter().map(|(step, _)| step).collect()).await?;
        }
        let mut failures = Vec::new();
        for (step, failure) in left {
            let Some(failure) = failure else { continue };
            self.view.show(Line::Failed { step: &step, failure: &failure });
            self.journal.write(Event::Failed { step: step.id.clone(), failure: failure.clone() }).await?;
            failures.push((step.id.to_string(), failure));
        }
        Ok(failures)
    }

    /// Each step once, but for those of a host that was found not to answer.
    async fn round(&mut self, steps: Vec<Step>) -> Result<Vec<Left>, Failure> {
        let (mut left, mut away) = (Vec::new(), BTreeSet::new());
        for step in steps {
            if !self.journal.status.is_open(&step.id) || self.is_lost(&step.on) {
                continue;
            }
            if away.contains(&step.on) {
                left.push((step, None));
                continue;
            }
            if let Err(failure) = self.back_one(&step).await? {
                if is_away(&failure) {
                    away.insert(step.on.clone());
                }
                let is_past = failure.code == PAST;
                left.push((step, Some(failure)));
                // It surrendered when nobody heard it: to burn the target now would leave nobody who may accept writes.
                if is_past {
                    return Ok(left);
                }
            }
        }
        Ok(left)
    }

    /// One step. The outer error is the journal's.
    async fn back_one(&mut self, step: &Step) -> Result<Result<(), Failure>, Failure> {
        if !self.journal.status.is_half_taken_back(&step.id) {
            self.journal.write(Event::Undoing { step: step.id.clone() }).await?;
            if step.reversal != Reversal::NothingToUndo {
                self.view.show(Line::Back { step });
            }
        }
        if step.reversal != Reversal::NothingToUndo {
            let (id, epoch, fleet) = (step.operation(self.spec), self.journal.status.epoch, self.fleet.clone());
            let view = &mut *self.view;
            let mut on = |kind| view.show(Line::Event { step, kind: &kind });
            // One that is slow in the window must not keep the others waiting: its own lease takes care of it.
            let limit = if step.phase == Phase::Cutover { Duration::from_secs(5) } else { Duration::from_secs(120) };
            if let Err(failure) = fleet.undo(&step.on, &id, epoch, limit, &mut on).await {
                return Ok(Err(failure));
            }
        }
        self.known.outcomes.remove(&step.id);
        self.journal.write(Event::Undone { step: step.id.clone() }).await?;
        Ok(Ok(()))
    }
}

/// The agent does not answer, or its router does not.
fn is_away(failure: &Failure) -> bool {
    ["UNREACHABLE", "STOPPED", "ROUTER_UNREACHABLE", "ROUTER_NO_ANSWER"].contains(&failure.code.as_str())
}

/// Another try may find it otherwise; a server that is down may just be coming up.
fn may_pass(failure: &Failure) -> bool {
    is_away(failure) || ["TOO_LATE", "SERVER_DOWN"].contains(&failure.code.as_str())
}
