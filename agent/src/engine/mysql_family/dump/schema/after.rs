//! What the target needs after the rows: indexes, foreign keys, then everything that might act on rows. Runs nothing.

use std::collections::BTreeSet;

use super::{Account, AccountName, Object, Schema, Statement, Table, Vendor, before::in_database, event, table};
use crate::engine::mysql_family::{
    dump::schema::text::{Kind, tokens},
    quote::identifier,
};

/// The parts follow one another; within `indexes`, the tables do not depend on each other.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct After {
    /// Of each table that needs any, in order: the place in `Schema::tables`, and its statements.
    pub indexes: Vec<(usize, Vec<Statement>)>,
    pub foreign_keys: Vec<Statement>,
    /// Accounts, routines, views, triggers, events (asleep), privileges.
    pub objects: Vec<Statement>,
}

/// What `have`, the target as it is, lacks. Accounts of `keep` are not replaced: the agent logs in by them; they get the roles they
/// have on the source. The account that read `have` is one of them.
pub fn after(wanted: &Schema, have: &Schema, keep: &[AccountName]) -> After {
    let mut after = After::default();
    for (at, table) in wanted.tables.iter().enumerate() {
        let there = have.tables.iter().find(|there| there.place() == table.place());
        let indexes = indexes(table, there);
        if !indexes.is_empty() {
            after.indexes.push((at, indexes));
        }
        after.foreign_keys.extend(alter(table, "foreign keys", &missing(&table.foreign_keys, there.map(|t| &t.foreign_keys))));
    }
    let is_kept = |account: &&Account| account.name == have.reader || keep.contains(&account.name);
    for account in wanted.accounts.iter().filter(|account| !is_kept(account) && !account.create.sql.is_empty()) {
        if wanted.vendor == Vendor::Mysql {
            let sql = format!("drop user if exists {}", account.name.quoted());
            after.objects.push(Statement { sql, ..account.create.clone() });
        }
        after.objects.push(account.create.clone());
    }
    for (wanted, have) in [(&wanted.routines, &have.routines), (&wanted.views, &have.views), (&wanted.triggers, &have.triggers)] {
        after.objects.extend(wanted.iter().filter(|object| !is_there(object, have)).map(|object| create(object, &object.create)));
    }
    for event in wanted.events.iter().filter(|event| !is_there(event, &have.events)) {
        // Read so that it is never `None`.
        let asleep = event::asleep(&event.create, wanted.vendor).unwrap_or_default();
        after.objects.push(create(event, &asleep));
    }
    for account in &wanted.accounts {
        let wanted = account.grants.iter().filter(|grant| !is_kept(&account) || gives_role(&grant.sql));
        after.objects.extend(wanted.cloned());
    }
    after.objects.extend(unwanted_roles(wanted, have));
    after
}

fn indexes(table: &Table, there: Option<&Table>) -> Vec<Statement> {
    let (alone, together): (Vec<_>, Vec<_>) =
        missing(&table.indexes, there.map(|there| &there.indexes)).into_iter().partition(|index| table::is_fulltext(index));
    let mut statements: Vec<_> = alter(table, "indexes", &together).into_iter().collect();
    statements.extend(alone.into_iter().filter_map(|index| alter(table, "full-text index", &[index])));
    let about = format!("histograms of table {}", identifier(&table.name));
    statements.extend(table.histograms.iter().map(|histogram| {
        let (name, column, buckets) = (identifier(&table.name), identifier(&histogram.column), &histogram.buckets);
        let automatic = if histogram.is_automatic { " auto update" } else { "" };
        let sql = format!("analyze table {name} update histogram on {column} with {buckets} buckets{automatic}");
        in_database(&table.database, about.clone(), sql)
    }));
    statements
}

/// Those of another name than any that is there.
fn missing<'a>(wanted: &'a [String], there: Option<&Vec<String>>) -> Vec<&'a String> {
    let there: BTreeSet<_> = there.into_iter().flatten().map(|definition| table::name_of(definition)).collect();
    wanted.iter().filter(|definition| !there.contains(&table::name_of(definition))).collect()
}

fn alter(table: &Table, what: &str, definitions: &[&String]) -> Option<Statement> {
    let added: Vec<String> = definitions.iter().map(|definition| format!("add {definition}")).collect();
    let about = format!("{what} of table {}.{}", identifier(&table.database), identifier(&table.name));
    let sql = format!("alter table {} {}", identifier(&table.name), added.join(", "));
    (!added.is_empty()).then(|| in_database(&table.database, about, sql))
}

fn is_there(object: &Object, have: &[Object]) -> bool {
    have.iter().any(|there| (&there.kind, &there.database, &there.name) == (&object.kind, &object.database, &object.name))
}

fn create(object: &Object, sql: &str) -> Statement {
    let about = format!("create {} {}.{}", object.kind, identifier(&object.database), identifier(&object.name));
    Statement { about, sql: sql.to_owned(), context: object.context.clone() }
}

fn gives_role(grant: &str) -> bool {
    tokens(grant).is_some_and(|tokens| {
        tokens.first().is_some_and(|first| first.is(grant, "grant")) && tokens.get(1).is_some_and(|role| role.kind == Kind::Name)
    })
}

/// MariaDB gives whoever makes a role the right to grant it.
fn unwanted_roles(wanted: &Schema, have: &Schema) -> Vec<Statement> {
    let by = wanted.accounts.iter().find(|account| account.name == have.reader);
    let roles = wanted.accounts.iter().filter(|account| account.is_role && !account.name.is_public());
    let revoke = |role: &Account| {
        let (role, reader) = (role.name.quoted(), have.reader.quoted());
        let is_wanted = |grant: &Statement| grant.sql.starts_with(&format!("GRANT {role} TO "));
        let sql = format!("revoke {role} from {reader}");
        let about = format!("role {role} is not the agent's");
        (!by.is_some_and(|by| by.grants.iter().any(is_wanted))).then(|| Statement {
            about,
            sql,
            context: super::Context::default(),
        })
    };
    roles.filter_map(revoke).collect()
}
