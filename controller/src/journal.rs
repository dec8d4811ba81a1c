//! What was decided and what came of it, on disk before the call that it announces. Status is a fold over it.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
};

use flytt_proto::{
    failure::Failure,
    fuse::Fuse,
    gate::Gate,
    name::{Epoch, HostName, Migration, StepId},
    record::{Record, Row},
    v1,
};
use serde::{Deserialize, Serialize};

/// The version of [`Event`]'s form. Older ones still read.
const VERSION: u32 = 1;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event {
    /// The text of migration.toml as it was when the move began: later edits of the file change nothing.
    Created {
        migration: Migration,
        spec: String,
        version: String,
    },
    /// A controller took charge.
    Charged {
        epoch: Epoch,
        command: String,
    },
    Began {
        step: StepId,
    },
    Done {
        step: StepId,
        outcome: v1::Outcome,
        elapsed_us: u64,
    },
    Failed {
        step: StepId,
        failure: Failure,
    },
    Undoing {
        step: StepId,
    },
    Undone {
        step: StepId,
    },
    Reached {
        milestone: Milestone,
    },
    /// The operator goes on although these gates may not hold.
    Accepted {
        gates: Vec<Gate>,
    },
    /// A person vouches that this host is lost for good, so that the other may serve, and types what stands for the state seen.
    Recovering {
        keep: HostName,
        lost: HostName,
        fingerprint: String,
        reason: String,
    },
    /// It came to that: this host is asked for nothing any more.
    Lost {
        host: HostName,
    },
    /// What was found by the gates, before or while a step was done.
    Found {
        step: StepId,
        findings: Vec<v1::Finding>,
    },
}

/// Where a whole command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Milestone {
    /// The target follows; the cutover may be asked for.
    Following,
    /// The target is the primary.
    Moved,
    /// And it has moved back: the source is the primary again, with all that was written on either side.
    MovedBack,
    /// A cutover (or the whole move) was taken back.
    TakenBack,
    /// Nothing of the move is left but this journal; it ended as it began.
    AsItWas,
    /// Nothing of the move is left but this journal; it ended on the target.
    Finished,
}

#[derive(Clone, Debug, PartialEq)]
pub enum StepState {
    Began,
    Done {
        elapsed_us: u64,
    },
    Failed(Failure),
    /// And why it is not wholly taken back yet.
    Undoing(Option<Failure>),
    Undone,
}

/// What the events come to.
#[derive(Clone, Debug, Default)]
pub struct Status {
    pub migration: Option<Migration>,
    pub spec: String,
    pub epoch: Epoch,
    pub command: String,
    pub steps: BTreeMap<StepId, StepState>,
    pub outcomes: BTreeMap<StepId, v1::Outcome>,
    pub milestone: Option<Milestone>,
    /// Gates that the operator overrides.
    pub accepted: BTreeSet<Gate>,
    /// Who is to serve, as a person decided, whatever came of it: with the fingerprint that was typed, and the reason.
    pub recovering: Option<(HostName, String, String)>,
    /// Hosts that are gone for good.
    pub lost: BTreeSet<HostName>,
    /// What the gates found, in the order in which they did.
    pub found: Vec<v1::Finding>,
    /// Unix milliseconds of the newest event.
    pub at_ms: u64,
}

/// An order of events that cannot be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the journal says {what}, which cannot be at that point")]
pub struct IllegalEvent {
    what: String,
}

