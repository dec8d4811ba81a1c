//! The commands that move: each drives a stretch of the plan, and decides which way to go when it stops.

use std::{path::Path, time::Duration};

use flytt_proto::{
    failure::{Effect, Failure},
    name::{Migration, StepId},
    v1,
};
use serde_json::{Value, json};

use crate::{
    drive::{self, Drive, Stopped},
    halt::{Exit, Halt},
    journal::{Event, Milestone, StepState},
    plan::{self, Phase},
    session::Session,
    spec::Spec,
    view::{Line, View},
    witness::Witness,
};

/// What a command that succeeded says last.
#[derive(Clone, Debug)]
pub struct Answer {
    pub text: String,
    pub value: Value,
}

fn answer(text: impl Into<String>, value: Value) -> Answer {
    Answer { text: text.into(), value }
}

/// `flytt plan`: what would be done, host by host. Holds nothing that could change a host.
pub async fn plan(session: &Session, path: &Path, view: &mut dyn View) -> Result<Answer, Halt> {
    let spec = Spec::read(path)?;
    let plan = plan::move_over(&spec);
    let known = session.learn(&spec, &plan).await?;
    let findings = drive::preview(&spec, &plan, &known, &session.observer, view).await;
    let blocks = show(&findings, view);
    let text = format!("{} steps; {blocks} findings forbid to begin; nothing was changed", plan.steps.len());
    Ok(answer(text, json!({ "steps": plan.steps.len(), "blocks": blocks })))
}

/// `flytt check`: the findings alone.
pub async fn check(session: &Session, path: &Path, view: &mut dyn View) -> Result<Answer, Halt> {
    let spec = Spec::read(path)?;
    let plan = plan::move_over(&spec);
    let known = session.learn(&spec, &plan).await?;
    let findings = drive::check(&spec, &plan, &known, &session.observer).await;
    let blocks = show(&findings, view);
    if blocks > 0 {
        return Err(blocked(findings));
    }
    Ok(answer("nothing forbids this move; nothing was changed", json!({ "findings": findings.len(), "blocks": 0 })))
}

/// `flytt start`: check, seed, follow. Ends "ready to cut over"; the source keeps serving throughout.
pub async fn start(session: &Session, path: &Path, view: &mut dyn View) -> Result<Answer, Halt> {
    let spec = Spec::read(path)?;
    let name = spec.name.clone();
    let plan = plan::move_over(&spec);
    let known = session.learn(&spec, &plan).await?;
    // What is under way is not checked anew: half of what would be found is our own work.
    if !session.is_under_way(&name) {
        let findings = drive::check(&spec, &plan, &known, &session.observer).await;
        if show(&findings, view) > 0 {
            return Err(blocked(findings));
        }
    }
    let mut held = session.create(spec, known).await.map_err(in_charge)?;
    let mut drive = held.drive(view);
    match drive.journal.status.milestone {
        Some(Milestone::Moved) => {
            return Err(refused("MOVED", format!("{name} has moved already"), format!("flytt finish {name}")));
        }
        Some(Milestone::Following) => {
            return Ok(answer(format!("{name} follows already: ready to cut over"), json!({ "migration": name, "ready": true })));
        }
        _ => {}
    }
    drive.take_charge("start").await?;
    seed(&mut drive).await?;
    Ok(answer(
        format!("{name} follows: ready to cut over\nnext:  flytt cutover {name}"),
        json!({ "migration": name, "ready": true }),
    ))
}

async fn seed(drive: &mut Drive<'_>) -> Result<(), Halt> {
    let name = drive.spec.name.clone();
    match drive.forward(Phase::Seed..=Phase::Replicate).await {
        Ok(()) => Ok(reached(drive, Milestone::Following).await?),
        Err(Stopped::Journal(failure)) => Err(stuck(&name, failure)),
        // A copy that is whole is not thrown away because it cannot be followed at the moment.
        Err(Stopped::Failed { step, failure }) if step == "follow" => Err(Halt::new(Exit::NeedsResume, [failure])
            .now("the source serves as before; the copy is on the target, not yet following")
            .then(format!("flytt resume {name}"))),
        Err(stopped) => {
            drive.stay_in_charge("way back").await.map_err(|failure| superseded(&name, failure))?;
            let left = drive.back(Phase::Seed..=Phase::Replicate).await.map_err(|failure| stuck(&name, failure))?;
            Err(taken_back(drive, stopped, left).await)
        }
    }
}

