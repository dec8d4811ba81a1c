//! The whole migration on one screen: what is done, on which host, in which order, and whether it can be taken back.
//!
//! It knows order and never means: each row names an intent that the host's own agent understands.

mod diagram;
mod measure;
mod way;

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    time::Duration,
};

use flytt_proto::{
    gate::Gate,
    name::{HostName, OperationId, StepId, step as named},
    v1::{self, action::Kind},
};

use crate::spec::{Checkpoint, Engine, Kernel, Router, Spec, Transport};

use Part::{EveryRouter, Source, Target};
use Phase::{Back, Cutover, Finish, Gates, Preflight, Probe, Ready, Rejoin, Replicate, Seed, Tune};
use Reversal::{NothingToUndo, PointOfNoReturn, Undo};
use measure::{gates, judge, probe};
pub use way::{Choice, way};

#[rustfmt::skip]
const MOVE: &[Row] = &[
    //   id               phase      on           reversal         limit        what                                        action
    row("check",          Preflight, Target,      NothingToUndo,   secs(60),    "is this move possible?",                   check),
    row("check-router",   Preflight, EveryRouter, NothingToUndo,   secs(60),    "can this router hold connections?",        hold),
    row("tune-source",    Tune,      Source,      Undo,            secs(60),    "kernel settings for the path",             tune),
    row("tune-target",    Tune,      Target,      Undo,            secs(60),    "kernel settings for path and load",        tune),
    row("probe-source",   Probe,     Source,      NothingToUndo,   secs(900),   "what does a commit wait here? gently",     probe),
    row("probe-target",   Probe,     Target,      NothingToUndo,   secs(7_200), "what does its storage sustain?",           probe),
    row("gates",          Gates,     Target,      NothingToUndo,   secs(60),    "are both machines fit for it?",            judge),
    row("credential",     Seed,      Target,      Undo,            secs(30),    "make the replication account's password",  credential),
    row("admit",          Seed,      Source,      Undo,            secs(60),    "let the target in, and no other",          admit),
    row("tunnel",         Seed,      Target,      Undo,            secs(30),    "open the tunnel to the source",            tunnel),
    row("seed",           Seed,      Target,      Undo,            days(14),    "copy the data",                            seed),
    row("follow",         Replicate, Target,      Undo,            days(2),     "follow the source and catch up",           follow),
    row("back-credential", Back,     Source,      Undo,            secs(30),    "make the password of the way back",        credential),
    row("back-admit",     Back,      Target,      Undo,            secs(30),    "let the source in, for the way back",      welcome),
    row("back-follow",    Back,      Source,      Undo,            secs(120),   "follow the target, and go on serving",     arm),
    row(named::ARM,       Back,      Source,      Undo,            secs(60),    "prepare to follow the target later",       arm),
    row("back-mark",      Back,      Target,      NothingToUndo,   secs(60),    "write something of its own",               mark),
    row("back-arrive",    Back,      Source,      NothingToUndo,   secs(60),    "it has come back: the way back is proven", arrive),
    row("ready-source",   Ready,     Source,      NothingToUndo,   secs(120),   "C0 nothing in the way; checkpoint",        ready_source),
    row("ready-target",   Ready,     Target,      NothingToUndo,   secs(120),   "C0 following, no lag; checkpoint",         ready_target),
    row("gate",           Ready,     Target,      Undo,            secs(120),   "C0 close the target to everyone",          gate),
    row("cut-hold",       Cutover,   EveryRouter, Undo,            secs(5),     "C1 hold new connections",                  hold),
    row(named::FENCE,     Cutover,   Source,      Undo,            secs(30),    "C2 C3 fence the source, final position",   fence),
    row("cut-catch-up",   Cutover,   Target,      NothingToUndo,   secs(30),    "C4 apply everything up to it",             catch_up),
    row("cut-stage",      Cutover,   EveryRouter, Undo,            secs(5),     "C5 stage the target, still held",          stage),
    row(named::PROMOTE,   Cutover,   Target,      Undo,            secs(30),    "C6 promote behind the gate, prove it",     promote),
    row(named::SURRENDER, Cutover,   Source,      PointOfNoReturn, secs(10),    "C7 surrender: point of no return",         surrender),
    row(named::OPEN,      Cutover,   Target,      NothingToUndo,   secs(60),    "C8 open the target",                       open),
    row("cut-release",    Cutover,   EveryRouter, NothingToUndo,   secs(60),    "C9 release connections to the target",     release),
    row("cut-prove",      Cutover,   Target,      NothingToUndo,   secs(60),    "C9 reached through every router",          prove),
    row(named::RETIRE,    Cutover,   Source,      NothingToUndo,   secs(60),    "C10 end the old source, fenced for good",  retire),
    row(named::REJOIN,    Rejoin,    Source,      NothingToUndo,   secs(600),   "follow the target from now on",            rejoin),
    row("rejoin-mark",    Rejoin,    Target,      NothingToUndo,   secs(60),    "write something of its own",               mark),
    row("rejoin-arrive",  Rejoin,    Source,      NothingToUndo,   secs(120),   "it has arrived: there is a way back",      arrive),
    row("finish-router",  Finish,    EveryRouter, NothingToUndo,   secs(60),    "remove what is left on the router",        finish),
    row("finish-source",  Finish,    Source,      NothingToUndo,   secs(60),    "remove what is left on the old source",    finish),
    row("finish-target",  Finish,    Target,      NothingToUndo,   secs(600),   "remove what is left on the target",        finish),
];

