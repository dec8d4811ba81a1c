//! Who the agent is on its server, and the warm connection that it asks through.
//!
//! First it is the account that the server knows by its operating-system user. Once a move is under way it is an account of its
//! own with a password that only this agent holds: that one passes the fence, and other jobs of the same user do not.

use std::sync::Arc;

use flytt_proto::{failure::Failure, name::Migration};

use super::{Mysql, names};
use crate::{
    engine::{
        Engine as _,
        mysql_family::{
            failure,
            quote::{account, literal},
            session::{Login, Session},
        },
    },
    secret,
};

/// Of every session of ours. What a statement may carry is not logged; `sql_mode` decides how quoting works.
const SETUP: &[&str] =
    &["set session sql_mode = '', lock_wait_timeout = 5, innodb_lock_wait_timeout = 5, max_execution_time = 30000, \
     wait_timeout = 31536000, sql_log_off = 1, sql_safe_updates = 0, sql_select_limit = default, \
     transaction_isolation = 'READ-COMMITTED', transaction_read_only = 0, autocommit = 1"];
/// What is done to this server alone: nothing of it goes to a replica.
const UNLOGGED: &str = "set session sql_log_bin = 0";

impl Mysql {
    /// The warm session, or a new one when it is gone.
    pub(super) async fn session(&self) -> Result<Arc<Session>, Failure> {
        let mut warm = self.warm.lock().await;
        if let Some(session) = warm.as_ref()
            && session.is_open().await
        {
            return Ok(Arc::clone(session));
        }
        *warm = None;
        let session = Arc::new(self.connect().await?);
        *warm = Some(Arc::clone(&session));
        Ok(session)
    }

    /// A session of its own, for what takes long.
    pub(super) async fn connect(&self) -> Result<Session, Failure> {
        let path = secret::passfile(&self.state, names::OWN_PASSWORD);
        if let Ok(password) = secret::password(&path, names::AGENT) {
            match self.login(names::AGENT, Some(&password)).open().await {
                Ok(session) => return Ok(session),
                // Before a move, or on a copy that brought somebody else's account along.
                Err(error) if failure::is_denied(&error) => {}
                Err(error) => return Err(failure::login(names::AGENT, &error)),
            }
        }
        let account = &self.config.account;
        self.login(account, None).open().await.map_err(|error| failure::login(account, &error))
    }

    /// A session whose statements are not replicated.
    pub(super) async fn unlogged(&self) -> Result<Session, Failure> {
        let session = self.connect().await?;
        session.run(UNLOGGED).await?;
        Ok(session)
    }

    pub(super) fn login<'a>(&'a self, account: &'a str, password: Option<&'a secret::Secret>) -> Login<'a> {
        Login { socket: &self.config.socket, account, password, setup: SETUP }
    }

    /// A server that takes no writes takes these: `super_read_only` is off for as long as they run, `read_only` stays on.
    pub(super) async fn run_unlogged(&self, statements: &[String]) -> Result<(), Failure> {
        let session = self.unlogged().await?;
        self.while_writable(run_all(&session, statements)).await
    }

    /// The same for anything that the agent does to this server alone.
    pub(super) async fn while_writable<T>(&self, work: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
        let session = self.unlogged().await?;
        let was_shut = session.is_true("select @@global.super_read_only").await?;
        if was_shut {
            session.run("set global super_read_only = off").await?;
        }
        let done = work.await;
        if was_shut {
            session.run("set global super_read_only = on").await?;
        }
        done
    }

    /// Makes the agent's account and the probe's, with this agent's password.
    pub(super) async fn make_own_accounts(&self) -> Result<(), Failure> {
        let path = secret::passfile(&self.state, names::OWN_PASSWORD);
        let verifier = secret::keep_sha2(&path, names::AGENT).map_err(|error| super::file(&path, &error))?;
        let (agent, probe) = (account(names::AGENT, "localhost"), account(names::PROBE, "localhost"));
        let mut statements = created(names::AGENT, "localhost", &verifier).to_vec();
        statements.push(format!("grant all on *.* to {agent} with grant option"));
        statements.extend(created(names::PROBE, "localhost", &verifier));
        statements.push(format!("revoke if exists all, grant option from {probe}"));
        self.run_unlogged(&statements).await?;
        // From here on the warm session is the agent's own.
        *self.warm.lock().await = None;
        Ok(())
    }

    pub(super) async fn drop_own_accounts(&self, migration: &Migration) -> Result<(), Failure> {
        // Sessions outlive their account.
        self.end_pouring(migration).await;
        let mut drops = vec![format!("drop database if exists {}", names::database(migration))];
        for (user, host) in [
            (names::replication(migration).as_str(), names::LOOPBACK),
            (names::replication(migration).as_str(), "%"),
            (names::clone(migration).as_str(), names::LOOPBACK),
            (names::back(migration).as_str(), names::LOOPBACK),
            (names::PROBE, "localhost"),
            (names::AGENT, "localhost"),
        ] {
            drops.push(format!("drop user if exists {}", account(user, host)));
        }
        self.run_unlogged(&drops).await?;
        *self.warm.lock().await = None;
        // Last: until the accounts are gone it is the way in.
        let path = secret::passfile(&self.state, names::OWN_PASSWORD);
        secret::forget(&path).map_err(|error| super::file(&path, &error))
    }
}

async fn run_all(session: &Session, statements: &[String]) -> Result<(), Failure> {
    for statement in statements {
        session.run(statement).await?;
    }
    Ok(())
}

/// An account of ours with this password, whether it was there or not.
pub(super) fn created(user: &str, host: &str, verifier: &str) -> [String; 2] {
    let account = account(user, host);
    let by = format!("identified with caching_sha2_password as {}", literal(verifier));
    [
        format!("create user if not exists {account} {by}"),
        format!("alter user {account} {by} password expire never account unlock"),
    ]
}
