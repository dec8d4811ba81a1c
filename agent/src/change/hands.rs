//! Does and undoes a change. Everything that alters this host passes here, and passes the fuse before and after.

use std::{fs, io, os::unix::fs::PermissionsExt as _, sync::Arc, time::Duration};

use flytt_proto::{
    durable,
    failure::{Effect, Failure},
    fuse::Fuse,
    name::Migration,
    v1,
};
use tokio::sync::mpsc;

use super::{
    Change, File, RouteChange, RouteState, Verb, block, data_dir,
    sysctl::{self, Kernel},
};
use crate::{
    engine::{Engine, Progress, Serving},
    router::Router,
};

/// What the changes of one agent are done with.
#[derive(Clone, Debug)]
pub struct Hands {
    pub engine: Option<Arc<dyn Engine>>,
    pub router: Option<Arc<dyn Router>>,
    pub kernel: Kernel,
    pub fuse: Fuse,
}

impl Hands {
    /// Does the change. Safe to repeat. Says what an operator should know of how it went, a line each.
    pub async fn apply(
        &self,
        migration: &Migration,
        change: &Change,
        progress: mpsc::Sender<Progress>,
    ) -> Result<Vec<String>, Failure> {
        self.fuse.point(|| format!("before {change}"))?;
        let mut notes = Vec::new();
        match change {
            Change::Statement(statement) => self.engine()?.execute(&statement.run).await?,
            Change::Block(it) => {
                block::write(&it.path, &it.name, it.want.as_deref()).map_err(|e| disk(&it.path, &e))?;
                self.reload_if_up().await?;
            }
            Change::File(it) => write_file(it, it.want.as_deref()).map_err(|e| disk(&it.path, &e))?,
            Change::DataDir(it) => {
                self.must_be_down().await?;
                data_dir::apply(it).map_err(|e| disk(&it.path, &e))?;
            }
            Change::Discard { path } => data_dir::discard(path).map_err(|e| disk(path, &e))?,
            Change::Backup(backup) => {
                // What an earlier try left goes first: a backup wants an empty directory.
                self.engine()?.end_backup(backup).await?;
                self.engine()?.back_up(backup, progress).await?;
            }
            Change::Load(load) => self.engine()?.load(load, progress).await?,
            Change::Server(verb) => self.engine()?.tell(migration, verb).await?,
            Change::Route(route) => self.router()?.route(route).await?,
            Change::Sysctl(it) => sysctl::apply(&self.kernel, it, &self.fuse)?,
            Change::ImportSettings(import) => notes = self.engine()?.set_for_import(import).await?,
            Change::ImportOver(import) => notes = self.engine()?.set_back(import).await?,
        }
        self.fuse.point(|| format!("after {change}"))?;
        Ok(notes)
    }

    /// Takes the change back, wherever it got to. Safe to repeat, and safe when it was never done. What somebody else has
    /// changed since is left as it is and named in the answer.
    pub async fn undo(&self, migration: &Migration, change: &Change) -> Result<Option<String>, Failure> {
        self.fuse.point(|| format!("before undo of {change}"))?;
        let mut note = None;
        match change {
            Change::Statement(statement) => self.undo_statement(&statement.undo).await?,
            Change::Block(it) => {
                block::write(&it.path, &it.name, it.had.as_deref()).map_err(|e| disk(&it.path, &e))?;
                self.reload_if_up().await?;
            }
            Change::File(it) => match current(it).map_err(|e| disk(&it.path, &e))? {
                now if now == it.had => {}
                now if now == it.want => write_file(it, it.had.as_deref()).map_err(|e| disk(&it.path, &e))?,
                _ => note = Some(format!("{} was changed by somebody else and is left as it is", it.path.display())),
            },
            Change::DataDir(it) => {
                self.must_be_down().await?;
                data_dir::undo(it).map_err(|e| disk(&it.path, &e))?;
            }
            Change::Discard { .. } => {}
            Change::Backup(backup) => self.engine()?.end_backup(backup).await?,
            Change::Load(load) => self.engine()?.unload(load).await?,
            Change::Server(Verb::Start) => self.engine()?.tell(migration, &Verb::Stop { was_running: false }).await?,
            Change::Server(Verb::Stop { was_running: true }) => self.engine()?.tell(migration, &Verb::Start).await?,
            Change::Server(Verb::Close { events, read_only }) => {
                let reopen = Verb::Reopen { events: *events, read_only: *read_only };
                self.engine()?.tell(migration, &reopen).await?;
            }
            Change::Server(Verb::OwnAccounts) => self.tell_if_up(migration, &Verb::DropAccounts).await?,
            Change::Server(Verb::Replicate { .. }) => self.tell_if_up(migration, &Verb::Detach).await?,
            Change::Server(Verb::RaiseAppliers { settings }) => {
                self.tell_if_up(migration, &Verb::LowerAppliers { settings: settings.clone() }).await?;
            }
            Change::Server(Verb::Welcome { .. }) => self.tell_if_up(migration, &Verb::Unwelcome).await?,
            Change::Server(Verb::Shut(was)) => self.engine()?.tell(migration, &Verb::Unshut(was.clone())).await?,
            Change::Server(Verb::FollowBack { .. }) => self.tell_if_up(migration, &Verb::DetachBack).await?,
            Change::Server(Verb::KeepLog) => self.tell_if_up(migration, &Verb::ReleaseLog).await?,
            Change::Server(
                Verb::Stop { was_running: false }
                | Verb::Kill
                | Verb::Checkpoint
                | Verb::EndSessions { .. }
                | Verb::Promote
                | Verb::Rejoin { .. },
            ) => {}
            Change::Server(
                Verb::DropAccounts
                | Verb::Reopen { .. }
                | Verb::Detach
                | Verb::Unwelcome
                | Verb::DetachBack
                | Verb::Return
                | Verb::Unshut(_)
                | Verb::LowerAppliers { .. }
                | Verb::ReleaseLog,
            ) => {}
            Change::Route(route) => self.undo_route(route).await?,
            Change::Sysctl(it) => note = sysctl::undo(&self.kernel, it)?,
            Change::ImportSettings(import) => {
                let notes = self.engine()?.set_back(import).await?;
                note = (!notes.is_empty()).then(|| notes.join("; "));
            }
            Change::ImportOver(_) => {}
        }
        self.fuse.point(|| format!("after undo of {change}"))?;
        Ok(note)
    }

