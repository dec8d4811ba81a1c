//! One statement for the target, and the session settings under which the server must read it. Runs nothing.

use std::fmt;

use serde::{Deserialize, Serialize};

/// What a server keeps with an object besides its text, and takes from the session that creates it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Context {
    /// The current database; none is chosen where this is empty.
    pub database: String,
    pub sql_mode: String,
    /// `character_set_client`, in which the text reaches the server; empty: utf8mb4.
    pub character_set: String,
    /// `collation_connection`; empty: the server's choice for utf8mb4.
    pub collation: String,
    /// The default collation that the database had when the object was made; empty: what it has.
    pub database_collation: String,
    /// `time_zone`; empty: UTC.
    pub time_zone: String,
}

/// Safe to print: its text, which may hold a verifier, is not shown.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Statement {
    /// What an operator reads: ``create view `shop`.`open` ``.
    pub about: String,
    pub sql: String,
    #[serde(default)]
    pub context: Context,
}

impl fmt::Debug for Statement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Statement").field("about", &self.about).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_is_never_shown() {
        let sql = "create user x identified by 'hunter2'".to_owned();
        let statement = Statement { about: "create account x".into(), sql, context: Context::default() };
        assert!(!format!("{statement:?}").contains("hunter2"));
    }
}
