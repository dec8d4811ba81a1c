//! The commands that bring a move to an end: resume, rollback, finish.

use std::collections::BTreeSet;

use flytt_proto::{gate::Gate, name::step as named};

use super::{
    cutover::{WayBack, cut, rejoin, way_back},
    recover::{carry_on, must_not_be_lost},
    start::seed,
    turn, *,
};

/// `flytt resume`: carries on, or takes everything back, as the journal and the agents say.
pub async fn resume(session: &Session, name: &Migration, accepted: BTreeSet<Gate>, view: &mut dyn View) -> Result<Answer, Halt> {
    let mut held = session.take(name).await.map_err(in_charge)?;
    if held.journal.status.milestone == Some(Milestone::Moved) && turn::is_under_way(session, name) {
        return turn::resume(session, held, view).await;
    }
    let lost = !held.journal.status.lost.is_empty();
    if held.journal.status.milestone == Some(Milestone::Moved) && !lost && turn::was_taken_back(session, name) {
        return turn::heal(session, &held, view).await;
    }
    let mut drive = held.drive(view);
    let status = &drive.journal.status;
    let may_rejoin = !lost && drive.plan.steps.iter().any(|step| step.phase == Phase::Rejoin && !status.is_done(&step.id));
    if status.milestone == Some(Milestone::Moved) && may_rejoin {
        drive.take_charge("resume").await?;
        let back = rejoin(&mut drive).await?;
        reached(&mut drive, Milestone::Moved).await?;
        let WayBack::Failed(failure) = back else {
            let text = format!("{name}: the old source follows the target; there is a way back");
            return Ok(answer(text, json!({ "migration": name, "moved": true, "way_back": true })));
        };
        return Err(Halt::new(Exit::NeedsResume, [failure])
            .now("the move is complete and the target serves; the old source does not follow it, so there is no way back yet")
            .then(format!("flytt resume {name}, or flytt finish {name}")));
    }
    if let Some(milestone) = status.milestone
        && milestone != Milestone::TakenBack
    {
        let milestone = serde_json::to_value(milestone).unwrap_or_default();
        let text = format!("there is nothing to resume: {name} is {}", milestone.as_str().unwrap_or_default());
        return Ok(answer(text, json!({ "migration": name, "milestone": milestone })));
    }
    let rolling_back = status.command == "rollback";
    let finishing = [Settings::Keep, Settings::Revert].into_iter().find(|settings| status.command == settings.command());
    let in_window = drive
        .plan
        .steps
        .iter()
        .any(|step| matches!(step.phase, Phase::Ready | Phase::Cutover) && drive.journal.status.is_open(&step.id));
    if let Some(settings) = finishing {
        return end(&mut drive, settings).await;
    }
    if lost && !rolling_back {
        if status.milestone == Some(Milestone::TakenBack) {
            must_not_be_lost(&drive)?;
        }
        drive.take_charge("recover").await?;
        return carry_on(&mut drive).await;
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
    seed(&mut drive, &accepted).await?;
    Ok(answer(format!("{name} follows: ready to cut over"), json!({ "migration": name, "ready": true })))
}

/// `flytt rollback`, before the point of no return: everything is taken back, and the hosts are as they were. After it: the way back.
pub async fn rollback(session: &Session, name: &Migration, view: &mut dyn View) -> Result<Answer, Halt> {
    let mut held = session.take(name).await.map_err(in_charge)?;
    if held.journal.status.milestone == Some(Milestone::Moved) {
        return turn::rollback(session, held, view).await;
    }
    let mut drive = held.drive(view);
    match drive.journal.status.milestone {
        Some(Milestone::MovedBack) => {
            return Ok(answer(format!("{name} has moved back already"), json!({ "migration": name, "moved_back": true })));
        }
        Some(Milestone::AsItWas) => {
            return Ok(answer(format!("{name} is taken back already"), json!({ "migration": name, "as_it_was": true })));
        }
        Some(Milestone::Finished) => {
            return Err(refused(
                "POINT_OF_NO_RETURN",
                format!("{name} is finished: to go back, move in the other direction"),
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

fn is_tuned(drive: &Drive<'_>) -> bool {
    drive.plan.steps.iter().any(|step| step.phase == Phase::Tune && drive.journal.status.is_open(&step.id))
}

pub(super) async fn roll_back(drive: &mut Drive<'_>) -> Result<Answer, Halt> {
    let name = drive.spec.name.clone();
    // The fence first, and nothing beyond it while it stands: by what was prepared the agents get past it.
    let mut left = drive.back(Phase::Ready..=Phase::Cutover).await.map_err(|failure| stuck(&name, failure))?;
    if left.is_empty() {
        left = drive.back(Phase::Preflight..=Phase::Back).await.map_err(|failure| stuck(&name, failure))?;
    }
    if !left.is_empty() {
        return Err(Halt::new(Exit::NeedsResume, left.into_iter().map(|(_, failure)| failure))
            .now("the source serves; something of the move is left on the hosts named above")
            .then(format!("flytt resume {name}")));
    }
    reached(drive, Milestone::AsItWas).await?;
    let text = format!("{name} is taken back; the hosts are as they were{}", but_for(drive));
    Ok(answer(text, json!({ "migration": name, "as_it_was": true })))
}

fn but_for(drive: &Drive<'_>) -> String {
    let lost = drive.journal.status.lost.iter();
    lost.map(|host| {
        let name = drive.spec.name.there();
        format!("; {host} was taken for lost: should it come back, `flytt doctor {host}` tells what of {name} is on it")
    })
    .collect()
}

/// What becomes of the kernel settings when a move is finished.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Settings {
    Keep,
    Revert,
}

impl Settings {
    /// As it stands in the journal, so that a resume knows what was asked for.
    fn command(self) -> &'static str {
        match self {
            Self::Keep => "finish",
            Self::Revert => "finish --revert-tuning",
        }
    }
}

/// `flytt finish`: what flytt left on the hosts goes.
pub async fn finish(session: &Session, name: &Migration, settings: Settings, view: &mut dyn View) -> Result<Answer, Halt> {
    let mut held = session.take(name).await.map_err(in_charge)?;
    let mut drive = held.drive(view);
    match drive.journal.status.milestone {
        Some(Milestone::Finished) if settings == Settings::Revert && is_tuned(&drive) => {
            let failure = Failure::refused(
                "TUNING_STAYS",
                format!("{name} is finished, and its hosts' agents have forgotten the former kernel settings"),
                "take them back by hand: they stand behind `before:` in /etc/sysctl.d/60-flytt.conf on each host",
            );
            return Err(Halt::new(Exit::Failed, [failure]));
        }
        Some(Milestone::Finished) => {
            return Ok(answer(format!("{name} is finished already"), json!({ "migration": name, "finished": true })));
        }
        Some(Milestone::Moved) if turn::is_under_way(session, name) => {
            let sentence = format!("{name} is on its way back, which has not come to an end");
            return Err(refused("UNDER_WAY", sentence, format!("flytt resume {name}")));
        }
        Some(Milestone::Moved | Milestone::MovedBack) => {}
        None | Some(Milestone::Following) if drive.journal.status.is_done(&step(named::SURRENDER)) => {
            let sentence = format!("{name} is past its point of no return, and not complete");
            return Err(refused("UNDER_WAY", sentence, format!("flytt resume {name}")));
        }
        _ => {
            return Err(refused(
                "NOT_MOVED",
                format!("{name} has not moved: there is nothing to finish"),
                format!("flytt cutover {name}, or flytt rollback {name}"),
            ));
        }
    }
    end(&mut drive, settings).await
}

async fn end(drive: &mut Drive<'_>, settings: Settings) -> Result<Answer, Halt> {
    let name = drive.spec.name.clone();
    drive.take_charge(settings.command()).await?;
    // A host forgets the former values when it is finished, so they are brought back first.
    if settings == Settings::Revert {
        let left = drive.back(Phase::Tune..=Phase::Tune).await.map_err(|failure| stuck(&name, failure))?;
        if !left.is_empty() {
            return Err(Halt::new(Exit::NeedsResume, left.into_iter().map(|(_, failure)| failure))
                .now("the application is served; kernel settings could not be taken back on a host")
                .then(format!("flytt resume {name}")));
        }
    }
    let tuned = is_tuned(drive);
    match drive.forward(Phase::Finish..=Phase::Finish).await {
        Ok(()) => {
            reached(drive, Milestone::Finished).await?;
            let kept =
                if tuned { "; kernel settings that the move set stay, see /etc/sysctl.d/60-flytt.conf on the hosts" } else { "" };
            Ok(answer(
                format!(
                    "{name} is finished; the routers' configuration files are yours to change, see docs/haproxy.md{kept}{}",
                    but_for(drive)
                ),
                json!({ "migration": name, "finished": true, "tuning_kept": tuned }),
            ))
        }
        Err(Stopped::Journal(failure)) => Err(stuck(&name, failure)),
        Err(stopped) => {
            let failures = if let Stopped::Failed { failure, .. } = stopped { vec![failure] } else { Vec::new() };
            Err(Halt::new(Exit::NeedsResume, failures)
                .now("the application is served; something of the move is left on a host")
                .then(format!("flytt resume {name}")))
        }
    }
}
