//! Every step of the window × whatever may go wrong, at an exact point: a part stops where a file names the point (`flytt_proto::fuse`), the
//! fault happens, and it goes on. The cells follow each other on one pair, there and back; after each the same is asserted.

use std::{
    collections::BTreeMap,
    fmt,
    panic::AssertUnwindSafe,
    path::PathBuf,
    sync::Mutex,
    time::{Duration, Instant},
};

use ::flytt::{
    canary::Canary,
    spec::Engine,
    stage::{Agent, MIGRATION, Server},
};
use flytt_proto::fuse;
use futures::FutureExt as _;

use super::{
    LONGEST, Scene,
    flytt::{Ended, Flytt},
    network::{End, Network, Parted},
    pair::{Pair, Place},
    pause,
};

/// Only cells whose name has this in it, from the environment of `make test-faults`.
const CELLS: &str = "FLYTT_CELLS";
/// `back`: each on the way back, rather than on whichever comes.
const LEG: &str = "FLYTT_LEG";
/// Until the application is served once what it needs is back, past the point of no return.
const AFTER: Duration = Duration::from_secs(5);
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

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Fault {
    ControllerKilled,
    ControllerInterrupted,
    ControllerStale,
    SecondController,
    SourceAgentKilled,
    TargetAgentKilled,
    RouterAgentKilled,
    SourceServerKilled,
    TargetServerKilled,
    RouterKilled,
    SourceHostDown,
    TargetHostDown,
    ControllerFromSource,
    ControllerFromTarget,
    SourceFromTarget,
    SourceFromAll,
    TargetFromAll,
    TargetUnheard,
    ReplyLost,
}

const FAULTS: [Fault; 19] = [
    Fault::ControllerKilled,
    Fault::ControllerInterrupted,
    Fault::ControllerStale,
    Fault::SecondController,
    Fault::SourceAgentKilled,
    Fault::TargetAgentKilled,
    Fault::RouterAgentKilled,
    Fault::SourceServerKilled,
    Fault::TargetServerKilled,
    Fault::RouterKilled,
    Fault::SourceHostDown,
    Fault::TargetHostDown,
    Fault::ControllerFromSource,
    Fault::ControllerFromTarget,
    Fault::SourceFromTarget,
    Fault::SourceFromAll,
    Fault::TargetFromAll,
    Fault::TargetUnheard,
    Fault::ReplyLost,
];

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut name = String::new();
        for (at, letter) in format!("{self:?}").char_indices() {
            if letter.is_uppercase() && at > 0 {
                name.push('-');
            }
            name.extend(letter.to_lowercase());
        }
        f.pad(&name)
    }
}

#[derive(Clone, Copy, Debug)]
struct Cell {
    step: usize,
    fault: Fault,
    point: Point,
    engine: Engine,
}

impl fmt::Display for Cell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ((letter, step, _), point) = (STEPS[self.step], format!("{:?}", self.point).to_lowercase());
        write!(f, "cut/{letter}/{}/{}/{point}/{}", step.trim_start_matches("cut-").trim_start_matches("back-"), self.fault, self.engine.name())
    }
}

/// The steps that a cutover of this engine has: old sources of MariaDB and MySQL follow without one of it.
fn steps(engine: Engine) -> Vec<usize> {
    (0..STEPS.len()).filter(|step| engine == Engine::Postgres || STEPS[*step].1 != "back-rejoin").collect()
}

/// Every step meets every fault, each at another point: so every two of step, fault and point meet.
fn all_cells(engine: Engine) -> Vec<Cell> {
    let cell = |step: usize, at: usize| Cell { step, fault: FAULTS[at], point: POINTS[(step + at) % POINTS.len()], engine };
    steps(engine).into_iter().flat_map(|step| (0..FAULTS.len()).map(move |at| cell(step, at))).collect()
}

/// Every step once, and every fault once.
fn some_cells(engine: Engine) -> Vec<Cell> {
    let steps = steps(engine);
    let cell = |at: usize| Cell { step: steps[(at * 3) % steps.len()], fault: FAULTS[at], point: POINTS[at % POINTS.len()], engine };
    (0..FAULTS.len()).map(cell).collect()
}

impl Cell {
    /// Nobody may write until the target is heard of again.
    fn may_wait(&self) -> bool {
        let parts = matches!(self.fault, Fault::TargetFromAll | Fault::TargetHostDown | Fault::TargetUnheard);
        let is_source_away = matches!(self.fault, Fault::SourceFromAll) && (HOLD..SURRENDER + 2).contains(&self.step);
        // No router can know whether a source that it cannot ask has surrendered, and it holds on.
        is_source_away || parts && (SURRENDER - 1..=SURRENDER + 1).contains(&self.step)
    }
}

