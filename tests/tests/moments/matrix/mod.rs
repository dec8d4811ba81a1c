//! Every step of the window × whatever may go wrong, at an exact point: a part stops where a file names the point (`flytt_proto::fuse`), the
//! fault happens, and it goes on. The cells follow each other on one pair, there and back; after each the same is asserted.

mod fault;

use std::{
    collections::BTreeMap,
    fmt,
    panic::AssertUnwindSafe,
    sync::Mutex,
    time::{Duration, Instant},
};

use ::flytt::{canary::Canary, spec::Engine, stage::MIGRATION};
use futures::FutureExt as _;

use self::fault::{FAULTS, Fault, Lasts, Roles, lasts};
use super::{
    LONGEST,
    flytt::Ended,
    pair::{Pair, Place},
    pause,
};

/// Only cells whose name has this in it, from the environment of `make test-faults`.
const CELLS: &str = "FLYTT_CELLS";
/// `back`: each on the way back, rather than on whichever comes.
const LEG: &str = "FLYTT_LEG";
/// Until the application is served once what it needs is back, past the point of no return.
const AFTER: Duration = Duration::from_secs(5);
/// A server of MariaDB or MySQL that finds its disk full waits so long before it looks again (`MY_WAIT_FOR_USER_TO_FIX_PANIC`).
const LOOKS_AGAIN: Duration = Duration::from_secs(60);
/// Longer than the lease of a fence, and than a window may take.
const PATIENCE_MS: u64 = 6_000;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Host {
    Source,
    Target,
    Router,
}

/// The steps of the window, by the letters of the design, and whose they are.
const STEPS: [(&str, &str, Host); 14] = [
    ("C0", "ready-source", Host::Source),
    ("C0", "ready-target", Host::Target),
    ("C0", "gate", Host::Target),
    ("C1", "cut-hold-1", Host::Router),
    ("C2", "cut-fence", Host::Source),
    ("C4", "cut-catch-up", Host::Target),
    ("C5", "cut-stage-1", Host::Router),
    ("C6", "cut-promote", Host::Target),
    ("C7", "cut-surrender", Host::Source),
    ("C8", "cut-open", Host::Target),
    ("C9", "cut-release-1", Host::Router),
    ("C9", "cut-prove", Host::Target),
    ("C10", "cut-retire", Host::Source),
    ("C10", "back-rejoin", Host::Source),
];
/// Where in [`STEPS`] routers begin to hold.
const HOLD: usize = 3;
/// Where in [`STEPS`] the right to accept writes leaves the source.
const SURRENDER: usize = 8;

/// Where in its step somebody stops.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Point {
    /// On the controller's record as begun; nobody was asked.
    Begun,
    /// On the host's record; nothing is done.
    Journalled,
    /// Done; not on record.
    Effected,
    /// On the host's record as done; the answer is not sent.
    Answering,
    /// The controller has it on its record as done.
    Heard,
}

const POINTS: [Point; 5] = [Point::Begun, Point::Journalled, Point::Effected, Point::Answering, Point::Heard];

#[derive(Clone, Copy, Debug)]
struct Cell {
    step: usize,
    fault: Fault,
    point: Point,
    engine: Engine,
    /// On the leg back, rather than on whichever comes.
    back: bool,
}

/// What once went wrong, and is tried each time.
const KNOWN: [(Engine, &str, Fault, Point, bool); 2] = [
    // Promoted, given up before its first checkpoint, and not to be rewound.
    (Engine::Postgres, "cut-promote", Fault::ControllerInterrupted, Point::Answering, true),
    // Started again by somebody else while its copy was to be taken away.
    (Engine::Mariadb, "cut-catch-up", Fault::TargetServerKilled, Point::Answering, false),
];

impl fmt::Display for Cell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ((letter, step, _), point) = (STEPS[self.step], format!("{:?}", self.point).to_lowercase());
        write!(
            f,
            "cut/{letter}/{}/{}/{point}/{}",
            step.trim_start_matches("cut-").trim_start_matches("back-"),
            self.fault,
            self.engine.name()
        )
    }
}

/// The steps that a cutover of this engine has: old sources of MariaDB and MySQL follow without one of it.
fn steps(engine: Engine) -> Vec<usize> {
    (0..STEPS.len()).filter(|step| engine == Engine::Postgres || STEPS[*step].1 != "back-rejoin").collect()
}

/// Every step meets every fault, each at another point: so every two of step, fault and point meet.
fn all_cells(engine: Engine) -> Vec<Cell> {
    let back = std::env::var_os(LEG).is_some_and(|leg| leg == "back");
    let cell = |step: usize, at: usize| Cell { step, fault: FAULTS[at], point: POINTS[(step + at) % POINTS.len()], engine, back };
    steps(engine).into_iter().flat_map(|step| (0..FAULTS.len()).map(move |at| cell(step, at))).collect()
}

