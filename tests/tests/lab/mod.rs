//! The Lab: real agents behind real mutual TLS, with real ledgers and files; a pretend database, router and clients.
//!
//! Agents are supervised as systemd would: one that dies at its fuse comes back, with the same state and a new process's
//! memory.

pub(crate) mod fake;
pub(crate) mod kernel;
pub(crate) mod world;

use std::{
    collections::BTreeSet,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
    time::Duration,
};

use fake::{FakeEngine, FakeRouter};
use flytt::{
    halt::Halt,
    home::{Home, Host as Known},
    session::Session,
    verb::{self, Answer},
    view::{Line, View},
};
use flytt_agent::{
    change::{self, Hands, RouteState},
    config::{Config, Tuning},
    host::Host,
    revert,
    run::serve_host,
};
use flytt_proto::{
    failure::Failure,
    fuse::Fuse,
    identity::{self, Credentials},
    name::{HostName, Migration},
};
use kernel::Kernel;
use tokio::{net::TcpListener, task::JoinHandle};
use tokio_util::sync::CancellationToken;
use world::{Side, World};

pub(crate) const SPEC: &str = r#"
name   = "shop"
engine = "postgres"

[source]
host = "db-old"
[target]
host = "db-new"

[probe]
seconds = 1
file    = "1MiB"

[gates]
block = []

[cutover]
max_outage = "2s"
drain      = "50ms"
lease      = "1s"

[[router]]
kind    = "haproxy"
host    = "lb-1"
backend = "database_back"
source  = "db_old"
target  = "db_new"
"#;

/// Collects what the operator would see.
#[derive(Debug, Default)]
pub(crate) struct Seen(pub Vec<String>);

impl View for Seen {
    fn show(&mut self, line: Line<'_>) {
        self.0.push(format!("{line:?}"));
    }
}

#[derive(Debug)]
pub(crate) struct Lab {
    pub(crate) world: World,
    pub(crate) spec: PathBuf,
    pub(crate) home: PathBuf,
    /// The fuses of the agents' first lives.
    pub(crate) fuses: Vec<(&'static str, Fuse)>,
    pub(crate) name: Migration,
    /// Of source and target.
    pub(crate) kernels: [Kernel; 2],
    load: JoinHandle<()>,
    lives: Vec<Life>,
    agents: Vec<Agent>,
    _dir: tempfile::TempDir,
}

impl Drop for Lab {
    fn drop(&mut self) {
        self.load.abort();
    }
}

/// A supervised agent. Dropped, it is gone.
#[derive(Debug)]
struct Agent {
    work: JoinHandle<()>,
    stop: CancellationToken,
}

impl Agent {
    fn start(life: Life, listener: TcpListener, fuse: Fuse) -> Self {
        let stop = CancellationToken::new();
        Self { work: tokio::spawn(supervise(life, listener, fuse, stop.clone())), stop }
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        self.stop.cancel();
        self.work.abort();
    }
}

pub(crate) const AGENTS: [&str; 3] = ["db-old", "db-new", "lb-1"];

impl Lab {
    /// With the fuse of each agent's first life: 0 = it lives.
    pub(crate) async fn new(blow_at: impl Fn(&str) -> u32) -> Self {
        Self::tuned(blow_at, |kernel| kernel.tuning()).await
    }

    /// One host dies at that point, and neither its agent nor its server ever comes back.
    pub(crate) async fn losing(who: &'static str, n: u32) -> Self {
        Self::made(|name| if name == who { n } else { 0 }, |kernel| kernel.tuning(), Some(who)).await
    }

    /// Whether it is.
    pub(crate) fn is_lost(&self) -> bool {
        self.lives.iter().zip(&self.fuses).any(|(life, (_, fuse))| life.is_lost && fuse.is_blown())
    }

    /// With other kernels than pretended ones, if `tuning` says so.
    pub(crate) async fn tuned(blow_at: impl Fn(&str) -> u32, tuning: impl Fn(&Kernel) -> Tuning) -> Self {
        Self::made(blow_at, tuning, None).await
    }

