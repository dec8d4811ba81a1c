//! Ends every session but our own, so that after it no acknowledged write can come. Who is ours, and what is locked before and
//! read-only after it, is each engine's.
//!
//! A login that is under way when the accounts are locked has read its account already and gets in afterwards (tried). The list
//! of threads shows it from its first packet on, so it is ended like any other.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

use flytt_proto::failure::Failure;

use super::{quote::literal, session::Session};

/// After the drain, how long sessions may take to go: a killed transaction is rolled back first.
const END_LIMIT: Duration = Duration::from_secs(5);
/// A thread that cannot be looked at is looked at so often again.
const BUSY_LOOKS: u32 = 20;
const PAUSE: Duration = Duration::from_millis(2);

/// One thread that can write on behalf of somebody else.
#[derive(Debug)]
pub(crate) struct Writer {
    id: String,
    user: String,
    command: String,
}

impl Writer {
    fn is_logging_in(&self) -> bool {
        self.user == "unauthenticated user" || self.command == "Connect"
    }
}

/// Ends all sessions but those of the `spared` accounts; transactions in flight may finish within `drain`. `kill` is how the
/// server ends one. Every other account is locked by now.
pub(crate) async fn end(session: &Session, spared: &[String], kill: &str, drain: Duration) -> Result<(), Failure> {
    let began = Instant::now();
    let mut in_flight: Option<BTreeMap<String, String>> = None;
    // Whoever is not in this list reads its account from now on, and finds it locked: those who come later, over and over,
    // are no reason to wait.
    let old: BTreeSet<String> = threads(session, spared).await?.into_iter().map(|writer| writer.id).collect();
    loop {
        let mut writers = threads(session, spared).await?;
        writers.retain(|writer| old.contains(&writer.id) || !writer.is_logging_in());
        if writers.is_empty() {
            return Ok(());
        }
        if began.elapsed() > drain + END_LIMIT {
            return Err(remaining(&writers));
        }
        // Only what was in flight at the first look may finish: a busy session is hardly ever seen between two of its
        // transactions, and would use up the whole drain.
        let is_over = began.elapsed() >= drain;
        let now = if is_over { BTreeMap::new() } else { transactions(session).await? };
        let first = in_flight.get_or_insert_with(|| now.clone());
        let may_finish = |writer: &Writer| now.get(&writer.id).is_some_and(|begun| first.get(&writer.id) == Some(begun));
        for writer in writers.iter().filter(|writer| is_over || !may_finish(writer)) {
            // It may have gone in between.
            let _ = session.run(&format!("{kill} {}", writer.id)).await;
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// A prepared transaction belongs to no session: whoever commits it later goes past the fence.
pub(crate) async fn none_prepared(session: &Session) -> Result<(), Failure> {
    match session.rows("xa recover").await?.len() {
        0 => Ok(()),
        count => Err(Failure::refused(
            "PREPARED_TRANSACTIONS",
            format!("{count} prepared transactions (XA) wait for their second phase"),
            "commit or roll them back, then cut over again: behind a fence nobody could",
        )),
    }
}

/// Who is in, but for the `spared`.
pub(crate) async fn inside(session: &Session, spared: &[String]) -> Result<Vec<Writer>, Failure> {
    Ok(threads(session, spared).await?.into_iter().filter(|writer| !writer.is_logging_in()).collect())
}

/// `Err` names those who are in all the same.
pub(crate) async fn nobody_inside(session: &Session, spared: &[String]) -> Result<(), Failure> {
    let mut looks = 0;
    loop {
        let late = inside(session, spared).await?;
        if late.is_empty() {
            return Ok(());
        }
        // What MariaDB says of a thread that holds its own lock just then, as one does that is ending.
        if looks == BUSY_LOOKS || late.iter().any(|writer| writer.command != "Busy") {
            return Err(remaining(&late));
        }
        looks += 1;
        tokio::time::sleep(PAUSE).await;
    }
}

fn others(spared: &[String]) -> String {
    let spared: Vec<String> = spared.iter().map(|name| literal(name)).collect();
    format!(
        "select ID, USER, COMMAND from information_schema.PROCESSLIST \
         where USER not in ({}, 'system user', 'event_scheduler')",
        spared.join(", ")
    )
}

/// The same with those who are on their way in. A replica's own appliers are `system user`; an event that runs is its
/// definer's.
async fn threads(session: &Session, spared: &[String]) -> Result<Vec<Writer>, Failure> {
    let writer = |row: Vec<Option<String>>| {
        let mut row = row.into_iter().map(Option::unwrap_or_default);
        Some(Writer { id: row.next()?, user: row.next()?, command: row.next()? })
    };
    Ok(session.rows(&others(spared)).await?.into_iter().filter_map(writer).collect())
}

/// The transactions under way, by thread. Not from `information_schema.INNODB_TRX`: that shows an old picture for as long as it
/// is looked at more often than every 100 ms (`trx_i_s_cache_t`, `CACHE_MIN_IDLE_TIME_NS`).
async fn transactions(session: &Session) -> Result<BTreeMap<String, String>, Failure> {
    let status = session.named("show engine innodb status").await?.unwrap_or_default();
    Ok(under_way(status.get("status").map_or("", String::as_str)))
}

/// `---TRANSACTION <number>, ACTIVE …`, and some lines later `MariaDB thread id <thread>, …` (or `MySQL thread id`).
fn under_way(status: &str) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    for part in status.split("---TRANSACTION ").skip(1) {
        let Some((number, rest)) = part.split_once(", ") else { continue };
        let thread =
            rest.split("thread id ").nth(1).map(|rest| rest.chars().take_while(char::is_ascii_digit).collect::<String>());
        if let (true, Some(thread)) = (rest.starts_with("ACTIVE "), thread) {
            found.insert(thread, number.to_owned());
        }
    }
    found
}

fn remaining(writers: &[Writer]) -> Failure {
    let who: Vec<String> = writers.iter().take(5).map(|w| format!("{} of {} ({})", w.id, w.user, w.command)).collect();
    Failure::unknown(
        "SESSIONS_REMAIN",
        format!("sessions do not end: {}", who.join(", ")),
        "a large transaction is being rolled back, most likely: wait for it, then cut over again",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_active_is_under_way() {
        let status = "LIST OF TRANSACTIONS FOR EACH SESSION:\n\
            ---TRANSACTION (0x7f5d9f1f6b80), not started\n0 lock struct(s), heap size 1128, 0 row lock(s)\n\
            ---TRANSACTION 36, ACTIVE 3 sec\n1 lock struct(s), heap size 1128, 0 row lock(s), undo log entries 1\n\
            MariaDB thread id 9, OS thread handle 139, query id 40 localhost app\n\
            ---TRANSACTION 37, ACTIVE (PREPARED) 0 sec committing\nMariaDB thread id 10, OS thread handle 1, query id 4 x\n\
            --------\nFILE I/O\n";
        let found = under_way(status);
        assert_eq!(found, [("9".to_owned(), "36".to_owned()), ("10".to_owned(), "37".to_owned())].into());
    }
}
