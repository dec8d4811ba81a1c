//! `flytt recover`, break-glass: between surrender and opening one side is lost for good, and a person says that the other may
//! serve. Nothing can prove it, so it is never done by itself, and only in the very state that this person was shown.

use flytt_proto::{
    name::{Epoch, HostName, OperationId, step as named},
    recovery::fingerprint,
};

use super::{
    cutover::moved,
    turn::{self, is_under_way},
    *,
};
use v1::baton_state::Phase as Baton;

#[derive(Debug, clap::Args)]
pub struct RecoverOptions {
    pub migration: Migration,
    /// The host that is to serve. The other one is taken for lost, and asked for nothing any more.
    #[arg(long)]
    pub keep: HostName,
    /// As this command shows it without this; it fits no other host and no later state.
    #[arg(long, requires = "reason")]
    pub fingerprint: Option<String>,
    /// Why, in your words; for the record.
    #[arg(long, requires = "fingerprint")]
    pub reason: Option<String>,
}

/// Which part is to serve.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kept {
    Source,
    Target,
}

pub async fn recover(session: &Session, options: RecoverOptions, view: &mut dyn View) -> Result<Answer, Halt> {
    let mut there = session.take(&options.migration).await.map_err(in_charge)?;
    if there.journal.status.milestone != Some(Milestone::Moved) {
        return leg(session, &mut there, options, view).await;
    }
    if !is_under_way(session, &options.migration) {
        let sentence = format!("{} is not in a window: the right to write is where `flytt status` says", options.migration);
        return Err(refused("NOTHING_TO_RECOVER", sentence, format!("flytt status {}", options.migration)));
    }
    let mut back = session.turn(&there.spec).await.map_err(in_charge)?;
    let done = leg(session, &mut back, options, view).await?;
    turn::recovered(&mut there, &back, done).await
}

async fn leg(session: &Session, held: &mut Held, options: RecoverOptions, view: &mut dyn View) -> Result<Answer, Halt> {
    let (name, keep) = (held.spec.name.there(), options.keep);
    let (kept, lost) = match &held.spec {
        spec if spec.source == keep => (Kept::Source, spec.target.clone()),
        spec if spec.target == keep => (Kept::Target, spec.source.clone()),
        spec => {
            let sentence = format!("{keep} is neither {} nor {}", spec.source, spec.target);
            return Err(refused("HOST_UNKNOWN", sentence, format!("flytt status {name}")));
        }
    };
    let baton = session.observer.baton(&keep, &held.spec.name).await?;
    let mut drive = held.drive(view);
    // On record before the host was asked: its own word for it is not needed again. What was decided and has come to an end since,
    // one way or another, counts no more.
    let status = &drive.journal.status;
    let decided = status.milestone.is_none() && status.recovering.as_ref().is_some_and(|(host, ..)| *host == keep);
    let begun = decided && matches!(baton.phase(), Baton::Serving | Baton::Open);
    if !begun {
        is_stuck(kept, &keep, &baton, &name)?;
        is_gone(session, &lost, &drive.spec.name).await?;
        let shown = fingerprint(&drive.spec.name, &keep, baton.phase(), Epoch(baton.epoch), &baton.position);
        let (Some(given), Some(reason)) = (options.fingerprint, options.reason) else {
            return Err(unconfirmed(kept, &keep, &lost, &baton, &name, &shown));
        };
        if given != shown {
            let sentence = format!("{given:?} is not the fingerprint of the state that {keep} is in now");
            return Err(refused("FINGERPRINT", sentence, format!("flytt recover {name} --keep {keep}")));
        }
        let event = Event::Recovering { keep: keep.clone(), lost: lost.clone(), fingerprint: given, reason };
        drive.journal.write(event).await.map_err(|failure| stuck(&name, failure))?;
    }
    drive.take_charge_for_good("recover").await?;
    force(&mut drive, kept, &keep).await?;
    drive.journal.write(Event::Lost { host: lost }).await.map_err(|failure| stuck(&name, failure))?;
    carry_on(&mut drive).await
}

/// Anything else comes to its end by itself.
fn is_stuck(kept: Kept, keep: &HostName, baton: &v1::BatonState, name: &Migration) -> Result<(), Halt> {
    let why = match (kept, baton.phase()) {
        (Kept::Source, Baton::Surrendered) | (Kept::Target, Baton::Closed) => return Ok(()),
        (_, Baton::Fencing | Baton::Fenced) => "it has not surrendered, and serves again by itself when its lease ends",
        (_, Baton::Serving | Baton::Open) => "it serves",
        (_, Baton::Retired) => "the target has opened, and has writes that this host does not have",
        (_, Baton::Burned) => "it was given up, and is no whole copy any more",
        (_, Baton::Promoting) => "it is being promoted",
        (_, Baton::Replica) => "it was not promoted: what it has not received of the source's writes is known to nobody",
        (_, Baton::NoPart | Baton::Unspecified | Baton::Surrendered | Baton::Closed) => "it has no such part in that move",
    };
    let sentence = format!("there is nothing to recover on {keep}: {why}");
    Err(refused("NOTHING_TO_RECOVER", sentence, format!("flytt status {name}")))
}

/// Who answers by its record is not lost.
async fn is_gone(session: &Session, lost: &HostName, leg: &Migration) -> Result<(), Halt> {
    match session.observer.baton(lost, leg).await {
        Ok(baton) if baton.phase() != Baton::NoPart => {
            let phase = baton.phase().as_str_name().to_lowercase();
            let sentence = format!("{lost} is not lost: its agent answers, and says {phase}");
            Err(refused("NOT_LOST", sentence, format!("flytt resume {}", leg.there())))
        }
        // A record that is gone answers so.
        Ok(_) | Err(_) => Ok(()),
    }
}

