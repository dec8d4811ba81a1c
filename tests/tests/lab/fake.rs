//! The pretend engine and router: the real traits over [`World`].

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use flytt_agent::{
    change::{Backup, Block, Change, DataDir, File, RouteChange, RouteState, Verb},
    engine::{Admission, Engine, Facts, Inlet, Intent, Progress, Replication, Serving, statement},
    router::Router,
};
use flytt_proto::{
    failure::Failure,
    name::{Lsn, Migration, Position},
    v1,
};
use tokio::sync::mpsc;

use super::world::{Side, World};

#[derive(Clone, Debug)]
pub(crate) struct FakeEngine {
    pub(crate) world: World,
    pub(crate) side: Side,
    pub(crate) dir: PathBuf,
}

impl FakeEngine {
    fn block(&self, migration: &Migration, purpose: &str, want: Option<&str>, had: Option<&str>) -> Change {
        Change::Block(Block {
            path: self.dir.join("hba"),
            name: format!("flytt {} {purpose}", migration.name()),
            want: want.map(str::to_owned),
            had: had.map(str::to_owned),
        })
    }

    fn signal(&self, want: bool) -> Change {
        let path = self.dir.join("data/standby.signal");
        Change::File(File { path, want: want.then(String::new), had: (!want).then(String::new), mode: 0o600 })
    }

    fn object(&self, name: &str) -> Change {
        statement(format!("create {name}"), format!("+{name}"), format!("-{name}"))
    }
}

const REJECT: &str = "local all all reject\n";
/// What keeps the target's log for the old source.
pub(crate) const BACK_SLOT: &str = "back-slot";

