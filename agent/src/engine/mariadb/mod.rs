//! MariaDB 10.11 and later, by replication with global transaction ids. This file only binds the trait to the parts.

use std::{io, path::PathBuf, sync::Arc};

use flytt_proto::{
    failure::Failure,
    name::{Migration, Position},
    v1::{self, draw_request::Producer},
};
use tokio::sync::{Mutex, mpsc};

use super::{
    Admission, Engine, Facts, Inlet, Intent, Pipes, Poured, Progress, Replication, Screen, Serving, Source,
    mysql_family::{
        dump::{
            rows::{Lending, Snapshots},
            schema::Vendor,
        },
        entrance, screen,
        session::Session,
    },
};
use crate::{
    change::{Backup, Change, Import, Load, Verb},
    config, secret,
    verify::{Reader, mysql_family::Reading},
};

mod account;
mod back;
mod beat;
mod begin;
mod closed;
mod drop_in;
mod dump;
mod events;
mod facts;
mod findings;
mod import;
mod names;
mod obstacles;
mod position;
mod recipe;
mod replica;
mod seed;
mod server;
mod sessions;
mod system;

/// The MariaDB server of this host. The agent runs as the user that owns its data directory.
#[derive(Debug)]
pub struct Mariadb {
    config: config::Mariadb,
    /// Where passwords are kept.
    state: PathBuf,
    may_replace: bool,
    warm: Mutex<Option<Arc<Session>>>,
    /// What a copy comes through; `None` where nothing is copied.
    pipes: Option<Arc<dyn Pipes>>,
    /// What was last heard from the source, and since when it is the same.
    heard: std::sync::Mutex<Option<(String, std::time::Instant)>>,
    /// What targets copy rows from.
    snapshots: Snapshots,
}

impl Mariadb {
    pub fn new(config: config::Mariadb, state: impl Into<PathBuf>, may_replace: bool) -> Self {
        Self {
            config,
            state: state.into(),
            may_replace,
            warm: Mutex::default(),
            pipes: None,
            heard: std::sync::Mutex::default(),
            snapshots: Snapshots::default(),
        }
    }

    /// With snapshots that are lent so.
    #[must_use]
    pub fn lending(self, lending: Lending) -> Self {
        Self { snapshots: Snapshots::lent(lending), ..self }
    }

    /// What could be set on this server while an import runs. Looks only.
    pub async fn import(&self, migration: &Migration) -> Result<Import, Failure> {
        self.import_settings(migration).await
    }

    /// With the pipes that a copy comes through.
    #[must_use]
    pub fn through(self, pipes: Arc<dyn Pipes>) -> Self {
        Self { pipes: Some(pipes), ..self }
    }
}

fn file(path: &std::path::Path, error: &io::Error) -> Failure {
    Failure::unknown("DISK", format!("{}: {error}", path.display()), "see to the disk and the file's owner")
}

#[tonic::async_trait]
impl Engine for Mariadb {
    fn name(&self) -> &'static str {
        "mariadb"
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

    async fn follows(&self) -> Result<bool, Failure> {
        self.applies(&*self.session().await?).await
    }

    async fn position(&self) -> Result<Position, Failure> {
        self.reported(&*self.session().await?).await.map(Position::Mariadb)
    }

    async fn replication(&self, migration: &Migration) -> Result<Replication, Failure> {
        self.look_at_replication(migration).await
    }

    async fn recipe(&self, migration: &Migration, intent: &Intent) -> Result<Vec<Change>, Failure> {
        self.changes(migration, intent).await
    }

    async fn beat(&self, migration: &Migration) -> Result<(), Failure> {
        self.beat_once(migration).await
    }

    async fn final_position(&self, migration: &Migration) -> Result<Position, Failure> {
        self.mark_end(migration).await.map(Position::Mariadb)
    }

    async fn caught_up(&self, position: &Position) -> Result<Position, Failure> {
        self.applied(position::of(position)?).await.map(Position::Mariadb)
    }

    async fn has_no_more_than(&self, end: &Position) -> Result<(), Failure> {
        self.nothing_beyond(position::of(end)?).await
    }

    async fn is_closed(&self, migration: &Migration) -> Result<bool, Failure> {
        self.closed_now(migration).await
    }

    async fn proven_primary(&self, migration: &Migration, fork: &Position) -> Result<Position, Failure> {
        self.prove_primary(migration, position::of(fork)?).await.map(Position::Mariadb)
    }