fn unconfirmed(
    kept: Kept,
    keep: &HostName,
    lost: &HostName,
    baton: &v1::BatonState,
    name: &Migration,
    fingerprint: &str,
) -> Halt {
    let position = &baton.position;
    let (is, danger) = match kept {
        Kept::Source => (
            format!("{keep} has surrendered at {position}, and has every write up to there"),
            format!("if {lost} has opened, or ever opens, there are two that accept writes, and {keep} lacks the other's"),
        ),
        Kept::Target => (
            format!("{keep} is promoted behind its gate at {position}, and has every write up to the fence of {lost}"),
            format!("if {lost} un-fenced by its lease before it was lost, what it accepted after that is lost with it"),
        ),
    };
    let remedy = format!(
        "make sure that the server of {lost} is down and stays down (its power, its disk, its address); that is yours to vouch for"
    );
    Halt::new(Exit::Refused, [Failure::refused("RECOVER_UNCONFIRMED", format!("{is}; {danger}"), remedy)])
        .now(format!("nothing was changed; the state of {keep} has the fingerprint {fingerprint}"))
        .then(format!("flytt recover {name} --keep {keep} --fingerprint {fingerprint} --reason \"…\""))
}

/// The host takes the right, on this word alone.
async fn force(drive: &mut Drive<'_>, kept: Kept, keep: &HostName) -> Result<(), Halt> {
    let name = drive.spec.name.there();
    let (id, role) = match kept {
        // It opens by this instead of by a permit.
        Kept::Target => (step(named::OPEN), v1::Role::Target),
        Kept::Source => (step(named::RECOVER), v1::Role::Source),
    };
    if drive.journal.status.is_done(&id) {
        return Ok(());
    }
    let (_, fingerprint, reason) = drive.journal.status.recovering.clone().ok_or_else(|| {
        refused("NOTHING_TO_RECOVER", format!("nobody has decided that {keep} is to serve"), format!("flytt status {name}"))
    })?;
    let action = v1::Action { kind: Some(v1::action::Kind::Recover(v1::Recover { role: role.into(), fingerprint, reason })) };
    let journal = |failure| stuck(&name, failure);
    drive.journal.write(Event::Began { step: id.clone() }).await.map_err(journal)?;
    let operation = OperationId { migration: drive.spec.name.clone(), step: id.clone() };
    let (fleet, epoch, view) = (drive.fleet.clone(), drive.journal.status.epoch, &mut *drive.view);
    let mut on = |kind| {
        if let v1::event::Kind::Doing(text) = kind {
            view.show(Line::Note(&text));
        }
    };
    match fleet.apply(keep, &operation, epoch, &action, Duration::from_secs(60), &mut on).await {
        Ok(done) => {
            let outcome = done.outcome.unwrap_or_default();
            drive.known.outcomes.insert(id.clone(), outcome.clone());
            let event = Event::Done { step: id, outcome, elapsed_us: done.elapsed_us };
            drive.journal.write(event).await.map_err(journal)
        }
        Err(failure) => {
            let event = Event::Failed { step: id, failure: failure.clone() };
            drive.journal.write(event).await.map_err(journal)?;
            Err(Halt::from(failure).then(format!("flytt status {name}")))
        }
    }
}

/// What is left of the window for the hosts that are there. Also where a recovery was interrupted.
pub(super) async fn carry_on(drive: &mut Drive<'_>) -> Result<Answer, Halt> {
    let name = drive.spec.name.there();
    if drive.is_lost(&drive.spec.source) {
        return match drive.forward_from_open().await {
            Ok(()) => moved(drive).await,
            Err(Stopped::Journal(failure)) => Err(stuck(&name, failure)),
            Err(stopped) => {
                let failures = if let Stopped::Failed { failure, .. } = stopped { vec![failure] } else { Vec::new() };
                Err(Halt::new(Exit::NeedsResume, failures)
                    .now(format!("{} accepts writes; not all routers lead to it yet", drive.spec.target))
                    .then(format!("flytt resume {name}")))
            }
        };
    }
    let left = drive.back(Phase::Ready..=Phase::Cutover).await.map_err(|failure| stuck(&name, failure))?;
    if !left.is_empty() {
        return Err(Halt::new(Exit::NeedsResume, left.into_iter().map(|(_, failure)| failure))
            .now(format!("{} accepts writes; not all routers lead to it yet", drive.spec.source))
            .then(format!("flytt resume {name}")));
    }
    reached(drive, Milestone::TakenBack).await?;
    let (source, target) = (&drive.spec.source, &drive.spec.target);
    let text = format!("{source} serves again; {target} is taken for lost, and is asked for nothing any more");
    Ok(answer(
        format!("{name}: {text}\nnext:  flytt rollback {name}"),
        json!({ "migration": name, "serves": source, "lost": target }),
    ))
}

/// A move with a host that is lost can only come to its end.
pub(super) fn must_not_be_lost(drive: &Drive<'_>) -> Result<(), Halt> {
    let Some(host) = drive.journal.status.lost.iter().next() else { return Ok(()) };
    let name = drive.spec.name.there();
    let next = if drive.is_lost(&drive.spec.source) { "finish" } else { "rollback" };
    let sentence = format!("{host} was taken for lost by `flytt recover`");
    Err(refused("LOST", sentence, format!("flytt {next} {name}")))
}
