//! Two pretend databases and a pretend router, whose state outlives the agents; and the clients that write through them.
//!
//! They are told what to do by the real changes: blocks and files are real files, and a start looks at `standby.signal`.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use flytt_agent::{change::RouteState, engine::Serving};
use tokio::task::JoinHandle;

use super::fake::BACK_SLOT;

#[derive(Debug)]
pub(crate) struct Db {
    pub(crate) dir: PathBuf,
    pub(crate) serving: Serving,
    /// As of the last reload or start.
    pub(crate) closed: bool,
    pub(crate) rows: Vec<u64>,
    pub(crate) objects: BTreeSet<String>,
    pub(crate) timeline: u32,
    /// As the real engine's mark: its directory holds a copy of ours, which may be emptied.
    pub(crate) copied: bool,
    /// This directory's own cluster, which a move must bring back when it is undone.
    pub(crate) system: &'static str,
}

impl Db {
    fn new(dir: PathBuf, serving: Serving, system: &'static str) -> Self {
        fs::create_dir_all(dir.join("data")).expect("made");
        put(&dir.join("data/PG_VERSION"), system);
        put(&dir.join("hba"), "local all all trust\n");
        Self { dir, serving, closed: false, rows: Vec::new(), objects: BTreeSet::new(), timeline: 1, copied: false, system }
    }

    pub(crate) fn reload(&mut self) {
        let rules = fs::read_to_string(self.dir.join("hba")).expect("read");
        self.closed = rules.lines().any(|line| line == "local all all reject");
    }

    pub(crate) fn signal(&self) -> PathBuf {
        self.dir.join("data/standby.signal")
    }

    pub(crate) fn start(&mut self) {
        self.reload();
        self.serving = if self.signal().exists() { Serving::Standby } else { Serving::Writable };
    }

    pub(crate) fn accepts_writes(&self) -> bool {
        self.serving == Serving::Writable && !self.closed
    }
}

#[allow(clippy::disallowed_methods, reason = "a pretend database's files need not last")]
fn put(path: &Path, text: &str) {
    fs::write(path, text).expect("written");
}

#[derive(Debug)]
pub(crate) struct State {
    pub(crate) source: Db,
    pub(crate) target: Db,
    pub(crate) route: RouteState,
    pub(crate) acknowledged: Vec<u64>,
    pub(crate) violations: Vec<String>,
    /// How long the target takes to read its rules anew.
    pub(crate) target_reloads_in: Duration,
    /// How long the source looks at itself before it surrenders.
    pub(crate) surrender_looks_for: Duration,
    /// What is left of a copy cannot be taken away so many times.
    pub(crate) copy_stays: u32,
    /// Its server has read its access rules, and takes no session yet.
    pub(crate) source_comes_up: bool,
    /// The servers' connections break while they are looked at.
    pub(crate) breaks: bool,
    next: u64,
}

#[derive(Clone, Debug)]
pub(crate) struct World(Arc<Mutex<State>>);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    Source,
    Target,
}

impl World {
    pub(crate) fn new(dir: &Path) -> Self {
        Self(Arc::new(Mutex::new(State {
            source: Db::new(dir.join("db-old"), Serving::Writable, "source"),
            target: Db::new(dir.join("db-new"), Serving::Down, "target"),
            route: RouteState::Source,
            acknowledged: Vec::new(),
            violations: Vec::new(),
            target_reloads_in: Duration::ZERO,
            surrender_looks_for: Duration::ZERO,
            copy_stays: 0,
            source_comes_up: false,
            breaks: false,
            next: 0,
        })))
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// Clients that write all the time, through the router and directly; each write looks for two writable primaries.
    pub(crate) fn load(&self) -> JoinHandle<()> {
        let world = self.clone();
        tokio::spawn(async move {
            loop {
                world.lock().tick();
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        })
    }
}

impl State {
    pub(crate) fn db(&mut self, side: Side) -> &mut Db {
        match side {
            Side::Source => &mut self.source,
            Side::Target => &mut self.target,
        }
    }

    /// What a primary has written arrives at a standby that has its slot, and that has nothing of its own.
    pub(crate) fn replicate(&mut self) {
        let streams = self.target.serving == Serving::Standby && self.source.serving == Serving::Writable;
        if streams && self.source.objects.contains("slot") {
            self.target.rows.clone_from(&self.source.rows);
        }
        let returns = self.source.serving == Serving::Standby && self.target.serving == Serving::Writable;
        if returns && self.target.objects.contains(BACK_SLOT) {
            if !self.target.rows.starts_with(&self.source.rows) {
                self.violations.push("the old source has what the new primary never had".into());
            }
            self.source.rows.clone_from(&self.target.rows);
        }
    }

    fn tick(&mut self) {
        if self.source.accepts_writes() && self.target.accepts_writes() {
            self.violations.push(format!("two writable primaries after {} writes", self.acknowledged.len()));
        }
        // Half of the clients bypass the router and know both addresses.
        let routed = match self.route {
            RouteState::Source => Some(Side::Source),
            RouteState::Target => Some(Side::Target),
            RouteState::Held | RouteState::Staged => None,
        };
        for side in routed.into_iter().chain([Side::Source, Side::Target]) {
            self.next += 1;
            let row = self.next;
            let db = self.db(side);
            if db.accepts_writes() {
                db.rows.push(row);
                self.acknowledged.push(row);
            }
        }
    }

    /// Every acknowledged write is on this side.
    pub(crate) fn lost(&self, side: Side) -> Vec<u64> {
        let rows: BTreeSet<_> = match side {
            Side::Source => self.source.rows.iter().collect(),
            Side::Target => self.target.rows.iter().collect(),
        };
        self.acknowledged.iter().filter(|row| !rows.contains(row)).copied().collect()
    }
}
