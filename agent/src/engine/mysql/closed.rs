//! Locks every account but ours, and proves it.
//!
//! `super_read_only` alone is no fence. XA COMMIT of a prepared transaction passes it, and so does FLUSH PRIVILEGES, which is
//! written to the binary log as a transaction of its own (both tried on 9.7). So nobody gets in at all: each account is locked,
//! with a mark in its attributes that says whose lock it is. What was locked before is not marked, and stays locked.
//!
//! By ALTER USER and not in the table: FLUSH PRIVILEGES empties the cache of `caching_sha2_password`, and without that cache a
//! client with neither TLS nor the server's public key is refused (tried), also after a fence that was taken back.

use flytt_proto::{failure::Failure, name::Migration};

use super::{Mysql, names};
use crate::{
    change::Shut,
    engine::mysql_family::{
        failure, process,
        quote::{account, identifier, literal},
        session::Session,
        sessions,
    },
    secret,
};

/// The mark's name among an account's attributes.
const MARK: &str = "flytt_locked_by";
/// Accounts of one statement.
const AT_ONCE: usize = 200;
/// What a restart must not forget. Of all sources of a setting this one is read last, after the command line (tried).
const SHUT: &str = "set persist_only super_read_only = on, persist_only read_only = on, persist_only event_scheduler = off";
const NOT_SHUT: [&str; 3] =
    ["reset persist if exists super_read_only", "reset persist if exists read_only", "reset persist if exists event_scheduler"];

