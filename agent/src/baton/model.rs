//! Every history of one cutover within small bounds, driven by the real baton: two agents, a world that does its worst.
//!
//! Controllers say anything, any time, in any order, twice or never; so do artefacts once signed. A death is a move that does
//! not come. Leases end at any moment. What is recorded and what the host looks like are apart: a host follows its stance
//! some time later, so the order "record, then do" is part of what is explored. Checked: never two writable databases, no
//! acknowledged write missing from the open one, no old primary back to life, and always a way on without any controller.

#![allow(clippy::print_stdout, reason = "a counter-example is read by people")]

use std::{
    collections::HashMap,
    hash::{BuildHasherDefault, Hasher},
};

use flytt_proto::name::Lsn;

use super::*;

/// Bounds: highest controller's epoch, most writes on the source, times the target loses its record.
#[derive(Clone, Copy)]
struct Bounds {
    epochs: u64,
    writes: u8,
    losses: u8,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Database {
    Standby,
    Gated,
    Open,
    Down,
}

/// One moment. The batons by number; the artefacts signed so far as a set of bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct World {
    artefacts: u128,
    source: u16,
    target: u16,
    /// The source's database accepts writes.
    source_open: bool,
    database: Database,
    written: u8,
    applied: u8,
    losses: u8,
    /// The target was open once.
    ever_open: bool,
}

impl std::hash::Hash for World {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u128(self.artefacts);
        let flags = u64::from(self.source_open) << 1 | u64::from(self.ever_open);
        let bytes = u64::from(self.written) << 4 | u64::from(self.applied) << 8 | u64::from(self.losses) << 12;
        let batons = u64::from(self.source) << 32 | u64::from(self.target) << 48;
        state.write_u64(batons | (self.database as u64) << 16 | bytes | flags);
    }
}

/// Multiply and rotate: no attacker chooses these keys.
#[derive(Default)]
struct Quick(u64);

impl Hasher for Quick {
    fn write(&mut self, _: &[u8]) {
        unreachable!("worlds hash as whole numbers");
    }
    fn write_u64(&mut self, word: u64) {
        self.0 = (self.0.rotate_left(29) ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }
    fn write_u128(&mut self, word: u128) {
        self.write_u64(word as u64);
        self.write_u64((word >> 64) as u64);
    }
    fn finish(&self) -> u64 {
        self.0 ^ self.0 >> 32
    }
}

/// What must be true of the world for a command to be given. Agents report truthfully what they see; all else is free.
#[derive(Clone, Copy, Debug)]
enum When {
    Always,
    WritesRefused,
    Written(u8),
    /// The database is up, and has applied so much.
    UpWith(u8),
    GatedWith(u8),
    DatabaseDown,
}

/// A command that a baton accepts, and the baton after it.
struct Move {
    command: Command,
    /// The artefact it needs, as a bit; 0 = none.
    artefact: u128,
    when: When,
    next: u16,
    /// The agents do it by themselves, without any controller.
    autonomous: bool,
}

struct Known {
    baton: Baton,
    /// The artefact it may sign, as a bit; 0 = none.
    statement: u128,
    moves: Option<Vec<Move>>,
}

#[derive(Clone, Copy)]
enum Label {
    World(&'static str),
    Agent(u16, usize),
}

struct Next {
    label: Label,
    world: World,
    autonomous: bool,
}

struct Model {
    bounds: Bounds,
    guards: Guards,
    hasty: Hasty,
    claims: Vec<Claim>,
    known: Vec<Known>,
    numbers: HashMap<String, u16>,
}

/// Commands on which an agent acts, or gives out what it signed, and dies before it has recorded them.
type Hasty = fn(&Command) -> bool;

fn position(writes: u8) -> Position {
    Position::Postgres(Lsn(writes.into()))
}

fn journal(losses: u8) -> String {
    format!("{losses:032}")
}

fn host() -> HostName {
    "db".parse().unwrap()
}

fn migration() -> Migration {
    "shop".parse().unwrap()
}

impl Model {
    fn new(bounds: Bounds, off: &'static [Guard], hasty: Hasty) -> Self {
        let mut claims = Vec::new();
        for kind in [Kind::FenceProof, Kind::ClosedProof, Kind::Permit, Kind::OpenReceipt, Kind::BurnReceipt] {
            let has_position = matches!(kind, Kind::FenceProof | Kind::ClosedProof | Kind::Permit);
            for epoch in 1..=bounds.epochs {
                for position in (0..=if has_position { bounds.writes } else { 0 }).map(|n| has_position.then(|| position(n))) {
                    for loss in 0..=if kind == Kind::FenceProof { 0 } else { bounds.losses } {
                        let journal = (kind != Kind::FenceProof).then(|| journal(loss));
                        let (migration, signer, epoch) = (migration(), host(), Epoch(epoch));
                        claims.push(Claim { kind, migration, epoch, position: position.clone(), journal, signer });
                    }
                }
            }
        }
        assert!(claims.len() <= 128, "{} artefacts fit no 128 bits", claims.len());
        Self { bounds, guards: Guards { off }, hasty, claims, known: Vec::new(), numbers: HashMap::new() }
    }