    async fn reached_through(&self, migration: &Migration, through: &str) -> Result<(), Failure> {
        let account = names::replication(migration);
        let path = secret::passfile(&self.state, &names::password(migration));
        let password = secret::password(&path, &account).map_err(|error| file(&path, &error))?;
        entrance::reach(&*self.session().await?, &account, &password, through).await
    }

    async fn credential(&self, migration: &Migration) -> Result<String, Failure> {
        let path = secret::passfile(&self.state, &names::password(migration));
        secret::keep_native(&path, &names::replication(migration)).map_err(|error| file(&path, &error))
    }

    async fn back_credential(&self, migration: &Migration) -> Result<String, Failure> {
        let path = self.back_passfile(migration);
        secret::keep_native(&path, &names::back(migration)).map_err(|error| file(&path, &error))
    }

    async fn mark_own(&self, migration: &Migration) -> Result<Position, Failure> {
        self.write_own(migration).await.map(Position::Mariadb)
    }

    async fn has_come_back(&self, migration: &Migration, position: &Position) -> Result<(), Failure> {
        self.come_back(migration, position::of(position)?).await
    }

    async fn follows_back(&self, migration: &Migration, end: &Position) -> Result<Option<String>, Failure> {
        self.follows(migration, position::of(end)?).await
    }

    /// On the source the target's account, on the target the source's: each exists on one of them alone.
    fn admits(&self, migration: &Migration, first_packet: &[u8]) -> Admission {
        match screen::admits(&names::replication(migration), first_packet) {
            Admission::No(_) => screen::admits(&names::back(migration), first_packet),
            verdict @ (Admission::Yes | Admission::More) => verdict,
        }
    }

    fn greets(&self) -> bool {
        true
    }

    fn screen(&self) -> Option<Box<dyn Screen>> {
        Some(Box::new(screen::Commands::with(screen::DUMP)))
    }

    fn tunnel_port(&self) -> Option<u16> {
        Some(self.config.tunnel_port)
    }

    fn inlet(&self) -> Inlet {
        Inlet::Socket(self.config.socket.clone())
    }

    async fn left_of_import(&self, import: &Import) -> Result<Vec<v1::Finding>, Failure> {
        self.settings_left(import).await
    }

    async fn reader(&self, _: &str, migration: Option<&Migration>) -> Result<Box<dyn Reader>, Failure> {
        let ours = self.never_compared(migration);
        Ok(Box::new(Reading::new(self.shared(), Vendor::Mariadb, ours).await?))
    }

    async fn execute(&self, sql: &[String]) -> Result<(), Failure> {
        self.run_unlogged(sql).await
    }

    /// Option files count from the next start on; what must count now is set beside them.
    async fn reload(&self) -> Result<(), Failure> {
        Ok(())
    }

    async fn tell(&self, migration: &Migration, verb: &Verb) -> Result<(), Failure> {
        self.obey(migration, verb).await
    }

    async fn producer(&self, migration: &Migration, producer: Producer) -> Result<Source, Failure> {
        self.backup_program(migration, producer).await
    }

    async fn pour(&self, migration: &Migration, ask: &v1::DrawRequest) -> Result<mpsc::Receiver<Poured>, Failure> {
        Ok(self.rows_of(migration, ask))
    }

    async fn end_pouring(&self, migration: &Migration) {
        self.snapshots.end(migration).await;
    }

    async fn end_all_pouring(&self) {
        self.snapshots.end_all().await;
    }

    async fn end_producers(&self) {
        self.end_backup_programs().await;
    }

    async fn load(&self, load: &Load, progress: mpsc::Sender<Progress>) -> Result<(), Failure> {
        self.load_rows(load, progress).await
    }

    async fn unload(&self, load: &Load) -> Result<(), Failure> {
        self.unload_rows(load).await
    }

    async fn back_up(&self, backup: &Backup, progress: mpsc::Sender<Progress>) -> Result<(), Failure> {
        self.copy(backup, progress).await
    }

    async fn end_backup(&self, backup: &Backup) -> Result<(), Failure> {
        self.take_away(backup).await
    }

    async fn set_for_import(&self, import: &Import) -> Result<Vec<String>, Failure> {
        self.try_settings(import).await
    }

    async fn set_back(&self, import: &Import) -> Result<Vec<String>, Failure> {
        self.settings_back(import).await
    }
}
