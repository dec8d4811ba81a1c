//! A stage with real agents, and what must be true of it after every bad moment: nothing lost, one holder, nothing left.
//! What goes wrong, and when, is the tests' own business.

mod alone;
mod anew;
mod bad_input;
mod dump;
pub(crate) mod flytt;
mod gates;
mod health;
mod home;
pub(crate) mod left;
mod lost;
mod mariadb;
mod matrix;
mod mysql;
mod network;
mod other_version;
mod pair;
mod prober;
mod random;
mod secrets;
pub(crate) mod shell;
pub(crate) mod slow;
pub(crate) mod stalled;
mod turns;
mod verify;
mod ways;

use std::{
    net::SocketAddr,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    sync::Mutex,
    time::Duration,
};

use ::flytt::{
    canary::{self, Canary},
    enrol,
    home::Home,
    spec::Engine,
    stage::{self, Agents, Server, Stage},
};
use flytt_proto::{durable, name::HostName};
use tokio::sync::{Semaphore, SemaphorePermit};

use self::{
    flytt::{Ended, Flytt},
    left::Trace,
    network::Network,
    prober::{Door, Prober},
    shell::Disk,
};

/// As fast as it goes.
pub(crate) const FAST: &str = "[seed]\ncheckpoint = \"fast\"\nmax_rate = \"none\"\n";
/// The same for an engine whose copy begins with no checkpoint.
pub(crate) const UNLIMITED: &str = "[seed]\nmax_rate = \"none\"\n";
/// The copy of a small cluster takes some seconds.
pub(crate) const SLOW: &str = "[seed]\ncheckpoint = \"fast\"\nmax_rate = \"8MiB/s\"\n";
/// Room for a server of a few MiB and all that it writes in a story.
const DISK_MIB: u32 = 4_096;
/// See [`Scene::longest`].
const LONGEST: Duration = Duration::from_secs(15);

/// Two at a time, however many processors there are: leases are seconds long, and a starved stage would miss them.
static TURNS: Semaphore = Semaphore::const_new(2);

/// The whole scene; its parts end in this order.
pub(crate) struct Scene {
    pub(crate) stage: Stage,
    /// `migration.toml`
    pub(crate) file: PathBuf,
    /// The one-time codes by which its agents were enrolled.
    pub(crate) codes: Vec<String>,
    before: Trace,
    /// Of the hosts that have one of their own: unmounted once nothing runs on it, and before its place goes.
    disks: Vec<Disk>,
    /// How long the application may be without a writable database, without a person.
    pub(crate) longest: Duration,
    pub(crate) base: tempfile::TempDir,
    /// At work as long as the canary is.
    prober: Mutex<Option<Prober>>,
    pub(crate) network: Option<Network>,
    _turn: SemaphorePermit<'static>,
}

/// Where the data must be in the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Holder {
    Source,
    Target,
}

pub(crate) async fn pause(ms: u64) {
    tokio::time::sleep(Duration::from_millis(ms)).await;
}

/// Founds the home with its first host and enrols each.
pub(crate) async fn add_host(
    home: &Path,
    name: &str,
    address: SocketAddr,
    code: &str,
) -> Result<(), flytt_proto::failure::Failure> {
    let home = match Home::load(home) {
        Ok(home) => home,
        Err(_) => Home::init(home, "moments".parse().unwrap())?,
    };
    let (name, address): (HostName, String) = (name.parse().unwrap(), address.to_string());
    let host = enrol::add_host(home.authority(), &name, &address, &code.parse()?).await?;
    home.add(&name, host)
}

/// Once its last process is gone, unless somebody else has started it meanwhile, or there is nothing to start any more.
pub(crate) async fn start_again(server: &Server) {
    for _ in 0..30 {
        let has_data = server.data().read_dir().is_ok_and(|mut entries| entries.next().is_some());
        if !server.is_running() && has_data && server.start().await.is_ok() {
            return;
        }
        pause(100).await;
    }
}

