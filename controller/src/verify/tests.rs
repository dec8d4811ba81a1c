//! Two servers that are maps, of which one follows the other and somebody writes between any two questions.

use std::{
    collections::{BTreeMap, VecDeque},
    hash::{DefaultHasher, Hash as _, Hasher as _},
    sync::Mutex,
    time::Duration,
};

use flytt_proto::{failure::Failure, v1};

use super::{
    Only, Options, Report, Side, Sides,
    listing::{Listing, Manner},
    narrow::{How, Row},
    objects,
    pass::tables,
    record::Log,
    report::Outcome,
};

type Rows = BTreeMap<u64, u64>;

#[derive(Default)]
struct State {
    source: Rows,
    target: Rows,
    /// What the target has not applied yet.
    late: VecDeque<(u64, Option<u64>)>,
    /// Keys that are written between questions; the value of one is never the same twice.
    hot: Vec<u64>,
    clock: u64,
    /// Questions after which the connection breaks.
    breaks_after: Option<u32>,
    digested: u64,
    /// Whether hot keys rest while somebody pauses.
    rests: bool,
    /// Hot keys are written so often, and then no more.
    writes_left: Option<u32>,
    /// What was written since the last pause is seen on the source and stands in no position yet, as a commit that nobody waits for.
    commits_late: bool,
    since_pause: usize,
    /// Where a sequence stands that is used all the time, where the target has heard that it stands, and by how much it is wrong there.
    sequence: (i64, i64, i64),
}

#[derive(Default)]
struct Fake(Mutex<State>);

fn text(key: u64) -> String {
    format!("{key:08}")
}

fn hash(key: u64, value: u64) -> u64 {
    let mut hasher = DefaultHasher::new();
    (key, value).hash(&mut hasher);
    hasher.finish()
}

impl State {
    fn write(&mut self, key: u64, value: Option<u64>) {
        match value {
            Some(value) => drop(self.source.insert(key, value)),
            None => drop(self.source.remove(&key)),
        }
        self.late.push_back((key, value));
        self.since_pause += 1;
    }

    /// The application, between two questions.
    fn writes(&mut self) -> Result<(), Failure> {
        if let Some(left) = &mut self.writes_left {
            *left = left.saturating_sub(1);
            if *left == 0 {
                self.hot.clear();
            }
        }
        for at in 0..self.hot.len() {
            self.clock += 1;
            let (key, clock) = (self.hot[at], self.clock);
            // Rows come and go, too, where no value may be the same twice.
            self.write(key, (!self.rests || clock % 7 != 0).then_some(clock));
        }
        match &mut self.breaks_after {
            Some(0) => Err(Failure::unknown("UNREACHABLE", "it is away", "wait")),
            Some(left) => {
                *left -= 1;
                Ok(())
            }
            None => Ok(()),
        }
    }

    fn rows(&self, side: Side) -> &Rows {
        match side {
            Side::Source => &self.source,
            Side::Target => &self.target,
        }
    }

    fn within(&self, side: Side, piece: &v1::Piece) -> Vec<(u64, u64)> {
        let number = |key: &Option<v1::Key>| key.as_ref().map(|key| key.value[0].parse::<u64>().unwrap());
        let (after, up_to) = match piece.range.as_ref().and_then(|range| range.kind.as_ref()) {
            Some(v1::range::Kind::Keys(keys)) => (number(&keys.after), number(&keys.up_to)),
            Some(v1::range::Kind::Pages(_)) | None => (None, None),
        };
        let is_in = |key: &u64| after.is_none_or(|after| *key > after) && up_to.is_none_or(|up_to| *key <= up_to);
        self.rows(side).iter().filter(|(key, _)| is_in(key)).map(|(key, value)| (*key, *value)).collect()
    }
}

