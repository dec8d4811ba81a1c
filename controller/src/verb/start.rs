//! The commands that begin: plan and check look, start seeds and follows.

use std::collections::BTreeSet;

use flytt_proto::gate::Gate;

use super::*;
use crate::{accept, spec::Engine};

/// `flytt plan`: what would be done, host by host. Holds nothing that could change a host.
pub async fn plan(session: &Session, path: &Path, view: &mut dyn View) -> Result<Answer, Halt> {
    let spec = Spec::read(path)?;
    let plan = plan::move_over(&spec);
    let known = session.learn(&spec, &plan).await?;
    tell_way(&spec, &known, view);
    let mut findings = drive::preview(&spec, &plan, &known, &session.observer, view).await;
    let blocks = show(&mut findings, view);
    let text = format!("{} steps; {blocks} findings forbid to begin; nothing was changed", plan.steps.len());
    Ok(answer(text, json!({ "steps": plan.steps.len(), "blocks": blocks })))
}

/// `flytt check`: the findings alone, of both servers, of the routers, of the kernels' settings, and of the machines by their last
/// probe.
pub async fn check(session: &Session, path: &Path, accepted: BTreeSet<Gate>, view: &mut dyn View) -> Result<Answer, Halt> {
    let spec = Spec::read(path)?;
    let plan = plan::move_over(&spec);
    let mut known = session.learn(&spec, &plan).await?;
    known.accepted = accepted;
    tell_way(&spec, &known, view);
    let mut findings = drive::check(&spec, &plan, &known, &session.observer, Phase::Preflight..=Phase::Gates).await;
    let blocks = show(&mut findings, view);
    if let Some(note) = accept::unneeded(&known.accepted, &findings) {
        view.show(Line::Warning(&note));
    }
    let of = |level| count(&findings, level);
    let (accepted, warns, goods) = (of(Level::Accepted), of(Level::Warn), of(Level::Ok));
    let summary = format!("{blocks} block, {accepted} accepted, {warns} warn, {goods} ok; nothing was changed");
    if blocks > 0 {
        return Err(blocked(findings).now(summary));
    }
    let value = json!({ "findings": findings.len(), "blocks": blocks, "accepted": accepted, "warns": warns, "goods": goods });
    let exit = if accepted + warns > 0 { Exit::Warned } else { Exit::Ok };
    Ok(Answer { text: summary, value, exit })
}

/// `flytt start`: check, tune, probe, seed, follow. Ends "ready to cut over"; the source keeps serving throughout.
pub async fn start(session: &Session, path: &Path, accepted: BTreeSet<Gate>, view: &mut dyn View) -> Result<Answer, Halt> {
    let spec = Spec::read(path)?;
    let name = spec.name.clone();
    let plan = plan::move_over(&spec);
    let known = session.learn(&spec, &plan).await?;
    // What is under way is not checked anew: half of what would be found is our own work.
    if !session.is_under_way(&name) {
        tell_way(&spec, &known, view);
        let mut findings = drive::check(&spec, &plan, &known, &session.observer, Phase::Preflight..=Phase::Preflight).await;
        if show(&mut findings, view) > 0 {
            return Err(blocked(findings));
        }
    }
    let mut held = session.create(spec, known).await.map_err(in_charge)?;
    let mut drive = held.drive(view);
    match drive.journal.status.milestone {
        Some(Milestone::Moved | Milestone::MovedBack) => {
            return Err(refused("MOVED", format!("{name} has moved already"), format!("flytt finish {name}")));
        }
        Some(Milestone::Following) => {
            return Ok(answer(format!("{name} follows already: ready to cut over"), json!({ "migration": name, "ready": true })));
        }
        _ => {}
    }
    drive.take_charge("start").await?;
    seed(&mut drive, &accepted).await?;
    Ok(answer(
        format!("{name} follows: ready to cut over\nnext:  flytt cutover {name}"),
        json!({ "migration": name, "ready": true }),
    ))
}

/// Everything up to "ready to cut over", with these gates accepted.
pub(super) async fn seed(drive: &mut Drive<'_>, accepted: &BTreeSet<Gate>) -> Result<(), Halt> {
    let name = drive.spec.name.clone();
    drive.accept(accepted).await?;
    let left = drive.half_taken_back(Phase::Tune..=Phase::Back).await.map_err(|failure| stuck(&name, failure))?;
    if !left.is_empty() {
        return Err(Halt::new(Exit::NeedsResume, left.into_iter().map(|(_, failure)| failure))
            .now("the source serves as before; what is to be copied anew is not wholly taken back")
            .then(format!("flytt resume {name}")));
    }
    let seeded = match drive.forward(Phase::Tune..=Phase::Back).await {
        Ok(()) => Ok(reached(drive, Milestone::Following).await?),
        Err(Stopped::Journal(failure)) => Err(stuck(&name, failure)),
        // A copy that is whole is not thrown away because it cannot be followed at the moment, nor because the source cannot follow it.
        Err(Stopped::Failed { step, failure }) if has_copy(drive, &step) => Err(Halt::new(Exit::NeedsResume, [failure])
            .now("the source serves as before; the copy is on the target, not yet following")
            .then(format!("flytt resume {name}"))),
        Err(stopped) => {
            drive.stay_in_charge("way back").await.map_err(|failure| superseded(&name, failure))?;
            let left = drive.back(Phase::Tune..=Phase::Back).await.map_err(|failure| stuck(&name, failure))?;
            Err(taken_back(drive, stopped, left).await)
        }
    };
    if seeded.is_ok()
        && let Some(note) = accept::unneeded(accepted, &drive.journal.status.found)
    {
        drive.view.show(Line::Warning(&note));
    }
    seeded
}

/// Says how the copy is made where there is a choice, and why so.
fn tell_way(spec: &Spec, known: &plan::Known, view: &mut dyn View) {
    if spec.engine != Engine::Postgres
        && let Some(choice) = plan::way(spec, known)
    {
        view.show(Line::Note(&choice.sentence()));
    }
}

/// Whether this step comes after the copy.
fn has_copy(drive: &Drive<'_>, step: &str) -> bool {
    drive.plan.step(step).is_some_and(|step| step.phase >= Phase::Replicate)
}
