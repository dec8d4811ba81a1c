//! A database engine, seen from its own host. Questions are async; recipes are data; only `change/` calls the hands.

use std::{fmt::Debug, time::Duration};

use flytt_proto::{
    failure::Failure,
    name::{HostName, Migration, Position},
    v1::{self, draw_request::Producer},
};
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;

use crate::{
    change::{Backup, Change, Import, Load, Statement, Verb},
    command::Command,
    verify::Reader,
};

mod directory;
pub mod mariadb;
pub mod mysql;
pub mod mysql_family;
pub mod postgres;
mod returned;
mod write_behind;

/// What plan and preflight ask about a server, in a form that the other agent's engine can read.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Facts {
    pub serving: Serving,
    /// PostgreSQL: the system identifier. MariaDB: from the UUID that it got when it was installed.
    /// MySQL: its `server_uuid`. Empty where there is no cluster yet.
    pub system: String,
    /// Bytes of the data directory and its tablespaces; 0 when not serving.
    pub data_bytes: u64,
    /// Of the server's program, `11.8`: files are copied to the same one. Empty where that decides nothing.
    pub series: String,
    /// How the copy of a move came here that is not finished yet: `physical`, `dump`; empty where there is none.
    #[serde(default)]
    pub copied: String,
    /// `host:port` the server listens on for others; empty when it does not.
    pub address: String,
    /// Boot id, device and inode of the data directory.
    pub place: String,
    /// The engine's own facts as JSON; the controller hands them on unread.
    pub detail: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Serving {
    Down,
    Standby,
    Writable,
}

/// How the seed is reached from the target.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Upstream {
    /// Directory of the tunnel's unix socket, and the port in the socket's name.
    Tunnel { directory: std::path::PathBuf, port: u16 },
    /// The source's server itself, over its own TLS.
    Direct { host: String, port: u16 },
}

/// What the seed needs beyond the upstream. Sizes in bytes, rates in bytes a second (0 = no limit).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SeedOrder {
    pub upstream: Upstream,
    pub max_rate: u64,
    pub fast_checkpoint: bool,
    /// The source's system identifier.
    pub system: String,
    /// The cluster that may be replaced, by system identifier; empty = only an empty or our own directory.
    pub replace_system: String,
    pub expected_bytes: u64,
    pub way: Way,
    /// The source's agent, for an engine whose copy comes through a pipe; `None` = unknown here.
    pub origin: Option<Origin>,
}

/// How the data gets to the target.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Way {
    /// The server's files, into an empty data directory.
    #[default]
    Physical,
    /// Schema and rows, into a server that runs.
    Dump,
}

/// The source's agent, as this one knows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Origin {
    pub migration: Migration,
    pub host: HostName,
    /// `host:port`
    pub address: String,
}

/// A program of this host whose output another agent draws.
#[derive(Clone, Debug)]
pub struct Source {
    pub program: Command,
    /// What a line that it says on its stderr means for the server that it reads.
    pub stage: fn(&str) -> Option<Stage>,
}

/// How far a program is that reads a live server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// From here on it may hold up others: no limit of ours slows it down any more.
    Hurry,
    /// The server's clients wait for it, and may do so for this long.
    Hold(Duration),
    /// They wait no longer.
    Release,
}

/// What a producer inside the agent hands out.
#[derive(Debug)]
pub enum Poured {
    Block(Vec<u8>),
    /// All of it was handed out: without this, nothing of it counts.
    End,
    Failed(Failure),
}

/// What comes out of a pipe; it ends without an error only once all has arrived.
pub type Blocks = futures::stream::BoxStream<'static, Result<Vec<u8>, Failure>>;

/// The other agent's programs, read by programs here.
#[tonic::async_trait]
pub trait Pipes: Debug + Send + Sync {
    /// Runs `consumer` on what the source's `producer` writes, at most `max_rate` bytes a second (0 = no limit). Returns the count
    /// of bytes once all has arrived and both have ended well; `progress` is told it meanwhile. Dropped, it ends both.
    async fn draw(
        &self,
        from: &Origin,
        producer: Producer,
        max_rate: u64,
        consumer: &Command,
        progress: &(dyn Fn(u64) + Send + Sync),
    ) -> Result<u64, Failure>;