/// `flytt cutover`: hold, fence, catch up, promote behind a gate, surrender, open, release. Taken back by itself, and in
/// seconds, when anything fails before the surrender; completed when it fails after.
pub async fn cutover(session: &Session, name: &Migration, view: &mut dyn View) -> Result<Answer, Halt> {
    let mut held = session.take(name).await.map_err(in_charge)?;
    let mut drive = held.drive(view);
    match drive.journal.status.milestone {
        Some(Milestone::Moved) => {
            return Ok(answer(format!("{name} has moved already"), json!({ "migration": name, "moved": true })));
        }
        Some(Milestone::Following | Milestone::TakenBack) if drive.journal.status.is_done(&step("follow")) => {}
        _ => {
            return Err(refused("NOT_FOLLOWING", format!("{name} is not ready to cut over"), format!("flytt resume {name}")));
        }
    }
    drive.journal.reserve().await?;
    drive.take_charge("cutover").await?;
    let witness = Witness::call(drive.spec).await?;
    match cut(&mut drive).await {
        Ok(mut answer) => {
            if let Some((text, value)) = witness.testify().await? {
                answer.text = format!("{text}\n{}", answer.text);
                answer.value["canary"] = value;
            }
            Ok(answer)
        }
        Err(halt) => {
            witness.dismiss().await;
            Err(halt)
        }
    }
}

async fn cut(drive: &mut Drive<'_>) -> Result<Answer, Halt> {
    let name = drive.spec.name.clone();
    let mut stopped = match drive.forward(Phase::Ready..=Phase::Cutover).await {
        Ok(()) => return moved(drive).await,
        Err(Stopped::Journal(failure)) => return Err(stuck(&name, failure)),
        Err(stopped) => stopped,
    };
    drive.stay_in_charge("way back").await.map_err(|failure| superseded(&name, failure))?;
    // Past the point of no return there is one way: forward. What failed there is safe to repeat.
    let mut tries = 0;
    while drive.surrendered().await? {
        if tries == 5 {
            let failures = if let Stopped::Failed { failure, .. } = stopped { vec![failure] } else { Vec::new() };
            return Err(Halt::new(Exit::NeedsResume, failures)
                .now("the source has surrendered and stays fenced; the target completes the move as soon as it can")
                .then(format!("flytt resume {name}")));
        }
        tries += 1;
        tokio::time::sleep(Duration::from_millis(500)).await;
        stopped = match complete(drive).await {
            Ok(()) => return moved(drive).await,
            Err(Stopped::Journal(failure)) => return Err(stuck(&name, failure)),
            Err(stopped) => stopped,
        };
    }
    let left = way_back(drive).await.map_err(|failure| stuck(&name, failure))?;
    Err(taken_back(drive, stopped, left).await)
}

/// The rest of the plan, once the source has surrendered. The permit may be with us or only with the agents: asking for the
/// surrender again gives it again.
async fn complete(drive: &mut Drive<'_>) -> Result<(), Stopped> {
    drive.forward(Phase::Cutover..=Phase::Cutover).await
}

async fn moved(drive: &mut Drive<'_>) -> Result<Answer, Halt> {
    reached(drive, Milestone::Moved).await?;
    let name = &drive.spec.name;
    let times: serde_json::Map<String, Value> = drive
        .plan
        .steps
        .iter()
        .filter(|step| matches!(step.phase, Phase::Ready | Phase::Cutover))
        .filter_map(|step| match drive.journal.status.steps.get(&step.id) {
            Some(StepState::Done { elapsed_us }) => Some((step.id.to_string(), json!(*elapsed_us as f64 / 1e3))),
            _ => None,
        })
        .collect();
    Ok(answer(
        format!(
            "{name} has moved to {}; the old source is ended and comes back read-only\nnext:  flytt finish {name}",
            drive.spec.target
        ),
        json!({ "migration": name, "moved": true, "cutover_ms": times }),
    ))
}