    fn number(&mut self, baton: Baton) -> u16 {
        let name = format!("{baton:?}");
        if let Some(number) = self.numbers.get(&name) {
            return *number;
        }
        let number = u16::try_from(self.known.len()).unwrap();
        let statement = baton.statement(&host()).map_or(0, |claim| {
            let at = self.claims.iter().position(|known| *known == claim);
            1 << at.unwrap_or_else(|| panic!("an artefact out of bounds: {claim:?}"))
        });
        self.known.push(Known { baton, statement, moves: None });
        self.numbers.insert(name, number);
        number
    }

    /// Whatever anybody may say to this baton: every epoch, every artefact of any kind, every report.
    fn commands(&self, baton: &Baton) -> Vec<(Command, u128, When, bool)> {
        let charge = baton.command_epoch();
        let mut commands = Vec::new();
        let mut say = |command, when, autonomous| commands.push((command, 0, when, autonomous));
        for epoch in (1..=self.bounds.epochs).map(Epoch) {
            say(Command::TakeCharge { epoch }, When::Always, false);
            say(Command::Fence { epoch }, When::Always, false);
            say(Command::Abort { epoch }, When::Always, false);
            say(Command::Burn { epoch }, When::Always, epoch == charge);
            say(Command::Reseed { epoch }, When::Always, false);
        }
        say(Command::Shut, When::WritesRefused, false);
        say(Command::LeaseEnded, When::Always, true);
        say(Command::Down, When::DatabaseDown, true);
        for writes in 0..=self.bounds.writes {
            say(Command::Fenced { position: position(writes) }, When::Written(writes), false);
            say(Command::Closed { applied: position(writes) }, When::GatedWith(writes), false);
        }
        for (at, claim) in self.claims.iter().enumerate() {
            let (bit, claim) = (1 << at, || claim.clone());
            let (lease_left, margin) = (Duration::from_secs(2), Duration::from_secs(1));
            let surrender = Command::Surrender { epoch: charge, closed: claim(), lease_left, margin };
            commands.push((surrender, bit, When::Always, false));
            commands.push((Command::Return { receipt: claim() }, bit, When::Always, true));
            commands.push((Command::Retire { open: claim() }, bit, When::Always, true));
            commands.push((Command::Open { permit: claim() }, bit, When::Always, true));
            for writes in 0..=self.bounds.writes {
                let promote = Command::Promote { epoch: charge, fence: claim(), applied: position(writes) };
                commands.push((promote, bit, When::UpWith(writes), false));
            }
        }
        commands
    }

    fn learn(&mut self, number: u16) {
        if self.known[usize::from(number)].moves.is_some() {
            return;
        }
        let baton = self.known[usize::from(number)].baton.clone();
        let mut moves = Vec::new();
        for (command, artefact, when, autonomous) in self.commands(&baton) {
            if let Ok(Some(event)) = baton.decide_under(&command, self.guards) {
                let after = baton.after_under(&event, self.guards).expect("what is decided folds");
                let next = self.number(after);
                moves.push(Move { command, artefact, when, next, autonomous });
            }
        }
        self.known[usize::from(number)].moves = Some(moves);
    }

