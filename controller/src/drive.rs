//! Three loops over the plan: `preview` looks, `forward` does, `back` takes back. No choices are made here but when to stop.

pub(crate) mod back;

use std::{
    collections::BTreeSet,
    ops::RangeInclusive,
    time::{Duration, Instant},
};

use flytt_proto::{
    failure::{Effect, Failure},
    gate::Gate,
    name::{Epoch, HostName, step},
    v1,
};
use tokio_util::sync::CancellationToken;

use crate::{
    fleet::{Observer, Operator},
    journal::{Event, Journal},
    plan::{Known, Phase, Plan, Reversal, Step},
    spec::Spec,
    view::{Line, View},
};

/// One migration, as a command drives it.
#[derive(Debug)]
pub struct Drive<'a> {
    pub spec: &'a Spec,
    pub plan: Plan,
    pub fleet: Operator,
    pub journal: &'a mut Journal,
    pub known: Known,
    pub view: &'a mut dyn View,
    /// The operator asked to stop.
    pub stop: CancellationToken,
}

/// Why a loop ended before its last step.
#[derive(Clone, Debug)]
pub enum Stopped {
    /// The operator asked for it, before the point of no return.
    Interrupted,
    /// A step failed; `blocks` when preflight forbids to begin.
    Failed {
        step: String,
        failure: Failure,
    },
    Blocked(Vec<v1::Finding>),
    /// The journal cannot be written: nothing more is done.
    Journal(Failure),
}

/// What every step would change, host by host. Nothing is changed, and nothing here could.
pub async fn preview(spec: &Spec, plan: &Plan, known: &Known, observer: &Observer, view: &mut dyn View) -> Vec<v1::Finding> {
    let mut findings = Vec::new();
    for step in &plan.steps {
        view.show(Line::Step { step, spec });
        let Some(action) = step.action(spec, known) else {
            view.show(Line::Note("what exactly depends on an earlier step"));
            continue;
        };
        match observer.survey(&step.on, &spec.name, action).await {
            Ok(survey) => {
                for change in &survey.changes {
                    view.show(Line::Would(change));
                }
                let found = survey.findings.into_iter().map(|finding| on_host(finding, &step.on));
                if step.phase.looks() {
                    findings.extend(found);
                } else {
                    found.for_each(|finding| view.show(Line::Finding(&finding)));
                }
            }
            Err(failure) if step.phase.looks() => findings.push(as_finding(&failure, &step.on)),
            Err(_) => view.show(Line::Note("what exactly depends on an earlier step")),
        }
    }
    findings
}

/// The findings of these phases, as far as they can be had before anything is done.
pub async fn check(
    spec: &Spec,
    plan: &Plan,
    known: &Known,
    observer: &Observer,
    phases: RangeInclusive<Phase>,
) -> Vec<v1::Finding> {
    let mut findings = Vec::new();
    for step in plan.steps.iter().filter(|step| phases.contains(&step.phase) && step.phase.finds()) {
        let Some(action) = step.action(spec, known) else { continue };
        match observer.survey(&step.on, &spec.name, action).await {
            Ok(survey) => findings.extend(survey.findings.into_iter().map(|finding| on_host(finding, &step.on))),
            Err(failure) => findings.push(as_finding(&failure, &step.on)),
        }
    }
    findings
}

fn on_host(mut finding: v1::Finding, host: &HostName) -> v1::Finding {
    if finding.host.is_empty() {
        finding.host = host.to_string();
    }
    finding
}

fn as_finding(failure: &Failure, host: &HostName) -> v1::Finding {
    v1::Finding {
        level: v1::finding::Level::Block.into(),
        code: failure.code.clone(),
        host: host.to_string(),
        sentence: failure.sentence.clone(),
        remedy: failure.remedy.clone(),
    }
}