fn copy_directory(from: &Path, to: &Path) {
    std::fs::create_dir(to).unwrap();
    std::fs::set_permissions(to, from.metadata().unwrap().permissions()).unwrap();
    for entry in std::fs::read_dir(from).unwrap().flatten() {
        let (path, copy) = (entry.path(), to.join(entry.file_name()));
        if path.is_dir() {
            copy_directory(&path, &copy);
        } else {
            std::fs::copy(path, copy).unwrap();
        }
    }
}

impl Scene {
    pub(crate) async fn set(data_mib: u32, settings: &str) -> Self {
        Self::of(Engine::Postgres, data_mib, settings).await
    }

    pub(crate) async fn of(engine: Engine, data_mib: u32, settings: &str) -> Self {
        Self::by(stage::Way::Physical, engine, data_mib, settings).await
    }

    /// With a network between its hosts that can part them.
    pub(crate) async fn apart(engine: Engine, data_mib: u32, settings: &str) -> Self {
        Self::build(stage::Way::Physical, engine, data_mib, settings, Some(Network::new())).await
    }

    pub(crate) async fn by(way: stage::Way, engine: Engine, data_mib: u32, settings: &str) -> Self {
        Self::build(way, engine, data_mib, settings, None).await
    }

    async fn build(way: stage::Way, engine: Engine, data_mib: u32, settings: &str, mut network: Option<Network>) -> Self {
        let turn = TURNS.acquire().await.unwrap();
        let base = tempfile::Builder::new().prefix("moment").tempdir_in("/tmp").unwrap();
        std::fs::set_permissions(base.path(), PermissionsExt::from_mode(0o755)).unwrap();
        let agent = stage::agent_beside_us().expect("built with the whole workspace");
        let options = stage::Options { base: base.path().into(), engine, way, data_mib, agent: Some(agent) };
        let mut codes = Vec::new();
        let enrol = async |home: &Path, name: &str, address: SocketAddr, code: &str| {
            codes.push(code.to_owned());
            let address = match &mut network {
                Some(network) => network.door(name, address).await,
                None => address,
            };
            add_host(home, name, address, code).await
        };
        let stage = Stage::build(&options, enrol).await.expect("a stage");
        let file = stage.home.join("demo.toml");
        durable::write(&file, format!("{}\n{settings}", stage.migration).as_bytes(), 0o600).unwrap();
        let before = Trace::of(&stage).await;
        Self {
            stage,
            file,
            codes,
            before,
            disks: Vec::new(),
            longest: LONGEST,
            base,
            prober: Mutex::default(),
            network,
            _turn: turn,
        }
    }

    /// From now on each side has a small disk of its own, which can be filled up.
    pub(crate) async fn on_disks(&mut self) {
        let mut disks = Vec::new();
        for (server, agent) in [(&self.stage.source, &self.agents().source), (&self.stage.target, &self.agents().target)] {
            let was_running = server.is_running();
            agent.process.keep_down();
            server.kill_hard();
            while server.is_running() {
                pause(10).await;
            }
            disks.push(Disk::under(server.data().parent().expect("a host's directory"), DISK_MIB));
            if was_running {
                start_again(server).await;
            }
            agent.process.bring_back();
        }
        self.disks = disks;
        // The router has seen its server go.
        let served_again = async {
            while !self.door(self.stage.proxy.entrance().port()).takes_a_write().await {
                pause(50).await;
            }
        };
        assert!(tokio::time::timeout(LONGEST, served_again).await.is_ok(), "not served on its disks\n{}", self.logs());
    }

    /// The source's is the first.
    pub(crate) fn disk(&self, side: Holder) -> &Disk {
        &self.disks[usize::from(side == Holder::Target)]
    }

    pub(crate) fn agents(&self) -> &Agents {
        self.stage.agents.as_ref().unwrap()
    }

