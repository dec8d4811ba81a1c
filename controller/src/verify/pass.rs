//! All tables of two servers, several parts at a time.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::atomic::{AtomicBool, AtomicUsize, Ordering},
    time::Instant,
};

use flytt_proto::{failure::Failure, v1};
use futures::stream::{self, StreamExt as _};
use tokio_util::sync::CancellationToken;

use super::{
    Pair, Report, Sides,
    listing::{Listing, Manner, agree, list, since, unknown},
    look::look,
    narrow::{Found, narrow},
    objects,
    parts::{self, By, End, Ranges},
    record::{Event, Log, Memory},
    report::{Outcome, Table},
};

/// Tables that one question is about, at most, and their bytes.
const TOGETHER: usize = 64;

/// Which tables.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Only {
    /// `schema.table` or `database.schema.table`; none = all.
    pub tables: BTreeSet<String>,
    /// Of the parts of large tables, in percent; 0 = all.
    pub sample: u32,
}

/// How it is done.
#[derive(Clone, Debug)]
pub struct Options {
    pub only: Only,
    /// Parts at a time.
    pub jobs: usize,
    /// Nothing that was found before counts.
    pub anew: bool,
}

/// How far it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    pub tables: usize,
    pub of_tables: usize,
    pub rows: u64,
    /// As the statistics estimate.
    pub bytes: u64,
    pub of_bytes: u64,
}

/// Compares everything. What an earlier pass of the same kind found within a day and was not ended is not looked at again.
///
/// # Errors
/// `DIGEST_BLIND`, `OTHER_ENGINE`; what breaks off for longer than a minute. What was done stays done.
pub async fn pass(
    pair: &Pair,
    directory: &std::path::Path,
    options: &Options,
    progress: &mut (dyn FnMut(Progress) + Send),
    stop: &CancellationToken,
) -> Result<Option<Report>, Failure> {
    let mut log = Log::open(directory, pair, &options.only, options.anew).await?;
    let seed = log.memory.seed;
    let work = async {
        pair.is_calm().await?;
        let (manner, databases) = agree(pair, seed).await?;
        let listing = list(pair, &databases.common, &options.only).await?;
        if let Some(failure) = unknown(&listing, pair, &options.only) {
            return Err(failure);
        }
        let mut report = Report::new(pair, &options.only, log.memory.begun_ms, log.memory.resumed);
        report.left_out = databases.left_out;
        tables(pair, manner, &listing, options, &mut log, &mut report, progress).await?;
        // What came about meanwhile, and what went.
        let again = list(pair, &databases.common, &options.only).await?;
        let (new, gone) = since(&listing, &again);
        report.tables.retain(|table| !matches!(table.outcome, Outcome::NotCompared { .. }) || !gone.contains(&table.name()));
        report.left_out.extend(gone.iter().map(|name| format!("table {name} was dropped during the comparison")));
        if !new.tables.is_empty() {
            tables(pair, manner, &new, options, &mut log, &mut report, progress).await?;
        }
        if options.only.tables.is_empty() {
            let mut places = databases.common.clone();
            if !places.iter().any(String::is_empty) {
                places.push(String::new());
            }
            for database in places {
                match objects::compare(pair, &database, seed).await {
                    Ok(found) => report.add_objects(found),
                    Err(failure) if failure.code == "UNREACHABLE" => return Err(failure),
                    Err(failure) => report.not_compared.push(format!("what is not rows{}: {failure}", within(&database))),
                }
            }
        }
        report.tables.sort_by_key(Table::name);
        Ok(report)
    };
    let report = tokio::select! {
        report = Box::pin(work) => report?,
        () = stop.cancelled() => return Ok(None),
        never = pair.feels() => match never {},
    };
    log.write(Event::Ended(report.summary())).await?;
    Ok(Some(report))
}

fn within(database: &str) -> String {
    if database.is_empty() { String::new() } else { format!(" in database {database}") }
}

/// A question: small tables of one database, or a part of a large one.
struct Work {
    /// Places in the list.
    tables: Vec<usize>,
    pieces: Vec<v1::Piece>,
    /// Of the parts of its table.
    number: usize,
    is_last: bool,
    /// Not looked at: the sample has others.
    is_passed_over: bool,
}

/// What is known of a table while its parts are looked at.
#[derive(Default)]
struct State {
    found: Found,
    /// Parts that came in before an earlier one.
    waiting: BTreeMap<usize, (Found, Option<End>)>,
    /// All parts below this are in `found`.
    next: usize,
    last: Option<usize>,
    failure: Option<Failure>,
    /// Of what is compared, as the statistics have it.
    bytes: u64,
}

