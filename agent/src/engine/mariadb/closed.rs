//! Locks every account but ours, and proves it.
//!
//! `read_only` alone is no fence here. Accounts with READ_ONLY ADMIN write through it, and so does anybody who may call a
//! routine whose definer has that privilege (tried on 10.11). So nobody gets in at all: each account is locked in the server's
//! own table, with a mark beside the lock that says whose it is. What was locked before is not marked, and stays locked.

use flytt_proto::{failure::Failure, name::Migration};

use super::{Mariadb, names};
use crate::{
    engine::mysql_family::{failure, process, quote::literal, sessions},
    secret,
};

/// Beside the lock, in `mysql.global_priv`. The server keeps keys that it does not know (tried: ALTER USER, GRANT).
const MARK: &str = "flytt_locked_by";

impl Mariadb {
    pub(super) async fn close(&self, migration: &Migration) -> Result<(), Failure> {
        let session = self.unlogged().await?;
        if session.account != names::AGENT {
            return Err(not_admitted(&session.account));
        }
        session.run(&lock(migration)).await?;
        session.run("flush local privileges").await?;
        // On the leg back it is what is followed.
        if !migration.is_back() {
            self.pause_back(&session, migration).await?;
        }
        // DISABLED cannot be changed, and need not be.
        if session.is_true("select @@global.event_scheduler = 'ON'").await? {
            session.run("set global event_scheduler = off").await?;
        }
        Ok(())
    }

    pub(super) async fn reopen(&self, migration: &Migration, events: bool, read_only: bool) -> Result<(), Failure> {
        self.unlock(migration).await?;
        // Home again: what it was fenced with on the leg there.
        if migration.is_back() && !read_only {
            self.unlock(&migration.there()).await?;
        }
        let session = self.unlogged().await?;
        session.run(&format!("set global read_only = {}", u8::from(read_only))).await?;
        if events && session.is_true("select @@global.event_scheduler = 'OFF'").await? {
            session.run("set global event_scheduler = on").await?;
        }
        // The source serves again, which is what counts; the next look before a window finds the way back down.
        if !migration.is_back()
            && let Err(failure) = self.rest_back(&session, migration).await
        {
            tracing::warn!(code = failure.code, "the way back: {failure}");
        }
        Ok(())
    }

    pub(super) async fn unlock(&self, migration: &Migration) -> Result<(), Failure> {
        self.run_unlogged(&[unlock(migration), "flush local privileges".to_owned()]).await
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
        if session.value(&unlocked(migration)).await? != "0" || !inside.is_empty() {
            return Ok(false);
        }
        self.is_refused().await
    }

    /// The table says what will hold from the next FLUSH on; a login says what holds now. Tried as an account with a password,
    /// which is right, and as the one that the socket vouches for.
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

/// Roles are no accounts: nobody logs in as one.
fn others(migration: &Migration) -> String {
    let ours = names::ours(migration).map(|name| literal(&name)).join(", ");
    format!("json_value(Priv, '$.is_role') is null and not (Host = 'localhost' and User in ({ours}))")
}

const IS_LOCKED: &str = "coalesce(json_value(Priv, '$.account_locked'), '0') in ('1', 'true')";

fn unlocked(migration: &Migration) -> String {
    format!("select count(*) from mysql.global_priv where {} and not {IS_LOCKED}", others(migration))
}

fn lock(migration: &Migration) -> String {
    format!(
        "update mysql.global_priv set Priv = json_set(Priv, '$.account_locked', true, '$.{MARK}', {}) where {} and not {IS_LOCKED}",
        literal(migration.as_str()),
        others(migration)
    )
}

fn unlock(migration: &Migration) -> String {
    format!(
        "update mysql.global_priv set Priv = json_remove(json_set(Priv, '$.account_locked', false), '$.{MARK}') \
         where json_value(Priv, '$.{MARK}') = {}",
        literal(migration.as_str())
    )
}

pub(super) fn not_admitted(account: &str) -> Failure {
    Failure::refused(
        "AGENT_NOT_ADMITTED",
        format!("the agent is {account} here, not {}: behind a fence it could not get in", names::AGENT),
        "run the step that admits the agent's own account again",
    )
}