    async fn made(blow_at: impl Fn(&str) -> u32, tuning: impl Fn(&Kernel) -> Tuning, lost: Option<&str>) -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let kernels = ["db-old-kernel", "db-new-kernel"].map(|name| Kernel::new(dir.path().join(name)));
        let (home, world) = (dir.path().join("home"), World::new(dir.path()));
        let (mut lives, mut agents, mut fuses, mut bound) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        for name in AGENTS {
            let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
            let address = listener.local_addr().expect("bound");
            bound.push((name, listener, address, dir.path().join(format!("{name}-agent"))));
        }
        found(&home, bound.iter().map(|(name, _, address, state)| (*name, address.to_string(), state.as_path())));
        for (name, listener, address, state) in bound {
            let fuse = Fuse::at(blow_at(name));
            fuses.push((name, fuse.clone()));
            let tuning = tuning(&kernels[usize::from(name == "db-new")]);
            let runtime = dir.path().join(format!("{name}-run"));
            let is_lost = lost == Some(name);
            let life = Life { name, address, state, runtime, tuning, world: world.clone(), is_lost };
            agents.push(Agent::start(life.clone(), listener, fuse));
            lives.push(life);
        }
        let spec = dir.path().join("shop.toml");
        flytt_proto::durable::write(&spec, SPEC.as_bytes(), 0o600).expect("written");
        let load = world.load();
        let name = "shop".parse().expect("a name");
        Self { world, spec, home, fuses, name, kernels, load, lives, agents, _dir: dir }
    }

    /// One host after the other takes back its own part, its agent stopped, as a person does who has no controller.
    pub(crate) async fn revert(&mut self) -> Vec<(&'static str, Result<(), Failure>)> {
        let mut came_to = Vec::new();
        for (life, agent) in self.lives.iter().zip(&mut self.agents) {
            agent.stop.cancel();
            (&mut agent.work).await.expect("it ends in order");
            let host = loop {
                match life.host(Fuse::default()).await {
                    Some(host) => break host,
                    None => tokio::time::sleep(Duration::from_millis(10)).await,
                }
            };
            came_to.push((life.name, revert::revert(&host, &self.name, |_| ()).await));
            host.close().await;
            drop(host);
            let listener = TcpListener::bind(life.address).await.expect("its port is free");
            *agent = Agent::start(life.clone(), listener, Fuse::default());
        }
        came_to
    }

    /// A controller that lives until its fuse.
    pub(crate) fn session(&self, fuse: Fuse) -> Session {
        let mut session = Session::open(&self.home, CancellationToken::new()).expect("opened");
        session.fuse = fuse;
        session
    }

    pub(crate) async fn start(&self, fuse: &Fuse) -> Result<Answer, Halt> {
        verb::start(&self.session(fuse.clone()), &self.spec, BTreeSet::new(), &mut Seen::default()).await
    }

    pub(crate) async fn cutover(&self, fuse: &Fuse) -> Result<Answer, Halt> {
        verb::cutover(&self.session(fuse.clone()), &self.name, Default::default(), &mut Seen::default()).await
    }

    pub(crate) async fn resume(&self, fuse: &Fuse) -> Result<Answer, Halt> {
        verb::resume(&self.session(fuse.clone()), &self.name, Default::default(), &mut Seen::default()).await
    }

    pub(crate) async fn rollback(&self, fuse: &Fuse) -> Result<Answer, Halt> {
        verb::rollback(&self.session(fuse.clone()), &self.name, &mut Seen::default()).await
    }

    pub(crate) async fn finish(&self, fuse: &Fuse) -> Result<Answer, Halt> {
        verb::finish(&self.session(fuse.clone()), &self.name, verb::Settings::Keep, &mut Seen::default()).await
    }