/// Shared by the questions that are asked at the same time.
#[derive(Default)]
struct Shared {
    named: AtomicUsize,
    has_failed: AtomicBool,
}

pub(super) async fn tables(
    sides: &dyn Sides,
    manner: Manner,
    listing: &Listing,
    options: &Options,
    log: &mut Log,
    report: &mut Report,
    progress: &mut (dyn FnMut(Progress) + Send),
) -> Result<(), Failure> {
    report.tables.extend(listing.known.iter().cloned());
    let mut memory = log.memory.clone();
    // A table that grew meanwhile may be cut in another way, and then begins anew.
    for table in &listing.tables {
        let (name, by) = (Table::new(table, Outcome::Missing).name(), parts::by(table, manner.same_pages));
        if memory.parts.get(&name).is_some_and(|(_, end)| !end.is_of(by)) {
            memory.parts.remove(&name);
        }
    }
    let names: Vec<String> = listing.tables.iter().map(|table| Table::new(table, Outcome::Missing).name()).collect();
    let shared: Vec<Shared> = listing.tables.iter().map(|_| Shared::default()).collect();
    let mut states: BTreeMap<usize, State> = BTreeMap::new();
    let mut told = Progress {
        of_tables: listing.tables.len(),
        of_bytes: listing.tables.iter().map(|table| table.bytes).sum(),
        ..Progress::default()
    };
    let (mut left, mut over) = (Vec::new(), BTreeSet::new());
    for (at, name) in names.iter().enumerate() {
        match memory.done.get(name) {
            Some(outcome) => {
                report.tables.push(Table::new(&listing.tables[at], outcome.clone()));
                told.tables += 1;
                told.bytes += listing.tables[at].bytes;
            }
            None => left.push(at),
        }
    }
    let questions = questions(sides, manner, listing, options, &memory, &names, &left, &shared);
    let ask = |work: Result<Work, (usize, Failure)>| answer(sides, manner, work, &shared);
    let mut answers = Box::pin(questions.map(ask).buffer_unordered(options.jobs.max(1)));
    while let Some(answer) = answers.next().await {
        for (at, number, is_last, came) in answer? {
            // Parts of one that has failed may still come in.
            if over.contains(&at) {
                continue;
            }
            let table = &listing.tables[at];
            let state = states.entry(at).or_insert_with(|| State {
                found: memory.parts.get(&names[at]).map(|(found, _)| found.clone()).unwrap_or_default(),
                ..State::default()
            });
            if is_last {
                state.last = Some(number);
            }
            match came {
                Ok((found, end)) => {
                    let bytes = found.rows.saturating_mul(table.bytes / table.rows.max(1));
                    let bytes = bytes.min(table.bytes.saturating_sub(state.bytes));
                    (told.rows, told.bytes, state.bytes) = (told.rows + found.rows, told.bytes + bytes, state.bytes + bytes);
                    drop(state.waiting.insert(number, (found, end)));
                }
                Err(failure) => state.failure = Some(failure),
            }
            while let Some((found, end)) = state.waiting.remove(&state.next) {
                state.next += 1;
                state.found.add(found);
                if let Some(end) = end {
                    log.write(Event::Part { table: names[at].clone(), found: state.found.clone(), end }).await?;
                }
            }
            let is_over = state.failure.is_some() || state.last.is_some_and(|last| state.next > last);
            if is_over && let Some(state) = states.remove(&at) {
                let outcome = match state.failure {
                    Some(failure) => Outcome::NotCompared { reason: failure.sentence },
                    None => Outcome::Compared(state.found.merged()),
                };
                // One that failed is tried again when the pass is carried on.
                if let Outcome::Compared(_) = outcome {
                    log.write(Event::Table { table: names[at].clone(), outcome: outcome.clone() }).await?;
                }
                over.insert(at);
                report.tables.push(Table::new(table, outcome));
                told.tables += 1;
                told.bytes += table.bytes.saturating_sub(state.bytes);
            }
        }
        progress(told);
    }
    Ok(())
}