    fn engine(&self) -> Result<&Arc<dyn Engine>, Failure> {
        self.engine.as_ref().ok_or_else(|| {
            Failure::refused(
                "NO_ENGINE",
                "this host serves no database",
                "add a [postgres], [mariadb] or [mysql] section to its agent.toml",
            )
        })
    }

    fn router(&self) -> Result<&Arc<dyn Router>, Failure> {
        self.router
            .as_ref()
            .ok_or_else(|| Failure::refused("NO_ROUTER", "this host has no router", "add a [haproxy] section to its agent.toml"))
    }

    /// The files that blocks stand in count from the next start on; a running server is told. So is one that is coming up, and may
    /// have read them already: after a power cut that takes long.
    async fn reload_if_up(&self) -> Result<(), Failure> {
        let Some(engine) = &self.engine else { return Ok(()) };
        match engine.serving().await {
            Ok(Serving::Down) => Ok(()),
            Ok(Serving::Standby | Serving::Writable) => engine.reload().await,
            Err(failure) if failure.code == "SERVER_DOWN" => engine.reload().await,
            Err(failure) => Err(failure),
        }
    }

    /// What is lost with the data directory needs no undo of its own.
    async fn tell_if_up(&self, migration: &Migration, verb: &Verb) -> Result<(), Failure> {
        match self.engine()?.serving().await? {
            Serving::Down => Ok(()),
            Serving::Standby | Serving::Writable => self.engine()?.tell(migration, verb).await,
        }
    }

    async fn must_be_down(&self) -> Result<(), Failure> {
        match self.engine()?.serving().await? {
            Serving::Down => Ok(()),
            Serving::Standby | Serving::Writable => Err(Failure::refused(
                "DATA_IN_USE",
                "a server is running on this data directory",
                "stop that server if it is the one to be replaced, then run the command again",
            )),
        }
    }

    /// A router that restarted stands as its own file says, and knows of no hold: it is not held again in order to be released.
    async fn undo_route(&self, route: &RouteChange) -> Result<(), Failure> {
        let RouteChange { backend, source, target, .. } = route.clone();
        let now = self.router()?.state(&v1::Route { backend, source, target }).await?;
        if now == RouteState::Source && route.was != RouteState::Source {
            return Ok(());
        }
        self.router()?.route(&RouteChange { to: route.was, was: route.to, ..route.clone() }).await
    }

    /// An object may be in use for a moment longer (a slot whose sender is just ending): tried again for five seconds. A
    /// server that is down keeps what is in its data directory; what goes with the directory needs no undo of its own.
    async fn undo_statement(&self, sql: &[String]) -> Result<(), Failure> {
        let engine = self.engine()?;
        if engine.serving().await? != Serving::Writable {
            return Ok(());
        }
        let mut tries = 0;
        loop {
            match engine.execute(sql).await {
                Err(_) if tries < 50 => tries += 1,
                done => return done,
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
}

fn current(file: &File) -> io::Result<Option<String>> {
    match fs::read_to_string(&file.path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

fn write_file(file: &File, content: Option<&str>) -> io::Result<()> {
    match content {
        Some(text) => {
            let mode = fs::metadata(&file.path).map_or(file.mode, |about| about.permissions().mode() & 0o7777);
            durable::write(&file.path, text.as_bytes(), mode)
        }
        None => match durable::remove(&file.path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            done => done,
        },
    }
}

pub(super) fn disk(path: &std::path::Path, error: &io::Error) -> Failure {
    Failure::unknown(
        "DISK",
        format!("{}: {error}", path.display()),
        "see to the disk and the file's owner, then run `flytt resume`",
    )
    .with_effect(Effect::Unknown)
}