#[tonic::async_trait]
impl Sides for Fake {
    async fn digests(&self, side: Side, _: v1::Form, pieces: &[v1::Piece]) -> Result<Vec<Result<v1::Digest, Failure>>, Failure> {
        let mut state = self.0.lock().unwrap();
        let mut all = Vec::new();
        for piece in pieces {
            let rows = state.within(side, piece);
            state.digested += rows.len() as u64;
            let sum: u128 = rows.iter().map(|(key, value)| u128::from(hash(*key, *value))).sum();
            all.push(Ok(v1::Digest { rows: rows.len() as u64, first: sum.to_string(), second: String::new() }));
        }
        state.writes().map(|()| all)
    }

    async fn settle(&self) -> Result<(), Failure> {
        let mut state = self.0.lock().unwrap();
        state.sequence.1 = state.sequence.0;
        state.sequence.0 += 33;
        let kept = if state.commits_late { state.since_pause } else { 0 };
        while state.late.len() > kept
            && let Some((key, value)) = state.late.pop_front()
        {
            match value {
                Some(value) => drop(state.target.insert(key, value)),
                None => drop(state.target.remove(&key)),
            }
        }
        state.writes()
    }

    async fn cuts(&self, side: Side, piece: &v1::Piece, rows: u64, most: u32) -> Result<Vec<v1::Key>, Failure> {
        let mut state = self.0.lock().unwrap();
        let all = state.within(side, piece);
        state.writes()?;
        let ends = all.chunks(rows as usize).filter(|part| part.len() as u64 == rows).take(most as usize);
        Ok(ends.map(|part| v1::Key { value: vec![text(part[part.len() - 1].0)] }).collect())
    }

    async fn pages(&self, _: Side, _: &v1::Table) -> Result<u64, Failure> {
        Ok(0)
    }

    async fn rows(&self, side: Side, _: v1::Form, piece: &v1::Piece) -> Result<v1::RowsReply, Failure> {
        let mut state = self.0.lock().unwrap();
        let all = state.within(side, piece);
        state.writes()?;
        let row = |(key, value): &(u64, u64)| v1::rows_reply::Row { key: vec![text(*key)], hash: hash(*key, *value).to_string() };
        Ok(v1::RowsReply { row: all.iter().take(2_000).map(row).collect(), more: all.len() > 2_000 })
    }

    async fn objects(&self, side: Side, _: &str, _: u64) -> Result<Vec<v1::Object>, Failure> {
        let mut state = self.0.lock().unwrap();
        let (now, heard, wrong) = state.sequence;
        state.sequence.0 += 33;
        let value = if side == Side::Source { now } else { heard + wrong };
        let object = |kind: &str, definition: String| v1::Object { kind: kind.into(), name: "s".into(), definition };
        Ok(vec![object("sequence value", format!("{value} t")), object("sequence", "by 1".into())])
    }

    async fn rest(&self, _: Duration) {}

    async fn pause(&self) {
        let mut state = self.0.lock().unwrap();
        state.since_pause = 0;
        if state.rests {
            state.hot.clear();
        }
    }
}

/// Numbers that look random, from a seed.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % limit
    }
}

fn listing(rows: u64, bytes: u64, key: &[&str]) -> Listing {
    let table = v1::Table {
        schema: "shop".into(),
        name: "orders".into(),
        rows,
        bytes,
        key: key.iter().map(|name| (*name).to_owned()).collect(),
        ..v1::Table::default()
    };
    Listing { tables: vec![table], known: Vec::new() }
}

const MANNER: Manner =
    Manner { form: v1::Form { scheme: v1::form::Scheme::Image as i32, seed: 0 }, by_column: None, same_pages: false };

async fn compared(fake: &Fake, listing: &Listing, directory: &std::path::Path) -> Result<Report, Failure> {
    let (source, target) = ("old".parse().unwrap(), "new".parse().unwrap());
    let mut log = Log::begin(directory, &source, &target, &Only::default(), 0).await?;
    let mut report = Report::of(source, target, &Only::default());
    let options = Options { only: Only::default(), jobs: 3, anew: false };
    tables(fake, MANNER, listing, &options, &mut log, &mut report, &mut |_| {}).await?;
    Ok(report)
}