    /// The application: it writes from now on. On MySQL no faster than a replica on the same two processors can follow.
    pub(crate) async fn canary(&self) -> Canary {
        let usual = canary::Options::default();
        let options = match self.stage.engine {
            Engine::Mysql => canary::Options { clients: 4, pace: Duration::from_millis(10), ..usual },
            Engine::Postgres | Engine::Mariadb => usual,
        };
        let canary = Canary::start(self.stage.connection().unwrap(), options).await.expect("a canary");
        assert!(self.accepts_writes(&self.stage.source).await, "the source takes no write\n{}", self.logs());
        let doors = [&self.stage.source, &self.stage.target].map(|server| self.door(server.port()));
        *self.prober.lock().unwrap() = Some(Prober::start(doors));
        canary
    }

    pub(crate) fn flytt(&self, arguments: &[&str]) -> Flytt {
        Flytt::start(&self.stage.home, arguments)
    }

    pub(crate) fn start(&self) -> Flytt {
        self.flytt(&["start", self.file.to_str().unwrap()])
    }

    /// A command that must end well.
    pub(crate) async fn must(&self, arguments: &[&str]) -> Ended {
        let ended = self.flytt(arguments).end().await;
        assert_eq!(ended.code, Some(0), "flytt {arguments:?}: {ended}\n{}", self.logs());
        ended
    }

    /// Seeded and following: ready to cut over.
    pub(crate) async fn following(&self) {
        self.must(&["start", self.file.to_str().unwrap()]).await;
    }

    /// The canary's writes are acknowledged again; measured from now.
    pub(crate) async fn recovered(&self, canary: &Canary) {
        let before = canary.pulse().acknowledged;
        let again = async {
            while canary.pulse().acknowledged < before + 50 {
                pause(20).await;
            }
        };
        if tokio::time::timeout(self.longest, again).await.is_err() {
            panic!("not writable again within {:?}: {:?}\n{}", self.longest, canary.pulse(), self.logs());
        }
    }

    /// Whether the server takes a write of the application, asked at its own port.
    pub(crate) async fn accepts_writes(&self, server: &Server) -> bool {
        self.door(server.port()).takes_a_write().await
    }

    /// Of a server, or of the router.
    fn door(&self, port: u16) -> Door {
        let entrance = self.stage.proxy.entrance().port();
        let text = std::fs::read_to_string(&self.stage.conninfo).unwrap();
        let way_in = match self.stage.engine {
            Engine::Postgres => text.trim().replace(&format!("port={entrance}"), &format!("port={port}")),
            Engine::Mariadb | Engine::Mysql => {
                text.lines().find_map(|line| line.strip_prefix("password = ")).unwrap_or_default().to_owned()
            }
        };
        Door { engine: self.stage.engine, way_in, port }
    }

    /// This side and only this one accepts writes, within the time that leases take. Both at once is wrong at any time.
    pub(crate) async fn assert_holder(&self, holder: Holder) {
        let found = self.holder_when(|found| found == Some(holder)).await;
        assert_eq!(found, Some(holder), "who accepts writes\n{}", self.logs());
    }

    /// Who accepts writes, once exactly one does.
    pub(crate) async fn holder(&self) -> Holder {
        let found = self.holder_when(|found| found.is_some()).await;
        found.unwrap_or_else(|| panic!("nobody accepts writes\n{}", self.logs()))
    }

    async fn holder_when(&self, settled: impl Fn(Option<Holder>) -> bool) -> Option<Holder> {
        let begun = std::time::Instant::now();
        loop {
            let found = match (self.accepts_writes(&self.stage.source).await, self.accepts_writes(&self.stage.target).await) {
                (true, true) => panic!("two servers accept writes\n{}", self.logs()),
                (true, false) => Some(Holder::Source),
                (false, true) => Some(Holder::Target),
                (false, false) => None,
            };
            if settled(found) || begun.elapsed() > LONGEST {
                return found;
            }
            pause(100).await;
        }
    }

    /// What a command that was disturbed came to, and that its exit code says so.
    pub(crate) async fn settle(&self, ended: &Ended) -> Holder {
        let holder = self.holder().await;
        match ended.code {
            Some(0) => assert_eq!(holder, Holder::Target, "{ended}"),
            Some(6) => assert_eq!(holder, Holder::Source, "{ended}"),
            Some(7 | 8) => {}
            _ => panic!("{ended}\n{}", self.logs()),
        }
        holder
    }