impl Mysql {
    pub(super) async fn close(&self, migration: &Migration) -> Result<(), Failure> {
        let session = self.session().await?;
        if session.account != names::AGENT {
            return Err(not_admitted(&session.account));
        }
        self.shut(&session).await?;
        // On the leg back it is what is followed.
        if !migration.is_back() {
            self.pause_back(&session, migration).await?;
        }
        let mark = format!(r#"account lock attribute '{{"{MARK}": "{migration}"}}'"#);
        let statements = altered(accounts(&session, &unlocked(migration)).await?, &mark);
        if !statements.is_empty() {
            self.run_unlogged(&statements).await?;
        }
        Ok(())
    }

    /// Without events from now on; without writes, too, from the next start on.
    pub(super) async fn shut(&self, session: &Session) -> Result<(), Failure> {
        session.run(SHUT).await?;
        // DISABLED cannot be changed, and need not be.
        if session.is_true("select @@global.event_scheduler = 'ON'").await? {
            session.run("set global event_scheduler = off").await?;
        }
        Ok(())
    }

    /// The next start is as the server's own option files say.
    pub(super) async fn not_shut(&self, session: &Session) -> Result<(), Failure> {
        for statement in NOT_SHUT {
            session.run(statement).await?;
        }
        Ok(())
    }

    /// As it was before; a server that does not run could not be told, and is started.
    pub(super) async fn unshut(&self, was: &Shut) -> Result<(), Failure> {
        self.start().await?;
        let session = self.session().await?;
        self.not_shut(&session).await?;
        for (name, value) in &was.persisted {
            // Names and values that the server itself has said; each is a word.
            session.run(&format!("set persist_only {} = {}", identifier(name), literal(value))).await?;
        }
        let word = |on: bool| if on { "on" } else { "off" };
        session.run(&format!("set global read_only = on, global super_read_only = {}", word(was.super_read_only))).await?;
        if was.events && session.is_true("select @@global.event_scheduler = 'OFF'").await? {
            session.run("set global event_scheduler = on").await?;
        }
        Ok(())
    }

    pub(super) async fn reopen(&self, migration: &Migration, events: bool, read_only: bool) -> Result<(), Failure> {
        let session = self.unlogged().await?;
        if !read_only {
            session.run("set global super_read_only = off, global read_only = off").await?;
        }
        let mark = format!(r#"account unlock attribute '{{"{MARK}": null}}'"#);
        let mut marked = accounts(&session, &locked(migration)).await?;
        // Home again: what it was fenced with on the leg there.
        if migration.is_back() && !read_only {
            marked.extend(accounts(&session, &locked(&migration.there())).await?);
        }
        let mut statements = altered(marked, &mark);
        if !statements.is_empty() {
            // The server leaves an empty object where there was nothing before.
            statements.push(
                "update mysql.user set User_attributes = null where User_attributes = cast('{\"metadata\": {}}' as json)".into(),
            );
            self.run_unlogged(&statements).await?;
        }
        if events && session.is_true("select @@global.event_scheduler = 'OFF'").await? {
            session.run("set global event_scheduler = on").await?;
        }
        if read_only {
            return Ok(());
        }
        // The source serves again, which is what counts; the next look before a window finds the way back down.
        if !migration.is_back()
            && let Err(failure) = self.rest_back(&session, migration).await
        {
            tracing::warn!(code = failure.code, "the way back: {failure}");
        }
        // Last, since it needs room on the disk: a server that restarts before comes up closed, and is opened again.
        self.not_shut(&session).await
    }

    /// Whether nobody but us can get in, nobody is in, and the server takes no writes. A server that is down lets nobody in.
    pub(super) async fn closed_now(&self, migration: &Migration) -> Result<bool, Failure> {
        if process::server(&self.config.data_directory).is_none() {
            return Ok(true);
        }
        let session = self.session().await?;
        let settings = session.value("select @@global.read_only = 1 and @@global.event_scheduler <> 'ON'").await?;
        if settings != "1" || session.account != names::AGENT {
            return Ok(false);
        }
        let inside = sessions::inside(&session, &names::ours(migration)).await?;
        if !accounts(&session, &unlocked(migration)).await?.is_empty() || !inside.is_empty() {
            return Ok(false);
        }
        self.is_refused().await
    }

    /// The table says what should hold; a login says what does. Tried as an account with a password, which is right, and as the
    /// one that the socket vouches for.
    pub(super) async fn is_refused(&self) -> Result<bool, Failure> {
        let path = secret::passfile(&self.state, names::OWN_PASSWORD);
        let password = secret::password(&path, names::AGENT).map_err(|error| super::file(&path, &error))?;
        let (probe, configured) = tokio::join!(async { self.login(names::PROBE, Some(&password)).open().await }, async {
            self.login(&self.config.account, None).open().await
        },);
        match (probe, configured) {
            (Ok(_), _) | (_, Ok(_)) => Ok(false),
            (Err(probe), Err(configured)) if failure::is_locked(&probe) && failure::is_denied(&configured) => Ok(true),
            (Err(probe), Err(configured)) => {
                let sentence = format!("it cannot be told whether a login is refused: {probe}; {configured}");
                Err(Failure::refused("UNCLEAR", sentence, "try again in a moment"))
            }
        }
    }
}

fn unlocked(migration: &Migration) -> String {
    let ours = names::ours(migration).map(|name| literal(&name)).join(", ");
    format!(
        "select User, Host from mysql.user where account_locked = 'N' \
         and not (User in ({ours}) and Host in ('localhost', '{}')) order by User, Host",
        names::LOOPBACK
    )
}

fn locked(migration: &Migration) -> String {
    format!(
        "select User, Host from mysql.user where json_unquote(json_extract(User_attributes, '$.metadata.{MARK}')) = {} \
         order by User, Host",
        literal(migration.as_str())
    )
}

async fn accounts(session: &Session, sql: &str) -> Result<Vec<String>, Failure> {
    let named = |row: Vec<Option<String>>| {
        let mut row = row.into_iter().map(Option::unwrap_or_default);
        Some(account(&row.next()?, &row.next()?))
    };
    Ok(session.rows(sql).await?.into_iter().filter_map(named).collect())
}

fn altered(accounts: Vec<String>, how: &str) -> Vec<String> {
    accounts.chunks(AT_ONCE).map(|some| format!("alter user {} {how}", some.join(", "))).collect()
}

pub(super) fn not_admitted(account: &str) -> Failure {
    Failure::refused(
        "AGENT_NOT_ADMITTED",
        format!("the agent is {account} here, not {}: behind a fence it could not get in", names::AGENT),
        "run the step that admits the agent's own account again",
    )
}