/// On the leg back the follower is there, or was promoted and given up in an earlier try.
#[rustfmt::skip]
const AGAIN: Row =
    row("follow",         Replicate, Target,      NothingToUndo,   secs(3_600), "follow, rewound where it was given up",    again);

/// A stretch of the plan. Commands drive stretches.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// Looks only.
    Preflight,
    /// Kernel settings; stays when a cutover is taken back.
    Tune,
    /// Measures the storage; nothing stays of it but its report.
    Probe,
    /// Looks only: judges what was measured, before a byte is moved.
    Gates,
    Seed,
    Replicate,
    /// The source follows the target, so that the window need not set it up.
    Back,
    /// Before the window; takes as long as it takes.
    Ready,
    /// The window: the budget runs from its first step to the point of no return.
    Cutover,
    /// The old source follows the target; the move is complete without it.
    Rejoin,
    Finish,
}

impl Phase {
    /// Its steps ask for findings and change nothing.
    pub fn looks(self) -> bool {
        matches!(self, Preflight | Gates)
    }

    /// What its steps would find can be asked beforehand.
    pub fn finds(self) -> bool {
        self.looks() || self == Tune
    }
}

/// Whether a step can be taken back. There is no default: it must be decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Reversal {
    Undo,
    NothingToUndo,
    PointOfNoReturn,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    Source,
    Target,
    EveryRouter,
}

/// What turns a step into what its host is asked for; `None` while something it needs is not known yet.
type Ask = fn(&Spec, &Known, &Step) -> Option<Kind>;

struct Row {
    id: &'static str,
    phase: Phase,
    on: Part,
    reversal: Reversal,
    limit: Duration,
    what: &'static str,
    ask: Ask,
}

const fn row(id: &'static str, phase: Phase, on: Part, reversal: Reversal, limit: Duration, what: &'static str, ask: Ask) -> Row {
    Row { id, phase, on, reversal, limit, what, ask }
}

const fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

const fn days(days: u64) -> Duration {
    Duration::from_secs(days * 86_400)
}

/// One line of the plan of one migration.
#[derive(Clone)]
pub struct Step {
    /// Stable: the key in journal and ledger.
    pub id: StepId,
    pub phase: Phase,
    pub on: HostName,
    pub reversal: Reversal,
    /// No answer by then is a failure.
    pub limit: Duration,
    pub what: &'static str,
    /// Which `[[router]]`, for a router's step.
    router: Option<usize>,
    role: v1::Role,
    ask: Ask,
}

