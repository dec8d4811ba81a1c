//! Digests of ranges of tables, computed in the database. Which ranges are compared with which, and when, is another's concern.

pub mod mysql_family;
pub mod postgres;
mod reader;

use flytt_proto::failure::Failure;

pub use reader::{Reader, Scheme, Survey};

/// What a range of a table holds: equal on both sides when the rows are, whatever their order.
///
/// Both sums are over one 64-bit hash per row and add up over ranges that do not overlap.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Digest {
    pub rows: u64,
    /// Exact decimal integers, without leading zeros; on PostgreSQL they may be negative. `"0"` for no rows.
    pub sums: [String; 2],
}

/// Half-open, and open at the ends where it says `None`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Range {
    Whole,
    /// Keys above `after` up to and with `up_to`, in the order of the key. The values are the texts that `next_key` gives.
    Keys {
        after: Option<Vec<String>>,
        up_to: Option<Vec<String>>,
    },
    /// Physical pages from `from`, without `before`.
    Pages {
        from: u64,
        before: Option<u64>,
    },
}

impl Range {
    /// What is left of a range of keys behind `key`; all of it where there is none.
    ///
    /// # Errors
    /// `NO_SUCH_RANGE` for a range of pages.
    pub fn after(&self, key: Option<&Vec<String>>) -> Result<Self, Failure> {
        let up_to = match self {
            Self::Whole => None,
            Self::Keys { up_to, .. } => up_to.clone(),
            Self::Pages { .. } => {
                let sentence = "a range of pages has no keys at which it could be cut";
                return Err(Failure::refused("NO_SUCH_RANGE", sentence, "report this"));
            }
        };
        Ok(match (key, self) {
            (Some(key), _) => Self::Keys { after: Some(key.clone()), up_to },
            (None, _) => self.clone(),
        })
    }
}

/// A table, or what holds rows like one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Table {
    pub schema: String,
    pub name: String,
    /// As the server's statistics estimate.
    pub rows: u64,
    /// On disk, without indexes.
    pub bytes: u64,
    /// The columns of a unique key of the table's own order, plainly named; empty when ranges of keys are not possible.
    pub key: Vec<String>,
    /// Name and type of each column that enters a digest, in their order.
    pub columns: Vec<String>,
}

/// Every table of a database, in the order of their names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tables {
    pub compared: Vec<Table>,
    pub left_out: Vec<LeftOut>,
}

/// A table that is not compared.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeftOut {
    pub schema: String,
    pub name: String,
    /// The end of a sentence that begins with the table's name.
    pub reason: String,
}

/// One row, or on MariaDB all that a system-versioned table has under one key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RowHash {
    /// The texts that `next_key` gives; of a PostgreSQL table without a key, the row's place.
    pub key: Vec<String>,
    pub hash: String,
}

/// The columns of a row, by name, as texts; `None` is null.
pub type Image = Vec<(String, Option<String>)>;

/// What is not rows: a definition that is the same on both sides when the thing is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Object {
    pub kind: String,
    pub name: String,
    pub definition: String,
}
