//! Proof that nobody but us can log in: it is tried, as each kind of account, through each kind of door.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::{MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use flytt_proto::failure::Failure;
use tokio::{net::lookup_host, task::JoinSet};

use super::{
    Postgres,
    login::{Answer, Attempt, Door},
    session::Session,
};

/// A login with this name must be refused, too; it need not exist, because the access rules are asked first.
const NOBODY: &str = "flytt_nobody";

impl Postgres {
    /// The attempts that must fail while the server is fenced or gated.
    pub(super) async fn attempts(&self, session: &Session) -> Result<Vec<Attempt>, Failure> {
        let ordinary = session
            .value(
                "select rolname from pg_roles where rolcanlogin and not rolsuper and rolname !~ '^flytt_' \
                 and rolname <> current_user order by oid desc limit 1",
            )
            .await?;
        let ordinary = if ordinary.is_empty() { NOBODY.to_owned() } else { ordinary };
        let database = session
            .value("select datname from pg_database where datallowconn and not datistemplate order by datname = 'postgres', oid limit 1")
            .await?;

        let mut doors = vec![Door::Socket(self.socket_path())];
        let listening = session.value("select setting from pg_settings where name = 'listen_addresses'").await?;
        for host in listening.split(',').map(str::trim).filter(|host| !host.is_empty()) {
            for address in resolve(host, self.config.port).await {
                doors.push(Door::Address(address));
            }
        }
        let mut attempts = Vec::new();
        for door in doors {
            for (role, replication) in [(&self.config.role, false), (&ordinary, false), (&self.config.role, true)] {
                attempts.push(Attempt { door: door.clone(), role: role.clone(), database: database.clone(), replication });
            }
        }
        Ok(attempts)
    }

    /// Tries until all are rejected; the server takes a moment to read its rules again.
    pub(super) async fn prove_closed(&self, session: &Session, attempts: &[Attempt], limit: Duration) -> Result<(), Failure> {
        let begun = Instant::now();
        let before = reading(session).await?;
        let mut open: Vec<Attempt> = attempts.to_vec();
        loop {
            let (mut still, mut why) = (Vec::new(), String::new());
            for (attempt, answer) in all_at_once(open).await {
                if !matches!(answer, Answer::Rejected | Answer::Absent) {
                    why = format!("role {} through {:?}: {answer:?}", attempt.role, attempt.door);
                    still.push(attempt);
                }
            }
            if still.is_empty() {
                return self.note_closed(session, before).await;
            }
            if begun.elapsed() > limit {
                return Err(Failure::unknown(
                    "NOT_CLOSED",
                    format!("a login is not refused although the access rules say so ({why})"),
                    "look at pg_hba.conf and at the server's log: a file with a mistake in it is not taken",
                ));
            }
            open = still;
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }

    /// One try of each kind; none where the server has not read its rules again since all were rejected, because in the
    /// window they would cost as much as a promotion. A server that is down lets nobody in.
    pub(super) async fn closed_now(&self) -> Result<bool, Failure> {
        if self.postmaster().is_none() {
            return Ok(true);
        }
        let session = self.session().await?;
        let before = reading(&session).await?;
        if self.closed_since().as_ref() == Some(&before) {
            return Ok(true);
        }
        for (_, answer) in all_at_once(self.attempts(&session).await?).await {
            match answer {
                Answer::Rejected | Answer::Absent => {}
                Answer::Heard => return Ok(false),
                Answer::Unclear(why) => {
                    let sentence = format!("it cannot be told whether a login is refused: {why}");
                    return Err(Failure::refused("UNCLEAR", sentence, "try again in a moment"));
                }
            }
        }
        self.note_closed(&session, before).await?;
        Ok(true)
    }

    /// Rules that were read again while logins were tried may have been others at the first try than at the last.
    async fn note_closed(&self, session: &Session, before: String) -> Result<(), Failure> {
        let same = reading(session).await? == before;
        *self.closed_since() = same.then_some(before);
        Ok(())
    }

    pub(super) fn closed_since(&self) -> MutexGuard<'_, Option<String>> {
        self.closed_since.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Names the reading of the access rules that counts now. The postmaster tells its sessions of a SIGHUP before it reads
/// `pg_hba.conf` itself (`SIGHUP_handler`, from 16 on `process_pm_reload_request`), so ours never learns of it too late.
async fn reading(session: &Session) -> Result<String, Failure> {
    session.value("select pg_backend_pid() || ' ' || pg_postmaster_start_time() || ' ' || pg_conf_load_time()").await
}

/// Each login costs the server a process: in the window they do not wait for each other.
async fn all_at_once(attempts: Vec<Attempt>) -> Vec<(Attempt, Answer)> {
    let mut tried = JoinSet::new();
    for attempt in attempts {
        tried.spawn(async move {
            let answer = attempt.answer().await;
            (attempt, answer)
        });
    }
    tried.join_all().await
}

/// A wildcard is tried by its loopback address.
async fn resolve(host: &str, port: u16) -> Vec<SocketAddr> {
    match host {
        "*" => [IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)].map(|ip| (ip, port).into()).to_vec(),
        "0.0.0.0" => vec![(Ipv4Addr::LOCALHOST, port).into()],
        "::" => vec![(Ipv6Addr::LOCALHOST, port).into()],
        name => lookup_host((name, port)).await.map(Iterator::collect).unwrap_or_default(),
    }
}
