//! Routines, triggers and events of one database, each with the session settings that the server keeps with it.

use std::collections::BTreeMap;

use flytt_proto::failure::Failure;

use super::{context, object, odd, qualified, shown, take, text, within};
use crate::engine::mysql_family::{
    dump::schema::{Database, Object, event},
    session::Session,
};

const KINDS: [&str; 4] = ["function", "procedure", "package", "package body"];

pub(super) async fn routines(session: &Session, database: &Database) -> Result<Vec<Object>, Failure> {
    let sql = format!(
        "select ROUTINE_SCHEMA, ROUTINE_NAME, ROUTINE_TYPE, ROUTINE_COMMENT from information_schema.ROUTINES where {} order by 2, 3",
        within("routine_schema", &database.name)
    );
    let mut found = Vec::new();
    for mut row in session.rows(&sql).await? {
        let (schema, name, kind, comment) = (text(&mut row, 0), text(&mut row, 1), text(&mut row, 2), text(&mut row, 3));
        if schema != database.name {
            continue;
        }
        let (kind, about) = (kind.to_lowercase(), qualified(&schema, &name));
        if !KINDS.contains(&kind.as_str()) {
            return Err(odd(&about, &format!("it is a {kind}")));
        }
        let mut shown = shown(session, &kind, &about).await?;
        found.push(program(database, &kind, &name, &format!("create {kind}"), &comment, &mut shown)?);
    }
    // A package before its body.
    found.sort_by_key(|routine| routine.kind == "package body");
    Ok(found)
}

pub(super) async fn triggers(session: &Session, database: &Database) -> Result<Vec<Object>, Failure> {
    let sql = format!(
        "select TRIGGER_SCHEMA, TRIGGER_NAME from information_schema.TRIGGERS where {} \
         order by EVENT_OBJECT_TABLE, ACTION_TIMING, EVENT_MANIPULATION, ACTION_ORDER",
        within("trigger_schema", &database.name)
    );
    let mut found: Vec<Object> = Vec::new();
    for mut row in session.rows(&sql).await? {
        let (schema, name) = (text(&mut row, 0), text(&mut row, 1));
        if schema == database.name && !found.iter().any(|trigger| trigger.name == name) {
            let mut shown = shown(session, "trigger", &qualified(&schema, &name)).await?;
            found.push(program(database, "trigger", &name, "sql original statement", "", &mut shown)?);
        }
    }
    Ok(found)
}

pub(super) async fn events(session: &Session, database: &Database) -> Result<Vec<Object>, Failure> {
    let sql = format!(
        "select EVENT_SCHEMA, EVENT_NAME, EVENT_COMMENT from information_schema.EVENTS where {} order by 2",
        within("event_schema", &database.name)
    );
    let mut found = Vec::new();
    for mut row in session.rows(&sql).await? {
        let (schema, name, comment) = (text(&mut row, 0), text(&mut row, 1), text(&mut row, 2));
        if schema != database.name {
            continue;
        }
        let about = qualified(&schema, &name);
        let mut shown = shown(session, "event", &about).await?;
        let event = program(database, "event", &name, "create event", &comment, &mut shown)?;
        if event::asleep(&event.create, super::Vendor::default()).is_none() {
            return Err(odd(&format!("event {about}"), "its schedule is not where it is expected"));
        }
        found.push(event);
    }
    Ok(found)
}

fn program(
    database: &Database,
    kind: &str,
    name: &str,
    column: &str,
    comment: &str,
    shown: &mut BTreeMap<String, String>,
) -> Result<Object, Failure> {
    let about = format!("{kind} {}", qualified(&database.name, name));
    let mut create = take(shown, column, &about)?;
    let mut context = context(shown, &database.name);
    if context.sql_mode.to_lowercase().contains("no_backslash_escapes") {
        create = with_plain_comment(&create, comment).ok_or_else(|| odd(&about, "its comment is not where it is expected"))?;
    }
    if context.database_collation == database.collation {
        context.database_collation.clear();
    }
    Ok(object(kind, &database.name, name, create, context))
}

/// Both servers show a comment with backslashes that escape even where the object's own mode takes a backslash for itself (tried on
/// MariaDB 10.11 and MySQL 9.7).
fn with_plain_comment(create: &str, comment: &str) -> Option<String> {
    let escaped: String = comment
        .chars()
        .map(|c| match c {
            '\\' => "\\\\".to_owned(),
            '\'' => "''".to_owned(),
            '\0' => "\\0".to_owned(),
            '\n' => "\\n".to_owned(),
            '\r' => "\\r".to_owned(),
            '\u{1a}' => "\\Z".to_owned(),
            c => c.to_string(),
        })
        .collect();
    let plain = comment.replace('\'', "''");
    if escaped == plain {
        return Some(create.to_owned());
    }
    let (before, after) = create.split_once(&format!("COMMENT '{escaped}'"))?;
    Some(format!("{before}COMMENT '{plain}'{after}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_comment_says_what_it_said() {
        let shown = "CREATE FUNCTION \"f\"() RETURNS int\n    COMMENT 'it''s \\\\n\\n'\nreturn 'COMMENT \\'";
        let plain = "CREATE FUNCTION \"f\"() RETURNS int\n    COMMENT 'it''s \\n\n'\nreturn 'COMMENT \\'";
        assert_eq!(with_plain_comment(shown, "it's \\n\n").as_deref(), Some(plain));
        assert_eq!(with_plain_comment(shown, "it's").as_deref(), Some(shown), "nothing in it is escaped");
        assert_eq!(with_plain_comment(shown, "other\\"), None);
    }
}
