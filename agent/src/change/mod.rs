//! The effects this agent can have on its host, as data: they stand in the ledger before they are done.
//!
//! Nothing outside this folder alters a host. A change can be applied twice, undone twice, and undone when it was never
//! applied; its undo restores only over what we wrote. It holds no secret, so it can be printed and stored.

pub(crate) mod block;
pub(crate) mod data_dir;
mod hands;
mod import;
pub mod sysctl;

use std::{fmt, path::PathBuf};

use serde::{Deserialize, Serialize};

pub use hands::Hands;
pub use import::{Import, Setting, When};
pub use sysctl::Sysctl;

use crate::engine::Origin;
use hands::disk;

/// One effect on the host, with what its undo needs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Change {
    /// SQL on the local server.
    Statement(Statement),
    /// A managed block at the head of a configuration file, and the reload that makes it count.
    Block(Block),
    /// A whole file.
    File(File),
    /// A data directory's contents moved into a trash directory beside it, to make room.
    DataDir(DataDir),
    /// A trash directory of ours removed for good. Nothing takes this back.
    Discard { path: PathBuf },
    /// A base backup by the engine's own tool, in a process group of its own.
    Backup(Backup),
    /// Schema and rows of the source, by statements into the server that runs here.
    Load(Load),
    /// What the server process itself is told.
    Server(Verb),
    /// A router's state for one backend.
    Route(RouteChange),
    /// A kernel setting, live and over a restart.
    Sysctl(Sysctl),
    /// The server's settings for an import, after a trial; before the load. Undo sets them back.
    ImportSettings(Import),
    /// The same set back; after the load.
    ImportOver(Import),
}

/// SQL that the engine composed from checked names. Each statement is safe to repeat; so is each undo.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Statement {
    /// What an operator reads: `create role flytt_shop_repl`.
    pub about: String,
    pub run: Vec<String>,
    /// Run in this order when taken back; tried again for a few seconds where the server says "in use".
    pub undo: Vec<String>,
}

/// The file's managed block of this name, framed by marker lines at the head of the file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Block {
    pub path: PathBuf,
    /// `flytt <migration> <purpose>`
    pub name: String,
    /// What stands between the markers; `None` = the block is absent.
    pub want: Option<String>,
    /// What undo brings back.
    pub had: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct File {
    pub path: PathBuf,
    /// `None` = the file is absent.
    pub want: Option<String>,
    pub had: Option<String>,
    pub mode: u32,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DataDir {
    pub path: PathBuf,
    /// Where the former contents go; on the same file system.
    pub trash: PathBuf,
}

/// A whole server copied into an empty directory: by `pg_basebackup`, or through a pipe from `mariadb-backup`, which needs neither
/// the server's address nor a password.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Backup {
    pub into: PathBuf,
    /// Directory of the tunnel's socket, or host name of the server.
    pub host: String,
    pub port: u16,
    pub role: String,
    pub slot: String,
    /// The password file is named here, never read by us.
    pub passfile: PathBuf,
    pub tls: bool,
    /// bytes a second; 0 = no limit
    pub max_rate: u64,
    pub fast_checkpoint: bool,
    /// The system identifier that the copy must carry.
    pub system: String,
    pub expected_bytes: u64,
    /// Where a pipe begins.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub origin: Option<Origin>,
}

/// A logical copy. What of it is there is on record beside it, so that a second try goes on where the first one was left.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Load {
    pub origin: Option<Origin>,
    /// bytes a second; 0 = no limit
    pub max_rate: u64,
}

/// What a server is told. Only `Start` and the stops have an undo: each other's opposite where the server ran before.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verb {
    /// Started and accepting connections from us; undo stops it.
    Start,
    /// Fast shutdown; undo starts it when `was_running`.
    Stop {
        was_running: bool,
    },
    /// Ended at once, without a checkpoint (PostgreSQL: SIGQUIT).
    Kill,
    Checkpoint,
    /// Every session but our own ends; transactions in flight may finish within `drain_ms`. Done when a login of each kind
    /// of account is refused and no session, and no login under way, is left.
    EndSessions {
        drain_ms: u64,
    },
    /// Standby becomes primary.
    Promote,
    /// The agent's own accounts, which no lock of ours touches; undo drops them. MariaDB, MySQL.
    OwnAccounts,
    DropAccounts,
    /// No account but the agent's and this move's may log in any more, and no event starts. Undo brings back what was: whether
    /// events ran, whether the server was read-only. MariaDB, MySQL.
    Close {
        events: bool,
        read_only: bool,
    },
    /// The opposite. A server that is down does not do it, so that a lock can never be forgotten in its tables.
    Reopen {
        events: bool,
        read_only: bool,
    },
    /// Replicates from this address on as the move's own account; undo forgets the source. MariaDB,
    /// MySQL.
    Replicate {
        host: String,
        port: u16,
    },
    Detach,
    /// More appliers for a replica that is to catch up, each setting with what was there before; undo puts that back where ours still
    /// stands. MariaDB, MySQL.
    RaiseAppliers {
        settings: Vec<Raised>,
    },
    /// The opposite, once it follows nobody.
    LowerAppliers {
        settings: Vec<Raised>,
    },
    /// The account that the source follows as, on the way back, by its password's verifier; undo drops it. MariaDB,
    /// MySQL.
    Welcome {
        verifier: String,
    },
    Unwelcome,
    /// Follows the target from this address on, beside whatever the server does; undo forgets it. MariaDB,
    /// MySQL.
    FollowBack {
        host: String,
        port: u16,
    },
    DetachBack,
    /// What the target has written is applied from now on. MariaDB, MySQL.
    Return,
    /// Without events, and read-only from whatever start comes next; undo brings back what was. MySQL.
    Shut(Shut),
    Unshut(Shut),
    /// The log is kept for the old source from here on, bounded by the guard; undo gives that up. PostgreSQL: a slot, which a
    /// standby may have, too.
    KeepLog,
    ReleaseLog,
    /// Started as a follower of what is reached at this host (or socket directory) and port; where what it wrote last is not the new
    /// primary's, that is rewound first, and it is left stopped: its configuration is another's then. PostgreSQL.
    Rejoin {
        host: String,
        port: u16,
    },
}

