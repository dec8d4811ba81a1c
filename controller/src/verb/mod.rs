//! The commands that move: each drives a stretch of the plan, and decides which way to go when it stops.

mod cutover;
mod doctor;
mod end;
mod probe;
mod recover;
mod samples;
mod start;
mod status;
mod turn;
mod verify;

use std::{path::Path, time::Duration};

use flytt_proto::{
    failure::{Effect, Failure},
    name::{Migration, StepId},
    v1::{self, finding::Level},
};
use serde_json::{Value, json};

use crate::{
    drive::{self, Drive, Stopped},
    halt::{Exit, Halt},
    journal::{Event, Milestone, StepState},
    plan::{self, Phase},
    session::{Held, Session},
    spec::Spec,
    view::{Line, View},
    witness::Witness,
};

pub use cutover::cutover;
pub use doctor::doctor;
pub use end::{Settings, finish, resume, rollback};
pub use probe::{ProbeOptions, probe};
pub use recover::{RecoverOptions, recover};
pub use samples::{Options as SamplesOptions, samples};
pub use start::{check, plan, start};
pub use status::status;
pub use verify::{VerifyOptions, verify};

/// What a command that succeeded says last.
#[derive(Clone, Debug)]
pub struct Answer {
    pub text: String,
    pub value: Value,
    pub exit: Exit,
}

impl Answer {
    /// All was said while it was seen.
    pub(super) fn nothing() -> Self {
        Self { text: String::new(), value: Value::Null, exit: Exit::Ok }
    }

    pub fn is_nothing(&self) -> bool {
        self.value.is_null()
    }
}

pub(crate) fn answer(text: impl Into<String>, value: Value) -> Answer {
    Answer { text: text.into(), value, exit: Exit::Ok }
}

pub(super) fn step(id: &str) -> StepId {
    id.parse().expect("a name of the table")
}

pub(super) async fn reached(drive: &mut Drive<'_>, milestone: Milestone) -> Result<(), Halt> {
    let name = drive.spec.name.clone();
    drive.journal.write(Event::Reached { milestone }).await.map_err(|failure| stuck(&name, failure))
}

/// Worst first. Returns how many block.
pub(super) fn show(findings: &mut [v1::Finding], view: &mut dyn View) -> usize {
    findings.sort_by_key(|finding| std::cmp::Reverse(rank(finding.level())));
    for finding in &*findings {
        view.show(Line::Finding(finding));
    }
    count(findings, Level::Block)
}

pub(super) fn count(findings: &[v1::Finding], level: Level) -> usize {
    findings.iter().filter(|finding| finding.level() == level).count()
}

fn rank(level: Level) -> u8 {
    match level {
        Level::Block => 3,
        Level::Accepted => 2,
        Level::Warn => 1,
        Level::Ok | Level::Unspecified => 0,
    }
}

pub(super) fn blocked(findings: Vec<v1::Finding>) -> Halt {
    let blocks = findings.into_iter().filter(|finding| finding.level() == v1::finding::Level::Block);
    Halt::new(Exit::Refused, blocks.map(|finding| Failure::refused(&finding.code, finding.sentence, finding.remedy)))
        .now("nothing was changed on any host")
}

pub(super) fn refused(code: &str, sentence: String, next: String) -> Halt {
    Halt::new(Exit::Failed, [Failure::refused(code, sentence, format!("run `{next}`"))]).then(next)
}

/// The journal's lock is another controller's.
pub(super) fn in_charge(failure: Failure) -> Halt {
    if failure.code == "RECORD_IN_USE" { Halt::new(Exit::InCharge, [failure]) } else { failure.into() }
}

pub(super) fn superseded(name: &Migration, failure: Failure) -> Halt {
    if failure.code != "SUPERSEDED" {
        return stuck(name, failure);
    }
    Halt::new(Exit::InCharge, [failure])
        .now("this controller has stopped and takes nothing back: what it had begun is the other's to carry on")
        .then(format!("flytt status {name}"))
}

/// The journal cannot be written, so nothing more is begun; the agents' leases take care of the rest.
pub(super) fn stuck(name: &Migration, failure: Failure) -> Halt {
    Halt::new(Exit::NeedsResume, [failure])
        .now("nothing more was begun; a fence that was up ends by itself, and what had surrendered is completed by the agents")
        .then(format!("flytt resume {name}"))
}

pub(super) async fn taken_back(drive: &mut Drive<'_>, stopped: Stopped, left: Vec<(String, Failure)>) -> Halt {
    let (name, is_back) = (drive.spec.name.there(), drive.spec.name.is_back());
    let mut failures = Vec::new();
    let mut exit = match stopped {
        Stopped::Interrupted => Exit::Interrupted,
        Stopped::Failed { failure, .. } => {
            failures.push(failure);
            Exit::TakenBack
        }
        Stopped::Blocked(findings) => {
            failures.extend(findings.into_iter().map(|found| Failure::refused(&found.code, found.sentence, found.remedy)));
            Exit::Refused
        }
        Stopped::Journal(failure) => return stuck(&name, failure),
    };
    if left.is_empty() {
        let following = drive.journal.status.is_done(&step("follow"));
        let nothing_left = drive.plan.steps.iter().all(|step| !drive.journal.status.is_open(&step.id));
        let nothing_left = nothing_left && !is_back;
        let milestone = if nothing_left { Milestone::AsItWas } else { Milestone::TakenBack };
        if let Err(halt) = reached(drive, milestone).await {
            return halt;
        }
        if failures.iter().any(|failure| failure.code == "GUARDED") {
            return Halt::new(exit, failures)
                .now("the source serves; it dropped the slot to protect its disk, so this copy can never catch up")
                .then(format!("flytt rollback {name}"));
        }
        if exit == Exit::Refused && nothing_left {
            return Halt::new(exit, failures)
                .now("nothing was moved and nothing changed on any host; the source serves as before");
        }
        if is_back {
            // What became of its follower is not settled yet: see `turn.rs`.
            return Halt::new(exit, failures);
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
    if left.iter().any(|(_, failure)| failure.effect == Effect::Unknown) || exit != Exit::NeedsResume {
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
