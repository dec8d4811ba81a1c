//! Digests of ranges of tables, computed in the database. Which ranges are compared with which, and when, is another's concern.

pub mod mysql_family;
pub mod postgres;

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
}