    /// What the source's agent itself pours for `ask`.
    async fn pull(&self, from: &Origin, ask: v1::DrawRequest) -> Result<Blocks, Failure>;
}

/// What bytes are done, for progress lines; and rows, where they are counted.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Progress {
    pub done: u64,
    pub total: u64,
    pub rows: u64,
}

/// The recipes of the engine: each looks at the host and says which changes are missing for an intent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Intent {
    /// Source: roles, access for them, slot. `verifier` is the replication role's. `peer_address` is set for direct transport.
    Admit {
        verifier: String,
        peer_address: Option<std::net::IpAddr>,
    },
    Seed(SeedOrder),
    /// Target: configured as a standby of `upstream` and started.
    Follow(Upstream),
    /// Both sides, before the window: a checkpoint, so that what comes later is short.
    Ready,
    /// Target: the source may follow it. `verifier` is that account's.
    Welcome {
        verifier: String,
    },
    /// Source: follows the target, and goes on serving. Where that is not possible: all that it will need to follow it later.
    Arm,
    /// Source, retired: a follower of the target from now on, reached this way.
    Rejoin(Upstream),
    /// Target: nobody but us gets in, and nobody is in.
    Gate,
    /// Source: the same, with `drain_ms` for what is in flight.
    Fence {
        drain_ms: u64,
    },
    /// Target, gated: becomes primary.
    Promote,
    /// Target, promoted but not open: ended at once, still gated.
    Burn,
    /// Source, fenced: whatever restarts from now on comes up read-only.
    Surrender,
    /// Target: the gate goes.
    Open,
    /// Source, after the target opened: our slot goes, the server ends at once.
    Retire,
    /// Target: the stored password goes.
    Forget {
        role: v1::Role,
    },
    /// Whatever is left of the move on this host, once it is over (`role` as in the move).
    Finish {
        role: v1::Role,
    },
}

/// One live look at replication. LSNs and bytes by the server; ages by this host's clock.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Replication {
    pub streaming: bool,
    /// Target: applied; source: written and flushed.
    pub position: Option<Position>,
    /// Target: newest position received or announced by the source; source: what the standby has applied.
    pub upstream: Option<Position>,
    pub lag_bytes: u64,
    /// The newest heartbeat here: written (source) or applied (target), in microseconds of the source's clock on both; 0 = none.
    pub beat_us: u64,
    /// Source: WAL that our slot keeps.
    pub held_bytes: u64,
    /// Source whose log is kept for nobody: for how long its own settings keep it; 0 = for ever.
    pub log_seconds: u64,
    pub trouble: String,
}