/// The window is taken back, by a controller that has just taken charge. A target that was promoted is burned with it, and
/// has to be copied anew.
async fn way_back(drive: &mut Drive<'_>) -> Result<Vec<(String, Failure)>, Failure> {
    let mut left = drive.back(Phase::Ready..=Phase::Cutover).await?;
    // In whichever try it was burned, the target itself says so.
    let was_promoted = drive.journal.status.steps.contains_key(&step("cut-promote"));
    if left.is_empty() && was_promoted && drive.target_is_burned().await? {
        drive.view.show(Line::Note("the target was promoted and burned: its copy goes, too"));
        let copied = drive.plan.steps.iter().filter(|step| ["follow", "seed"].contains(&step.id.as_str()));
        for step in copied.rev().cloned().collect::<Vec<_>>() {
            left.extend(drive.back_one(&step).await?);
        }
    }
    Ok(left)
}

/// `flytt resume`: carries on, or takes everything back, as the journal and the agents say.
pub async fn resume(session: &Session, name: &Migration, view: &mut dyn View) -> Result<Answer, Halt> {
    let mut held = session.take(name).await.map_err(in_charge)?;
    let mut drive = held.drive(view);
    let status = &drive.journal.status;
    if let Some(milestone) = status.milestone
        && milestone != Milestone::TakenBack
    {
        let milestone = serde_json::to_value(milestone).unwrap_or_default();
        let text = format!("there is nothing to resume: {name} is {}", milestone.as_str().unwrap_or_default());
        return Ok(answer(text, json!({ "migration": name, "milestone": milestone })));
    }
    let (rolling_back, finishing) = (status.command == "rollback", status.command == "finish");
    let in_window = drive
        .plan
        .steps
        .iter()
        .any(|step| matches!(step.phase, Phase::Ready | Phase::Cutover) && drive.journal.status.is_open(&step.id));
    if finishing {
        return end(&mut drive).await;
    }
    drive.take_charge(if rolling_back { "rollback" } else { "resume" }).await?;
    if drive.surrendered().await? {
        return cut(&mut drive).await;
    }
    if rolling_back {
        return roll_back(&mut drive).await;
    }
    if in_window {
        let stopped = Stopped::Interrupted;
        let left = way_back(&mut drive).await.map_err(|failure| stuck(name, failure))?;
        let halt = taken_back(&mut drive, stopped, left).await;
        if halt.exit() != Exit::Interrupted {
            return Err(halt);
        }
        return Ok(answer(
            format!("{name}: the cutover that was under way is taken back; the source serves as before"),
            json!({ "migration": name, "taken_back": true }),
        ));
    }
    seed(&mut drive).await?;
    Ok(answer(format!("{name} follows: ready to cut over"), json!({ "migration": name, "ready": true })))
}

/// `flytt rollback`, before the point of no return: everything is taken back, and the hosts are as they were.
pub async fn rollback(session: &Session, name: &Migration, view: &mut dyn View) -> Result<Answer, Halt> {
    let mut held = session.take(name).await.map_err(in_charge)?;
    let mut drive = held.drive(view);
    match drive.journal.status.milestone {
        Some(Milestone::AsItWas) => {
            return Ok(answer(format!("{name} is taken back already"), json!({ "migration": name, "as_it_was": true })));
        }
        Some(Milestone::Moved | Milestone::Finished) => {
            return Err(refused(
                "POINT_OF_NO_RETURN",
                format!("{name} has moved: taking it back would lose what was written since"),
                format!("flytt status {name}"),
            ));
        }
        _ => {}
    }
    if drive.surrendered().await? {
        return Err(refused("POINT_OF_NO_RETURN", "the source has surrendered".into(), format!("flytt resume {name}")));
    }
    drive.take_charge("rollback").await?;
    roll_back(&mut drive).await
}

async fn roll_back(drive: &mut Drive<'_>) -> Result<Answer, Halt> {
    let name = drive.spec.name.clone();
    let left = drive.back(Phase::Preflight..=Phase::Cutover).await.map_err(|failure| stuck(&name, failure))?;
    if !left.is_empty() {
        return Err(Halt::new(Exit::NeedsResume, left.into_iter().map(|(_, failure)| failure))
            .now("the source serves; something of the move is left on the hosts named above")
            .then(format!("flytt resume {name}")));
    }
    reached(drive, Milestone::AsItWas).await?;
    Ok(answer(format!("{name} is taken back; the hosts are as they were"), json!({ "migration": name, "as_it_was": true })))
}