impl fmt::Debug for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} on {}", self.id, self.on)
    }
}

/// What has been learned: facts by host, outcomes by step.
#[derive(Clone, Debug, Default)]
pub struct Known {
    pub addresses: BTreeMap<HostName, String>,
    pub facts: BTreeMap<HostName, v1::FactsReply>,
    pub outcomes: BTreeMap<StepId, v1::Outcome>,
    /// What the operator goes on with although it does not hold.
    pub accepted: BTreeSet<Gate>,
}

impl Known {
    fn peer(&self, host: &HostName) -> Option<v1::PeerHost> {
        Some(v1::PeerHost { host: host.to_string(), address: self.addresses.get(host)?.clone() })
    }

    fn artefact(&self, step: &str) -> Option<v1::Artefact> {
        let kind = self.outcomes.get(&step.parse::<StepId>().ok()?)?.kind.clone()?;
        if let v1::outcome::Kind::Artefact(artefact) = kind { Some(artefact) } else { None }
    }

    fn position(&self, step: &str) -> Option<String> {
        let kind = self.outcomes.get(&step.parse::<StepId>().ok()?)?.kind.clone()?;
        if let v1::outcome::Kind::Position(position) = kind { Some(position) } else { None }
    }

    fn verifier(&self, step: &str) -> Option<String> {
        let kind = self.outcomes.get(&step.parse::<StepId>().ok()?)?.kind.clone()?;
        if let v1::outcome::Kind::Verifier(verifier) = kind { Some(verifier) } else { None }
    }
}

/// The steps of one migration, in order.
#[derive(Clone, Debug)]
pub struct Plan {
    pub steps: Vec<Step>,
}

/// The plan of this leg.
pub fn of(spec: &Spec) -> Plan {
    if spec.name.is_back() { fall_back(spec) } else { move_over(spec) }
}

/// Source to target.
pub fn move_over(spec: &Spec) -> Plan {
    let tunes = spec.tuning.kernel == Kernel::Auto;
    steps(spec, MOVE.iter().filter(|row| (row.phase != Tune || tunes) && is_of(spec.engine, row)))
}

/// The same cutover with the roles exchanged ([`Spec::turned`]), once the move is over and the old source follows.
pub fn fall_back(spec: &Spec) -> Plan {
    steps(spec, [&AGAIN].into_iter().chain(MOVE.iter().filter(|row| matches!(row.phase, Ready | Cutover))))
}

fn steps<'a>(spec: &Spec, rows: impl Iterator<Item = &'a Row>) -> Plan {
    let mut steps = Vec::new();
    for row in rows {
        let step = |on: &HostName, router: Option<usize>, role| Step {
            id: id(row.id, router),
            phase: row.phase,
            on: on.clone(),
            reversal: row.reversal,
            limit: row.limit,
            what: row.what,
            router,
            role,
            ask: row.ask,
        };
        match row.on {
            Source => steps.push(step(&spec.source, None, v1::Role::Source)),
            Target => steps.push(step(&spec.target, None, v1::Role::Target)),
            EveryRouter => {
                steps.extend(spec.routers.iter().enumerate().map(|(at, router)| step(&router.host, Some(at), v1::Role::Router)));
            }
        }
    }
    Plan { steps }
}

/// A source of MariaDB or MySQL follows its own replica while it goes on serving; one of PostgreSQL is started anew to follow, and prepared
/// for it before.
fn is_of(engine: Engine, row: &Row) -> bool {
    let (of_way_back, of_rejoin) = (matches!(row.phase, Back | Rejoin), row.phase == Rejoin || row.id == named::ARM);
    match engine {
        Engine::Mariadb | Engine::Mysql => !of_rejoin,
        Engine::Postgres => !of_way_back || of_rejoin || ["back-credential", "back-admit"].contains(&row.id),
    }
}

