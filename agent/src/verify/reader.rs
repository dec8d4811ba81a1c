//! One session that reads digests, whatever the engine.

use flytt_proto::{failure::Failure, v1};

use super::{Digest, Image, Object, Range, RowHash, Table, Tables};

pub use v1::form::Scheme;

/// How a server would compute digests.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Survey {
    /// Servers of unlike kinds may hash equal rows differently.
    pub kind: String,
    /// The digest of rows that are the same everywhere, by each scheme that sees what it must here, best first.
    pub trials: Vec<(Scheme, Digest)>,
    /// To be read by sessions of their own; one of no name where a session reads all.
    pub databases: Vec<String>,
    /// Ranges of pages are read without reading the rest.
    pub has_pages: bool,
}

/// A prepared session in one database. What it is being asked when it is dropped ends on the server, too.
///
/// Every method can fail as the module of its engine says; none changes anything.
#[tonic::async_trait]
pub trait Reader: Send + Sync {
    /// Tries the digests on this very server: a scheme that is blind to anything is not among those given back.
    async fn survey(&self, seed: u64) -> Result<Survey, Failure>;
    async fn tables(&self) -> Result<Tables, Failure>;
    async fn digest(&self, table: &Table, range: &Range, form: v1::Form) -> Result<Digest, Failure>;
    /// The keys at which a range of keys falls into parts of `rows` rows, `most` of them at most.
    async fn cuts(&self, table: &Table, within: &Range, rows: u64, most: usize) -> Result<Vec<Vec<String>>, Failure>;
    /// How many pages a table has now; 0 where it is not read by pages.
    async fn pages(&self, table: &Table) -> Result<u64, Failure>;
    /// The rows of a range in the order of their keys, no more than one more than `most`.
    async fn rows(&self, table: &Table, range: &Range, form: v1::Form, most: usize) -> Result<Vec<RowHash>, Failure>;
    /// One row as it is; `None`: it is not there.
    async fn image(&self, table: &Table, key: &[String]) -> Result<Option<Image>, Failure>;
    /// What this database holds besides rows; of the whole server where the session's database has no name of its own.
    async fn objects(&self, salt: u64) -> Result<Vec<Object>, Failure>;
}