/// A point at which a part stops until this value is gone.
struct Stop {
    directory: PathBuf,
}

impl Stop {
    fn at(directory: PathBuf, point: &str) -> Self {
        let _ = std::fs::remove_file(directory.join(fuse::REACHED));
        flytt_proto::durable::write(&directory.join(fuse::FILE), point.as_bytes(), 0o644).unwrap();
        Self { directory }
    }

    /// Gives back the command that came to it. One that only wants the follower to catch up first is tried again.
    async fn reached_by(&self, start: impl Fn() -> Flytt, what: &str) -> Flytt {
        let begun = Instant::now();
        let mut command = start();
        while !self.directory.join(fuse::REACHED).exists() {
            if command.has_ended() {
                let ended = command.end().await;
                let is_late = ended.failures() == ["LAG"] && begun.elapsed() < Duration::from_secs(30);
                assert!(is_late, "{what}: ended before it came to it (is the seam in it? cargo test --workspace --no-run): {ended}");
                pause(500).await;
                command = start();
            }
            assert!(begun.elapsed() < Duration::from_secs(90), "{what}: does not come to it: {}", command.said());
            pause(2).await;
        }
        command
    }
}

impl Drop for Stop {
    fn drop(&mut self) {
        for name in [fuse::FILE, fuse::REACHED] {
            let _ = std::fs::remove_file(self.directory.join(name));
        }
    }
}

/// The parts by what they are on this leg.
struct Roles<'a> {
    scene: &'a Scene,
    source: (&'a Server, &'a Agent, End),
    target: (&'a Server, &'a Agent, End),
    network: &'a Network,
}

impl<'a> Roles<'a> {
    fn of(pair: &'a Pair) -> Self {
        let (stage, agents) = (&pair.scene.stage, pair.scene.agents());
        let (old, new) = ((&stage.source, &agents.source, End::Source), (&stage.target, &agents.target, End::Target));
        let (source, target) = if pair.at == Place::Following { (old, new) } else { (new, old) };
        Self { scene: &pair.scene, source, target, network: pair.scene.network.as_ref().expect("it can be parted") }
    }

    fn agent(&self, host: Host) -> (&'a Agent, End) {
        match host {
            Host::Source => (self.source.1, self.source.2),
            Host::Target => (self.target.1, self.target.2),
            Host::Router => (&self.scene.agents().router, End::Router),
        }
    }

    fn stop(&self, cell: Cell) -> Stop {
        let (_, step, host) = STEPS[cell.step];
        let state = || self.agent(host).0.config.with_file_name("state");
        match cell.point {
            Point::Begun => Stop::at(self.scene.stage.home.clone(), &format!("after journal began {step}")),
            Point::Heard => Stop::at(self.scene.stage.home.clone(), &format!("after journal done {step}")),
            Point::Journalled => Stop::at(state(), &format!("after ledger began {step}")),
            Point::Effected => Stop::at(state(), &format!("before ledger done {step}")),
            Point::Answering => Stop::at(state(), &format!("after ledger done {step}")),
        }
    }

    fn alone(&self, who: End) {
        for other in [End::Controller, End::Source, End::Target, End::Router].into_iter().filter(|other| *other != who) {
            self.network.part(who, other, Parted::Silent);
        }
    }

    async fn begin(&self, cell: Cell, command: &Flytt) {
        let how = if cell.step % 2 == 0 { Parted::Silent } else { Parted::Refused };
        let (source, target) = (self.source.2, self.target.2);
        match cell.fault {
            Fault::ControllerKilled => command.kill_if_there(),
            Fault::ControllerInterrupted => command.interrupt(),
            Fault::ControllerStale => command.freeze(),
            Fault::SecondController => {
                let second = self.scene.flytt(&["resume", MIGRATION]).end().await;
                assert_eq!(second.code, Some(9), "{cell}: {second}");
            }
            Fault::SourceAgentKilled => self.source.1.process.kill_hard(),
            Fault::TargetAgentKilled => self.target.1.process.kill_hard(),
            Fault::RouterAgentKilled => self.scene.agents().router.process.kill_hard(),
            Fault::SourceServerKilled => self.source.0.kill_hard(),
            Fault::TargetServerKilled => self.target.0.kill_hard(),
            Fault::RouterKilled => self.scene.stage.proxy.process().kill_hard(),
            Fault::SourceHostDown => self.down(self.source.0, self.source.1),
            Fault::TargetHostDown => self.down(self.target.0, self.target.1),
            Fault::ControllerFromSource => self.network.part(End::Controller, source, how),
            Fault::ControllerFromTarget => self.network.part(End::Controller, target, how),
            Fault::SourceFromTarget => self.network.part(source, target, how),
            Fault::SourceFromAll => self.alone(source),
            Fault::TargetFromAll => self.alone(target),
            Fault::TargetUnheard => {
                for other in [End::Controller, source, End::Router] {
                    self.network.part_one_way(target, other);
                }
            }
            Fault::ReplyLost => self.network.reset(End::Controller, self.agent(STEPS[cell.step].2).1),
        }
    }

