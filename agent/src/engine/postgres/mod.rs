//! PostgreSQL 14 to 18 by physical replication. This file only binds the trait to the parts.

use std::{path::PathBuf, sync::Arc};

use flytt_proto::{
    failure::Failure,
    name::{Migration, Position},
    v1,
};
use tokio::sync::{Mutex, mpsc};

use super::{Admission, Engine, Facts, Inlet, Intent, Progress, Replication, Serving};
use crate::{
    change::{Backup, Change, Verb},
    config, secret,
    verify::{self, Reader},
};

mod admission;
mod autostart;
mod back;
mod backup;
mod closed;
mod cluster;
mod entrance;
mod facts;
pub(crate) mod failure;
mod files;
mod findings;
mod login;
mod names;
mod obstacles;
mod position;
mod recipe;
mod rules;
mod server;
mod session;
mod sessions;
mod standby;

/// The PostgreSQL server of this host. The agent runs as the user that owns its data directory.
#[derive(Debug)]
pub struct Postgres {
    config: config::Postgres,
    /// Where passwords and marks are kept.
    state: PathBuf,
    may_replace: bool,
    warm: Mutex<Option<Arc<session::Session>>>,
    files: Mutex<Option<files::Files>>,
    /// The reading of the access rules (see `closed`) under which every login was rejected.
    closed_since: std::sync::Mutex<Option<String>>,
}

impl Postgres {
    pub fn new(config: config::Postgres, state: impl Into<PathBuf>, may_replace: bool) -> Self {
        Self {
            config,
            state: state.into(),
            may_replace,
            warm: Mutex::default(),
            files: Mutex::default(),
            closed_since: std::sync::Mutex::default(),
        }
    }

    fn socket_path(&self) -> PathBuf {
        self.config.socket.join(format!(".s.PGSQL.{}", self.config.port))
    }

    async fn now_serving(&self) -> Result<Serving, Failure> {
        if self.postmaster().is_none() {
            return Ok(Serving::Down);
        }
        let in_recovery = self.session().await?.is_true("select pg_is_in_recovery()").await?;
        Ok(if in_recovery { Serving::Standby } else { Serving::Writable })
    }
}

fn lsn(position: &Position) -> Result<flytt_proto::name::Lsn, Failure> {
    match position {
        Position::Postgres(lsn) => Ok(*lsn),
        other @ (Position::Mariadb(_) | Position::Mysql(_)) => Err(super::foreign(other)),
    }
}

#[tonic::async_trait]
impl Engine for Postgres {
    fn name(&self) -> &'static str {
        "postgres"
    }

    async fn facts(&self) -> Result<Facts, Failure> {
        self.look().await
    }

    fn findings(&self, source: &Facts, target: &Facts, check: &v1::Check) -> Vec<v1::Finding> {
        findings::all(source, target, check)
    }

    async fn obstacles(&self, migration: &Migration, ready: &v1::Ready) -> Result<Vec<v1::Finding>, Failure> {
        self.in_the_way(migration, ready).await
    }

    async fn serving(&self) -> Result<Serving, Failure> {
        self.now_serving().await
    }

    async fn position(&self) -> Result<Position, Failure> {
        self.own_position().await.map(Position::Postgres)
    }

    async fn replication(&self, migration: &Migration) -> Result<Replication, Failure> {
        self.look_at_replication(migration).await
    }

    async fn recipe(&self, migration: &Migration, intent: &Intent) -> Result<Vec<Change>, Failure> {
        self.changes(migration, intent).await
    }

    async fn final_position(&self, migration: &Migration) -> Result<Position, Failure> {
        self.mark_end(migration).await.map(Position::Postgres)
    }

    async fn caught_up(&self, position: &Position) -> Result<Position, Failure> {
        self.replayed(lsn(position)?).await.map(Position::Postgres)
    }

    async fn is_closed(&self, _: &Migration) -> Result<bool, Failure> {
        self.closed_now().await
    }

    async fn proven_primary(&self, migration: &Migration, fork: &Position) -> Result<Position, Failure> {
        self.prove_primary(migration, lsn(fork)?).await.map(Position::Postgres)
    }

    async fn reached_through(&self, migration: &Migration, entrance: &str) -> Result<(), Failure> {
        self.reach(migration, entrance).await
    }

    async fn credential(&self, migration: &Migration) -> Result<String, Failure> {
        let path = self.passfile(migration);
        secret::keep(&path, &names::replication_role(migration)).map_err(|error| failure::file(&path, &error))
    }

    async fn back_credential(&self, migration: &Migration) -> Result<String, Failure> {
        self.credential(&migration.back()).await
    }

    fn rejoins(&self) -> bool {
        true
    }

    async fn mark_own(&self, migration: &Migration) -> Result<Position, Failure> {
        self.leave_word(migration).await.map(Position::Postgres)
    }

    async fn has_come_back(&self, migration: &Migration, position: &Position) -> Result<(), Failure> {
        self.hears_word(migration, lsn(position)?).await
    }

    fn admits(&self, migration: &Migration, first_packet: &[u8]) -> Admission {
        admission::admits(migration, first_packet)
    }

    fn inlet(&self) -> Inlet {
        Inlet::Socket(self.socket_path())
    }

    async fn reader(&self, database: &str, _: Option<&Migration>) -> Result<Box<dyn Reader>, Failure> {
        let (role, is_server) = (self.session().await?.role.clone(), database.is_empty());
        let database = if is_server { &self.config.database } else { database };
        let client = self.connect(&role, database).await?.into_client();
        Ok(Box::new(verify::postgres::Session::new(client, is_server).await?))
    }

    async fn execute(&self, sql: &[String]) -> Result<(), Failure> {
        let session = self.session().await?;
        for statement in sql {
            session.run(statement).await?;
        }
        Ok(())
    }

    async fn reload(&self) -> Result<(), Failure> {
        self.hang_up()
    }

    async fn tell(&self, migration: &Migration, verb: &Verb) -> Result<(), Failure> {
        self.obey(migration, verb).await
    }

    async fn back_up(&self, backup: &Backup, progress: mpsc::Sender<Progress>) -> Result<(), Failure> {
        self.copy(backup, progress).await
    }

    async fn end_backup(&self, backup: &Backup) -> Result<(), Failure> {
        self.take_away(backup).await
    }
}
