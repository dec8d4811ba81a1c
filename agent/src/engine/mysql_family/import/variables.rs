//! Reads global settings with their origins, and sets one where it still has the value that is expected. SET GLOBAL alone: nothing
//! of it outlives the server's process, but for MySQL's redo log, which is switched by a statement of its own.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use flytt_proto::failure::Failure;

use super::{super::quote::literal, Session, Setting, Vendor};

/// Not a variable: what `ALTER INSTANCE` switches, and a status variable shows (MySQL manual, "Disabling Redo Logging").
pub(super) const REDO_LOG: &str = "innodb_redo_log";

/// A resize goes on in the background; it is waited for so long. One that is asked for while another is under way may come to
/// nothing, so it is asked for again.
const SETTLES: Duration = Duration::from_secs(180);
const ASK_AGAIN: Duration = Duration::from_secs(5);

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Reading {
    pub(super) value: String,
    pub(super) origin: String,
    /// Its value came by SET, and will not survive the server.
    pub(super) is_set: bool,
}

/// Those of `names` that this server has.
pub(super) async fn read(session: &Session, vendor: Vendor, names: &[&str]) -> Result<BTreeMap<String, Reading>, Failure> {
    let list = names.iter().map(|name| literal(name)).collect::<Vec<_>>().join(", ");
    let sql = match vendor {
        Vendor::Mariadb => format!(
            "select lower(VARIABLE_NAME), GLOBAL_VALUE, GLOBAL_VALUE_ORIGIN, GLOBAL_VALUE_PATH \
             from information_schema.SYSTEM_VARIABLES where VARIABLE_NAME in ({list})"
        ),
        Vendor::Mysql => format!(
            "select lower(v.VARIABLE_NAME), v.VARIABLE_VALUE, i.VARIABLE_SOURCE, i.VARIABLE_PATH \
             from performance_schema.global_variables v join performance_schema.variables_info i using (VARIABLE_NAME) \
             where v.VARIABLE_NAME in ({list}) \
             union all select '{REDO_LOG}', VARIABLE_VALUE, if(VARIABLE_VALUE = 'ON', 'COMPILED', 'DYNAMIC'), '' \
             from performance_schema.global_status where VARIABLE_NAME = 'Innodb_redo_log_enabled' and '{REDO_LOG}' in ({list})"
        ),
    };
    let reading = |row: Vec<Option<String>>| {
        let mut row = row.into_iter().map(Option::unwrap_or_default);
        let (name, value, source, path) = (row.next()?, row.next()?, row.next()?, row.next()?);
        let is_set = matches!(source.to_lowercase().as_str(), "sql" | "dynamic");
        Some((name, Reading { value, origin: origin(&source, &path), is_set }))
    };
    Ok(session.rows(&sql).await?.into_iter().filter_map(reading).collect())
}

/// In words (MariaDB manual, "Information Schema SYSTEM_VARIABLES Table"; MySQL manual, "The variables_info Table").
fn origin(source: &str, path: &str) -> String {
    match source.to_lowercase().replace('_', "-").as_str() {
        "compile-time" | "compiled" => "compiled default".into(),
        "auto" => "chosen by the server".into(),
        "config" | "global" | "server" | "explicit" | "extra" | "user" | "login" => format!("option file {path}"),
        "command-line" => "command line".into(),
        "persisted" => "SET PERSIST".into(),
        "sql" | "dynamic" => "by SET".into(),
        other => other.to_owned(),
    }
}

/// Changes it where it is `from`, and reads it back. The inner error is the server's word on why it stays; what it made of the
/// value instead is put back.
pub(super) async fn change(
    session: &Session,
    vendor: Vendor,
    setting: &Setting,
    from: &str,
    to: &str,
) -> Result<Result<(), String>, Failure> {
    let now = read(session, vendor, &[&setting.name]).await?.remove(&setting.name).map(|reading| reading.value);
    match now {
        Some(now) if now == to => return Ok(Ok(())),
        Some(now) if now != from => return Ok(Err(format!("it is {now} by now, which somebody else has set"))),
        None => return Ok(Err("this server has no such setting".into())),
        Some(_) => {}
    }
    match session.run(&statement(&setting.name, from, to)).await {
        Ok(()) => {}
        Err(failure) if is_refusal(&failure) => return Ok(Err(failure.sentence)),
        Err(failure) => return Err(failure),
    }
    let begun = Instant::now();
    let mut asked = begun;
    loop {
        let now = read(session, vendor, &[&setting.name]).await?.remove(&setting.name).map(|reading| reading.value);
        match now {
            Some(now) if now == to => return Ok(Ok(())),
            now if begun.elapsed() < SETTLES && is_resized(&setting.name) && now.as_deref() == Some(from) => {
                tokio::time::sleep(Duration::from_millis(100)).await;
                if asked.elapsed() >= ASK_AGAIN {
                    // Refused while the other is under way: then the next one.
                    let _ = session.run(&statement(&setting.name, from, to)).await;
                    asked = Instant::now();
                }
            }
            now => {
                let now = now.unwrap_or_default();
                // It was `from` a moment ago: the server has rounded or bounded what it was given.
                if now != from {
                    session.run(&statement(&setting.name, &now, from)).await?;
                }
                return Ok(Err(format!("the server makes {now:?} of it")));
            }
        }
    }
}

/// Sizes that the server changes in the background.
fn is_resized(name: &str) -> bool {
    name == "innodb_buffer_pool_size"
}

fn is_refusal(failure: &Failure) -> bool {
    matches!(failure.code.as_str(), "NOT_ALLOWED" | "SQL_REFUSED" | "IN_USE")
}

/// A number is compared by the statement itself, so that what somebody set a moment ago is not overwritten.
fn statement(name: &str, from: &str, to: &str) -> String {
    match (name, to.parse::<u64>(), from.parse::<u64>()) {
        (REDO_LOG, ..) => format!("alter instance {} innodb redo_log", if to == "ON" { "enable" } else { "disable" }),
        // MySQL reckons in decimals where numbers with and without sign meet, and takes none for a setting (error 1232).
        (_, Ok(to), Ok(from)) => {
            format!("set global {name} = cast(if(@@global.{name} = {from}, {to}, @@global.{name}) as unsigned)")
        }
        _ => format!("set global {name} = {}", literal(to)),
    }
}

/// What an administrator types to have it back.
pub(super) fn by_hand(setting: &Setting) -> String {
    match (setting.name.as_str(), setting.had.parse::<u64>()) {
        (REDO_LOG, _) => "ALTER INSTANCE ENABLE INNODB REDO_LOG".into(),
        (name, Ok(had)) => format!("SET GLOBAL {name} = {had}"),
        (name, Err(_)) => format!("SET GLOBAL {name} = {}", literal(&setting.had)),
    }
}