    fn down(&self, server: &Server, agent: &Agent) {
        agent.process.keep_down();
        server.kill_hard();
    }

    /// As a host's own service manager, and whoever mends a cable.
    async fn heal(&self, cell: Cell, command: &Flytt) {
        match cell.fault {
            Fault::ControllerStale => command.thaw(),
            Fault::SourceServerKilled => starts(self.source.0).await,
            Fault::TargetServerKilled => starts(self.target.0).await,
            Fault::SourceHostDown => {
                starts(self.source.0).await;
                self.source.1.process.bring_back();
            }
            Fault::TargetHostDown => {
                starts(self.target.0).await;
                self.target.1.process.bring_back();
            }
            _ => self.network.heal(),
        }
    }
}

/// Unless somebody else has started it, or its last process is not gone yet.
async fn starts(server: &Server) {
    for _ in 0..20 {
        if server.is_running() || server.start().await.is_ok() {
            return;
        }
        pause(100).await;
    }
}

/// How long a fault lasts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Lasts {
    /// What is killed comes back by itself.
    Moment,
    For(Duration),
    /// And longer than any lease.
    UntilServed,
}

fn lasts(cell: Cell) -> Lasts {
    match cell.fault {
        Fault::ControllerKilled
        | Fault::ControllerInterrupted
        | Fault::SecondController
        | Fault::SourceAgentKilled
        | Fault::TargetAgentKilled
        | Fault::RouterAgentKilled
        | Fault::RouterKilled
        | Fault::ReplyLost => Lasts::Moment,
        Fault::SourceServerKilled | Fault::TargetServerKilled => Lasts::For(Duration::from_millis(300)),
        Fault::SourceHostDown | Fault::TargetHostDown => Lasts::For(Duration::from_secs(2)),
        Fault::ControllerStale
        | Fault::ControllerFromSource
        | Fault::ControllerFromTarget
        | Fault::SourceFromTarget
        | Fault::SourceFromAll
        | Fault::TargetFromAll
        | Fault::TargetUnheard => {
            if cell.may_wait() { Lasts::For(AFTER) } else { Lasts::UntilServed }
        }
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
    if std::env::var_os(LEG).is_some_and(|leg| leg == "back") && pair.at == Place::Following {
        pair.scene.must(&["cutover", MIGRATION]).await;
        pair.at = Place::Moved;
    }
    let from = pair.at;
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
        assert!(outage.healed < AFTER, "{what}: {outage:?}");
    } else if !cell.may_wait() {
        assert!(outage.whole < LONGEST, "{what}: {outage:?}");
    }
    (pair.goes_on().await, outage)
}

/// Plays them one after the other; one that fails is told, and the next has a pair of its own.
async fn play(cells: Vec<Cell>) {
    let only = std::env::var_os(CELLS).and_then(|text| text.into_string().ok()).unwrap_or_default();
    let cells: Vec<Cell> = cells.into_iter().filter(|cell| cell.to_string().contains(&only)).collect();
    let (begun, count) = (Instant::now(), cells.len());
    let (mut rows, mut failed): (BTreeMap<Fault, (u32, u32, Duration, Duration)>, Vec<String>) = (BTreeMap::new(), Vec::new());
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
        row.0 += 1;
        match AssertUnwindSafe(story).catch_unwind().await {
            Ok((next, outage)) => {
                row.1 += 1;
                let worst = if it.step > SURRENDER { &mut row.3 } else { &mut row.2 };
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
    for (fault, (all, passed, before, after)) in rows {
        println!("{fault:<24} {all:>5} {passed:>6} {:>29} {:>6}", before.as_millis(), after.as_millis());
    }
    println!("{} of {count} cells in {} s", count - failed.len(), begun.elapsed().as_secs());
    assert!(failed.is_empty(), "failed: {failed:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_step_once_and_every_fault_once() {
    play(some_cells(Engine::Postgres)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_step_once_and_every_fault_once_of_mariadb() {
    play(some_cells(Engine::Mariadb)).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "long: make test-faults"]
async fn the_whole_matrix_of_postgres() {
    play(all_cells(Engine::Postgres)).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "long: make test-faults"]
async fn the_whole_matrix_of_mariadb() {
    play(all_cells(Engine::Mariadb)).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "long: make test-faults"]
async fn the_whole_matrix_of_mysql() {
    play(all_cells(Engine::Mysql)).await;
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