#[tonic::async_trait]
pub trait Engine: Debug + Send + Sync + 'static {
    // --- questions: nothing is changed

    /// `postgres`, `mariadb`, `mysql`
    fn name(&self) -> &'static str;
    async fn facts(&self) -> Result<Facts, Failure>;
    /// Preflight over both sides' `Facts` (as JSON from `Observe.Facts`); pure.
    fn findings(&self, source: &Facts, target: &Facts, check: &v1::Check) -> Vec<v1::Finding>;
    /// What stands in the way of a short window right now (long transactions, prepared transactions, lag). Empty = nothing.
    async fn obstacles(&self, migration: &Migration, ready: &v1::Ready) -> Result<Vec<v1::Finding>, Failure>;
    async fn serving(&self) -> Result<Serving, Failure>;
    /// Standby: whether it replicates from somebody. A server in recovery always does, or waits for it.
    async fn follows(&self) -> Result<bool, Failure> {
        Ok(true)
    }
    /// Primary: flushed. Standby: replayed.
    async fn position(&self) -> Result<Position, Failure>;
    async fn replication(&self, migration: &Migration) -> Result<Replication, Failure>;
    /// The changes that `intent` still needs on this host.
    async fn recipe(&self, migration: &Migration, intent: &Intent) -> Result<Vec<Change>, Failure>;

    // --- waits and proofs: they write nothing but the server's own log of them

    /// Source: one heartbeat, where the target of this move follows and the engine knows no better way to tell a lag in time.
    /// Never called once the fence has begun.
    async fn beat(&self, _: &Migration) -> Result<(), Failure> {
        Ok(())
    }
    /// Source, fenced: a durable marker, then the position flushed after it.
    async fn final_position(&self, migration: &Migration) -> Result<Position, Failure>;
    /// Target: returns once `position` is applied. The source may be writing on.
    async fn caught_up(&self, position: &Position) -> Result<Position, Failure>;
    /// Target, caught up with a source that has ended at `end`: it has nothing of its own in the source's history. An engine
    /// whose copy cannot have that says so by leaving this out.
    async fn has_no_more_than(&self, _end: &Position) -> Result<(), Failure> {
        Ok(())
    }
    /// Whether a login of each kind of account is refused here now.
    async fn is_closed(&self, migration: &Migration) -> Result<bool, Failure>;
    /// Target, promoted: it is the copy it should be, on a new timeline that forked at or after `position`, and a durable
    /// write succeeds. Returns its position.
    async fn proven_primary(&self, migration: &Migration, fork: &Position) -> Result<Position, Failure>;
    /// Whether a login through `entrance` (`host:port`) arrives in this very server.
    async fn reached_through(&self, migration: &Migration, entrance: &str) -> Result<(), Failure>;
    /// The password is made and kept here (0600); its verifier is returned. The same one again when it exists.
    async fn credential(&self, migration: &Migration) -> Result<String, Failure>;
    /// The same for the source, which follows the target on the way back.
    async fn back_credential(&self, _: &Migration) -> Result<String, Failure> {
        Err(no_way_back(self.name()))
    }
    /// Whether an old source follows only once it is started anew ([`Intent::Rejoin`]).
    fn rejoins(&self) -> bool {
        false
    }
    /// Target, following or open: a durable write that is its own and no replicated one; its position.
    async fn mark_own(&self, _: &Migration) -> Result<Position, Failure> {
        Err(no_way_back(self.name()))
    }
    /// Source: returns once what the target wrote up to `position` has come back to it.
    async fn has_come_back(&self, _: &Migration, _: &Position) -> Result<(), Failure> {
        Err(no_way_back(self.name()))
    }
    /// Source, fenced for good: waits a moment for a write of the new primary after `end`, and says in a sentence how it follows.
    /// `None` where an old source follows nobody.
    async fn follows_back(&self, _: &Migration, _end: &Position) -> Result<Option<String>, Failure> {
        Ok(None)
    }
    /// Whether a connection's first packet (PostgreSQL: startup message) may pass the tunnel of this move.
    fn admits(&self, migration: &Migration, first_packet: &[u8]) -> Admission;
    /// Whether a server of this engine speaks before its client does.
    fn greets(&self) -> bool {
        false
    }
    /// What looks at everything that a client sends after its first packet; `None`: all of it passes.
    fn screen(&self) -> Option<Box<dyn Screen>> {
        None
    }
    /// The loopback port where this host's server finds the tunnel; `None`: it speaks to a unix socket.
    fn tunnel_port(&self) -> Option<u16> {
        None
    }
    /// Where the tunnel's other end goes: the local server.
    fn inlet(&self) -> Inlet;

    /// What stands on the server of an import that is over: `Block` for what is ours, `Warn` for what somebody else set since.
    /// Asked of the server, whatever the record says.
    async fn left_of_import(&self, _: &Import) -> Result<Vec<v1::Finding>, Failure> {
        Ok(Vec::new())
    }

    // --- what another agent draws from here: read, never written

    /// The program behind `producer`, on this host; whatever an earlier agent left of it is ended first.
    async fn producer(&self, _: &Migration, producer: Producer) -> Result<Source, Failure> {
        let sentence = format!("{} has no {}", self.name(), producer.as_str_name());
        Err(Failure::refused(
            "NO_PRODUCER",
            sentence,
            "let both hosts of a move serve the same engine, with the same version of flytt",
        ))
    }
    /// What this agent itself reads from its server for `ask`: a snapshot's list, one piece of its rows, its end.
    async fn pour(&self, _: &Migration, _: &v1::DrawRequest) -> Result<mpsc::Receiver<Poured>, Failure> {
        Err(no_dump(self.name()))
    }
    /// Ends what this agent itself keeps open on its server for the target of this move; returns once it is closed.
    async fn end_pouring(&self, _: &Migration) {}
    /// The same for all moves.
    async fn end_all_pouring(&self) {}
    /// Ends what an earlier agent left of its producers.
    async fn end_producers(&self) {}

    /// A session that reads digests, in this database; what belongs to the move is left out. One of no name is that of the whole
    /// server.
    async fn reader(&self, _database: &str, _: Option<&Migration>) -> Result<Box<dyn Reader>, Failure> {
        let sentence = format!("{} has no digests", self.name());
        Err(Failure::refused("OTHER_ENGINE", sentence, "let both hosts serve the same engine"))
    }

    // --- hands: only `change/` calls these

    async fn execute(&self, sql: &[String]) -> Result<(), Failure>;
    async fn reload(&self) -> Result<(), Failure>;
    async fn tell(&self, migration: &Migration, verb: &Verb) -> Result<(), Failure>;
    async fn back_up(&self, backup: &Backup, progress: mpsc::Sender<Progress>) -> Result<(), Failure>;
    /// Ends the backup with all its processes and empties its directory; done when none is left.
    async fn end_backup(&self, backup: &Backup) -> Result<(), Failure>;
    /// Tries each setting and leaves those in force that help. What came of each is returned, a line each; a setting that the
    /// server refuses is such a line and no failure.
    async fn set_for_import(&self, import: &Import) -> Result<Vec<String>, Failure> {
        Err(not_ours(self.name(), &Change::ImportSettings(import.clone())))
    }
    /// Sets back what still has our value, and takes the trial's leftovers away; done when the server says so, or has ended.
    /// What somebody else has set since is left as it is, and named in the answer.
    async fn set_back(&self, import: &Import) -> Result<Vec<String>, Failure> {
        Err(not_ours(self.name(), &Change::ImportOver(import.clone())))
    }
    /// Copies what of a logical dump is not there yet; interrupted, it is to be called again.
    async fn load(&self, _: &Load, _: mpsc::Sender<Progress>) -> Result<(), Failure> {
        Err(no_dump(self.name()))
    }
    /// Takes away all that `load` has written.
    async fn unload(&self, _: &Load) -> Result<(), Failure> {
        Err(no_dump(self.name()))
    }
}

