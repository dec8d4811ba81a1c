//! The cutover, and which way it goes when it stops: back before the surrender, forward after it.

use std::collections::BTreeSet;

use flytt_proto::gate::Gate;

use super::*;
use crate::{drive::back::PAST, journal::Journal, spec::Engine, verify};

/// `flytt cutover`: hold, fence, catch up, promote behind a gate, surrender, open, release. Taken back by itself, and in
/// seconds, when anything fails before the surrender; completed when it fails after.
pub async fn cutover(session: &Session, name: &Migration, accepted: BTreeSet<Gate>, view: &mut dyn View) -> Result<Answer, Halt> {
    let mut held = session.take(name).await.map_err(in_charge)?;
    let mut drive = held.drive(view);
    match drive.journal.status.milestone {
        Some(Milestone::Moved | Milestone::MovedBack) => {
            return Ok(answer(format!("{name} has moved already"), json!({ "migration": name, "moved": true })));
        }
        Some(Milestone::Following | Milestone::TakenBack) if drive.journal.status.is_done(&step("follow")) => {
            recover::must_not_be_lost(&drive)?;
        }
        _ => {
            return Err(refused("NOT_FOLLOWING", format!("{name} is not ready to cut over"), format!("flytt resume {name}")));
        }
    }
    drive.journal.reserve().await?;
    let last = verify::last(&session.directory(name))?;
    let copied_ms = Journal::copied_ms(&session.directory(name))?;
    if let Some(finding) = unverified(drive.spec, last.as_ref(), copied_ms, accepted.contains(&Gate::Verified)) {
        drive.view.show(Line::Finding(&finding));
        if finding.level() == Level::Block {
            return Err(blocked(vec![finding]).then(format!("flytt verify {name}")));
        }
    }
    drive.take_charge("cutover").await?;
    drive.accept(&accepted).await?;
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

/// What stands in the way where migration.toml asks for a comparison. A sample is none, nor is one of some tables.
fn unverified(spec: &Spec, last: Option<&verify::Last>, copied_ms: u64, is_accepted: bool) -> Option<v1::Finding> {
    let limit = spec.cutover.verified?;
    let minutes = |age: Duration| age.as_secs() / 60;
    let sentence = match last {
        None => "both sides were never compared".to_owned(),
        Some(last) if last.begun_ms < copied_ms => "the target was copied anew since both sides were compared".to_owned(),
        Some(last) if !last.only.tables.is_empty() || last.summary.is_sample => {
            "the last comparison was of a part of the data only".to_owned()
        }
        Some(last) if !last.summary.is_clean() => {
            let (differing, unsettled) = (last.summary.differing, last.summary.unsettled);
            format!("the last comparison did not end clean: {differing} differ, {unsettled} are not settled")
        }
        Some(last) if last.age() > limit => {
            format!("the last comparison is {} min old, and {} are asked for at most", minutes(last.age()), minutes(limit))
        }
        Some(_) => return None,
    };
    Some(v1::Finding {
        level: if is_accepted { Level::Accepted } else { Level::Block }.into(),
        code: Gate::Verified.code().into(),
        host: spec.target.to_string(),
        sentence,
        remedy: format!("run `flytt verify {}`, or accept it by name: --accept {}", spec.name, Gate::Verified),
    })
}

pub(super) async fn cut(drive: &mut Drive<'_>) -> Result<Answer, Halt> {
    let name = drive.spec.name.there();
    let mut stopped = match drive.forward(Phase::Ready..=Phase::Cutover).await {
        Ok(()) => return moved(drive).await,
        Err(Stopped::Journal(failure)) => return Err(stuck(&name, failure)),
        Err(stopped) => stopped,
    };
    drive.stay_in_charge("way back").await.map_err(|failure| superseded(&name, failure))?;
    // Past the point of no return there is one way: forward. What failed there is safe to repeat.
    let mut tries = 0;
    loop {
        if !drive.surrendered().await? {
            let left = way_back(drive).await.map_err(|failure| stuck(&name, failure))?;
            // What it was asked for it may do after we have given up waiting, and looked.
            if left.iter().all(|(_, failure)| failure.code != PAST) {
                return Err(taken_back(drive, stopped, left).await);
            }
        }
        // The agents complete it without us; somebody who asked us to stop need not watch.
        if tries == 3 || drive.stop.is_cancelled() {
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
}

/// The rest of the plan, once the source has surrendered. The permit may be with us or only with the agents: asking for the
/// surrender again gives it again.
pub(super) async fn complete(drive: &mut Drive<'_>) -> Result<(), Stopped> {
    drive.forward(Phase::Cutover..=Phase::Cutover).await
}

pub(super) async fn moved(drive: &mut Drive<'_>) -> Result<Answer, Halt> {
    let back = rejoin(drive).await?;
    reached(drive, Milestone::Moved).await?;
    let name = &drive.spec.name.there();
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
    let old = &drive.spec.source;
    let becomes = match &back {
        WayBack::Ready => format!("{old} follows it, fenced"),
        WayBack::Failed(failure) => format!("{old} does not follow it yet ({}): run `flytt resume {name}`", failure.sentence),
        WayBack::OfNoSteps => format!("{old} is closed and follows it; finish ends that"),
        WayBack::Lost => format!("{old} is taken for lost: there is no way back"),
    };
    Ok(answer(
        format!("{name} has moved to {}; {becomes}\nnext:  flytt finish {name}", drive.spec.target),
        json!({ "migration": name, "moved": true, "cutover_ms": times, "way_back": back.is_ready() }),
    ))
}

/// What became of the steps after the window.
pub(super) enum WayBack {
    Ready,
    /// The move stands all the same.
    Failed(Failure),
    /// The window left nothing to be done for it.
    OfNoSteps,
    /// The old source is gone for good.
    Lost,
}

impl WayBack {
    /// `None`: it is not for these steps to say.
    pub(super) fn is_ready(&self) -> Option<bool> {
        match self {
            WayBack::Ready => Some(true),
            WayBack::Failed(_) | WayBack::Lost => Some(false),
            WayBack::OfNoSteps => None,
        }
    }
}

/// The old source follows the new primary. Whatever comes of it, the move is complete.
pub(super) async fn rejoin(drive: &mut Drive<'_>) -> Result<WayBack, Halt> {
    if drive.is_lost(&drive.spec.source) {
        return Ok(WayBack::Lost);
    }
    if drive.plan.steps.iter().all(|step| step.phase != Phase::Rejoin) {
        return Ok(WayBack::OfNoSteps);
    }
    match drive.forward(Phase::Rejoin..=Phase::Rejoin).await {
        Ok(()) => Ok(WayBack::Ready),
        Err(Stopped::Journal(failure)) => Err(stuck(&drive.spec.name, failure)),
        Err(Stopped::Failed { failure, .. }) => Ok(WayBack::Failed(failure)),
        Err(Stopped::Interrupted | Stopped::Blocked(_)) => {
            let failure = Failure::refused("INTERRUPTED", "it was interrupted", "run `flytt resume`");
            Ok(WayBack::Failed(failure))
        }
    }
}

/// The window is taken back, by a controller that has just taken charge. A target that was promoted is burned with it, and
/// has to be copied anew.
pub(super) async fn way_back(drive: &mut Drive<'_>) -> Result<Vec<(String, Failure)>, Failure> {
    let mut left = drive.back(Phase::Ready..=Phase::Cutover).await?;
    // In whichever try it was burned, the target itself says so.
    let was_promoted = drive.journal.status.steps.contains_key(&step("cut-promote"));
    if left.is_empty() && was_promoted && drive.target_is_burned().await? {
        if !drive.spec.name.is_back() {
            drive.view.show(Line::Note("the target was promoted and burned: its copy goes, too"));
        }
        // What a source of MySQL lets CLONE in by went at C0.
        let admits_again = drive.spec.engine == Engine::Mysql;
        let copied = drive.plan.steps.iter().filter(|step| {
            step.phase == Phase::Back
                || ["follow", "seed"].contains(&step.id.as_str())
                || (admits_again && step.id.as_str() == "admit")
        });
        let copied = copied.rev().cloned().collect();
        left = drive.take_back(copied).await?;
    }
    Ok(left)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::verify::{Last, Only, Summary};

    fn spec(verified: &str) -> Spec {
        let text = format!(
            "name = \"shop\"\nengine = \"postgres\"\n[source]\nhost = \"a\"\n[target]\nhost = \"b\"\n[cutover]\n{verified}\n\
             [[router]]\nkind = \"haproxy\"\nhost = \"c\"\nbackend = \"d\"\nsource = \"e\"\ntarget = \"f\"\n"
        );
        Spec::parse(Path::new("shop.toml"), &text).expect("a good file")
    }

    fn last(hours: u64, summary: Summary, only: Only) -> Last {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("after 1970");
        let ended = now - Duration::from_secs(3_600 * hours);
        let ended_ms = u64::try_from(ended.as_millis()).expect("before the year 500 million");
        Last {
            begun_ms: ended_ms,
            ended_ms,
            source: "a".parse().expect("a name"),
            target: "b".parse().expect("a name"),
            only,
            summary,
        }
    }

    #[test]
    fn a_cutover_asks_for_a_clean_comparison_of_everything_that_is_young_enough() {
        let (asks, clean) = (spec("verified = \"24h\""), Summary { tables: 3, rows: 9, ..Summary::default() });
        let level = |last: Option<&Last>, accepted| unverified(&asks, last, 0, accepted).map(|finding| finding.level());
        let of = |hours, summary: &Summary| last(hours, summary.clone(), Only::default());
        assert_eq!(level(Some(&of(23, &clean)), false), None);
        assert_eq!(level(None, false), Some(Level::Block));
        assert_eq!(level(None, true), Some(Level::Accepted));
        assert_eq!(level(Some(&of(25, &clean)), false), Some(Level::Block));
        for not_clean in [
            Summary { differing: 1, ..clean.clone() },
            Summary { unsettled: 1, ..clean.clone() },
            Summary { is_sample: true, ..clean.clone() },
        ] {
            assert_eq!(level(Some(&of(1, &not_clean)), false), Some(Level::Block), "{not_clean:?}");
        }
        let some = Only { tables: ["shop.orders".to_owned()].into(), sample: 0 };
        assert_eq!(level(Some(&last(1, clean, some)), false), Some(Level::Block));
        assert_eq!(unverified(&spec(""), None, 0, false), None, "where none is asked for");
        let young = of(1, &Summary::default());
        let level = |copied_ms| unverified(&asks, Some(&young), copied_ms, false).map(|finding| finding.level());
        assert_eq!((level(young.begun_ms), level(young.begun_ms + 1)), (None, Some(Level::Block)), "another copy was compared");
    }
}