fn rows(report: &Report) -> (Vec<Row>, u64) {
    assert_eq!(report.tables.len(), 1, "{report:?}");
    let Outcome::Compared(found) = &report.tables[0].outcome else { panic!("{report:?}") };
    assert!(found.ranges.is_empty(), "{found:?}");
    let mut rows = found.differing.clone();
    rows.sort();
    (rows, found.in_flight)
}

#[tokio::test]
async fn what_was_planted_is_named_and_nothing_else_while_others_write() {
    for seed in 0..120 {
        let mut random = Random(seed);
        let count = [0, 1, 3, 999, 1_000, 1_001, 7_000][random.below(7) as usize] + random.below(5);
        let mut state = State::default();
        for number in 0..count {
            let value = random.below(5);
            state.source.insert(number * 3 + 1, value);
            state.target.insert(number * 3 + 1, value);
        }
        let mut planted = BTreeMap::new();
        for _ in 0..random.below(6) {
            // The first, the last, one in the middle; or beyond either end.
            let at = [0, count.saturating_sub(1), random.below(count.max(1)), count + random.below(9)][random.below(4) as usize];
            let key = at * 3 + 1;
            let how = match (state.source.contains_key(&key), random.below(2)) {
                (false, _) => How::Extra,
                (true, 0) => How::Missing,
                (true, _) => How::Differs,
            };
            match how {
                How::Missing => drop(state.target.remove(&key)),
                How::Extra | How::Differs => drop(state.target.insert(key, 77)),
            }
            planted.insert(vec![text(key)], how);
        }
        for _ in 0..random.below(4) {
            let key = random.below(3 * count + 3) / 3 * 3 + 2;
            state.hot.push(key);
        }
        state.rests = true;
        state.commits_late = random.below(2) == 0;
        state.writes_left = (random.below(2) == 0).then_some(1 + random.below(5) as u32);
        let fake = Fake(Mutex::new(state));
        // Large enough to be cut, and with ranges of many rows or of a thousand.
        let bytes = [1 << 10, 9 << 20, count * 100_000][random.below(3) as usize];
        let directory = tempfile::tempdir().unwrap();
        let report = compared(&fake, &listing(count, bytes, &["id"]), directory.path()).await.unwrap();
        let (found, in_flight) = rows(&report);
        let wanted: Vec<Row> = planted.into_iter().map(|(key, how)| Row { key, how }).collect();
        assert_eq!((found, in_flight), (wanted, 0), "seed {seed}: {count} rows, {bytes} bytes");
        assert_eq!(report.summary().is_clean(), rows(&report).0.is_empty());
    }
}

#[tokio::test]
async fn what_never_comes_to_rest_is_neither_equal_nor_different() {
    for key in [&["id"][..], &[]] {
        let mut state = State::default();
        for key in 0..5_000 {
            state.source.insert(key, 1);
            state.target.insert(key, 1);
        }
        state.hot = vec![17];
        state.clock = 1;
        // Its hash on the target is never one that the source had when it was asked.
        let fake = Fake(Mutex::new(state));
        let directory = tempfile::tempdir().unwrap();
        let report = compared(&fake, &listing(5_000, 9 << 20, key), directory.path()).await.unwrap();
        let (found, in_flight) = rows(&report);
        assert_eq!((found.len(), in_flight), (0, 1), "{key:?}");
        assert!(!report.summary().is_clean() && report.text().contains("in flight      shop.orders"), "{}", report.text());
        assert_eq!(report.exit(), crate::halt::Exit::Warned);
    }
}

#[tokio::test]
async fn a_table_without_a_key_that_differs_is_found_as_a_whole() {
    let mut state = State::default();
    state.source.extend([(1, 1), (2, 2)]);
    state.target.extend([(1, 1)]);
    let fake = Fake(Mutex::new(state));
    let directory = tempfile::tempdir().unwrap();
    let report = compared(&fake, &listing(2, 100, &[]), directory.path()).await.unwrap();
    let Outcome::Compared(found) = &report.tables[0].outcome else { panic!("{report:?}") };
    assert_eq!(found.ranges, [(2, 1)]);
    assert_eq!(report.exit(), crate::halt::Exit::Refused);
}