/// How the source's end of a tunnel reaches the local server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Inlet {
    /// Its unix socket.
    Socket(std::path::PathBuf),
    /// This port of 127.0.0.1.
    Loopback(u16),
}

/// What the source's end of a tunnel makes of a connection's first bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Admission {
    /// More bytes are needed to tell.
    More,
    Yes,
    /// Why not; the connection is closed.
    No(String),
}

/// Watches one connection through a tunnel, at the source's end.
pub trait Screen: Send {
    /// Hears the first packet, which is admitted already: who it is may decide what passes afterwards.
    fn begins(&mut self, _first_packet: &[u8]) {}
    /// `Err` = why the connection is closed instead of passing these bytes on.
    fn passes(&mut self, bytes: &[u8]) -> Result<(), String>;
}

/// A verb that another engine's recipes use.
fn not_for(engine: &dyn Engine, verb: &Verb) -> Failure {
    not_ours(engine.name(), &Change::Server(verb.clone()))
}

fn not_ours(engine: &str, change: &Change) -> Failure {
    let sentence = format!("{engine} has no {change}");
    Failure::refused("OTHER_ENGINE", sentence, "let both hosts of a move serve the same engine")
}

fn no_way_back(engine: &str) -> Failure {
    let sentence = format!("a source of {engine} cannot follow its target while it serves");
    Failure::refused("NO_WAY_BACK", sentence, "install the same version of flytt and flytt-agent everywhere")
}

fn no_dump(engine: &str) -> Failure {
    let sentence = format!("{engine} has no logical dump");
    Failure::refused("NO_PRODUCER", sentence, "let both hosts of a move serve the same engine, with the same version of flytt")
}

/// A position that another engine's server named.
fn foreign(position: &Position) -> Failure {
    let sentence = format!("{position} is a position of another engine");
    Failure::refused("OTHER_ENGINE", sentence, "let both hosts of a move serve the same engine")
}

/// A statement with a plain undo: the form most recipes use.
pub fn statement(about: impl Into<String>, run: impl Into<String>, undo: impl Into<String>) -> Change {
    Change::Statement(Statement { about: about.into(), run: vec![run.into()], undo: vec![undo.into()] })
}