fn id(name: &str, router: Option<usize>) -> StepId {
    let text = match router {
        Some(at) => format!("{name}-{}", at + 1),
        None => name.to_owned(),
    };
    text.parse().expect("the table's names are of the right form")
}

impl Step {
    /// What the host is asked for.
    pub fn action(&self, spec: &Spec, known: &Known) -> Option<v1::Action> {
        Some(v1::Action { kind: Some((self.ask)(spec, known, self)?) })
    }

    pub fn operation(&self, spec: &Spec) -> OperationId {
        OperationId { migration: spec.name.clone(), step: self.id.clone() }
    }

    fn router<'a>(&self, spec: &'a Spec) -> Option<&'a Router> {
        spec.routers.get(self.router?)
    }

    fn route(&self, spec: &Spec) -> Option<v1::Route> {
        let router = self.router(spec)?;
        let Router { backend, source, target, .. } = router;
        Some(v1::Route { backend: backend.to_string(), source: source.to_string(), target: target.to_string() })
    }
}

impl Plan {
    pub fn step(&self, id: &str) -> Option<&Step> {
        self.steps.iter().find(|step| step.id.as_str() == id)
    }

    /// All hosts of the plan, each once.
    pub fn hosts(&self) -> Vec<HostName> {
        let mut hosts: Vec<HostName> = Vec::new();
        for step in &self.steps {
            if !hosts.contains(&step.on) {
                hosts.push(step.on.clone());
            }
        }
        hosts
    }
}

fn millis(duration: Duration) -> u64 {
    duration.as_millis().try_into().unwrap_or(u64::MAX)
}

fn transport(spec: &Spec) -> i32 {
    match spec.transport {
        Transport::Tunnel => v1::Transport::Tunnel.into(),
        Transport::Direct => v1::Transport::Direct.into(),
    }
}

/// Where the source's server listens, for direct transport: its port at the address under which the agent is known.
fn server(spec: &Spec, known: &Known) -> Option<String> {
    match spec.transport {
        Transport::Tunnel => Some(String::new()),
        Transport::Direct => Some(known.facts.get(&spec.source)?.address.clone()),
    }
}

fn check(spec: &Spec, known: &Known, _: &Step) -> Option<Kind> {
    Some(Kind::Check(v1::Check {
        source_facts: known.facts.get(&spec.source)?.facts.clone(),
        target_facts: known.facts.get(&spec.target)?.facts.clone(),
        transport: transport(spec),
        stop_fence: false,
        replace_system: replaced(spec),
        max_rate: spec.seed.max_rate.unwrap_or(0),
        way: chosen(spec, known)?.into(),
    }))
}

/// How the copy is made, as the agents are told.
fn chosen(spec: &Spec, known: &Known) -> Option<v1::seed::Way> {
    way(spec, known).map(|choice| choice.way)
}

/// Empty when no server's data may be replaced.
fn replaced(spec: &Spec) -> String {
    spec.replace_system.as_ref().map(|system| system.to_string()).unwrap_or_default()
}

/// The other end of the path is the other database host.
fn tune(spec: &Spec, known: &Known, step: &Step) -> Option<Kind> {
    let other = if step.role == v1::Role::Source { &spec.target } else { &spec.source };
    Some(Kind::Tune(v1::Tune { role: step.role.into(), peer: Some(known.peer(other)?) }))
}

/// Made on the host that will follow.
fn credential(_: &Spec, _: &Known, step: &Step) -> Option<Kind> {
    Some(Kind::Credential(v1::Credential { role: step.role.into() }))
}

fn admit(spec: &Spec, known: &Known, _: &Step) -> Option<Kind> {
    let target = known.peer(&spec.target)?;
    Some(Kind::Admit(v1::Admit { target: Some(target), verifier: known.verifier("credential")?, transport: transport(spec) }))
}

fn tunnel(spec: &Spec, known: &Known, _: &Step) -> Option<Kind> {
    Some(Kind::Tunnel(v1::Tunnel { source: Some(known.peer(&spec.source)?) }))
}