/// `flytt finish`: what flytt left on the hosts goes.
pub async fn finish(session: &Session, name: &Migration, view: &mut dyn View) -> Result<Answer, Halt> {
    let mut held = session.take(name).await.map_err(in_charge)?;
    let mut drive = held.drive(view);
    match drive.journal.status.milestone {
        Some(Milestone::Finished) => {
            return Ok(answer(format!("{name} is finished already"), json!({ "migration": name, "finished": true })));
        }
        Some(Milestone::Moved) => {}
        _ => {
            return Err(refused(
                "NOT_MOVED",
                format!("{name} has not moved: there is nothing to finish"),
                format!("flytt cutover {name}, or flytt rollback {name}"),
            ));
        }
    }
    end(&mut drive).await
}

async fn end(drive: &mut Drive<'_>) -> Result<Answer, Halt> {
    let name = drive.spec.name.clone();
    drive.take_charge("finish").await?;
    match drive.forward(Phase::Finish..=Phase::Finish).await {
        Ok(()) => {
            reached(drive, Milestone::Finished).await?;
            Ok(answer(
                format!("{name} is finished; the routers' configuration files are yours to change, see docs/haproxy.md"),
                json!({ "migration": name, "finished": true }),
            ))
        }
        Err(Stopped::Journal(failure)) => Err(stuck(&name, failure)),
        Err(stopped) => {
            let failures = if let Stopped::Failed { failure, .. } = stopped { vec![failure] } else { Vec::new() };
            Err(Halt::new(Exit::NeedsResume, failures)
                .now("the application is served by the target; something of the move is left on a host")
                .then(format!("flytt resume {name}")))
        }
    }
}

/// `flytt status`: what the journal says, and what each host says of itself now.
pub async fn status(session: &Session, name: Option<&Migration>) -> Result<Answer, Halt> {
    let Some(name) = name else {
        let names = session.migrations();
        let text = if names.is_empty() {
            "no migrations; begin one with `flytt start migration.toml`".to_owned()
        } else {
            names.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
        };
        return Ok(answer(text, json!({ "migrations": names })));
    };
    let (spec, status) = session.read(name)?;
    let plan = plan::move_over(&spec);
    let mut lines = vec![format!("{name}: {} → {}, epoch {}", spec.source, spec.target, status.epoch)];
    let milestone = status.milestone.map(|milestone| serde_json::to_value(milestone).unwrap_or_default());
    lines.push(match &milestone {
        Some(milestone) => format!("state: {}", milestone.as_str().unwrap_or_default()),
        None => format!("state: in the middle of `{}`", status.command),
    });
    for step in plan.steps.iter().filter(|step| step.phase != Phase::Preflight) {
        let state = match status.steps.get(&step.id) {
            None => "–".to_owned(),
            Some(StepState::Began) => "begun".to_owned(),
            Some(StepState::Done { elapsed_us }) => format!("done, {:.1} ms", *elapsed_us as f64 / 1e3),
            Some(StepState::Failed(failure)) => format!("failed: {failure}"),
            Some(StepState::Undoing) => "being taken back".to_owned(),
            Some(StepState::Undone) => "taken back".to_owned(),
        };
        lines.push(format!("  {:<15} {:<10} {state}", step.id, step.on));
    }
    let mut hosts = serde_json::Map::new();
    for host in plan.hosts() {
        let value = match session.observer.baton(&host, name).await {
            Ok(baton) => {
                let phase = baton.phase().as_str_name().to_lowercase();
                lines.push(format!("{host}: {phase}, baton epoch {}, controller epoch {}", baton.epoch, baton.command_epoch));
                json!({ "baton": phase, "epoch": baton.epoch, "command_epoch": baton.command_epoch, "lease_ms": baton.lease_ms })
            }
            Err(failure) => {
                lines.push(format!("{host}: {}", failure.sentence));
                json!({ "unreachable": failure.sentence })
            }
        };
        hosts.insert(host.to_string(), value);
    }
    if let Ok(sample) = session.observer.replication(&spec.target, name).await {
        lines.push(format!("replication: {}", describe(&sample)));
        hosts.insert("replication".into(), serde_json::to_value(&sample).unwrap_or_default());
    }
    let value =
        json!({ "migration": name, "milestone": milestone, "epoch": status.epoch, "command": status.command, "hosts": hosts });
    Ok(answer(lines.join("\n"), value))
}

fn describe(sample: &v1::ReplicationSample) -> String {
    if !sample.streaming {
        return format!("not streaming {}", sample.trouble);
    }
    let eta = match sample.eta_seconds {
        eta if eta < 0.0 => "never at this rate".to_owned(),
        eta => format!("caught up in {eta:.0} s"),
    };
    format!("streaming, {} bytes and {:.1} s behind, {eta}", sample.lag_bytes, sample.lag_seconds)
}