#[tonic::async_trait]
impl Engine for FakeEngine {
    fn name(&self) -> &'static str {
        "postgres"
    }

    async fn facts(&self) -> Result<Facts, Failure> {
        if self.world.lock().breaks {
            return Err(Failure::unknown("SERVER_GONE", "the connection breaks", "look at the server"));
        }
        let mut world = self.world.lock();
        let db = world.db(self.side);
        Ok(Facts {
            serving: db.serving,
            system: db.system.into(),
            data_bytes: db.rows.len() as u64,
            series: String::new(),
            copied: String::new(),
            address: String::new(),
            place: db.dir.display().to_string(),
            detail: String::new(),
        })
    }

    fn findings(&self, _source: &Facts, _target: &Facts, _check: &v1::Check) -> Vec<v1::Finding> {
        Vec::new()
    }

    async fn obstacles(&self, _migration: &Migration, _ready: &v1::Ready) -> Result<Vec<v1::Finding>, Failure> {
        Ok(Vec::new())
    }

    async fn serving(&self) -> Result<Serving, Failure> {
        if self.side == Side::Source && self.world.lock().source_comes_up {
            return Err(Failure::refused("SERVER_DOWN", "the server is just coming up", "try again"));
        }
        Ok(self.world.lock().db(self.side).serving)
    }

    async fn position(&self) -> Result<Position, Failure> {
        let mut world = self.world.lock();
        world.replicate();
        Ok(Position::Postgres(Lsn(world.db(self.side).rows.len() as u64)))
    }

    async fn replication(&self, migration: &Migration) -> Result<Replication, Failure> {
        let mut world = self.world.lock();
        world.replicate();
        let (follower, slot) = if migration.is_back() { (Side::Source, BACK_SLOT) } else { (Side::Target, "slot") };
        let primary = if follower == Side::Source { Side::Target } else { Side::Source };
        let streaming = world.db(follower).serving == Serving::Standby && world.db(primary).objects.contains(slot);
        Ok(Replication { streaming, ..Replication::default() })
    }

    fn rejoins(&self) -> bool {
        true
    }

    async fn back_credential(&self, migration: &Migration) -> Result<String, Failure> {
        self.credential(migration).await
    }

    async fn mark_own(&self, _migration: &Migration) -> Result<Position, Failure> {
        self.position().await
    }

    async fn has_come_back(&self, _migration: &Migration, position: &Position) -> Result<(), Failure> {
        self.caught_up(position).await.map(drop)
    }

    async fn recipe(&self, migration: &Migration, intent: &Intent) -> Result<Vec<Change>, Failure> {
        let data = self.dir.join("data");
        if *intent == Intent::Surrender {
            let pause = self.world.lock().surrender_looks_for;
            tokio::time::sleep(pause).await;
        }
        Ok(match intent {
            Intent::Admit { .. } => vec![
                self.object("role"),
                self.block(migration, "admit", Some("local replication repl scram\n"), None),
                self.object("slot"),
            ],
            Intent::Seed(order) => vec![
                Change::DataDir(DataDir { path: data.clone(), trash: self.dir.join(format!(".flytt-trash-{migration}")) }),
                Change::Backup(Backup {
                    into: data,
                    host: String::new(),
                    port: 0,
                    role: String::new(),
                    slot: "slot".into(),
                    passfile: PathBuf::new(),
                    tls: false,
                    max_rate: 0,
                    fast_checkpoint: true,
                    system: order.system.clone(),
                    expected_bytes: order.expected_bytes,
                    origin: None,
                }),
            ],
            Intent::Follow(_) => vec![self.signal(true), Change::Server(Verb::Start)],
            Intent::Ready => vec![Change::Server(Verb::Checkpoint)],
            Intent::Gate if migration.is_back() => {
                vec![self.block(migration, "gate", Some(REJECT), None), Change::Server(Verb::EndSessions { drain_ms: 0 })]
            }
            Intent::Gate => vec![
                Change::Server(Verb::KeepLog),
                self.block(migration, "gate", Some(REJECT), None),
                Change::Server(Verb::EndSessions { drain_ms: 0 }),
            ],
            Intent::Fence { drain_ms } => vec![
                self.block(migration, "fence", Some(REJECT), None),
                Change::Server(Verb::EndSessions { drain_ms: *drain_ms }),
            ],
            Intent::Promote => vec![Change::Server(Verb::Promote)],
            Intent::Burn => vec![Change::Server(Verb::Kill), self.signal(true)],
            Intent::Surrender => vec![self.signal(true)],
            Intent::Open if migration.is_back() => {
                ["gate", "fence"].map(|purpose| self.block(migration, purpose, None, Some(REJECT))).to_vec()
            }
            Intent::Open => vec![self.block(migration, "gate", None, Some(REJECT))],
            Intent::Retire if migration.is_back() => {
                vec![statement("drop slot", format!("-{BACK_SLOT}"), ""), Change::Server(Verb::Kill)]
            }
            Intent::Retire => vec![statement("drop slot", "-slot", ""), Change::Server(Verb::Kill)],
            Intent::Welcome { .. } => vec![self.block(migration, "back", Some("local replication back scram\n"), None)],
            Intent::Arm => vec![self.object("back-role")],
            Intent::Rejoin(_) => vec![self.signal(true), Change::Server(Verb::Start)],
            Intent::Forget { .. } => Vec::new(),
            // Home again: what was made for the move goes, and the server stays.
            Intent::Finish { role: v1::Role::Source } if self.serving().await? == Serving::Writable => vec![
                self.block(migration, "gate", None, None),
                self.block(migration, "fence", None, None),
                self.block(migration, "admit", None, None),
                statement("drop roles", "-role", ""),
                statement("drop roles", "-back-role", ""),
            ],
            Intent::Finish { role: v1::Role::Source } => vec![
                Change::Server(Verb::Stop { was_running: false }),
                self.block(migration, "fence", None, Some(REJECT)),
                self.block(migration, "admit", None, None),
            ],
            Intent::Finish { .. } => vec![
                self.block(migration, "gate", None, None),
                self.block(migration, "back", None, None),
                statement("drop role", "-role", ""),
                statement("drop slot", format!("-{BACK_SLOT}"), ""),
            ],
        })
    }

    async fn beat(&self, _migration: &Migration) -> Result<(), Failure> {
        let mut world = self.world.lock();
        if world.db(self.side).closed {
            world.violations.push("a heartbeat behind a fence".into());
        }
        Ok(())
    }

    async fn final_position(&self, _migration: &Migration) -> Result<Position, Failure> {
        self.position().await
    }

    async fn caught_up(&self, position: &Position) -> Result<Position, Failure> {
        loop {
            let now = self.position().await?;
            if now.covers(position) == Some(true) {
                return Ok(now);
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }

    async fn is_closed(&self, _migration: &Migration) -> Result<bool, Failure> {
        Ok(self.world.lock().db(self.side).closed)
    }

    async fn proven_primary(&self, _migration: &Migration, fork: &Position) -> Result<Position, Failure> {
        let position = self.position().await?;
        let serving = self.serving().await?;
        if serving == Serving::Writable && position.covers(fork) == Some(true) {
            return Ok(position);
        }
        Err(Failure::unknown("NOT_PRIMARY", format!("the target is {serving:?} at {position}, before {fork}"), "look at it"))
    }

    async fn reached_through(&self, migration: &Migration, _entrance: &str) -> Result<(), Failure> {
        let mut world = self.world.lock();
        let route = world.route;
        let wanted = if migration.is_back() { RouteState::Source } else { RouteState::Target };
        if route == wanted && world.db(self.side).accepts_writes() {
            return Ok(());
        }
        Err(Failure::unknown("NOT_REACHED", format!("the route is {route}"), "look at the router"))
    }

    async fn credential(&self, _migration: &Migration) -> Result<String, Failure> {
        Ok("SCRAM-SHA-256$verifier".into())
    }

    fn admits(&self, _migration: &Migration, _first_packet: &[u8]) -> Admission {
        Admission::Yes
    }

    fn inlet(&self) -> Inlet {
        Inlet::Socket(self.dir.join("socket"))
    }

    async fn execute(&self, sql: &[String]) -> Result<(), Failure> {
        let mut world = self.world.lock();
        let objects = &mut world.db(self.side).objects;
        for statement in sql {
            match statement.split_at_checked(1) {
                Some(("+", name)) => drop(objects.insert(name.into())),
                Some(("-", name)) => drop(objects.remove(name)),
                _ => {}
            }
        }
        Ok(())
    }

    async fn reload(&self) -> Result<(), Failure> {
        if self.side == Side::Target {
            let pause = self.world.lock().target_reloads_in;
            tokio::time::sleep(pause).await;
        }
        self.world.lock().db(self.side).reload();
        Ok(())
    }

    async fn tell(&self, _migration: &Migration, verb: &Verb) -> Result<(), Failure> {
        let mut world = self.world.lock();
        world.replicate();
        let db = world.db(self.side);
        match verb {
            Verb::Start if db.serving == Serving::Down => db.start(),
            Verb::Stop { .. } | Verb::Kill => db.serving = Serving::Down,
            Verb::Promote if db.serving == Serving::Standby => {
                db.serving = Serving::Writable;
                db.timeline += 1;
                let _ = std::fs::remove_file(db.signal());
            }
            Verb::Promote if db.serving == Serving::Down => {
                return Err(Failure::unknown("DOWN", "the target is down", "start it"));
            }
            Verb::KeepLog => drop(db.objects.insert(BACK_SLOT.into())),
            Verb::ReleaseLog => drop(db.objects.remove(BACK_SLOT)),
            Verb::Start | Verb::Promote | Verb::Checkpoint | Verb::EndSessions { .. } => {}
            Verb::OwnAccounts
            | Verb::DropAccounts
            | Verb::Close { .. }
            | Verb::Reopen { .. }
            | Verb::Replicate { .. }
            | Verb::Detach
            | Verb::Welcome { .. }
            | Verb::Unwelcome
            | Verb::FollowBack { .. }
            | Verb::DetachBack
            | Verb::RaiseAppliers { .. }
            | Verb::LowerAppliers { .. }
            | Verb::Shut(_)
            | Verb::Unshut(_)
            | Verb::Rejoin { .. }
            | Verb::Return => unreachable!("{verb:?} is another engine's"),
        }
        Ok(())
    }

    async fn back_up(&self, backup: &Backup, _progress: mpsc::Sender<Progress>) -> Result<(), Failure> {
        let mut world = self.world.lock();
        if world.source.serving != Serving::Writable || !world.source.objects.contains("slot") {
            return Err(Failure::unknown("NO_SOURCE", "the source does not answer", "look at it"));
        }
        world.target.copied = true;
        world.target.rows = world.source.rows.clone();
        flytt_proto::durable::write(&backup.into.join("PG_VERSION"), b"source", 0o600).expect("written");
        Ok(())
    }

    async fn end_backup(&self, backup: &Backup) -> Result<(), Failure> {
        let mut world = self.world.lock();
        if world.copy_stays > 0 {
            world.copy_stays -= 1;
            return Err(Failure::refused("STILL_RUNNING", "a server of somebody else's runs on it", "stop it"));
        }
        if std::mem::take(&mut world.target.copied) {
            empty(&backup.into);
            // What stands in the server goes with it.
            world.target.objects.clear();
        }
        Ok(())
    }
}

fn empty(path: &Path) {
    let Ok(entries) = std::fs::read_dir(path) else { return };
    for entry in entries.flatten() {
        let _ = std::fs::remove_file(entry.path());
    }
}

#[derive(Clone, Debug)]
pub(crate) struct FakeRouter {
    pub(crate) world: World,
}

#[tonic::async_trait]
impl Router for FakeRouter {
    fn name(&self) -> &'static str {
        "haproxy"
    }

    fn entrance(&self) -> &str {
        "127.0.0.1:1"
    }

    async fn facts(&self) -> Result<String, Failure> {
        Ok("{}".into())
    }

    async fn findings(&self, _route: &v1::Route, _lease_ms: u64) -> Result<Vec<v1::Finding>, Failure> {
        Ok(Vec::new())
    }

    async fn state(&self, route: &v1::Route) -> Result<RouteState, Failure> {
        Ok(as_seen_by(&route.source, self.world.lock().route))
    }

    async fn route(&self, change: &RouteChange) -> Result<(), Failure> {
        let mut world = self.world.lock();
        let to = as_seen_by(&change.source, change.to);
        let new = if change.source == OLD { Side::Target } else { Side::Source };
        if change.to == RouteState::Target && !world.db(new).accepts_writes() {
            world.violations.push("connections released to a target that is closed".into());
        }
        world.route = to;
        Ok(())
    }
}

/// How the router's own file calls the server that the application is served by at first.
const OLD: &str = "db_old";

/// The world's route is the leg there's; on the way back the roles are exchanged. The same in both directions.
fn as_seen_by(source: &str, route: RouteState) -> RouteState {
    match route {
        RouteState::Source if source != OLD => RouteState::Target,
        RouteState::Target if source != OLD => RouteState::Source,
        RouteState::Source | RouteState::Target | RouteState::Held | RouteState::Staged => route,
    }
}