fn seed(spec: &Spec, known: &Known, _: &Step) -> Option<Kind> {
    let source = known.facts.get(&spec.source)?;
    Some(Kind::Seed(v1::Seed {
        transport: transport(spec),
        server: server(spec, known)?,
        max_rate: spec.seed.max_rate.unwrap_or(0),
        fast_checkpoint: spec.seed.checkpoint == Checkpoint::Fast,
        system: source.system.clone(),
        replace_system: replaced(spec),
        expected_bytes: source.data_bytes,
        way: chosen(spec, known)?.into(),
        gates: Some(gates(spec, known)),
    }))
}

fn follow(spec: &Spec, known: &Known, _: &Step) -> Option<Kind> {
    let (transport, server) = (transport(spec), server(spec, known)?);
    Some(Kind::Follow(v1::Follow { transport, server, lag_bytes: spec.gates.lag_bytes, gates: Some(gates(spec, known)) }))
}

fn welcome(spec: &Spec, known: &Known, _: &Step) -> Option<Kind> {
    let source = known.peer(&spec.source)?;
    Some(Kind::Welcome(v1::Welcome { source: Some(source), verifier: known.verifier("back-credential")? }))
}

fn arm(spec: &Spec, known: &Known, _: &Step) -> Option<Kind> {
    Some(Kind::Arm(v1::Arm { target: Some(known.peer(&spec.target)?) }))
}

fn mark(_: &Spec, _: &Known, _: &Step) -> Option<Kind> {
    Some(Kind::Mark(v1::Mark {}))
}

fn arrive(_: &Spec, known: &Known, step: &Step) -> Option<Kind> {
    let mark = if step.phase == Rejoin { "rejoin-mark" } else { "back-mark" };
    Some(Kind::Arrive(v1::Arrive { position: known.position(mark)? }))
}

fn rejoin(_: &Spec, _: &Known, _: &Step) -> Option<Kind> {
    Some(Kind::Rejoin(v1::Rejoin { again: false }))
}

fn again(_: &Spec, _: &Known, _: &Step) -> Option<Kind> {
    Some(Kind::Rejoin(v1::Rejoin { again: true }))
}

fn ready_source(spec: &Spec, _: &Known, _: &Step) -> Option<Kind> {
    Some(ready(spec, v1::Role::Source))
}

fn ready_target(spec: &Spec, _: &Known, _: &Step) -> Option<Kind> {
    Some(ready(spec, v1::Role::Target))
}

fn ready(spec: &Spec, role: v1::Role) -> Kind {
    Kind::Ready(v1::Ready {
        role: role.into(),
        lag_bytes: spec.gates.lag_bytes,
        long_transaction_ms: millis(spec.cutover.long_transaction),
        lag_ms: millis(spec.gates.lag),
    })
}

fn gate(spec: &Spec, _: &Known, _: &Step) -> Option<Kind> {
    Some(Kind::Gate(v1::Gate { lag_ms: millis(spec.gates.lag) }))
}

/// The hold outlasts the fence by two seconds, so that a router settles on a source that has un-fenced.
fn hold(spec: &Spec, known: &Known, step: &Step) -> Option<Kind> {
    Some(Kind::Hold(v1::Hold {
        route: Some(step.route(spec)?),
        source: Some(known.peer(&spec.source)?),
        target: Some(known.peer(&spec.target)?),
        lease_ms: millis(spec.cutover.lease) + 2_000,
    }))
}

fn fence(spec: &Spec, _: &Known, _: &Step) -> Option<Kind> {
    Some(Kind::Fence(v1::Fence { lease_ms: millis(spec.cutover.lease), drain_ms: millis(spec.cutover.drain) }))
}

fn catch_up(_: &Spec, known: &Known, _: &Step) -> Option<Kind> {
    Some(Kind::CatchUp(v1::CatchUp { fence: Some(known.artefact(named::FENCE)?) }))
}