/// What a server was before it was shut.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shut {
    /// They ran.
    pub events: bool,
    pub super_read_only: bool,
    /// What it had persisted of the settings concerned: name and value.
    pub persisted: Vec<(String, String)>,
}

/// A global setting of a replica's appliers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Raised {
    pub name: String,
    pub had: String,
    pub want: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RouteChange {
    pub backend: String,
    pub source: String,
    pub target: String,
    pub to: RouteState,
    pub was: RouteState,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RouteState {
    /// New connections go to the source.
    Source,
    /// New connections wait; existing ones are left alone.
    Held,
    /// The target is in place, connections still wait.
    Staged,
    /// New connections go to the target; sessions to the source are shut.
    Target,
}

impl fmt::Display for RouteState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            RouteState::Source => "to the source",
            RouteState::Held => "held",
            RouteState::Staged => "staged to the target, held",
            RouteState::Target => "to the target",
        })
    }
}

/// What plan, progress and log show.
impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Change::Statement(statement) => f.write_str(&statement.about),
            Change::Block(Block { path, name, want: Some(_), .. }) => write!(f, "write block `{name}` into {}", path.display()),
            Change::Block(Block { path, name, want: None, .. }) => write!(f, "remove block `{name}` from {}", path.display()),
            Change::File(File { path, want: Some(_), .. }) => write!(f, "write {}", path.display()),
            Change::File(File { path, want: None, .. }) => write!(f, "remove {}", path.display()),
            Change::DataDir(DataDir { path, trash }) => {
                write!(f, "move the contents of {} into {}", path.display(), trash.display())
            }
            Change::Discard { path } => write!(f, "remove {} for good", path.display()),
            Change::Backup(backup) => write!(f, "copy the source's cluster into {}", backup.into.display()),
            Change::Load(_) => f.write_str("copy the source's schema and rows into the server"),
            Change::Server(verb) => match verb {
                Verb::Start => f.write_str("start the server"),
                Verb::Stop { .. } => f.write_str("stop the server"),
                Verb::Kill => f.write_str("end the server at once"),
                Verb::Checkpoint => f.write_str("checkpoint"),
                Verb::EndSessions { drain_ms } => write!(f, "end all sessions (transactions may finish for {drain_ms} ms)"),
                Verb::Promote => f.write_str("promote the standby"),
                Verb::OwnAccounts => f.write_str("create the agent's own accounts"),
                Verb::DropAccounts => f.write_str("drop the agent's own accounts"),
                Verb::Close { .. } => f.write_str("lock all other accounts"),
                Verb::Reopen { read_only: true, .. } => f.write_str("unlock the accounts, still read-only"),
                Verb::Reopen { read_only: false, .. } => f.write_str("unlock the accounts, writable"),
                Verb::Replicate { host, port } => write!(f, "replicate from {host}:{port}"),
                Verb::Detach => f.write_str("forget the source"),
                Verb::RaiseAppliers { settings } => {
                    let each: Vec<String> =
                        settings.iter().map(|it| format!("{} {} (was {})", it.name, it.want, it.had)).collect();
                    write!(f, "for the catch-up: {}", each.join(", "))
                }
                Verb::LowerAppliers { settings } => {
                    let each: Vec<String> = settings.iter().map(|it| format!("{} {}", it.name, it.had)).collect();
                    write!(f, "caught up, so again: {}", each.join(", "))
                }
                Verb::Welcome { .. } => f.write_str("create the account of the way back"),
                Verb::Unwelcome => f.write_str("drop the account of the way back"),
                Verb::FollowBack { host, port } => write!(f, "follow the target at {host}:{port}, too"),
                Verb::DetachBack => f.write_str("no longer follow the target"),
                Verb::Return => f.write_str("apply what the target writes"),
                Verb::Shut(_) => f.write_str("keep the server read-only over a restart, and its events asleep"),
                Verb::Unshut(_) => f.write_str("let the server start as it did before"),
                Verb::KeepLog => f.write_str("keep the log for the way back (a slot)"),
                Verb::Rejoin { .. } => f.write_str("start the server as a standby, rewound where it must be"),
                Verb::ReleaseLog => f.write_str("keep no log for the way back any more"),
            },
            Change::Route(route) => write!(f, "route backend {} {}", route.backend, route.to),
            Change::Sysctl(sysctl) => sysctl.fmt(f),
            Change::ImportSettings(import) => import.fmt(f),
            Change::ImportOver(_) => f.write_str("set back what was set for the import"),
        }
    }
}
