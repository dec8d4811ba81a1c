//! A logical dump's rows: read in one snapshot of the source, piece by piece, and loaded into the target, each piece exactly once.
//! What surrounds the rows is `schema`'s; how a server comes by its snapshot and its position is each engine's.

use flytt_proto::{failure::Failure, name::Migration};
use serde::{Deserialize, Serialize};

use super::schema::{Ours, Schema};
use crate::engine::mysql_family::session::Session;

mod fields;
mod lend;
mod load;
mod piece;
mod progress;
mod pull;
mod read;
mod snapshot;
mod text;

pub use lend::{Lending, Snapshots};
pub use load::Load;
pub use piece::Piece;

/// A server of this host, as the dump needs it.
#[tonic::async_trait]
pub trait Server: std::fmt::Debug + Send + Sync {
    /// A new session, of which nothing goes into the binary log.
    async fn open(&self) -> Result<Session, Failure>;
    /// What of it belongs to the move.
    fn ours(&self, migration: &Migration) -> Ours;
    /// Begins a consistent snapshot in each session, all at one position, and gives that. It never holds up the server for long.
    async fn freeze(&self, sessions: &[Session]) -> Result<String, Failure>;
    /// Replication will begin after this position of the source.
    async fn begin_after(&self, session: &Session, position: &str) -> Result<(), Failure>;
}

/// What is to be copied: the source's answer to a target that begins, or goes on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// Names the snapshot; never the same twice.
    pub snapshot: String,
    /// How long it stands when nobody asks for anything, in milliseconds; 0 = not known.
    #[serde(default)]
    pub lease_ms: u64,
    /// Where replication goes on after it, as the engine writes positions.
    pub position: String,
    /// As many pieces can be read at once.
    pub sessions: u32,
    pub schema: Schema,
    pub pieces: Vec<Piece>,
}

/// The source's answer once its snapshot has ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ended {
    /// Whether the schema is what it was when the snapshot began.
    pub unchanged: bool,
}

fn changed() -> Failure {
    Failure::refused(
        "SCHEMA_CHANGED",
        "a table, or something else of the schema, was altered on the source while its rows were copied",
        "keep schema changes away until the copy is there, then start it again",
    )
}