    /// Nothing was lost and there were never two primaries; the one that is asked for accepts writes within the bound.
    pub(crate) async fn holds(&self, side: Side, what: &str) {
        let mut waited = 0;
        loop {
            {
                let mut world = self.world.lock();
                assert_eq!(world.violations, Vec::<String>::new(), "{what}");
                let route = if side == Side::Source { RouteState::Source } else { RouteState::Target };
                let route_is_right = world.route == route;
                if world.db(side).accepts_writes() && route_is_right {
                    assert_eq!(world.lost(side), Vec::<u64>::new(), "{what}");
                    let other = if side == Side::Source { Side::Target } else { Side::Source };
                    assert!(!world.db(other).accepts_writes(), "{what}: the other side accepts writes, too");
                    return;
                }
            }
            waited += 1;
            assert!(waited < 1500, "{what}: {side:?} does not accept writes within 15 s: {:?}", self.world.lock());
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// The old source has what the new primary wrote last, within the bound.
    pub(crate) async fn source_follows(&self, what: &str) {
        let newest = self.world.lock().target.rows.last().copied();
        for _ in 0..1500 {
            {
                let mut world = self.world.lock();
                world.replicate();
                if world.source.rows.last() >= newest.as_ref() {
                    return;
                }
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("{what}: the old source does not follow: {:?}", self.world.lock());
    }

    /// Without any controller, somebody serves again within the bound.
    pub(crate) async fn somebody_serves(&self, what: &str) {
        for _ in 0..1500 {
            {
                let mut world = self.world.lock();
                let side = match world.route {
                    RouteState::Source => Some(Side::Source),
                    RouteState::Target => Some(Side::Target),
                    RouteState::Held | RouteState::Staged => None,
                };
                if side.is_some_and(|side| world.db(side).accepts_writes()) {
                    return;
                }
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("{what}: nobody serves within 15 s: {:?}", self.world.lock());
    }

    /// The hosts are as they were before the move.
    pub(crate) fn is_as_it_was(&self, what: &str) {
        self.kernels.iter().for_each(|kernel| kernel.is_as_it_was(what));
        let world = self.world.lock();
        for db in [&world.source, &world.target] {
            assert!(db.objects.is_empty(), "{what}: left on {}: {:?}", db.system, db.objects);
            let rules = std::fs::read_to_string(db.dir.join("hba")).expect("read");
            assert_eq!(rules, "local all all trust\n", "{what}: left in the rules of {}", db.system);
            let mut names: Vec<_> = std::fs::read_dir(&db.dir).expect("read").flatten().map(|e| e.file_name()).collect();
            names.sort();
            assert_eq!(names, ["data", "hba"], "{what}: left beside the data of {}", db.system);
            let cluster = std::fs::read_to_string(db.dir.join("data/PG_VERSION"))
                .unwrap_or_else(|error| panic!("{what}: the data of {}: {error}", db.system));
            assert_eq!(cluster, db.system, "{what}: whose cluster is it");
            assert!(!db.signal().exists(), "{what}: standby.signal is left on {}", db.system);
        }
    }
}

/// A deployment with these agents enrolled, each by name, address and state directory.
pub(crate) fn found<'a>(home: &Path, agents: impl Iterator<Item = (&'a str, String, &'a Path)>) {
    let operator = Home::init(home, "lab".parse().expect("a name")).expect("founded");
    for (name, address, state) in agents {
        let host: HostName = name.parse().expect("a name");
        enrol(&operator, &host, state);
        operator.add(&host, Known { address, key: name.into() }).expect("added");
    }
}

fn enrol(home: &Home, host: &HostName, state: &Path) {
    let key = identity::generate_key().expect("a key");
    let request = rcgen::CertificateParams::default().serialize_request(&key).expect("signed").pem().expect("PEM");
    let certificate = home.authority().sign_agent(&request, host).expect("signed");
    let credentials = Credentials::new(key, &certificate, home.authority().certificate_pem()).expect("they belong together");
    flytt_proto::durable::directory(state, 0o700).expect("made");
    credentials.save(&state.join("identity")).expect("saved");
}

#[derive(Clone, Debug)]
struct Life {
    name: &'static str,
    address: SocketAddr,
    state: PathBuf,
    runtime: PathBuf,
    tuning: Tuning,
    world: World,
    /// Its first death is its last.
    is_lost: bool,
}

impl Life {
    fn side(&self) -> Option<Side> {
        match self.name {
            "db-old" => Some(Side::Source),
            "db-new" => Some(Side::Target),
            _ => None,
        }
    }

    async fn host(&self, fuse: Fuse) -> Option<Arc<Host>> {
        let side = self.side();
        let engine = side.map(|side| {
            let dir = self.world.lock().db(side).dir.clone();
            Arc::new(FakeEngine { world: self.world.clone(), side, dir }) as Arc<dyn flytt_agent::engine::Engine>
        });
        let router = match side {
            Some(_) => None,
            None => Some(Arc::new(FakeRouter { world: self.world.clone() }) as Arc<dyn flytt_agent::router::Router>),
        };
        let config = Config {
            listen: self.address,
            state: self.state.clone(),
            runtime: self.runtime.clone(),
            status: None,
            agent_check: None,
            may_replace_data: true,
            guard_free_percent: 0,
            tuning: self.tuning.clone(),
            // In memory, where nothing can be probed: a move on fakes goes by what that comes to.
            postgres: side.map(|_| flytt_agent::config::Postgres {
                data_directory: "/dev/shm/flytt-lab".into(),
                config_file: None,
                bin: "/nonexistent".into(),
                socket: "/nonexistent".into(),
                port: 1,
                start: Vec::new(),
                stop: Vec::new(),
                log: None,
                role: "postgres".into(),
                database: "postgres".into(),
            }),
            mariadb: None,
            mysql: None,
            haproxy: None,
        };
        let credentials = Arc::new(Credentials::load(&self.state.join("identity")).expect("enrolled"));
        let kernel = change::sysctl::Kernel::at(&self.tuning.sysctl);
        Host::open(config, credentials, Hands { engine, router, kernel, fuse }).await.ok()
    }
}

/// Restarts the agent when it dies, until the Lab ends.
async fn supervise(life: Life, listener: TcpListener, fuse: Fuse, stop: CancellationToken) {
    let (mut listener, mut fuse) = (Some(listener), fuse);
    while !stop.is_cancelled() {
        let socket = match listener.take() {
            Some(socket) => socket,
            None => match TcpListener::bind(life.address).await {
                Ok(socket) => socket,
                Err(_) => {
                    tokio::time::sleep(Duration::from_millis(10)).await;
                    continue;
                }
            },
        };
        // The ledger is let go of when the last task of the former life is gone.
        let Some(host) = life.host(fuse.clone()).await else {
            listener = Some(socket);
            if fuse.is_blown() {
                fuse = Fuse::default();
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
            continue;
        };
        let served = serve_host(host.clone(), socket, stop.child_token());
        tokio::select! {
            _ = served => {}
            () = fuse.blown() => host.close().await,
        }
        if let (true, Some(side)) = (life.is_lost && fuse.is_blown(), life.side()) {
            life.world.lock().db(side).serving = flytt_agent::engine::Serving::Down;
            return;
        }
        fuse = Fuse::default();
        drop(host);
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Several labs at a time, so that waiting is not idling.
pub(crate) async fn all<T: std::fmt::Debug, F>(cases: Vec<T>, at_once: usize, run: impl Fn(T) -> F)
where
    F: Future<Output = ()> + Send + 'static,
{
    let failures = Arc::new(Mutex::new(Vec::new()));
    let room = Arc::new(tokio::sync::Semaphore::new(at_once));
    let mut tasks = Vec::new();
    for case in cases {
        let name = format!("{case:?}");
        let permit = room.clone().acquire_owned().await.expect("open");
        let work = tokio::spawn(tokio::time::timeout(Duration::from_secs(90), run(case)));
        let failures = failures.clone();
        tasks.push(tokio::spawn(async move {
            let text = match work.await {
                Ok(Ok(())) => None,
                Ok(Err(_)) => Some(format!("{name}: no end within 90 s")),
                Err(error) => Some(match error.try_into_panic() {
                    Ok(panic) => panic.downcast_ref::<String>().cloned().unwrap_or_else(|| "a panic".into()),
                    Err(error) => error.to_string(),
                }),
            };
            failures.lock().expect("no panic while held").extend(text);
            drop(permit);
        }));
    }
    for task in tasks {
        task.await.expect("it does not panic");
    }
    let failures = failures.lock().expect("no panic while held");
    assert!(failures.is_empty(), "{} failed:\n{}", failures.len(), failures.join("\n"));
}