/// Every step once, and every fault once; and what is [`KNOWN`].
fn some_cells(engine: Engine) -> Vec<Cell> {
    let steps = steps(engine);
    let cell = |at: usize| {
        let (step, point) = (steps[(at * 3) % steps.len()], POINTS[at % POINTS.len()]);
        Cell { step, fault: FAULTS[at], point, engine, back: false }
    };
    let known = KNOWN.iter().filter(|(of, ..)| *of == engine).map(|&(engine, name, fault, point, back)| {
        let step = STEPS.iter().position(|(_, step, _)| *step == name).expect("a step");
        Cell { step, fault, point, engine, back }
    });
    (0..FAULTS.len()).map(cell).chain(known).collect()
}

impl Cell {
    /// Whoever is to serve has no room to write in.
    fn is_full(&self) -> bool {
        self.fault == Fault::SourceDiskFull && self.step <= SURRENDER
            || self.fault == Fault::TargetDiskFull && self.step + 1 >= SURRENDER
    }

    /// Until the application is served once what it needs is back.
    fn after(&self) -> Duration {
        if self.is_full() && self.engine != Engine::Postgres { LOOKS_AGAIN + AFTER } else { AFTER }
    }

    /// Nobody may write until it is healed.
    fn may_wait(&self) -> bool {
        let parts = matches!(self.fault, Fault::TargetFromAll | Fault::TargetHostDown | Fault::TargetUnheard);
        let is_source_away = matches!(self.fault, Fault::SourceFromAll) && (HOLD..SURRENDER + 2).contains(&self.step);
        // No router can know whether a source that it cannot ask has surrendered, and it holds on.
        self.is_full() || is_source_away || parts && (SURRENDER - 1..=SURRENDER + 1).contains(&self.step)
    }
}

/// What the application saw.
#[derive(Clone, Copy, Debug, Default)]
struct Outage {
    /// The longest silence.
    whole: Duration,
    /// The longest since what it needs was back.
    healed: Duration,
}

async fn listen(canary: &Canary, outage: &Mutex<Outage>, healed: &Mutex<Option<Instant>>) -> ! {
    loop {
        let silence = canary.pulse().silence;
        let since = healed.lock().unwrap().map_or(Duration::ZERO, |healed| healed.elapsed());
        {
            let mut outage = outage.lock().unwrap();
            outage.whole = outage.whole.max(silence);
            outage.healed = outage.healed.max(silence.min(since));
        }
        pause(2).await;
    }
}

async fn served_again(canary: &Canary) {
    let before = canary.pulse().acknowledged;
    while canary.pulse().acknowledged < before + 50 {
        pause(20).await;
    }
}

async fn plays(pair: &Pair, cell: Cell, healed: &Mutex<Option<Instant>>) -> Ended {
    let (what, roles) = (cell.to_string(), Roles::of(pair));
    let stop = roles.stop(cell);
    let command = stop.reached_by(|| pair.scene.flytt(&[pair.verb(), MIGRATION]), &what).await;
    roles.begin(cell, &command).await;
    drop(stop);
    match lasts(cell) {
        Lasts::Moment => {}
        Lasts::For(time) => tokio::time::sleep(time).await,
        // The application is not to wait for whoever mends it; and the command may see what it comes to.
        Lasts::UntilServed => {
            pause(PATIENCE_MS).await;
            let in_time = tokio::time::timeout(LONGEST, served_again(&pair.canary)).await.is_ok();
            assert!(in_time, "{what}: not served while it lasts\n{}", pair.scene.logs());
        }
    }
    roles.heal(cell, &command).await;
    *healed.lock().unwrap() = Some(Instant::now());
    let ended = command.end().await;
    println!("  exit {:?} {:?}", ended.code, ended.failures());
    pair.scene.recovered(&pair.canary).await;
    pair.scene.holder().await;
    ended
}