impl Status {
    pub fn after(mut self, event: &Event) -> Result<Self, IllegalEvent> {
        let illegal = |what: String| IllegalEvent { what };
        if self.migration.is_none() != matches!(event, Event::Created { .. }) {
            return Err(illegal("a beginning twice, or something before it".into()));
        }
        if matches!(self.milestone, Some(Milestone::AsItWas | Milestone::Finished)) {
            return Err(illegal("something after the end".into()));
        }
        match event {
            Event::Created { migration, spec, .. } => {
                self.migration = Some(migration.clone());
                self.spec.clone_from(spec);
            }
            Event::Charged { epoch, .. } if *epoch <= self.epoch => {
                return Err(illegal(format!("epoch {epoch} after {}", self.epoch)));
            }
            Event::Charged { epoch, command } => {
                self.epoch = *epoch;
                self.command.clone_from(command);
            }
            Event::Began { step } => {
                if matches!(self.steps.get(step), Some(StepState::Done { .. })) {
                    return Err(illegal(format!("{step} begun again after it was done")));
                }
                self.milestone = None;
                self.steps.insert(step.clone(), StepState::Began);
            }
            Event::Done { step, outcome, elapsed_us } => {
                if !matches!(self.steps.get(step), Some(StepState::Began)) {
                    return Err(illegal(format!("{step} done without a beginning")));
                }
                self.steps.insert(step.clone(), StepState::Done { elapsed_us: *elapsed_us });
                self.outcomes.insert(step.clone(), outcome.clone());
            }
            Event::Failed { step, failure } => {
                let state = match self.steps.get(step) {
                    Some(StepState::Began) => StepState::Failed(failure.clone()),
                    // It is half taken back, and must be wholly before it is begun again.
                    Some(StepState::Undoing(_)) => StepState::Undoing(Some(failure.clone())),
                    Some(StepState::Done { .. } | StepState::Failed(_) | StepState::Undone) | None => {
                        return Err(illegal(format!("{step} failed without a beginning")));
                    }
                };
                self.steps.insert(step.clone(), state);
            }
            Event::Undoing { step } => {
                if !self.steps.contains_key(step) {
                    return Err(illegal(format!("{step} taken back without a beginning")));
                }
                self.milestone = None;
                self.steps.insert(step.clone(), StepState::Undoing(None));
            }
            Event::Undone { step } => {
                if !matches!(self.steps.get(step), Some(StepState::Undoing(_))) {
                    return Err(illegal(format!("{step} taken back without saying so before")));
                }
                self.steps.insert(step.clone(), StepState::Undone);
                self.outcomes.remove(step);
            }
            Event::Reached { milestone } => self.milestone = Some(*milestone),
            Event::Accepted { gates } => self.accepted.extend(gates),
            Event::Recovering { keep, fingerprint, reason, .. } => {
                self.milestone = None;
                self.recovering = Some((keep.clone(), fingerprint.clone(), reason.clone()));
            }
            Event::Lost { host } => {
                self.lost.insert(host.clone());
            }
            Event::Found { findings, .. } => self.found.extend(findings.iter().cloned()),
        }
        Ok(self)
    }

    pub fn is_done(&self, step: &StepId) -> bool {
        matches!(self.steps.get(step), Some(StepState::Done { .. }))
    }

    /// Whether somebody has begun to take it back, and has not ended.
    pub fn is_half_taken_back(&self, step: &StepId) -> bool {
        matches!(self.steps.get(step), Some(StepState::Undoing(_)))
    }

    /// Whether the step may have had an effect that is not taken back.
    pub fn is_open(&self, step: &StepId) -> bool {
        !matches!(self.steps.get(step), None | Some(StepState::Undone))
    }
}

/// One migration's journal, held by one controller at a time.
#[derive(Debug)]
pub struct Journal {
    record: Record<Event>,
    pub status: Status,
    /// For tests.
    pub fuse: Fuse,
}

impl Journal {
    /// Opens or makes it. Another controller that holds it is an error.
    pub fn open(directory: &Path) -> Result<Self, Failure> {
        let (record, rows) = Record::open(&path(directory), "journal", VERSION)?;
        Ok(Self { record, status: fold(&rows)?, fuse: Fuse::default() })
    }

    /// Reads it without holding it, for `flytt status`.
    pub fn read(directory: &Path) -> Result<(Status, Vec<Row<Event>>), Failure> {
        let (_, rows) = Record::look(&path(directory), "journal", VERSION)?;
        Ok((fold(&rows)?, rows))
    }

    /// When the copy that the target has now was made, in Unix time; 0: none was. What was known of an earlier one is void.
    ///
    /// # Errors
    /// As a record that cannot be read.
    pub fn copied_ms(directory: &Path) -> Result<u64, Failure> {
        let (_, rows) = Self::read(directory)?;
        let is_copy = |row: &&Row<Event>| matches!(&row.event, Event::Done { step, .. } if step.as_str() == "seed");
        Ok(rows.iter().filter(is_copy).map(|row| row.at_ms).max().unwrap_or_default())
    }

    /// Makes sure that what is left of a cutover can be written although the disk is full.
    pub async fn reserve(&self) -> Result<(), Failure> {
        self.record.reserve().await
    }

    /// Durable when it returns.
    pub async fn write(&mut self, event: Event) -> Result<(), Failure> {
        let name = || match serde_json::to_value(&event) {
            Ok(value) => {
                [&value["event"], &value["step"]].into_iter().filter_map(|part| part.as_str()).collect::<Vec<_>>().join(" ")
            }
            Err(_) => "event".to_owned(),
        };
        self.fuse.point(|| format!("before journal {}", name()))?;
        let after = self.status.clone().after(&event).map_err(|error| order(&error))?;
        self.record.append(event.clone()).await?;
        self.status = after;
        self.fuse.point(|| format!("after journal {}", name()))
    }
}

fn path(directory: &Path) -> PathBuf {
    directory.join("journal.db")
}

fn fold(rows: &[Row<Event>]) -> Result<Status, Failure> {
    rows.iter().try_fold(Status::default(), |status, row| {
        let mut status = status.after(&row.event).map_err(|error| order(&error))?;
        status.at_ms = row.at_ms;
        Ok(status)
    })
}

fn order(error: &IllegalEvent) -> Failure {
    Failure::refused("JOURNAL_ORDER", error.to_string(), "keep the file as it is, and look at the hosts with `flytt status`")
}
