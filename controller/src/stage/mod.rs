//! The demo's stage: two throw-away database servers, a HAProxy in front of them and an agent on each "host", all on this
//! machine and all gone with the [`Stage`]. It sets the scene; the move itself is played by the same commands as anywhere.

mod agent;
mod disk;
mod mariadb;
mod memory;
mod mysql;
mod mysql_family;
mod network;
mod peer;
mod place;
mod ports;
mod postgres;
mod processes;
mod programs;
mod proxy;
mod server;
mod spawn;
mod supervised;
mod tables;

use std::{
    net::{Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    time::Duration,
};

use flytt_proto::failure::{Effect, Failure};

pub use self::{
    agent::{Agent, agent_beside_us},
    disk::Disk,
    peer::{Peer, Peers, checksum},
    place::{Place, clear_stale},
    programs::Programs,
    proxy::{Proxy, Upstream},
    server::Server,
    supervised::Supervised,
};
use crate::{canary::Connection, spec::Engine};

/// Names that the migration, the agents and the proxy share.
pub const SOURCE: &str = "db-old";
pub const TARGET: &str = "db-new";
pub const ROUTER: &str = "lb-1";
pub const MIGRATION: &str = "demo";

/// What the target is before the move.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
#[value(rename_all = "lowercase")]
pub enum Way {
    /// An empty data directory, for the source's files.
    #[default]
    Physical,
    /// A server that runs, empty and read-only, for its schema and rows.
    Dump,
}

/// How the stage is set.
#[derive(Clone, Debug)]
pub struct Options {
    pub engine: Engine,
    pub way: Way,
    /// Where the stage's directory is made. Short, because a unix socket's path ends at 107 bytes.
    pub base: PathBuf,
    /// Initial data in the source.
    pub data_mib: u32,
    /// The `flytt-agent` to run on each host (see [`agent_beside_us`]); `None` = servers and proxy alone.
    pub agent: Option<PathBuf>,
}

impl Default for Options {
    fn default() -> Self {
        Self { engine: Engine::default(), way: Way::default(), base: "/tmp".into(), data_mib: 200, agent: None }
    }
}

/// The agents, by what their host is in the move.
#[derive(Debug)]
pub struct Agents {
    pub source: Agent,
    pub target: Agent,
    pub router: Agent,
}

/// The whole scene. Its parts end in this order, the directory last.
#[derive(Debug)]
pub struct Stage {
    pub engine: Engine,
    pub agents: Option<Agents>,
    pub proxy: Proxy,
    pub target: Server,
    pub source: Server,
    /// Connection string of the application's way in, 0600: what a canary is given.
    pub conninfo: PathBuf,
    /// For the controller's identity, journal and hosts; 0700 and empty.
    pub home: PathBuf,
    /// `migration.toml` of the move from `source` to `target`.
    pub migration: String,
    pub place: Place,
}

impl Stage {
    /// Builds the scene and returns once the application is served through the proxy. `add_host` is called for each agent that
    /// waits to be enrolled, with the home, its host's name, its address and its one-time code. Dropping the future takes all down.
    ///
    /// # Errors
    /// `PROGRAM_MISSING` names the Debian package to install; `STAGE_…` says what did not come up.
    pub async fn build(
        options: &Options,
        mut add_host: impl AsyncFnMut(&Path, &str, SocketAddr, &str) -> Result<(), Failure>,
    ) -> Result<Self, Failure> {
        if options.way == Way::Dump && options.engine == Engine::Postgres {
            let sentence = format!("{} is not copied by a dump", options.engine.title());
            return Err(Failure::refused("STAGE_WAY", sentence, "leave `--way` out"));
        }
        let programs = Programs::find(options.engine)?;
        let place = Place::new(&options.base)?;
        let [source_port, target_port, entrance, source_check, target_check] = place.ports()?;

        let source = Server::create(&place, &programs, SOURCE, source_port).await?;
        let target = match options.way {
            Way::Physical => Server::vacant(&place, &programs, TARGET, target_port)?,
            Way::Dump => {
                let target = Server::create(&place, &programs, TARGET, target_port).await?;
                target.start().await?;
                target.sql("", read_only(options.engine)).await?;
                target
            }
        };
        source.start().await?;
        let password = place::random_hex::<24>()?;
        source.admit_application(&password).await?;
        source.fill(options.data_mib).await?;
        let conninfo = place.path().join("application.conninfo");
        place.file(&conninfo, &source.way_in(entrance, &password), 0o600, None)?;
        let home = place.directory("home", 0o700, None)?;

        let upstream =
            |server: &Server, check: u16| Upstream { port: server.port(), status: options.agent.as_ref().map(|_| check) };
        let (old, new) = (upstream(&source, source_check), upstream(&target, target_check));
        let proxy = Proxy::create(&place, &programs, entrance, old, new).await?;
        let agents = match &options.agent {
            Some(binary) => {
                let statuses = [loopback(source_check), loopback(target_check)];
                Some(
                    Agents::build(
                        &place,
                        binary,
                        &source,
                        &target,
                        &proxy,
                        statuses,
                        async |name: &str, address: SocketAddr, code: &str| add_host(&home, name, address, code).await,
                    )
                    .await?,
                )
            }
            None => None,
        };
        let stage = Self {
            engine: options.engine,
            agents,
            proxy,
            target,
            source,
            conninfo,
            home,
            migration: migration(options.engine),
            place,
        };
        stage.wait_for_service().await?;
        Ok(stage)
    }

    /// The last lines of each log, for whoever wants to know why something failed.
    pub fn logs(&self) -> Vec<String> {
        let agents = self.agents.iter().flat_map(|agents| [&agents.source, &agents.target, &agents.router]);
        let logs = agents.map(|agent| agent.process.log().to_owned()).chain([self.source.log(), self.target.log()]);
        let tail = |path: PathBuf| {
            let text = std::fs::read_to_string(&path).unwrap_or_default();
            let lines: Vec<&str> = text.lines().rev().take(25).collect();
            format!("{}:\n  {}", path.display(), lines.into_iter().rev().collect::<Vec<_>>().join("\n  "))
        };
        logs.map(tail).collect()
    }

    /// The application's account and way in.
    ///
    /// # Errors
    /// When the file is gone or was made readable for others.
    pub fn connection(&self) -> Result<Connection, Failure> {
        Connection::from_file(self.engine.protocol(), &self.conninfo)
    }

    /// Takes all down without holding up the tasks of this runtime, as a plain drop would for a second or two.
    pub async fn tear_down(self) {
        let _ = tokio::task::spawn_blocking(move || drop(self)).await;
    }

    async fn wait_for_service(&self) -> Result<(), Failure> {
        let connection = self.connection()?;
        let served = async {
            while connection.answers().await.is_err() {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            while !self.proxy.has_seen_target_down().await {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(30), served)
            .await
            .map_err(|_| not_up("the proxy leads to no server within 30 s", self.proxy.log()))
    }
}

impl Agents {
    async fn build(
        place: &Place,
        binary: &Path,
        source: &Server,
        target: &Server,
        proxy: &Proxy,
        [source_status, target_status]: [SocketAddr; 2],
        mut add_host: impl AsyncFnMut(&str, SocketAddr, &str) -> Result<(), Failure>,
    ) -> Result<Self, Failure> {
        let binary = place.executable(binary, "flytt-agent")?;
        let [one, two, three] = place.ports()?;
        let source = Agent::of_server(place, &binary, SOURCE, one, source_status, source, agent::Consent::Keep)?;
        let target = Agent::of_server(place, &binary, TARGET, two, target_status, target, agent::Consent::MayReplaceData)?;
        let router = Agent::of_proxy(place, &binary, ROUTER, three, proxy)?;
        for agent in [&source, &target, &router] {
            agent.join(&mut add_host).await?;
        }
        Ok(Self { source: source.serve().await?, target: target.serve().await?, router: router.serve().await? })
    }
}

/// A router that asks for the primary must not take an empty server for one.
fn read_only(engine: Engine) -> &'static str {
    if engine == Engine::Mysql { "SET GLOBAL super_read_only = 1" } else { "SET GLOBAL read_only = 1" }
}

/// The kernel is this whole machine's: a demo leaves it alone. Source and target share this machine and its disk, so that each is
/// the other's noisy neighbour: its gates are judged by the same thresholds as anywhere, and warn. The probe is short for the
/// same reason.
fn migration(engine: Engine) -> String {
    format!(
        "name   = \"{MIGRATION}\"\nengine = \"{}\"\n\n[source]\nhost = \"{SOURCE}\"\n\n[target]\nhost = \"{TARGET}\"\n\n\
         [tuning]\nkernel = \"off\"\n\n[probe]\nseconds = 1\nfile    = \"16MiB\"\n\n[gates]\nblock = []\n\n\
         [[router]]\nkind    = \"haproxy\"\nhost    = \"{ROUTER}\"\nbackend = \"{}\"\nsource  = \"{}\"\ntarget  = \"{}\"\n",
        engine.name(),
        proxy::BACKEND,
        proxy::OLD,
        proxy::NEW,
    )
}

fn loopback(port: u16) -> SocketAddr {
    (Ipv4Addr::LOCALHOST, port).into()
}

/// Something was started and does not do its work. The last lines of its log are the best explanation there is.
fn not_up(sentence: &str, log: &Path) -> Failure {
    let text = std::fs::read_to_string(log).unwrap_or_default();
    let tail = text.lines().rev().take(3).map(|line| line.escape_debug().to_string()).collect::<Vec<_>>();
    let tail = tail.into_iter().rev().collect::<Vec<_>>().join(" | ");
    Failure::refused("STAGE_NOT_UP", format!("{sentence}: {tail}"), "free the machine's memory, disk and ports, and try again")
        .with_effect(Effect::None)
}
