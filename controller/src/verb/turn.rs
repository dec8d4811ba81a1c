//! The leg back, once the move is over: the same cutover with the roles exchanged, with all that was written on either side.

use super::{
    cutover::{cut, way_back},
    recover::{carry_on, must_not_be_lost},
    *,
};

/// Whether it was begun and is neither complete nor taken back.
pub(super) fn is_under_way(session: &Session, name: &Migration) -> bool {
    let back = session.read(&name.back()).map(|(_, status)| status);
    back.is_ok_and(|back| !back.steps.is_empty() && back.milestone != Some(Milestone::TakenBack))
}

pub(super) fn was_taken_back(session: &Session, name: &Migration) -> bool {
    session.read(&name.back()).is_ok_and(|(_, back)| back.milestone == Some(Milestone::TakenBack))
}

/// `flytt rollback` after the move.
pub(super) async fn rollback(session: &Session, mut there: Held, view: &mut dyn View) -> Result<Answer, Halt> {
    let name = there.spec.name.clone();
    if is_under_way(session, &name) {
        let sentence = format!("a way back of {name} was begun and has not come to an end");
        return Err(refused("UNDER_WAY", sentence, format!("flytt resume {name}")));
    }
    must_not_be_lost(&there.drive(view))?;
    must_follow(&there)?;
    let mut back = session.turn(&there.spec).await.map_err(in_charge)?;
    let mut drive = back.drive(view);
    drive.journal.reserve().await?;
    drive.take_charge("rollback").await?;
    let window = match drive.forward(Phase::Replicate..=Phase::Replicate).await {
        Ok(()) => cut(&mut drive).await,
        Err(stopped) => Err(taken_back(&mut drive, stopped, Vec::new()).await),
    };
    match window {
        Ok(window) => moved_back(&mut there, window).await,
        Err(halt) => Err(stayed(&there.spec, &mut back, halt, view).await),
    }
}

/// Without a follower that has everything, going back would lose what was written since.
fn must_follow(there: &Held) -> Result<(), Halt> {
    let (spec, status) = (&there.spec, &there.journal.status);
    let (name, source, target) = (&spec.name, &spec.source, &spec.target);
    // Where there is nothing of that kind, it has followed since before the window, and says so itself.
    let mut rejoins = there.plan.steps.iter().filter(|step| step.phase == Phase::Rejoin);
    if rejoins.all(|step| status.is_done(&step.id)) {
        return Ok(());
    }
    let sentence = format!("{source} does not follow {target}: going back would lose what was written since");
    Err(refused("WAY_BACK_DOWN", sentence, format!("flytt resume {name}")))
}

/// What was under way is completed, or taken back, as its source says.
pub(super) async fn resume(session: &Session, mut there: Held, view: &mut dyn View) -> Result<Answer, Halt> {
    let mut back = session.turn(&there.spec).await.map_err(in_charge)?;
    let mut drive = back.drive(view);
    if !drive.journal.status.lost.is_empty() {
        drive.take_charge("recover").await?;
        let done = carry_on(&mut drive).await?;
        return recovered(&mut there, &back, done).await;
    }
    drive.take_charge("resume").await?;
    if drive.surrendered().await? {
        let window = cut(&mut drive).await?;
        return moved_back(&mut there, window).await;
    }
    let left = way_back(&mut drive).await.map_err(|failure| stuck(&there.spec.name, failure))?;
    let halt = taken_back(&mut drive, Stopped::Interrupted, left).await;
    settled(&there.spec, stayed(&there.spec, &mut back, halt, view).await)
}

/// It was taken back, and the controller may have died before the source followed again, or the source may have ceased to.
pub(super) async fn heal(session: &Session, there: &Held, view: &mut dyn View) -> Result<Answer, Halt> {
    let mut back = session.turn(&there.spec).await.map_err(in_charge)?;
    let mut drive = back.drive(view);
    if drive.target_is_burned().await == Ok(false) && drive.target_streams().await == Ok(false) {
        let followed = follow_again(&mut drive).await;
        followed.map_err(|stopped| strays(&there.spec, "does not follow it", stopped))?;
    }
    settled(&there.spec, stayed(&there.spec, &mut back, Halt::new(Exit::Interrupted, []), view).await)
}