impl Drive<'_> {
    /// Takes charge with an epoch above every one that any agent has seen. Older controllers are refused from then on.
    pub async fn take_charge(&mut self, command: &str) -> Result<(), Failure> {
        let (seen, _) = self.epochs().await;
        self.charge(seen, command).await
    }

    /// A new epoch for the same controller, before it goes another way than it began. Refused where somebody else has taken
    /// charge meanwhile: one that slept, or was cut off, must not take anything back under the feet of the other.
    pub async fn stay_in_charge(&mut self, command: &str) -> Result<(), Failure> {
        let (seen, in_charge) = self.epochs().await;
        if in_charge > self.journal.status.epoch {
            let sentence = format!("another controller has taken charge of {} since (epoch {in_charge})", self.spec.name);
            return Err(Failure::refused("SUPERSEDED", sentence, format!("look at `flytt status {}`", self.spec.name)));
        }
        self.charge(seen, command).await
    }

    /// The same, so far beyond it that nothing which is still under way can speak for the move again.
    pub async fn take_charge_for_good(&mut self, command: &str) -> Result<(), Failure> {
        const FAR: u64 = 1_000_000;
        let (seen, _) = self.epochs().await;
        self.charge(Epoch(seen.0 + FAR), command).await
    }

    async fn charge(&mut self, seen: Epoch, command: &str) -> Result<(), Failure> {
        let epoch = self.journal.status.epoch.max(seen).next();
        self.journal.write(Event::Charged { epoch, command: command.to_owned() }).await
    }

    /// The highest epoch that any agent has seen, and the highest of a controller.
    async fn epochs(&mut self) -> (Epoch, Epoch) {
        let (mut hosts, observer, name) = (self.plan.hosts(), &self.fleet.observer, &self.spec.name);
        hosts.retain(|host| !self.is_lost(host));
        // One that does not answer at once refuses us itself, where somebody else is in charge: the others are not kept waiting.
        let soon = Duration::from_secs(2);
        let ask = async |host| tokio::time::timeout(soon, observer.baton(host, name)).await.unwrap_or_else(|_| Err(silent(host)));
        let batons = futures::future::join_all(hosts.iter().map(ask)).await;
        let (mut seen, mut in_charge) = (Epoch::default(), Epoch::default());
        for baton in batons {
            match baton {
                Ok(baton) => {
                    in_charge = in_charge.max(Epoch(baton.command_epoch));
                    seen = seen.max(in_charge).max(Epoch(baton.epoch));
                }
                // A host that is away learns the epoch when it is asked for something.
                Err(failure) => self.view.show(Line::Warning(&failure.sentence)),
            }
        }
        (seen, in_charge)
    }

    /// Does every step of these phases that is not done. In the window, everything before the point of no return must fit
    /// into the outage budget.
    pub async fn forward(&mut self, phases: RangeInclusive<Phase>) -> Result<(), Stopped> {
        let steps = self.plan.steps.iter().filter(|step| phases.contains(&step.phase)).cloned().collect();
        self.run(steps).await
    }

    /// What is left of the window once the target is open.
    pub async fn forward_from_open(&mut self) -> Result<(), Stopped> {
        let window = self.plan.steps.iter().filter(|step| step.phase == Phase::Cutover);
        let steps = window.skip_while(|step| step.id.as_str() != step::OPEN).cloned().collect();
        self.run(steps).await
    }

    async fn run(&mut self, steps: Vec<Step>) -> Result<(), Stopped> {
        let mut window: Option<Instant> = None;
        let mut renewer: Option<Renewer> = None;
        for step in &steps {
            if self.journal.status.is_done(&step.id) || self.is_lost(&step.on) {
                continue;
            }
            let surrendered = self.journal.status.is_done(&step::SURRENDER.parse().expect("a name of the table"))
                || self.is_lost(&self.spec.source);
            let mut limit = step.limit;
            if step.phase == Phase::Cutover && !surrendered {
                let began = *window.get_or_insert_with(Instant::now);
                renewer.get_or_insert_with(|| self.renew());
                limit = limit.min(self.spec.cutover.max_outage.saturating_sub(began.elapsed()));
            }
            // Past the point of no return nothing stops us but the work's end; what comes after it is not that work.
            let goes_on = surrendered && step.phase != Phase::Rejoin;
            let stop = if goes_on { CancellationToken::new() } else { self.stop.clone() };
            if stop.is_cancelled() {
                return Err(Stopped::Interrupted);
            }
            self.one(step, limit, &stop).await?;
            if step.reversal == Reversal::PointOfNoReturn {
                renewer = None;
            }
        }
        Ok(())
    }

    async fn one(&mut self, step: &Step, limit: Duration, stop: &CancellationToken) -> Result<(), Stopped> {
        self.view.show(Line::Step { step, spec: self.spec });
        if step.phase == Phase::Gates {
            self.look_at_the_machines().await;
        }
        let failed = |failure| Stopped::Failed { step: step.id.to_string(), failure };
        let action = step.action(self.spec, &self.known).ok_or_else(|| {
            failed(Failure::refused(
                "NOT_KNOWN",
                format!("{} needs what an earlier step did not give", step.id),
                "run `flytt rollback`",
            ))
        })?;
        self.journal.write(Event::Began { step: step.id.clone() }).await.map_err(Stopped::Journal)?;
        if step.phase.looks() {
            return self.look(step, action).await;
        }
        let (id, epoch, fleet) = (step.operation(self.spec), self.journal.status.epoch, self.fleet.clone());
        let (view, mut found) = (&mut *self.view, Vec::new());
        let mut on = |kind| {
            view.show(Line::Event { step, kind: &kind });
            if let v1::event::Kind::Finding(finding) = kind {
                found.push(on_host(finding, &step.on));
            }
        };
        let apply = fleet.apply(&step.on, &id, epoch, &action, limit, &mut on);
        let result = if step.reversal == Reversal::PointOfNoReturn {
            // Once asked for, its answer is waited for: what it came to decides which way we go.
            Some(apply.await)
        } else {
            stop.run_until_cancelled(apply).await
        };
        self.found(step, found).await?;
        let Some(result) = result else { return Err(Stopped::Interrupted) };
        match result {
            Ok(done) => {
                let outcome = done.outcome.unwrap_or_default();
                self.known.outcomes.insert(step.id.clone(), outcome.clone());
                self.view.show(Line::Done { step, outcome: &outcome, elapsed_us: done.elapsed_us });
                let event = Event::Done { step: step.id.clone(), outcome, elapsed_us: done.elapsed_us };
                self.journal.write(event).await.map_err(Stopped::Journal)
            }
            Err(failure) => {
                self.view.show(Line::Failed { step, failure: &failure });
                let event = Event::Failed { step: step.id.clone(), failure: failure.clone() };
                self.journal.write(event).await.map_err(Stopped::Journal)?;
                Err(failed(failure))
            }
        }
    }

    /// What the machines have seen of themselves by now: the command may have begun before they had seen anything. A host that
    /// does not answer is judged by what it said then.
    async fn look_at_the_machines(&mut self) {
        for host in [&self.spec.source, &self.spec.target] {
            if let Ok(now) = self.fleet.observer.facts(host).await
                && let Some(known) = self.known.facts.get_mut(host)
            {
                (known.peak, known.storage) = (now.peak, now.storage);
            }
        }
    }

    /// A step that only looks: its findings decide whether it goes on.
    async fn look(&mut self, step: &Step, action: v1::Action) -> Result<(), Stopped> {
        let began = Instant::now();
        let survey = match self.fleet.observer.survey(&step.on, &self.spec.name, action).await {
            Ok(survey) => survey,
            Err(failure) => {
                let event = Event::Failed { step: step.id.clone(), failure: failure.clone() };
                self.journal.write(event).await.map_err(Stopped::Journal)?;
                return Err(Stopped::Failed { step: step.id.to_string(), failure });
            }
        };
        let findings: Vec<_> = survey.findings.into_iter().map(|finding| on_host(finding, &step.on)).collect();
        for finding in &findings {
            self.view.show(Line::Finding(finding));
        }
        self.found(step, findings.clone()).await?;
        let blocks: Vec<_> = findings.into_iter().filter(|finding| finding.level() == v1::finding::Level::Block).collect();
        let event = match blocks.first() {
            None => {
                let elapsed_us = began.elapsed().as_micros().try_into().unwrap_or(u64::MAX);
                Event::Done { step: step.id.clone(), outcome: v1::Outcome::default(), elapsed_us }
            }
            Some(first) => Event::Failed {
                step: step.id.clone(),
                failure: Failure::refused(&first.code, first.sentence.clone(), first.remedy.clone()),
            },
        };
        self.journal.write(event).await.map_err(Stopped::Journal)?;
        if blocks.is_empty() { Ok(()) } else { Err(Stopped::Blocked(blocks)) }
    }

    async fn found(&mut self, step: &Step, findings: Vec<v1::Finding>) -> Result<(), Stopped> {
        if findings.is_empty() {
            return Ok(());
        }
        self.journal.write(Event::Found { step: step.id.clone(), findings }).await.map_err(Stopped::Journal)
    }

    /// The operator goes on although these gates may not hold: on record before anything is done by it.
    pub async fn accept(&mut self, gates: &BTreeSet<Gate>) -> Result<(), Failure> {
        let new: Vec<Gate> = gates.difference(&self.journal.status.accepted).copied().collect();
        if !new.is_empty() {
            self.journal.write(Event::Accepted { gates: new }).await?;
            self.known.accepted.clone_from(&self.journal.status.accepted);
        }
        Ok(())
    }

    /// Whether a person has said that the host is gone for good.
    pub fn is_lost(&self, host: &HostName) -> bool {
        self.journal.status.lost.contains(host)
    }

    /// Whether the source has surrendered. Not to know is an answer, and stops us.
    pub async fn surrendered(&self) -> Result<bool, Failure> {
        use v1::baton_state::Phase;
        if self.is_lost(&self.spec.source) {
            return Ok(true);
        }
        let begun = self.journal.status.is_open(&step::SURRENDER.parse().expect("a name of the table"));
        if !begun {
            return Ok(false);
        }
        let baton = self.fleet.observer.baton(&self.spec.source, &self.spec.name).await.map_err(|failure| {
            Failure {
                remedy: "bring the source's agent back, then run `flytt resume`; until then nothing is taken back or completed"
                    .into(),
                ..failure
            }
            .with_effect(Effect::Unknown)
        })?;
        Ok(matches!(baton.phase(), Phase::Surrendered | Phase::Retired))
    }

    /// Whether the copy on the target was promoted and given up: it can never be used again.
    pub async fn target_is_burned(&self) -> Result<bool, Failure> {
        let baton = self.fleet.observer.baton(&self.spec.target, &self.spec.name).await?;
        Ok(baton.phase() == v1::baton_state::Phase::Burned)
    }

    /// On the leg back: whether the old source follows now.
    pub async fn target_streams(&self) -> Result<bool, Failure> {
        Ok(self.fleet.observer.replication(&self.spec.target, &self.spec.name).await?.streaming)
    }

    /// Renews the leases of source and routers for as long as it lives.
    fn renew(&self) -> Renewer {
        let every = self.spec.cutover.lease / 3;
        let (fleet, migration, epoch) = (self.fleet.clone(), self.spec.name.clone(), self.journal.status.epoch);
        let mut hosts: Vec<HostName> = self.spec.routers.iter().map(|router| router.host.clone()).collect();
        hosts.push(self.spec.source.clone());
        let tasks = hosts.into_iter().map(|host| {
            let (fleet, migration) = (fleet.clone(), migration.clone());
            tokio::spawn(async move {
                loop {
                    tokio::time::sleep(every).await;
                    // A refusal needs no action here: the step that needs the lease is refused by the agent itself.
                    let _ = fleet.renew(&host, &migration, epoch).await;
                }
            })
        });
        Renewer(tasks.collect())
    }
}

fn silent(host: &HostName) -> Failure {
    Failure::unknown("UNREACHABLE", format!("{host}: its agent does not answer"), "look at the host and its agent")
}

#[derive(Debug)]
struct Renewer(Vec<tokio::task::JoinHandle<()>>);

impl Drop for Renewer {
    fn drop(&mut self) {
        for task in &self.0 {
            task.abort();
        }
    }
}