fn stage(spec: &Spec, _: &Known, step: &Step) -> Option<Kind> {
    Some(Kind::Stage(v1::Stage { route: Some(step.route(spec)?) }))
}

fn promote(_: &Spec, known: &Known, _: &Step) -> Option<Kind> {
    Some(Kind::Promote(v1::Promote { fence: Some(known.artefact(named::FENCE)?) }))
}

/// A third of the lease must be left, so that a slow disk cannot make the surrender race its end.
fn surrender(spec: &Spec, known: &Known, _: &Step) -> Option<Kind> {
    Some(Kind::Surrender(v1::Surrender {
        closed: Some(known.artefact(named::PROMOTE)?),
        target: Some(known.peer(&spec.target)?),
        margin_ms: millis(spec.cutover.lease) / 3,
    }))
}

fn open(_: &Spec, known: &Known, _: &Step) -> Option<Kind> {
    Some(Kind::Open(v1::Open { permit: Some(known.artefact(named::SURRENDER)?) }))
}

fn release(spec: &Spec, _: &Known, step: &Step) -> Option<Kind> {
    Some(Kind::Release(v1::Release { route: Some(step.route(spec)?) }))
}

fn prove(spec: &Spec, known: &Known, _: &Step) -> Option<Kind> {
    let entrance = |router: &Router| known.facts.get(&router.host).map(|facts| facts.entrance.clone());
    Some(Kind::Prove(v1::Prove { entrances: spec.routers.iter().map(entrance).collect::<Option<_>>()? }))
}

fn retire(_: &Spec, known: &Known, _: &Step) -> Option<Kind> {
    Some(Kind::Retire(v1::Retire { open: Some(known.artefact(named::OPEN)?) }))
}

fn finish(_: &Spec, _: &Known, step: &Step) -> Option<Kind> {
    Some(Kind::Finish(v1::Finish { role: step.role.into() }))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn steps(engine: &str) -> Vec<String> {
        let text = format!(
            "name = \"shop\"\nengine = \"{engine}\"\n[source]\nhost = \"a\"\n[target]\nhost = \"b\"\n\
             [[router]]\nkind = \"haproxy\"\nhost = \"c\"\nbackend = \"d\"\nsource = \"e\"\ntarget = \"f\"\n"
        );
        let spec = Spec::parse(Path::new("shop.toml"), &text).expect("a good file");
        move_over(&spec).steps.iter().map(|step| step.id.to_string()).collect()
    }

    #[test]
    fn the_way_back_is_armed_between_follow_and_ready_by_those_who_can() {
        let mariadb = steps("mariadb");
        assert_eq!(steps("mysql"), mariadb);
        let at = mariadb.iter().position(|step| step == "follow").expect("it follows") + 1;
        let back = ["back-credential", "back-admit", "back-follow", "back-mark", "back-arrive"];
        assert_eq!(mariadb[at..at + back.len()], back);
        assert_eq!(mariadb[at + back.len()], "ready-source");
        assert!(!mariadb.iter().any(|step| step.starts_with("rejoin")));
    }

    #[test]
    fn where_the_source_follows_later_that_is_prepared_before_the_window_and_done_after_it() {
        let (postgres, mysql) = (steps("postgres"), steps("mysql"));
        let at = |name: &str| postgres.iter().position(|step| step == name).expect("a step of it");
        let (before, after) = (["back-credential", "back-admit", "back-arm"], ["back-rejoin", "rejoin-mark", "rejoin-arrive"]);
        assert_eq!(postgres[at("follow") + 1..at("ready-source")], before);
        assert_eq!(postgres[at("cut-retire") + 1..at("finish-router-1")], after);
        let rest = |all: Vec<String>| -> Vec<String> {
            all.into_iter().filter(|step| !step.starts_with("back-") && !step.starts_with("rejoin-")).collect()
        };
        assert_eq!(rest(postgres), rest(mysql));
    }
}