/// Taken back is what somebody asked for who resumes.
fn settled(there: &Spec, halt: Halt) -> Result<Answer, Halt> {
    if halt.exit() != Exit::Interrupted {
        return Err(halt);
    }
    let text = format!("{}: {}", there.name, halt.state());
    Ok(answer(text, json!({ "migration": there.name, "moved": true, "taken_back": true })))
}

/// One side of it was lost for good: the move itself is to know that, too.
pub(super) async fn recovered(there: &mut Held, back: &Held, done: Answer) -> Result<Answer, Halt> {
    let name = there.spec.name.clone();
    for host in &back.journal.status.lost {
        there.journal.write(Event::Lost { host: host.clone() }).await.map_err(|failure| stuck(&name, failure))?;
    }
    if back.journal.status.lost.contains(&back.spec.source) {
        return moved_back(there, done).await;
    }
    let text =
        format!("{name}: {} serves; {} is taken for lost\nnext:  flytt finish {name}", there.spec.target, there.spec.source);
    Ok(answer(text, done.value))
}

async fn moved_back(there: &mut Held, mut window: Answer) -> Result<Answer, Halt> {
    let (name, source) = (&there.spec.name, &there.spec.source);
    let event = Event::Reached { milestone: Milestone::MovedBack };
    there.journal.write(event).await.map_err(|failure| stuck(name, failure))?;
    Ok(answer(
        format!("{name} has moved back to {source}, with all that was written on either side\nnext:  flytt finish {name}"),
        json!({ "migration": name, "moved_back": true, "cutover_ms": window.value["cutover_ms"].take() }),
    ))
}

/// It came to nothing, and the target serves on. A source that was promoted in it was given up, and follows again.
async fn stayed(there: &Spec, back: &mut Held, halt: Halt, view: &mut dyn View) -> Halt {
    if back.journal.status.milestone != Some(Milestone::TakenBack) {
        return halt;
    }
    let Spec { name, source, target, .. } = there;
    let serves = format!("the way back was taken back; {target} serves as before");
    let mut drive = back.drive(view);
    match drive.target_is_burned().await {
        Ok(false) if drive.target_streams().await == Ok(true) => {
            return halt.now(format!("{serves}, {source} follows it")).then(format!("flytt rollback {name}"));
        }
        Ok(false) => {
            let now = format!("{serves}; {source} does not say that it follows it");
            return halt.now(now).then(format!("flytt status {name}, and flytt resume {name} if that stays so"));
        }
        Ok(true) => {}
        Err(failure) => {
            return Halt::new(Exit::NeedsResume, [failure])
                .now(format!("{serves}; {source} does not answer"))
                .then(format!("flytt resume {name}"));
        }
    }
    match follow_again(&mut drive).await {
        Ok(()) => {
            let now = format!("{serves}; {source} was promoted, given up, and follows it again");
            halt.now(now).then(format!("flytt rollback {name}"))
        }
        Err(stopped) => strays(there, "was promoted and given up, and does not follow it again yet", stopped),
    }
}

/// The source is no follower of the target, for what stopped it.
fn strays(there: &Spec, how: &str, stopped: Stopped) -> Halt {
    let Spec { name, source, target, .. } = there;
    let failure = match stopped {
        Stopped::Failed { failure, .. } | Stopped::Journal(failure) => vec![failure],
        Stopped::Interrupted | Stopped::Blocked(_) => Vec::new(),
    };
    Halt::new(Exit::NeedsResume, failure)
        .now(format!("the way back was taken back; {target} serves as before; {source} {how}"))
        .then(format!("flytt resume {name}, or flytt finish {name}"))
}

async fn follow_again(drive: &mut Drive<'_>) -> Result<(), Stopped> {
    drive.take_charge("resume").await.map_err(Stopped::Journal)?;
    drive.back(Phase::Replicate..=Phase::Replicate).await.map_err(Stopped::Journal)?;
    let followed = drive.forward(Phase::Replicate..=Phase::Replicate).await;
    // It is over either way: one that can follow no more must not keep the move from being finished.
    drive.journal.write(Event::Reached { milestone: Milestone::TakenBack }).await.map_err(Stopped::Journal)?;
    followed
}
