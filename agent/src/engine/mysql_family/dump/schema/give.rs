//! Gives statements to a server, each under the settings it must be read under. What they are, others decide.

use flytt_proto::failure::Failure;

use super::{Context, Statement, Vendor, before::setup};
use crate::engine::mysql_family::{
    quote::{identifier, literal},
    session::Session,
};

/// In this order, up to the first that fails. The session is for this alone: its settings are not put back.
///
/// # Errors
/// As the server refuses a statement; the sentence names what it was to make, never its text.
pub async fn give(session: &Session, vendor: Vendor, statements: &[Statement]) -> Result<(), Failure> {
    session.run(setup(vendor)).await?;
    let mut now = None;
    for statement in statements {
        let done = one(session, statement, &mut now).await;
        done.map_err(|failure| Failure { sentence: format!("{}: {}", statement.about, failure.sentence), ..failure })?;
    }
    Ok(())
}

/// `now`: the settings that the session has, if they are those of a statement.
async fn one<'a>(session: &Session, statement: &'a Statement, now: &mut Option<&'a Context>) -> Result<(), Failure> {
    let context = &statement.context;
    if is_plain(context) && now.is_some_and(|now| now == context) {
        return session.run(&statement.sql).await;
    }
    *now = None;
    // Texts go to the server in its own character set; what follows here is written for the plain settings.
    session.run("set names utf8mb4").await?;
    session.run("set session sql_mode = ''").await?;
    let bytes = encoded(session, &statement.sql, &context.character_set).await?;
    let database = identifier(&context.database);
    let mut collation = None;
    if !context.database.is_empty() {
        session.run(&format!("use {database}")).await?;
        if !context.database_collation.is_empty() {
            collation = Some(session.value("select @@collation_database").await?);
            session.run(&format!("alter database {database} collate {}", context.database_collation)).await?;
        }
    }
    session.run(&settings(context)).await?;
    let done = session.run_bytes(bytes).await;
    if !is_plain(context) {
        session.run("set names utf8mb4").await?;
    }
    if let Some(collation) = collation {
        session.run(&format!("alter database {database} collate {collation}")).await?;
    }
    *now = Some(context);
    done
}

/// Whether statements of this kind can follow one another as they are.
fn is_plain(context: &Context) -> bool {
    context.character_set.is_empty() && context.database_collation.is_empty()
}

/// In ASCII, and the client's character set last.
fn settings(context: &Context) -> String {
    let or = |value: &str, usual: &str| literal(if value.is_empty() { usual } else { value });
    let mut settings =
        format!("set session time_zone = {}, sql_mode = {}", or(&context.time_zone, "+00:00"), literal(&context.sql_mode));
    if !context.collation.is_empty() {
        settings += &format!(", collation_connection = {}", literal(&context.collation));
    }
    if !context.character_set.is_empty() {
        settings += &format!(", character_set_client = {}", literal(&context.character_set));
    }
    settings
}

/// The text as the server is to read it: it takes a statement for text of the client's character set, and keeps the name of that.
async fn encoded(session: &Session, sql: &str, character_set: &str) -> Result<Vec<u8>, Failure> {
    if sql.is_ascii() || ["", "utf8mb4", "utf8mb3", "utf8", "binary"].contains(&character_set) {
        return Ok(sql.as_bytes().to_vec());
    }
    let text = literal(sql);
    let there = format!("convert({text} using {character_set})");
    let hex = session.value(&format!("select if(convert({there} using utf8mb4) = binary {text}, hex({there}), '')")).await?;
    let bytes = data_encoding::HEXUPPER.decode(hex.as_bytes()).unwrap_or_default();
    if bytes.is_empty() {
        return Err(super::read::odd("its text", &format!("it cannot be written in {character_set}")));
    }
    Ok(bytes)
}
