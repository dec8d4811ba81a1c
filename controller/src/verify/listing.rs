//! What there is to compare, and how: asked of both servers before the first digest, and again after the last.

use std::collections::{BTreeMap, BTreeSet};

use flytt_proto::{failure::Failure, v1};

use super::{
    Pair, Side, Sides as _,
    pass::Only,
    report::{Outcome, Table},
};

/// How two servers are compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Manner {
    pub(super) form: v1::Form,
    /// For rows that are too large for the other.
    pub(super) by_column: Option<v1::Form>,
    pub(super) same_pages: bool,
}

/// What there is to compare, by name.
#[derive(Clone, Debug, Default)]
pub(super) struct Listing {
    pub(super) tables: Vec<v1::Table>,
    /// What needs no digest to be known.
    pub(super) known: Vec<Table>,
}

/// Those of both sides, and sentences on the others.
pub(super) struct Databases {
    pub(super) common: Vec<String>,
    pub(super) left_out: Vec<String>,
}

/// The best form of a digest that both servers compute alike.
pub(super) async fn agree(pair: &Pair, seed: u64) -> Result<(Manner, Databases), Failure> {
    let (source, target) = tokio::try_join!(
        pair.observer.verify_survey(&pair.source, v1::VerifyRequest { seed }),
        pair.observer.verify_survey(&pair.target, v1::VerifyRequest { seed }),
    )?;
    if source.engine != target.engine {
        let sentence = format!("{} serves {}, {} serves {}", pair.source, source.engine, pair.target, target.engine);
        return Err(Failure::refused("OTHER_ENGINE", sentence, "compare two servers of one engine"));
    }
    let form = |scheme: v1::form::Scheme| v1::Form { scheme: scheme.into(), seed };
    let alike = |trial: &&v1::verify_reply::Trial| {
        let same_kind = trial.scheme() != v1::form::Scheme::Record || source.kind == target.kind;
        same_kind && target.trials.contains(trial)
    };
    let schemes: Vec<v1::form::Scheme> = source.trials.iter().filter(alike).map(|trial| trial.scheme()).collect();
    let Some(best) = schemes.first() else {
        return Err(Failure::refused(
            "DIGEST_BLIND",
            format!("{} and {} compute different digests of the same rows", pair.source, pair.target),
            "do not rely on a comparison of these two; report this with both servers' versions",
        ));
    };
    let by_column = schemes.iter().find(|scheme| **scheme == v1::form::Scheme::ByColumn && *scheme != best).map(|it| form(*it));
    let manner = Manner { form: form(*best), by_column, same_pages: source.has_pages && target.has_pages && pair.one_system };
    let (mut common, mut left_out) = (Vec::new(), Vec::new());
    for database in &source.databases {
        if target.databases.contains(database) {
            common.push(database.clone());
        } else {
            left_out.push(format!("database {database} is not on {}, so nothing in it was compared", pair.target));
        }
    }
    let extra = target.databases.iter().filter(|database| !source.databases.contains(database));
    left_out.extend(extra.map(|database| format!("database {database} is on {} alone", pair.target)));
    if source.engine == "postgres" {
        // A session in one keeps CREATE DATABASE from using it.
        left_out.push("databases that are templates for others".to_owned());
    }
    Ok((manner, Databases { common, left_out }))
}

/// The tables of both sides: the source's, then the target's once it has applied what the source has, then the source's again, so
/// that what is made or dropped meanwhile is not taken for a difference.
pub(super) async fn list(pair: &Pair, databases: &[String], only: &Only) -> Result<Listing, Failure> {
    let mut listing = Listing::default();
    for database in databases {
        let ask = |side| {
            let request = v1::TablesRequest { database: database.clone(), migration: pair.of() };
            async move { pair.again(|| pair.observer.tables(pair.host(side), request.clone())).await }
        };
        let before = by_name(ask(Side::Source).await?);
        pair.settle().await?;
        let target = by_name(ask(Side::Target).await?);
        let after = by_name(ask(Side::Source).await?);
        let found = matched(&before, &target, &after);
        listing.tables.extend(found.tables);
        listing.known.extend(found.known);
    }
    let wanted = |table: &v1::Table| only.tables.is_empty() || only.tables.iter().any(|name| is_named(table, name));
    listing.tables.retain(wanted);
    listing.known.retain(|table| wanted(&table.table()));
    Ok(listing)
}