    /// After a cutover that came to nothing: `resume` until the target follows again, as an operator would.
    pub(crate) async fn carry_on(&self) {
        for _ in 0..3 {
            let ended = self.must(&["resume", stage::MIGRATION]).await;
            let answer = ended.answer();
            if answer["ready"] == true || answer["milestone"] == "following" {
                return;
            }
        }
        panic!("it does not follow again\n{}", self.logs());
    }

    /// As the status says: there, and how long it would last without its follower.
    pub(crate) async fn has_a_way_back(&self) {
        let mut last = None;
        for _ in 0..50 {
            let status = self.must(&["status", stage::MIGRATION]).await;
            let back = &status.answer()["hosts"]["way_back"];
            if back["ready"] == true && back["hold"].is_string() {
                return;
            }
            last = Some(status);
            pause(200).await;
        }
        panic!("{}\n{}", last.expect("asked"), self.logs());
    }

    /// The operator's directory, as it is now, at another place.
    pub(crate) fn copy_of_home(&self) -> PathBuf {
        let copy = self.base.path().join("home-2");
        copy_directory(&self.stage.home, &copy);
        copy
    }

    /// The end of every story: the application is served within its time, one server holds, flytt is told to clean up
    /// under load, nothing is left, and every acknowledged write is there.
    pub(crate) async fn ends(self, canary: Canary, holder: Holder) {
        self.recovered(&canary).await;
        self.assert_holder(holder).await;
        match holder {
            Holder::Source => {
                self.must(&["rollback", stage::MIGRATION]).await;
            }
            Holder::Target => {
                self.must(&["finish", stage::MIGRATION]).await;
            }
        }
        self.recovered(&canary).await;
        self.assert_holder(holder).await;
        self.assert_nothing_left(holder).await;
        self.assert_nothing_lost(canary, holder).await;
        self.stage.tear_down().await;
    }

    pub(crate) async fn assert_nothing_left(&self, holder: Holder) {
        let now = Trace::of(&self.stage).await;
        match holder {
            Holder::Source => assert_eq!(now, self.before, "left behind\n{}", self.logs()),
            Holder::Target => now.assert_moved_from(&self.before),
        }
    }

    pub(crate) async fn assert_nothing_lost(&self, canary: Canary, holder: Holder) {
        let (record, prober) = (canary.stop().await, self.prober.lock().unwrap().take());
        let begun = std::time::Instant::now();
        while !left::holds_nobody(&self.stage).await {
            assert!(begun.elapsed() < LONGEST, "the holding server outlives its last client\n{}", self.logs());
            pause(50).await;
        }
        let (past_the_router, through_it) = (prober.expect("at work").so_far(), record.report.server_changes);
        assert!(!past_the_router.is_empty(), "nobody took a write past the router");
        assert_eq!(prober::handovers(&past_the_router), through_it, "two accepted writes\n{past_the_router:?}\n{}", self.logs());
        let server = if holder == Holder::Source { &self.stage.source } else { &self.stage.target };
        let on = self.stage.connection().unwrap().at("127.0.0.1", server.port());
        let found = record.verify(&on).await.expect("comparable");
        assert!(found.is_clean() && found.acknowledged > 0, "{found:?}\n{}", self.logs());
        let gap = record.report.longest_gap.ms;
        println!("longest gap {gap:.0} ms, {} acknowledged, {} sessions cut", found.acknowledged, record.report.sessions_cut);
        assert!(gap < self.longest.as_secs_f64() * 1e3, "{:?}", record.report);
    }

    /// What is there now is what must be there in the end.
    pub(crate) async fn look_again(&mut self) {
        self.before = Trace::of(&self.stage).await;
    }

    /// For a failure's text.
    pub(crate) fn logs(&self) -> String {
        self.stage.logs().join("\n")
    }
}
