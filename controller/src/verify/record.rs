//! What is on disk of a comparison: what is found equal stays found when the command ends, however it ends.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use flytt_proto::{
    failure::Failure,
    name::HostName,
    record::{Record, Row},
};

use super::{
    Pair,
    narrow::Found,
    parts::End,
    pass::Only,
    report::{Outcome, Summary},
};

const VERSION: u32 = 1;
/// A pass that was broken off is carried on for so long.
const CARRIED_ON: Duration = Duration::from_secs(86_400);

#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub(super) enum Event {
    Began {
        source: HostName,
        target: HostName,
        only: Only,
        seed: u64,
    },
    /// All of a table's parts up to here.
    Part {
        table: String,
        found: Found,
        end: End,
    },
    Table {
        table: String,
        outcome: Outcome,
    },
    Ended(Summary),
}

/// What earlier commands have found in this pass.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Memory {
    pub(super) seed: u64,
    pub(super) begun_ms: u64,
    /// Whether there were any.
    pub(super) resumed: bool,
    pub(super) done: BTreeMap<String, Outcome>,
    pub(super) parts: BTreeMap<String, (Found, End)>,
}

/// The record of all passes, of which the last one is under way.
#[derive(Debug)]
pub(super) struct Log {
    record: Record<Event>,
    pub(super) memory: Memory,
}

impl Log {
    /// Carries on the last pass where it was not ended, is of the same kind, of the same copy and of today, and nobody
    /// wants it `anew`; begins a new one else.
    pub(super) async fn open(directory: &Path, pair: &Pair, only: &Only, anew: bool) -> Result<Self, Failure> {
        let copied_ms = if anew { u64::MAX } else { pair.copied_ms };
        Self::begin(directory, &pair.source, &pair.target, only, copied_ms).await
    }

    pub(super) async fn begin(
        directory: &Path,
        source: &HostName,
        target: &HostName,
        only: &Only,
        copied_ms: u64,
    ) -> Result<Self, Failure> {
        let path = path(directory);
        let (record, rows): (Record<Event>, _) = Record::open(&path, "verify", VERSION)?;
        let carried = carried_on(&rows, source, target, only).filter(|memory| memory.begun_ms >= copied_ms);
        if let Some(memory) = carried {
            return Ok(Self { record, memory });
        }
        let seed = seed().map_err(|error| disk(&path, &error))?;
        let event = Event::Began { source: source.clone(), target: target.clone(), only: only.clone(), seed };
        let began = record.append(event).await?;
        Ok(Self { record, memory: Memory { seed, begun_ms: began.at_ms, ..Memory::default() } })
    }

    pub(super) async fn write(&mut self, event: Event) -> Result<(), Failure> {
        self.record.append(event).await.map(drop)
    }
}

fn carried_on(rows: &[Row<Event>], source: &HostName, target: &HostName, only: &Only) -> Option<Memory> {
    let mut memory = None;
    for row in rows {
        match &row.event {
            Event::Began { source: of, target: with, only: which, seed } => {
                let age = Duration::from_millis(now_ms().saturating_sub(row.at_ms));
                let same = of == source && with == target && which == only && age < CARRIED_ON;
                memory = same.then(|| Memory { seed: *seed, begun_ms: row.at_ms, resumed: true, ..Memory::default() });
            }
            Event::Part { table, found, end } => {
                if let Some(memory) = &mut memory {
                    memory.parts.insert(table.clone(), (found.clone(), end.clone()));
                }
            }
            Event::Table { table, outcome } => {
                if let Some(memory) = &mut memory {
                    memory.done.insert(table.clone(), outcome.clone());
                }
            }
            Event::Ended(_) => memory = None,
        }
    }
    memory
}

/// The last comparison that came to an end.
#[derive(Clone, Debug, PartialEq)]
pub struct Last {
    /// Unix time. What was found first is as old as that, however often it was carried on.
    pub begun_ms: u64,
    pub ended_ms: u64,
    pub source: HostName,
    pub target: HostName,
    pub only: Only,
    pub summary: Summary,
}

impl Last {
    fn is_clean_part_of(&self, other: &Self) -> bool {
        let same = self.source == other.source && self.target == other.target;
        same && self.summary.is_clean() && self.only != Only::default() && other.only == Only::default()
    }

    /// Of what was found first.
    pub fn age(&self) -> Duration {
        Duration::from_millis(now_ms().saturating_sub(self.begun_ms))
    }
}

/// Of the comparisons in this directory; `None`: none has come to an end.
///
/// # Errors
/// As a record that cannot be read.
pub fn last(directory: &Path) -> Result<Option<Last>, Failure> {
    let path = path(directory);
    if !path.exists() {
        return Ok(None);
    }
    let (_, rows) = Record::<Event>::look(&path, "verify", VERSION)?;
    let (mut began, mut last) = (None, None);
    for row in rows {
        match row.event {
            Event::Began { source, target, only, .. } => began = Some((row.at_ms, source, target, only)),
            Event::Ended(summary) => {
                let ended =
                    |(begun_ms, source, target, only)| Last { begun_ms, ended_ms: row.at_ms, source, target, only, summary };
                let ended: Option<Last> = began.take().map(ended);
                // One that looked at a few tables and found nothing says nothing of the others.
                let adds = |was: &Last| ended.as_ref().is_some_and(|is| !is.is_clean_part_of(was));
                if last.as_ref().is_none_or(adds) {
                    last = ended;
                }
            }
            Event::Part { .. } | Event::Table { .. } => {}
        }
    }
    Ok(last)
}

fn path(directory: &Path) -> PathBuf {
    directory.join("verify.db")
}

fn seed() -> std::io::Result<u64> {
    let mut bytes = [0; 8];
    std::io::Read::read_exact(&mut std::fs::File::open("/dev/urandom")?, &mut bytes)?;
    Ok(u64::from_ne_bytes(bytes))
}

fn now_ms() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(now.as_millis()).unwrap_or(u64::MAX)
}

fn disk(path: &Path, error: &std::io::Error) -> Failure {
    Failure::refused("DISK", format!("{}: {error}", path.display()), "see to the disk and try again")
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn ended(directory: &Path, tables: &[&str], summary: Summary) {
        let only = Only { tables: tables.iter().map(ToString::to_string).collect(), sample: 0 };
        let (source, target) = ("a".parse().expect("a name"), "b".parse().expect("a name"));
        let mut log = Log::begin(directory, &source, &target, &only, 0).await.expect("a directory of its own");
        log.write(Event::Ended(summary)).await.expect("there is room");
    }

    #[tokio::test]
    async fn a_clean_look_at_a_few_tables_takes_nothing_from_one_at_all_of_them() {
        let directory = tempfile::tempdir().expect("a place for files");
        let newest = || last(directory.path()).expect("it can be read").expect("there is one");
        let (clean, unlike) = (Summary { rows: 9, ..Summary::default() }, Summary { differing: 1, ..Summary::default() });
        ended(directory.path(), &["shop.orders"], clean.clone()).await;
        assert_eq!(newest().summary, clean, "there is no other");
        ended(directory.path(), &[], clean.clone()).await;
        ended(directory.path(), &["shop.orders"], Summary { rows: 3, ..clean.clone() }).await;
        assert_eq!((newest().only, newest().summary), (Only::default(), clean.clone()));
        ended(directory.path(), &["shop.orders"], unlike.clone()).await;
        assert_eq!(newest().summary, unlike, "a difference counts, wherever it is");
        ended(directory.path(), &["shop.orders"], clean.clone()).await;
        assert_eq!(newest().only.tables.len(), 1, "of the others nothing is known since");
    }
}