/// A table that was asked for and is on neither side.
pub(super) fn unknown(listing: &Listing, pair: &Pair, only: &Only) -> Option<Failure> {
    let is_there = |name: &&String| {
        let known = listing.known.iter().any(|table| is_named(&table.table(), name));
        known || listing.tables.iter().any(|table| is_named(table, name))
    };
    let name = only.tables.iter().find(|name| !is_there(name))?;
    let sentence = format!("there is no table {name} on {} or {}", pair.source, pair.target);
    let remedy = "name it as schema.table, as the server does; `--table` may be given several times";
    Some(Failure::refused("NO_SUCH_TABLE", sentence, remedy))
}

fn is_named(table: &v1::Table, name: &str) -> bool {
    name == format!("{}.{}", table.schema, table.name) || name == format!("{}.{}.{}", table.database, table.schema, table.name)
}

type ByName = BTreeMap<(String, String), v1::Table>;

fn by_name(tables: Vec<v1::Table>) -> ByName {
    tables.into_iter().map(|table| ((table.schema.clone(), table.name.clone()), table)).collect()
}

fn matched(before: &ByName, target: &ByName, after: &ByName) -> Listing {
    let mut listing = Listing::default();
    let known = |table: &v1::Table, outcome| Table::new(table, outcome);
    for (name, table) in after {
        let Some(other) = target.get(name) else {
            if before.contains_key(name) {
                listing.known.push(known(table, Outcome::Missing));
            }
            continue;
        };
        let reason = if table.left_out.is_empty() { &other.left_out } else { &table.left_out };
        if !reason.is_empty() {
            listing.known.push(known(table, Outcome::LeftOut { reason: reason.clone() }));
        } else if table.columns != other.columns && before.get(name).is_some_and(|was| was.columns == table.columns) {
            listing.known.push(known(table, Outcome::Columns { differing: unlike(&table.columns, &other.columns) }));
        } else {
            let mut table = table.clone();
            if table.key != other.key {
                table.key.clear();
            }
            listing.tables.push(table);
        }
    }
    let extra = target.iter().filter(|(name, _)| !after.contains_key(*name) && !before.contains_key(*name));
    listing.known.extend(extra.map(|(_, table)| known(table, Outcome::Extra)));
    listing
}

/// What stands on one side alone, or in another place.
fn unlike(source: &[String], target: &[String]) -> Vec<String> {
    let alone = |of: &[String], other: &[String], what: &str| -> Vec<String> {
        of.iter().filter(|column| !other.contains(column)).map(|column| format!("{column} {what}")).collect()
    };
    let mut all = alone(source, target, "is not on the target");
    all.extend(alone(target, source, "is not on the source"));
    if all.is_empty() { vec!["they stand in another order".to_owned()] } else { all }
}

/// (what is new, the names of what is gone)
pub(super) fn since(before: &Listing, after: &Listing) -> (Listing, BTreeSet<String>) {
    let name = |table: &v1::Table| Table::new(table, Outcome::Missing).name();
    let names = |listing: &Listing| -> BTreeSet<String> {
        listing.tables.iter().map(name).chain(listing.known.iter().map(Table::name)).collect()
    };
    let (then, now) = (names(before), names(after));
    let mut new = after.clone();
    new.tables.retain(|table| !then.contains(&name(table)));
    new.known.retain(|table| !then.contains(&table.name()));
    (new, then.difference(&now).cloned().collect())
}
