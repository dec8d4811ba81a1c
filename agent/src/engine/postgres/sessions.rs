//! Ends every session but our own, and every login under way, so that after it no acknowledged write can come.
//!
//! A backend in the middle of authentication keeps the old access rules and is not in `pg_stat_activity`: it could finish
//! its login after "none left" and write. So whatever child of the postmaster that view does not explain is ended, too.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

use flytt_proto::{failure::Failure, name::Migration};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use super::{Postgres, names, session::Session};

/// How long the server may take to read its rules again.
const RELOAD_LIMIT: Duration = Duration::from_secs(3);
/// After the drain, how long sessions may take to go.
const END_LIMIT: Duration = Duration::from_secs(5);
const PAUSE: Duration = Duration::from_millis(2);

/// What can write on behalf of somebody else. Physical walsenders (no database) and the server's own workers cannot. From
/// version 18 on a login under way is in the view, without a database yet.
const WRITERS: &str = "select pid, backend_type, coalesce(state, 'starting'), \
    case when state = 'disabled' then 'unknown' else coalesce(xact_start::text, '') end \
    from pg_stat_activity where pid <> pg_backend_pid() and backend_type not like 'autovacuum%' \
    and (datid is not null or backend_type = 'client backend' or state = 'starting')";

impl Postgres {
    pub(super) async fn end_sessions(&self, migration: &Migration, drain: Duration) -> Result<(), Failure> {
        // The session that goes on must be the one which the rules still admit.
        let session = self.session().await?;
        if session.role != names::agent_role(migration) {
            return Err(Failure::refused(
                "AGENT_NOT_ADMITTED",
                format!(
                    "the agent is {} here, not {}: behind a fence it could not get in",
                    session.role,
                    names::agent_role(migration)
                ),
                "run the step that admits the agent's own role again",
            ));
        }
        let cluster_name = session.value("select current_setting('cluster_name')").await?;
        let attempts = self.attempts(&session).await?;
        let began = Instant::now();
        self.prove_closed(&session, &attempts, RELOAD_LIMIT).await?;

        let mut in_flight: Option<BTreeMap<i32, String>> = None;
        let mut strangers_before = BTreeSet::new();
        loop {
            // Children first: one that becomes a session in between is then seen as a session.
            let children = self.children(&cluster_name)?;
            let writers = writers(&session).await?;
            let known = session.rows("select pid from pg_stat_activity").await?;
            let known: BTreeSet<i32> = known.iter().flatten().flatten().filter_map(|pid| pid.parse().ok()).collect();
            let strangers: BTreeSet<i32> = children.difference(&known).copied().collect();
            if writers.is_empty() && strangers.is_empty() {
                return Ok(());
            }
            if began.elapsed() > drain + END_LIMIT {
                return Err(remaining(&writers, &strangers));
            }
            // Only what was in flight at the first look may finish: a busy session is hardly ever seen between two of its
            // transactions, and would use up the whole drain.
            let in_flight = in_flight.get_or_insert_with(|| {
                let begun = |writer: &Writer| (writer.pid, writer.transaction.clone());
                writers.iter().filter(|writer| !writer.transaction.is_empty()).map(begun).collect()
            });
            let may_finish = |writer: &&Writer| in_flight.get(&writer.pid) == Some(&writer.transaction);
            let over = began.elapsed() >= drain;
            let end: Vec<String> =
                writers.iter().filter(|writer| over || !may_finish(writer)).map(|writer| writer.pid.to_string()).collect();
            if !end.is_empty() {
                session.run(&format!("select pg_terminate_backend(pid) from unnest(array[{}]) as pid", end.join(","))).await?;
            }
            // Only one seen twice: a worker that the server has just started enters the view a moment later.
            for stranger in strangers.intersection(&strangers_before) {
                let _ = kill(Pid::from_raw(*stranger), Signal::SIGTERM);
            }
            strangers_before = strangers;
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// The postmaster's living children but for its logger and statistics collector, which no view shows.
    fn children(&self, cluster_name: &str) -> Result<BTreeSet<i32>, Failure> {
        let postmaster = self.postmaster().ok_or_else(|| super::failure::gone("it is not running"))?.as_raw();
        let all = procfs::process::all_processes().map_err(|error| {
            Failure::unknown("PROC_UNREADABLE", format!("the processes cannot be read: {error}"), "mount /proc for the agent")
        })?;
        let mut children = BTreeSet::new();
        for process in all.filter_map(Result::ok) {
            let Ok(stat) = process.stat() else { continue };
            if stat.ppid == postmaster && stat.state != 'Z' {
                let title = process.cmdline().unwrap_or_default().join(" ");
                if !is_unlisted_worker(&title, cluster_name) {
                    children.insert(stat.pid);
                }
            }
        }
        Ok(children)
    }
}

/// By the whole process title: `postgres: logger db [local] authentication` is a login of a role with that name.
fn is_unlisted_worker(title: &str, cluster_name: &str) -> bool {
    let title = title.trim();
    let Some(rest) = title.strip_prefix("postgres: ") else { return false };
    let rest = if cluster_name.is_empty() { rest } else { rest.strip_prefix(&format!("{cluster_name}: ")).unwrap_or(rest) };
    matches!(rest.trim(), "logger" | "stats collector")
}

struct Writer {
    pid: i32,
    kind: String,
    state: String,
    /// When it began; empty when there is none, and the same word always where the session hides it.
    transaction: String,
}

async fn writers(session: &Session) -> Result<Vec<Writer>, Failure> {
    let rows = session.rows(WRITERS).await?;
    let writer = |row: Vec<Option<String>>| {
        let mut row = row.into_iter().map(Option::unwrap_or_default);
        let pid = row.next()?.parse().ok()?;
        let (kind, state) = (row.next()?, row.next()?);
        Some(Writer { pid, kind, state, transaction: row.next()? })
    };
    Ok(rows.into_iter().filter_map(writer).collect())
}

fn remaining(writers: &[Writer], strangers: &BTreeSet<i32>) -> Failure {
    let mut who: Vec<String> = writers.iter().take(5).map(|w| format!("{} {} ({})", w.kind, w.pid, w.state)).collect();
    who.extend(strangers.iter().take(5).map(|pid| format!("login {pid}")));
    Failure::unknown(
        "SESSIONS_REMAIN",
        format!("sessions do not end: {}", who.join(", ")),
        "switch off subscriptions and job schedulers beforehand: the server starts their workers again past pg_hba.conf",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_role_called_logger_is_not_taken_for_the_logger() {
        assert!(is_unlisted_worker("postgres: logger ", ""));
        assert!(is_unlisted_worker("postgres: 15/main: logger ", "15/main"));
        assert!(is_unlisted_worker("postgres: stats collector", ""));
        assert!(!is_unlisted_worker("postgres: logger shop [local] authentication", ""));
        assert!(!is_unlisted_worker("postgres: 15/main: logger shop 10.0.0.1(5000) authentication", "15/main"));
        assert!(!is_unlisted_worker("logger", ""));
    }
}
