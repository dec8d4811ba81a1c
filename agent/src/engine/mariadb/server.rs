//! What the server is told. Each can be told twice.

use std::time::Duration;

use flytt_proto::{failure::Failure, name::Migration};
use nix::sys::signal::Signal;

use super::Mariadb;
use crate::{
    change::Verb,
    engine::{
        Serving,
        mysql_family::{appliers, program::Program},
        not_for,
    },
};

impl Mariadb {
    pub(super) async fn obey(&self, migration: &Migration, verb: &Verb) -> Result<(), Failure> {
        match verb {
            Verb::Start => self.program().start(|| Box::pin(async { self.session().await.map(drop) })).await,
            Verb::Stop { .. } => self.program().end(Signal::SIGTERM).await,
            Verb::Kill => self.end_at_once().await,
            // What a checkpoint is for PostgreSQL's shutdown, InnoDB does all the time. The marker's table is made here, so that
            // the window holds an insert and no DDL.
            Verb::Checkpoint => match self.now_serving().await? {
                Serving::Writable => self.prepare_marker(migration).await,
                Serving::Standby | Serving::Down => Ok(()),
            },
            Verb::EndSessions { drain_ms } => self.end_sessions(migration, Duration::from_millis(*drain_ms)).await,
            Verb::Promote => self.promote(migration).await,
            Verb::OwnAccounts => self.make_own_accounts().await,
            Verb::DropAccounts => self.drop_own_accounts(migration).await,
            Verb::Close { .. } => self.close(migration).await,
            Verb::Reopen { events, read_only } => self.reopen(migration, *events, *read_only).await,
            Verb::Replicate { host, port } => self.replicate(migration, host, *port).await,
            Verb::Detach => self.detach().await,
            Verb::Welcome { verifier } => self.welcome(migration, verifier).await,
            Verb::Unwelcome => self.unwelcome(migration).await,
            Verb::FollowBack { host, port } => self.follow_back(migration, host, *port).await,
            Verb::RaiseAppliers { settings } => self.raise_appliers(settings).await,
            Verb::LowerAppliers { settings } => appliers::lower(&*self.session().await?, settings).await,
            Verb::DetachBack => self.detach_back(migration).await,
            Verb::Shut(_) | Verb::Unshut(_) | Verb::KeepLog | Verb::ReleaseLog | Verb::Rejoin { .. } => Err(not_for(self, verb)),
            Verb::Return => {
                let session = self.unlogged().await?;
                self.follow_on(&session, migration).await
            }
        }
    }

    pub(in crate::engine::mariadb) async fn end_at_once(&self) -> Result<(), Failure> {
        self.program().end(Signal::SIGKILL).await
    }

    fn program(&self) -> Program<'_> {
        Program {
            data: &self.config.data_directory,
            config_file: &self.config.config_file,
            server: &self.config.server,
            start: &self.config.start,
            stop: &self.config.stop,
            log: self.config.log.as_deref(),
        }
    }
}