    fn begin(&mut self) -> World {
        World {
            artefacts: 0,
            source: self.number(Baton::source(migration())),
            target: self.number(Baton::target(migration(), &journal(0))),
            source_open: true,
            database: Database::Standby,
            written: 0,
            applied: 0,
            losses: 0,
            ever_open: false,
        }
    }

    fn next(&mut self, now: World, out: &mut Vec<Next>) {
        self.learn(now.source);
        self.learn(now.target);
        out.clear();
        let mut world = |label, world, autonomous| out.push(Next { label: Label::World(label), world, autonomous });
        if now.source_open && now.written < self.bounds.writes {
            world("a client's write is acknowledged by the source", World { written: now.written + 1, ..now }, false);
        }
        if now.database == Database::Standby && now.applied < now.written {
            world("the target applies a write", World { applied: now.applied + 1, ..now }, false);
        }
        match self.known[usize::from(now.source)].baton.stance() {
            Stance::Open if !now.source_open => world("source: the fence goes", World { source_open: true, ..now }, true),
            Stance::Shut | Stance::ShutForGood | Stance::Down if now.source_open => {
                world("source: the fence stands", World { source_open: false, ..now }, true);
            }
            Stance::Any | Stance::Open | Stance::Shut | Stance::ShutForGood | Stance::Down => {}
        }
        let target = &self.known[usize::from(now.target)].baton;
        match (target.stance(), now.database) {
            (Stance::Shut, Database::Standby | Database::Open) => {
                world("target: promoted behind its gate", World { database: Database::Gated, ..now }, true);
            }
            (Stance::Open, Database::Standby | Database::Gated | Database::Down) => {
                world("target: the gate goes", World { database: Database::Open, ever_open: true, ..now }, true);
            }
            (Stance::Down, Database::Standby | Database::Gated | Database::Open) => {
                world("target: the database goes down", World { database: Database::Down, ..now }, true);
            }
            (Stance::Any, Database::Down) => {
                world("target: seeded anew", World { database: Database::Standby, applied: 0, ..now }, false);
            }
            _ => {}
        }
        if now.losses < self.bounds.losses {
            let losses = now.losses + 1;
            let target = self.number(Baton::target(migration(), &journal(losses)));
            let world = World { target, losses, ..now };
            out.push(Next { label: Label::World("target: its record is lost"), world, autonomous: false });
        }
        for (agent, is_source) in [(now.source, true), (now.target, false)] {
            let known = &self.known[usize::from(agent)];
            for (at, step) in known.moves.as_ref().expect("learned above").iter().enumerate() {
                let can = match step.when {
                    When::Always => true,
                    When::WritesRefused => !now.source_open,
                    When::Written(writes) => now.written == writes,
                    When::UpWith(writes) => now.database != Database::Down && now.applied == writes,
                    When::GatedWith(writes) => now.database == Database::Gated && now.applied == writes,
                    When::DatabaseDown => now.database == Database::Down,
                };
                if can && now.artefacts & step.artefact == step.artefact {
                    let artefacts = now.artefacts | self.known[usize::from(step.next)].statement;
                    let world = if is_source {
                        World { source: step.next, artefacts, ..now }
                    } else {
                        World { target: step.next, artefacts, ..now }
                    };
                    out.push(Next { label: Label::Agent(agent, at), world, autonomous: step.autonomous });
                    if (self.hasty)(&step.command) {
                        let opens = self.known[usize::from(step.next)].baton.stance() == Stance::Open;
                        let world = match (opens, is_source) {
                            (true, true) => World { source_open: true, ..now },
                            (true, false) => World { database: Database::Open, ever_open: true, ..now },
                            (false, _) => World { artefacts, ..now },
                        };
                        out.push(Next { label: Label::World("done, but not recorded"), world, autonomous: false });
                    }
                }
            }
        }
    }