fn step(id: &str) -> StepId {
    id.parse().expect("a name of the table")
}

async fn reached(drive: &mut Drive<'_>, milestone: Milestone) -> Result<(), Halt> {
    let name = drive.spec.name.clone();
    drive.journal.write(Event::Reached { milestone }).await.map_err(|failure| stuck(&name, failure))
}

fn show(findings: &[v1::Finding], view: &mut dyn View) -> usize {
    for finding in findings {
        view.show(Line::Finding(finding));
    }
    findings.iter().filter(|finding| finding.level() == v1::finding::Level::Block).count()
}

fn blocked(findings: Vec<v1::Finding>) -> Halt {
    let blocks = findings.into_iter().filter(|finding| finding.level() == v1::finding::Level::Block);
    Halt::new(Exit::Refused, blocks.map(|finding| Failure::refused(&finding.code, finding.sentence, finding.remedy)))
        .now("nothing was changed on any host")
}

fn refused(code: &str, sentence: String, next: String) -> Halt {
    Halt::new(Exit::Failed, [Failure::refused(code, sentence, format!("run `{next}`"))]).then(next)
}

/// The journal's lock is another controller's.
fn in_charge(failure: Failure) -> Halt {
    if failure.code == "RECORD_IN_USE" { Halt::new(Exit::InCharge, [failure]) } else { failure.into() }
}

fn superseded(name: &Migration, failure: Failure) -> Halt {
    if failure.code != "SUPERSEDED" {
        return stuck(name, failure);
    }
    Halt::new(Exit::InCharge, [failure])
        .now("this controller has stopped and takes nothing back: what it had begun is the other's to carry on")
        .then(format!("flytt status {name}"))
}

/// The journal cannot be written, so nothing more is begun; the agents' leases take care of the rest.
fn stuck(name: &Migration, failure: Failure) -> Halt {
    Halt::new(Exit::NeedsResume, [failure])
        .now("nothing more was begun; a fence that was up ends by itself, and what had surrendered is completed by the agents")
        .then(format!("flytt resume {name}"))
}

async fn taken_back(drive: &mut Drive<'_>, stopped: Stopped, left: Vec<(String, Failure)>) -> Halt {
    let name = drive.spec.name.clone();
    let mut failures = Vec::new();
    let mut exit = match stopped {
        Stopped::Interrupted => Exit::Interrupted,
        Stopped::Failed { failure, .. } => {
            failures.push(failure);
            Exit::TakenBack
        }
        Stopped::Blocked(findings) => return blocked(findings),
        Stopped::Journal(failure) => return stuck(&name, failure),
    };
    if left.is_empty() {
        let following = drive.journal.status.is_done(&step("follow"));
        let nothing_left = drive.plan.steps.iter().all(|step| !drive.journal.status.is_open(&step.id));
        let milestone = if nothing_left { Milestone::AsItWas } else { Milestone::TakenBack };
        if let Err(halt) = reached(drive, milestone).await {
            return halt;
        }
        let (now, next) = match (nothing_left, following) {
            (true, _) => ("everything was taken back; the source serves as before", "flytt start <migration.toml>".to_owned()),
            (false, true) => {
                ("the cutover was taken back; the source serves, the target follows", format!("flytt cutover {name}"))
            }
            (false, false) => {
                ("the cutover was taken back; the source serves, the target must be copied anew", format!("flytt resume {name}"))
            }
        };
        return Halt::new(exit, failures).now(now).then(next);
    }
    if left.iter().any(|(_, failure)| failure.effect == Effect::Unknown) || exit == Exit::TakenBack || exit == Exit::Interrupted {
        exit = Exit::NeedsResume;
    }
    failures.extend(left.into_iter().map(|(_, failure)| failure));
    Halt::new(exit, failures)
        .now("not everything could be taken back yet; a fence that was up ends by its own lease")
        .then(format!("flytt resume {name}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal::Journal;

    #[test]
    fn a_second_terminal_learns_that_another_is_in_charge() {
        let directory = tempfile::tempdir().expect("a directory");
        let _first = Journal::open(directory.path()).expect("a journal");
        let second = Journal::open(directory.path()).expect_err("it is held");
        assert_eq!(in_charge(second).exit(), Exit::InCharge);
    }
}
