//! Everything of a server but its rows, as data: read on the source (`read`), given to the target around the rows (`before`,
//! `after`), compared at the end (`differences`). How rows are copied stands elsewhere.
//!
//! Nothing is left out in silence: what is not understood is an error before a byte is copied, and a table that cannot be taken
//! apart safely stays whole.

use serde::{Deserialize, Serialize};

mod after;
mod before;
mod differences;
mod event;
mod give;
mod name;
mod obstacles;
mod read;
mod statement;
mod table;
mod text;

pub use after::{After, after};
pub use before::before;
pub use give::give;
pub use obstacles::obstacles;
pub use read::{Ours, read};
pub use statement::{Context, Statement};

/// All that a server holds besides rows, but for what belongs to the server itself and to the move.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Schema {
    pub vendor: Vendor,
    /// Who read it: an account that is needed on its own server, and is not put into place of another's.
    pub reader: AccountName,
    pub databases: Vec<Database>,
    pub tables: Vec<Table>,
    pub sequences: Vec<Sequence>,
    /// In an order in which each view finds what it stands on.
    pub views: Vec<Object>,
    /// Functions, procedures, packages.
    pub routines: Vec<Object>,
    /// In the order in which they fire.
    pub triggers: Vec<Object>,
    pub events: Vec<Object>,
    pub accounts: Vec<Account>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Vendor {
    #[default]
    Mariadb,
    Mysql,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Database {
    pub name: String,
    /// As the server shows it.
    pub create: String,
    pub collation: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Table {
    pub database: String,
    pub name: String,
    /// `CREATE TABLE` with what the rows need, for its database as the current one; without `indexes` and `foreign_keys`.
    pub create: String,
    /// Clauses for `ALTER TABLE … ADD`, after the rows.
    pub indexes: Vec<String>,
    /// The same, after all indexes of all tables.
    pub foreign_keys: Vec<String>,
    pub columns: Vec<Column>,
    /// The columns of the primary key, or of a unique key in which nothing can be null, each of them whole: row order and ranges.
    pub key: Option<Vec<String>>,
    pub engine: String,
    /// Of a system-versioned table: the columns in which its rows begin and end. They may be invisible and absent from `columns`.
    pub versions: Option<(String, String)>,
    /// As the server guesses.
    pub rows_estimate: u64,
    /// Rows and indexes, as the server guesses.
    pub bytes_estimate: u64,
    /// MySQL's; made anew after the rows.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub histograms: Vec<Histogram>,
}

/// What MySQL knows of how a column's values are spread.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Histogram {
    pub column: String,
    pub buckets: String,
    /// Renewed with the table's other statistics (MySQL 8.4).
    pub is_automatic: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Column {
    pub name: String,
    /// `decimal(65,30)`, `enum('a,b','c')`: as in `information_schema.COLUMNS.COLUMN_TYPE`.
    pub kind: String,
    /// `decimal`, `enum`: the same without its arguments, in lower case.
    pub data_type: String,
    /// Of texts alone.
    pub character_set: Option<String>,
    pub collation: Option<String>,
    pub is_nullable: bool,
    /// Computed by the server from other columns, stored or not: no value can be given.
    pub is_generated: bool,
    /// Not in `SELECT *`, nor in an INSERT without a list of columns.
    pub is_invisible: bool,
}

/// MariaDB's object of the same name, and where it stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sequence {
    pub database: String,
    pub name: String,
    pub create: String,
    /// The next value that no cache of the server holds yet, and how many rounds it has made.
    pub next: String,
    pub round: String,
}

/// A view, routine, trigger or event.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Object {
    /// `view`, `function`, `procedure`, `package`, `package body`, `trigger`, `event`
    pub kind: String,
    pub database: String,
    pub name: String,
    pub create: String,
    pub context: Context,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct AccountName {
    pub user: String,
    /// Empty for a role of MariaDB.
    pub host: String,
}

/// An account or a role. Its statements hold what its password is checked against; `Debug` does not show them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Account {
    pub name: AccountName,
    pub is_role: bool,
    pub create: Statement,
    /// Privileges, roles, default roles: once every account and every object is there.
    pub grants: Vec<Statement>,
}
