//! Reads everything but the rows from a server, through one session. Changes nothing; what it does not understand is an error.

use std::collections::BTreeMap;

use flytt_proto::failure::Failure;

use super::{AccountName, Context, Database, Object, Schema, Vendor};
use crate::engine::mysql_family::{
    quote::{identifier, literal},
    session::Session,
};

mod accounts;
mod columns;
mod programs;
mod refuse;
mod tables;
mod views;

/// What belongs to the move on this server, and is not the application's.
#[derive(Clone, Debug, Default)]
pub struct Ours {
    pub databases: Vec<String>,
    pub accounts: Vec<AccountName>,
}

/// Every server has its own of these.
const SYSTEM: [&str; 4] = ["information_schema", "mysql", "performance_schema", "sys"];

/// Under these settings texts are shown as they are read here, and nothing is made that is not asked for.
const SETUP: &str = "set session sql_mode = '', sql_quote_show_create = 1, character_set_results = utf8mb4, time_zone = '+00:00'";

/// All of it. The session has no current database: the server would leave its name out of what it shows.
///
/// # Errors
/// `SCHEMA_NOT_UNDERSTOOD`, `SCHEMA_NOT_COPIED`: something here cannot be carried over. Or as any statement.
pub async fn read(session: &Session, ours: &Ours) -> Result<Schema, Failure> {
    if !session.value("select database()").await?.is_empty() {
        return Err(odd("this session", "it has a current database"));
    }
    session.run(SETUP).await?;
    let is_mariadb = session.value("select version()").await?.contains("MariaDB");
    let mut schema = Schema {
        vendor: if is_mariadb { Vendor::Mariadb } else { Vendor::Mysql },
        reader: reader(session).await?,
        ..Schema::default()
    };
    if schema.vendor == Vendor::Mysql {
        // A hash is bytes, not text.
        session.run("set session print_identified_with_as_hex = 1, information_schema_stats_expiry = 0").await?;
    }
    schema.databases = databases(session, ours).await?;
    refuse::what_stays_behind(session, schema.vendor).await?;
    for database in &schema.databases {
        let found = tables::of(session, &database.name).await?;
        schema.tables.extend(found.tables);
        schema.sequences.extend(found.sequences);
        schema.views.extend(found.views);
        schema.routines.extend(programs::routines(session, database).await?);
        schema.triggers.extend(programs::triggers(session, database).await?);
        schema.events.extend(programs::events(session, database).await?);
    }
    schema.views = views::in_order(schema.views);
    schema.accounts = accounts::all(session, schema.vendor, ours).await?;
    Ok(schema)
}

/// Who this session is.
pub(super) async fn reader(session: &Session) -> Result<AccountName, Failure> {
    let current = session.value("select current_user()").await?;
    let (user, host) = current.rsplit_once('@').unwrap_or((&current, ""));
    Ok(AccountName { user: user.to_owned(), host: host.to_owned() })
}

async fn databases(session: &Session, ours: &Ours) -> Result<Vec<Database>, Failure> {
    let rows = session.rows("select SCHEMA_NAME, DEFAULT_COLLATION_NAME from information_schema.SCHEMATA").await?;
    let mut databases = Vec::new();
    for mut row in rows {
        let (name, collation) = (text(&mut row, 0), text(&mut row, 1));
        if SYSTEM.contains(&name.to_lowercase().as_str()) || ours.databases.contains(&name) {
            continue;
        }
        let mut shown = shown(session, "database", &identifier(&name)).await?;
        let create = take(&mut shown, "create database", &name)?;
        databases.push(Database { name, create, collation });
    }
    databases.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(databases)
}

/// The only row of `SHOW CREATE …`.
async fn shown(session: &Session, kind: &str, name: &str) -> Result<BTreeMap<String, String>, Failure> {
    let row = session.named(&format!("show create {kind} {name}")).await?;
    row.ok_or_else(|| odd(&format!("{kind} {name}"), "the server does not show it"))
}

/// One column of it, whole.
fn take(shown: &mut BTreeMap<String, String>, column: &str, name: &str) -> Result<String, Failure> {
    let text = shown.remove(column).unwrap_or_default();
    if text.is_empty() {
        return Err(odd(name, &format!("the server shows no {column:?}; the agent's account may lack a privilege")));
    }
    // The replacement character: what stood here is no valid text of the character set it claims to be in.
    if text.contains('\u{fffd}') {
        return Err(odd(name, "its text is not valid in its own character set"));
    }
    Ok(text)
}

/// What the server keeps with a view, routine, trigger or event.
fn context(shown: &BTreeMap<String, String>, database: &str) -> Context {
    let of = |column: &str| shown.get(column).cloned().unwrap_or_default();
    Context {
        database: database.to_owned(),
        sql_mode: of("sql_mode"),
        character_set: of("character_set_client"),
        collation: of("collation_connection"),
        database_collation: of("database collation"),
        time_zone: of("time_zone"),
    }
}

fn object(kind: &str, database: &str, name: &str, create: String, context: Context) -> Object {
    let (kind, database, name) = (kind.to_owned(), database.to_owned(), name.to_owned());
    Object { kind, database, name, create, context }
}

/// `TABLE_SCHEMA = 'x'` and the like; the server compares without regard to case and accents, so each row is looked at again.
fn within(column: &str, database: &str) -> String {
    format!("{column} = {}", literal(database))
}

fn text(row: &mut [Option<String>], at: usize) -> String {
    row.get_mut(at).and_then(Option::take).unwrap_or_default()
}

fn qualified(database: &str, name: &str) -> String {
    format!("{}.{}", identifier(database), identifier(name))
}

pub(super) fn odd(what: &str, why: &str) -> Failure {
    Failure::refused(
        "SCHEMA_NOT_UNDERSTOOD",
        format!("{what} cannot be copied safely: {why}"),
        "repair or remove it, or seed by a physical copy instead",
    )
}