#[tokio::test]
async fn everything_different_is_named_up_to_a_hundred_rows_and_counted_after_that() {
    let mut state = State::default();
    for key in 0..20_000 {
        state.source.insert(key, 1);
        state.target.insert(key, 2);
    }
    let fake = Fake(Mutex::new(state));
    let directory = tempfile::tempdir().unwrap();
    let report = compared(&fake, &listing(20_000, 9 << 20, &["id"]), directory.path()).await.unwrap();
    let Outcome::Compared(found) = &report.tables[0].outcome else { panic!("{report:?}") };
    let named = found.differing.len() as u64;
    let counted: u64 = found.ranges.iter().map(|(source, _)| source).sum();
    assert!((100..2_100).contains(&named), "{named}");
    assert_eq!(named + counted, 20_000);
}

#[tokio::test]
async fn a_comparison_that_breaks_off_anywhere_is_carried_on_and_finds_the_same() {
    let fresh = || {
        let mut state = State::default();
        for key in 0..9_000 {
            state.source.insert(key, key);
            state.target.insert(key, key);
        }
        state.target.remove(&0);
        state.target.insert(4_321, 1);
        state.target.insert(9_000, 1);
        state
    };
    let row = |key, how| Row { key: vec![text(key)], how };
    let wanted = vec![row(0, How::Missing), row(4_321, How::Differs), row(9_000, How::Extra)];
    let listing = listing(9_000, 9_000 * 100_000, &["id"]);
    let mut all_of_it = 0;
    for questions in 0.. {
        let directory = tempfile::tempdir().unwrap();
        let fake = Fake(Mutex::new(fresh()));
        fake.0.lock().unwrap().breaks_after = Some(questions);
        let first = compared(&fake, &listing, directory.path()).await;
        let before = fake.0.lock().unwrap().digested;
        let report = match first {
            Ok(report) => {
                assert_eq!(rows(&report), (wanted.clone(), 0));
                all_of_it = before;
                break;
            }
            Err(failure) => {
                assert_eq!(failure.code, "UNREACHABLE");
                fake.0.lock().unwrap().breaks_after = None;
                compared(&fake, &listing, directory.path()).await.unwrap()
            }
        };
        assert_eq!(rows(&report), (wanted.clone(), 0), "after {questions} questions");
        let state = fake.0.lock().unwrap();
        // Three parts at most were under way when it broke off.
        assert!(state.digested < 9_000 * 2 + 8 * 3_000 + before / 2 || questions < 12, "{questions}: {}", state.digested);
    }
    assert!(all_of_it > 18_000);
}

#[tokio::test]
async fn a_sequence_in_use_is_the_same_while_it_stands_where_the_source_has_stood() {
    for (wrong, differs) in [(0, 0), (-100, 1), (100_000, 1)] {
        let fake = Fake::default();
        fake.0.lock().unwrap().sequence.2 = wrong;
        let (count, found) = objects::compare(&fake, "", 0).await.unwrap();
        assert_eq!((count, found.len()), (2, differs), "{wrong}: {found:?}");
        assert!(found.iter().all(|object| !object.in_flight));
    }
}

#[tokio::test]
async fn what_was_found_of_an_earlier_copy_is_not_carried_on() {
    let (source, target) = ("old".parse().unwrap(), "new".parse().unwrap());
    let directory = tempfile::tempdir().unwrap();
    let open =
        async |copied_ms| Log::begin(directory.path(), &source, &target, &Only::default(), copied_ms).await.unwrap().memory;
    let first = open(0).await;
    assert!(!first.resumed);
    assert_eq!(open(first.begun_ms).await.seed, first.seed, "the same copy");
    let anew = open(first.begun_ms + 1).await;
    assert!(!anew.resumed && anew.seed != first.seed, "copied anew since");
}