/// Returns where it came to, and what the application saw.
async fn cell(mut pair: Pair, cell: Cell) -> (Pair, Outage) {
    if STEPS[cell.step].1 == "back-rejoin" && pair.at != Place::Following {
        pair.ends().await;
        pair = Pair::fresh(cell.engine).await;
    }
    if cell.back && pair.at == Place::Following {
        pair.scene.must(&["cutover", MIGRATION]).await;
        pair.at = Place::Moved;
    }
    let from = pair.at;
    pair.scene.longest = pair.scene.longest.max(AFTER + cell.after());
    let (outage, healed) = (Mutex::default(), Mutex::default());
    let ended = tokio::select! {
        ended = plays(&pair, cell, &healed) => ended,
        never = listen(&pair.canary, &outage, &healed) => never,
    };
    let what = cell.to_string();
    pair.comes_to_rest(&ended).await;
    let outage = outage.into_inner().unwrap();
    println!("{what}: {from:?} -> {:?}, {} ms, {} ms", pair.at, outage.whole.as_millis(), outage.healed.as_millis());
    if cell.step > SURRENDER {
        assert_ne!(pair.at, from, "{what}: past the point of no return, and back\n{}", pair.scene.logs());
        assert!(outage.healed < cell.after(), "{what}: {outage:?}");
    } else if cell.may_wait() {
        assert!(outage.healed < cell.after(), "{what}: {outage:?}");
    } else {
        assert!(outage.whole < LONGEST, "{what}: {outage:?}");
    }
    (pair.goes_on().await, outage)
}

/// Of the table: the longest time to writable, before the surrender and after it.
#[derive(Debug, Default)]
struct Row {
    cells: u32,
    passed: u32,
    before: Duration,
    after: Duration,
}

/// Plays them one after the other; one that fails is told, and the next has a pair of its own.
async fn play(cells: Vec<Cell>) {
    let only = std::env::var_os(CELLS).and_then(|text| text.into_string().ok()).unwrap_or_default();
    let cells: Vec<Cell> = cells.into_iter().filter(|cell| cell.to_string().contains(&only)).collect();
    let (begun, count) = (Instant::now(), cells.len());
    let (mut rows, mut failed) = (BTreeMap::<Fault, Row>::new(), Vec::new());
    let mut pair = None;
    for it in cells {
        let story = async {
            let pair = match pair.take() {
                Some(pair) => pair,
                None => Pair::fresh(it.engine).await,
            };
            cell(pair, it).await
        };
        let row = rows.entry(it.fault).or_default();
        row.cells += 1;
        match AssertUnwindSafe(story).catch_unwind().await {
            Ok((next, outage)) => {
                row.passed += 1;
                let worst = if it.step > SURRENDER { &mut row.after } else { &mut row.before };
                *worst = (*worst).max(if it.step > SURRENDER || it.may_wait() { outage.healed } else { outage.whole });
                pair = Some(next);
            }
            Err(_) => failed.push(it.to_string()),
        }
    }
    if let Some(pair) = pair {
        pair.ends().await;
    }
    println!("{:<24} {:>5} {:>6}   worst ms to writable: {:>6} {:>6}", "fault", "cells", "passed", "before", "after");
    for (fault, Row { cells, passed, before, after }) in rows {
        println!("{fault:<24} {cells:>5} {passed:>6} {:>29} {:>6}", before.as_millis(), after.as_millis());
    }
    println!("{} of {count} cells in {} s", count - failed.len(), begun.elapsed().as_secs());
    assert!(failed.is_empty(), "failed: {failed:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_step_once_and_every_fault_once() {
    Box::pin(play(some_cells(Engine::Postgres))).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_step_once_and_every_fault_once_of_mariadb() {
    Box::pin(play(some_cells(Engine::Mariadb))).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "long: make test-faults"]
async fn the_whole_matrix_of_postgres() {
    Box::pin(play(all_cells(Engine::Postgres))).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "long: make test-faults"]
async fn the_whole_matrix_of_mariadb() {
    Box::pin(play(all_cells(Engine::Mariadb))).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "long: make test-faults"]
async fn the_whole_matrix_of_mysql() {
    Box::pin(play(all_cells(Engine::Mysql))).await;
}

#[test]
fn every_step_and_every_fault_is_among_some_and_every_two_among_all() {
    for engine in [Engine::Postgres, Engine::Mariadb, Engine::Mysql] {
        let (some, all, steps) = (some_cells(engine), all_cells(engine), steps(engine));
        assert!(steps.iter().all(|step| some.iter().any(|cell| cell.step == *step)));
        assert!(FAULTS.iter().all(|fault| some.iter().any(|cell| cell.fault == *fault)));
        assert_eq!(all.len(), steps.len() * FAULTS.len());
        for point in POINTS {
            assert!(steps.iter().all(|step| all.iter().any(|cell| (cell.step, cell.point) == (*step, point))));
            assert!(FAULTS.iter().all(|fault| all.iter().any(|cell| (cell.fault, cell.point) == (*fault, point))));
        }
        let names: std::collections::BTreeSet<String> = all.iter().map(Cell::to_string).collect();
        let one = format!("cut/C2/fence/source-server-killed/journalled/{}", engine.name());
        assert!(names.len() == all.len() && names.contains(&one), "{names:#?}");
    }
}