    fn words(&self, label: Label) -> String {
        match label {
            Label::World(words) => words.to_owned(),
            Label::Agent(baton, at) => {
                let known = &self.known[usize::from(baton)];
                let step = &known.moves.as_ref().expect("it was taken")[at];
                format!("{:?} -> {:?}", known.baton.phase(), step.command)
            }
        }
    }
}

fn harm(world: &World) -> Option<&'static str> {
    let target_open = world.database == Database::Open;
    if world.source_open && target_open {
        Some("two writable databases")
    } else if target_open && world.applied < world.written {
        Some("an acknowledged write is lost")
    } else if world.source_open && world.ever_open {
        Some("the old primary is back")
    } else {
        None
    }
}

struct Verdict {
    states: usize,
    harm: Option<&'static str>,
    /// How the harm comes about.
    path: Vec<String>,
    /// States in which nobody can write and no agent can change that by itself; before, and after, a record was lost.
    stuck: usize,
    stuck_after_loss: usize,
}

fn explore(bounds: Bounds, off: &'static [Guard], hasty: Hasty) -> Verdict {
    let mut model = Model::new(bounds, off, hasty);
    let begin = model.begin();
    let mut numbers: HashMap<World, u32, BuildHasherDefault<Quick>> = HashMap::default();
    let mut worlds = vec![begin];
    let mut parents = vec![0_u32];
    let mut alone: Vec<(u32, u32)> = Vec::new();
    numbers.insert(begin, 0);
    let writable = |world: &World| world.source_open || world.database == Database::Open;
    let (mut at, mut out) = (0, Vec::new());
    while at < worlds.len() {
        let now = worlds[at];
        let here = u32::try_from(at).unwrap();
        if let Some(harm) = harm(&now) {
            let path = path(&mut model, &worlds, &parents, at);
            return Verdict { states: worlds.len(), harm: Some(harm), path, stuck: 0, stuck_after_loss: 0 };
        }
        model.next(now, &mut out);
        for next in &out {
            let there = *numbers.entry(next.world).or_insert_with(|| {
                worlds.push(next.world);
                parents.push(here);
                u32::try_from(worlds.len() - 1).unwrap()
            });
            if next.autonomous && !writable(&now) {
                alone.push((there, here));
            }
        }
        at += 1;
    }
    // Backwards from every world with a writable database, along what agents do alone.
    let mut leads_on: Vec<bool> = worlds.iter().map(writable).collect();
    alone.sort_unstable();
    let mut queue: Vec<u32> = (0..).zip(&leads_on).filter_map(|(at, good)| good.then_some(at)).collect();
    while let Some(there) = queue.pop() {
        for (_, here) in &alone[alone.partition_point(|edge| edge.0 < there)..alone.partition_point(|edge| edge.0 <= there)] {
            if !std::mem::replace(&mut leads_on[*here as usize], true) {
                queue.push(*here);
            }
        }
    }
    let stuck = || worlds.iter().zip(&leads_on).filter(|(_, good)| !**good).map(|(world, _)| world);
    let path = stuck().next().map(|first| path(&mut model, &worlds, &parents, numbers[first] as usize)).unwrap_or_default();
    let after_loss = stuck().filter(|world| world.losses > 0).count();
    let stuck = stuck().count() - after_loss;
    Verdict { states: worlds.len(), harm: None, path, stuck, stuck_after_loss: after_loss }
}

fn path(model: &mut Model, worlds: &[World], parents: &[u32], mut at: usize) -> Vec<String> {
    let (mut path, mut out) = (Vec::new(), Vec::new());
    while at != 0 {
        let parent = parents[at] as usize;
        model.next(worlds[parent], &mut out);
        let step = out.iter().find(|next| next.world == worlds[at]).expect("it was found from there");
        path.push(model.words(step.label));
        at = parent;
    }
    path.reverse();
    path
}

const CAREFUL: Hasty = |_| false;
const SMALL: Bounds = Bounds { epochs: 3, writes: 2, losses: 0 };
const WITH_LOSS: Bounds = Bounds { epochs: 2, writes: 2, losses: 1 };

fn assert_safe(bounds: Bounds, at_least: usize) {
    let verdict = explore(bounds, &[], CAREFUL);
    println!("{} states, {} stuck after a loss", verdict.states, verdict.stuck_after_loss);
    assert_eq!(verdict.harm, None, "{:#?}", verdict.path);
    assert_eq!(verdict.stuck, 0, "{:#?}", verdict.path);
    assert!(verdict.states >= at_least, "{} states are fewer than the protocol has", verdict.states);
}

#[test]
fn no_history_harms_and_none_is_stuck() {
    assert_safe(SMALL, 200_000);
}

/// Stuck then happens, and is for people: no agent may guess what the lost record said.
#[test]
fn no_history_harms_when_the_target_loses_its_record() {
    assert_safe(WITH_LOSS, 300_000);
}

#[test]
#[ignore = "half a gigabyte of states"]
fn no_history_harms_within_wider_bounds() {
    assert_safe(Bounds { epochs: 4, ..SMALL }, 2_500_000);
}

#[test]
fn each_guard_taken_away_lets_harm_through() {
    let two = "two writable databases";
    let mutants: [(&'static [Guard], Bounds, &str); 11] = [
        (&[Guard::NoWayBackAfterSurrender], SMALL, two),
        (&[Guard::TargetReplayed, Guard::ProofReplayed], SMALL, "an acknowledged write is lost"),
        (&[Guard::FinalAfterShut], SMALL, two),
        (&[Guard::OpenNeedsPermit], SMALL, two),
        (&[Guard::NoOpenAfterBurn], SMALL, two),
        (&[Guard::NoBurnAfterOpen], SMALL, "the old primary is back"),
        (&[Guard::ReceiptJournal], WITH_LOSS, "the old primary is back"),
        (&[Guard::PermitJournal], WITH_LOSS, two),
        (&[Guard::ReceiptEpoch], SMALL, two),
        (&[Guard::ReturnNeedsBurnReceipt], SMALL, two),
        (&[Guard::ProofEpoch, Guard::PermitEpoch], SMALL, "an acknowledged write is lost"),
    ];
    for (off, bounds, harm) in mutants {
        let verdict = explore(bounds, off, CAREFUL);
        println!("without {off:?}: {:?} in {} steps: {:#?}", verdict.harm, verdict.path.len(), verdict.path);
        assert_eq!(verdict.harm, Some(harm), "without {off:?}");
    }
}

#[test]
fn each_guard_of_progress_taken_away_leaves_nobody_able_to_write() {
    let mutants: [&'static [Guard]; 3] =
        [&[Guard::SurrenderedKeepsEpoch], &[Guard::ProofEpoch], &[Guard::RetireNeedsOpenReceipt]];
    for off in mutants {
        let verdict = explore(SMALL, off, CAREFUL);
        println!("without {off:?}: {} stuck, first by {:#?}", verdict.stuck, verdict.path);
        assert!(verdict.harm.is_none() && verdict.stuck > 0, "without {off:?}: {:?}", verdict.harm);
    }
}

#[test]
fn what_is_done_before_it_is_recorded_lets_harm_through() {
    let mutants: [(&str, Hasty, &str); 4] = [
        ("the fence goes before the epoch is raised", |command| *command == Command::LeaseEnded, "two writable databases"),
        (
            "the permit leaves before SURRENDERED is recorded",
            |command| matches!(command, Command::Surrender { .. }),
            "two writable databases",
        ),
        ("the gate goes before OPEN is recorded", |command| matches!(command, Command::Open { .. }), "the old primary is back"),
        ("the fence goes before RETURN is recorded", |command| matches!(command, Command::Return { .. }), ""),
    ];
    for (order, hasty, harm) in mutants {
        let verdict = explore(SMALL, &[], hasty);
        println!("{order}: {:?} in {} steps: {:#?}", verdict.harm, verdict.path.len(), verdict.path);
        // The last is harmless: what burned stays burned. It stands here so that the other three are seen to matter.
        assert_eq!(verdict.harm, Some(harm).filter(|harm| !harm.is_empty()), "{order}");
    }
}