/// What is asked, as it is needed: small tables together, large ones part by part.
#[allow(clippy::too_many_arguments, reason = "one caller; the list is what the questions depend on")]
fn questions<'a>(
    sides: &'a dyn Sides,
    manner: Manner,
    listing: &'a Listing,
    options: &'a Options,
    memory: &'a Memory,
    names: &'a [String],
    left: &[usize],
    shared: &'a [Shared],
) -> impl stream::Stream<Item = Result<Work, (usize, Failure)>> + 'a {
    struct Cutting {
        at: usize,
        ranges: Ranges,
        number: usize,
    }
    let mut left: Vec<usize> = left.to_vec();
    left.reverse();
    let every = if options.only.sample == 0 { 1 } else { (100 / options.only.sample.max(1)).max(1) as usize };
    stream::unfold((left, None::<Cutting>), move |(mut left, mut cutting)| async move {
        loop {
            if let Some(mut current) = cutting.take() {
                if shared[current.at].has_failed.load(Ordering::Relaxed) {
                    continue;
                }
                match current.ranges.next(sides).await {
                    Ok(Some(piece)) => {
                        let is_last = End::of(&piece).is_none();
                        let number = current.number;
                        current.number += 1;
                        let work = Work {
                            tables: vec![current.at],
                            pieces: vec![piece],
                            number,
                            is_last,
                            is_passed_over: number % every != (memory.seed as usize) % every && !(is_last && number == 0),
                        };
                        return Some((Ok(work), (left, Some(current))));
                    }
                    Ok(None) => continue,
                    Err(failure) => return Some((Err((current.at, failure)), (left, None))),
                }
            }
            let at = left.pop()?;
            let table = &listing.tables[at];
            let by = parts::by(table, manner.same_pages);
            if by != By::Whole || table.bytes > parts::SMALL {
                let end = memory.parts.get(&names[at]).map(|(_, end)| end.clone());
                cutting = Some(Cutting { at, ranges: Ranges::new(table.clone(), by, end), number: 0 });
                continue;
            }
            let (mut tables, mut bytes) = (vec![at], table.bytes);
            while let Some(next) = left.last() {
                let other = &listing.tables[*next];
                bytes += other.bytes;
                let fits = tables.len() < TOGETHER && bytes <= parts::SMALL && other.database == table.database;
                if !fits || parts::by(other, manner.same_pages) != By::Whole {
                    break;
                }
                tables.extend(left.pop());
            }
            let pieces = tables.iter().map(|at| parts::piece(&listing.tables[*at], None)).collect();
            return Some((Ok(Work { tables, pieces, number: 0, is_last: true, is_passed_over: false }), (left, None)));
        }
    })
}

/// Table, number of the part, whether it is the last, and what it came to.
type Answer = (usize, usize, bool, Result<(Found, Option<End>), Failure>);

async fn answer(
    sides: &dyn Sides,
    manner: Manner,
    work: Result<Work, (usize, Failure)>,
    shared: &[Shared],
) -> Result<Vec<Answer>, Failure> {
    let work = match work {
        Ok(work) => work,
        Err((at, failure)) => return of_table(at, 0, false, failure, shared).map(|answer| vec![answer]),
    };
    let end = if let [piece] = &work.pieces[..] { End::of(piece) } else { None };
    if work.is_passed_over {
        return Ok(vec![(work.tables[0], work.number, work.is_last, Ok((Found::default(), end)))]);
    }
    let begun = Instant::now();
    let looks = look(sides, manner.form, &work.pieces).await?;
    let mut answers = Vec::new();
    for ((at, piece), seen) in work.tables.iter().zip(&work.pieces).zip(looks) {
        let shared_of = &shared[*at];
        let came = match seen {
            Ok(seen) if seen.is_equal() => Ok(Found { rows: seen.rows().0, ..Found::default() }),
            Ok(_) => narrow(sides, manner.form, piece.clone(), shared_of.named.load(Ordering::Relaxed)).await,
            Err(failure) if failure.code == "ROW_TOO_LARGE" && manner.by_column.is_some() => {
                let form = manner.by_column.unwrap_or(manner.form);
                narrow(sides, form, piece.clone(), shared_of.named.load(Ordering::Relaxed)).await
            }
            Err(failure) => Err(failure),
        };
        answers.push(match came {
            Ok(found) => {
                shared_of.named.fetch_add(found.differing.len(), Ordering::Relaxed);
                (*at, work.number, work.is_last, Ok((found, end.clone())))
            }
            Err(failure) => of_table(*at, work.number, work.is_last, failure, shared)?,
        });
    }
    sides.rest(begun.elapsed()).await;
    Ok(answers)
}

/// A failure that is one table's; what is the matter with all of them ends the pass.
fn of_table(at: usize, number: usize, is_last: bool, failure: Failure, shared: &[Shared]) -> Result<Answer, Failure> {
    let of_all = ["UNREACHABLE", "STOPPED", "SERVER_DOWN", "SERVER_GONE", "LOGIN_REFUSED", "APPLIER_STOPPED", "NOT_A_STANDBY"];
    if of_all.contains(&failure.code.as_str()) {
        return Err(failure);
    }
    shared[at].has_failed.store(true, Ordering::Relaxed);
    Ok((at, number, is_last, Err(failure)))
}
