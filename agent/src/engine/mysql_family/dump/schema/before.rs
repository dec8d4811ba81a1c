//! What the target needs before the rows: databases, sequences, bare tables. Runs nothing.

use super::{Context, Schema, Sequence, Statement, Table, Vendor};
use crate::engine::mysql_family::quote::identifier;

/// Zero is a value like any other, and an engine that is not there is an error.
const TABLES: &str = "NO_AUTO_VALUE_ON_ZERO,NO_ENGINE_SUBSTITUTION";

/// In this order. `have` is what the target holds already (of an earlier try): that is left as it is.
pub fn before(wanted: &Schema, have: &Schema) -> Vec<Statement> {
    let mut statements = Vec::new();
    for database in &wanted.databases {
        let name = identifier(&database.name);
        let about = format!("create database {name}");
        let create = database.create.replacen("CREATE DATABASE ", "create database if not exists ", 1);
        statements.push(in_database("", about, create));
        let about = format!("collation of database {name}");
        statements.push(in_database("", about, format!("alter database {name} collate {}", database.collation)));
    }
    for sequence in &wanted.sequences {
        let (name, next, round) = (identifier(&sequence.name), &sequence.next, &sequence.round);
        if !have.sequences.iter().any(|there| same((&there.database, &there.name), sequence.name())) {
            statements.push(in_database(&sequence.database, format!("create sequence {name}"), sequence.create.clone()));
        }
        // Also of one that is there: an earlier try may have ended in between. It only goes forward.
        let state = format!("do setval({name}, {next}, 0, {round})");
        statements.push(in_database(&sequence.database, format!("state of sequence {name}"), state));
    }
    let tables = |table: &&Table| !have.tables.iter().any(|there| same((&there.database, &there.name), table.place()));
    for table in wanted.tables.iter().filter(tables) {
        let about = format!("create table {}.{}", identifier(&table.database), identifier(&table.name));
        statements.push(in_database(&table.database, about, table.create.clone()));
    }
    statements
}

fn same(one: (&String, &String), other: (&String, &String)) -> bool {
    one == other
}

pub(super) fn in_database(database: &str, about: String, sql: String) -> Statement {
    Statement { about, sql, context: Context { database: database.to_owned(), sql_mode: TABLES.into(), ..Context::default() } }
}

impl Table {
    pub(super) fn place(&self) -> (&String, &String) {
        (&self.database, &self.name)
    }
}

impl Sequence {
    fn name(&self) -> (&String, &String) {
        (&self.database, &self.name)
    }
}

/// Of a session that writes the dump: nothing of it is replicated, nothing is made that the source does not have, and a table is
/// what its text says.
pub(super) fn setup(vendor: Vendor) -> &'static str {
    match vendor {
        Vendor::Mariadb => {
            "set session sql_log_bin = 0, foreign_key_checks = 0, unique_checks = 1, check_constraint_checks = 1, \
             explicit_defaults_for_timestamp = 1, innodb_strict_mode = 0, system_versioning_alter_history = keep, \
             max_statement_time = 0, sql_safe_updates = 0"
        }
        Vendor::Mysql => {
            "set session sql_log_bin = 0, foreign_key_checks = 0, unique_checks = 1, explicit_defaults_for_timestamp = 1, \
             innodb_strict_mode = 0, sql_generate_invisible_primary_key = 0, sql_require_primary_key = 0, \
             restrict_fk_on_non_standard_key = 0, max_execution_time = 0, sql_safe_updates = 0, innodb_ddl_buffer_size = 67108864"
        }
    }
}
