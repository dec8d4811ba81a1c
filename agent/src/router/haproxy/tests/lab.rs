//! A real HAProxy in front of two servers that say their names, and clients that keep connecting.

use std::{
    io,
    net::Ipv4Addr,
    path::Path,
    process::Stdio,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst},
    },
    time::Duration,
};

use flytt_proto::v1;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    process::{Child, Command},
    task::JoinSet,
    time::{Instant, sleep, timeout},
};
use tokio_util::task::AbortOnDropHandle;

use crate::{
    change::{RouteChange, RouteState},
    config,
    router::{Router as _, haproxy::Haproxy},
};

pub(super) const BINARY: &str = "/usr/sbin/haproxy";

/// Says its name to whoever connects, then keeps the session until the client ends it.
pub(super) struct Server {
    pub(super) port: u16,
    accepted: Arc<AtomicUsize>,
    _serving: AbortOnDropHandle<()>,
}

impl Server {
    pub(super) async fn start(name: &'static str) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let accepted = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&accepted);
        let serving = tokio::spawn(async move {
            let mut sessions = JoinSet::new();
            loop {
                let (mut client, _) = listener.accept().await.unwrap();
                count.fetch_add(1, SeqCst);
                sessions.spawn(async move {
                    let _ = client.write_all(name.as_bytes()).await;
                    let _ = tokio::io::copy(&mut client, &mut tokio::io::sink()).await;
                });
                while sessions.try_join_next().is_some() {}
            }
        });
        Self { port, accepted, _serving: AbortOnDropHandle::new(serving) }
    }

    pub(super) fn accepted(&self) -> usize {
        self.accepted.load(SeqCst)
    }
}

pub(super) struct Lab {
    pub(super) router: Haproxy,
    pub(super) old: Server,
    pub(super) new: Server,
    pub(super) settings: config::Haproxy,
    pub(super) directory: tempfile::TempDir,
    _haproxy: Child,
}

/// What a test changes in the configuration.
#[derive(Clone, Debug)]
pub(super) struct Options {
    pub(super) backend: String,
    pub(super) old: String,
    pub(super) new: String,
    pub(super) level: &'static str,
    pub(super) queue: &'static str,
}

impl Default for Options {
    fn default() -> Self {
        Self { backend: String::new(), old: String::new(), new: "disabled".into(), level: "admin", queue: "20s" }
    }
}

impl Lab {
    pub(super) async fn start() -> Self {
        Self::with(Options::default()).await
    }

    pub(super) async fn with(options: Options) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let (old, new) = (Server::start("old").await, Server::start("new").await);
        // An address from which nobody's outgoing connections take ports meanwhile.
        let entrance = TcpListener::bind((Ipv4Addr::new(127, 0, 0, 9), 0)).await.unwrap().local_addr().unwrap();
        let Options { backend, old: of_old, new: of_new, level, queue } = options;
        let text = format!(
            "global\n  stats socket {socket} level {level}\ndefaults\n  mode tcp\n  timeout connect 2s\n  timeout queue {queue}\n  \
             timeout client 20s\n  timeout server 20s\nfrontend shop\n  bind {entrance}\n  default_backend pg\nbackend pg\n  {backend}\n  \
             server old 127.0.0.1:{} {of_old}\n  server new 127.0.0.1:{} {of_new}\n",
            old.port,
            new.port,
            socket = directory.path().join("admin").display(),
        );
        let haproxy = start(directory.path(), &text);
        let settings = config::Haproxy {
            socket: directory.path().join("admin"),
            entrance: entrance.to_string(),
            frontend: "shop".into(),
            binary: BINARY.into(),
        };
        let router = Haproxy::new(settings.clone(), directory.path().to_owned());
        for _ in 0..250 {
            if router.socket.ask("show info").await.is_ok() {
                return Self { router, old, new, settings, directory, _haproxy: haproxy };
            }
            sleep(Duration::from_millis(20)).await;
        }
        panic!("HAProxy does not start with:\n{text}");
    }

    /// As after a restart of the agent.
    pub(super) fn another_router(&self) -> Haproxy {
        Haproxy::new(self.settings.clone(), self.directory.path().to_owned())
    }

    pub(super) async fn connect(&self) -> TcpStream {
        TcpStream::connect(&self.settings.entrance).await.unwrap()
    }

    pub(super) async fn go(&self, to: RouteState) {
        self.router.route(&change("old", "new", to)).await.unwrap();
        assert_eq!(self.router.state(&route("old", "new")).await.unwrap(), to);
    }

    /// Names of all servers that HAProxy has in the backend.
    pub(super) async fn servers(&self) -> Vec<String> {
        let answer = self.router.socket.ask("show servers state pg").await.unwrap();
        super::super::servers::parse("pg", &answer).unwrap().into_iter().map(|server| server.name).collect()
    }

    pub(super) async fn server(&self, name: &str) -> super::super::servers::Server {
        let answer = self.router.socket.ask("show servers state pg").await.unwrap();
        super::super::servers::parse("pg", &answer).unwrap().into_iter().find(|server| server.name == name).unwrap()
    }
}

pub(super) fn start(directory: &Path, text: &str) -> Child {
    let file = directory.join("haproxy.cfg");
    io::Write::write_all(&mut std::fs::File::create(&file).unwrap(), text.as_bytes()).unwrap();
    haproxy(&["-db", "-f", file.to_str().unwrap()]).spawn().expect("HAProxy is installed")
}

pub(super) fn haproxy(arguments: &[&str]) -> Command {
    #[allow(clippy::disallowed_methods, reason = "the router under test, ended with the test")]
    let mut command = Command::new(BINARY);
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).kill_on_drop(true);
    command
}

pub(super) fn route(source: &str, target: &str) -> v1::Route {
    v1::Route { backend: "pg".into(), source: source.into(), target: target.into() }
}

pub(super) fn change(source: &str, target: &str, to: RouteState) -> RouteChange {
    RouteChange { backend: "pg".into(), source: source.into(), target: target.into(), to, was: RouteState::Source }
}

/// The name of the server that a connection reaches.
pub(super) async fn served(client: &mut TcpStream) -> Result<String, String> {
    let mut name = [0; 3];
    match timeout(Duration::from_secs(15), client.read_exact(&mut name)).await {
        Ok(Ok(_)) => Ok(String::from_utf8_lossy(&name).into_owned()),
        Ok(Err(error)) => Err(format!("turned away: {error}")),
        Err(_) => Err("not served".into()),
    }
}

/// Clients that connect, learn their server's name, leave, and come again.
pub(super) struct Load {
    stop: Arc<AtomicBool>,
    clients: JoinSet<(Vec<Visit>, Vec<String>)>,
}

#[derive(Debug)]
pub(super) struct Visit {
    pub(super) begun: Instant,
    pub(super) served: Instant,
}

impl Load {
    pub(super) fn start(entrance: &str, clients: usize) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let mut tasks = JoinSet::new();
        for _ in 0..clients {
            let (stop, entrance) = (Arc::clone(&stop), entrance.to_owned());
            tasks.spawn(async move {
                let (mut visits, mut failures) = (Vec::new(), Vec::new());
                while !stop.load(SeqCst) {
                    let begun = Instant::now();
                    let outcome = match TcpStream::connect(&entrance).await {
                        Ok(mut client) => served(&mut client).await,
                        Err(error) => Err(format!("refused: {error}")),
                    };
                    match outcome {
                        Ok(_) => visits.push(Visit { begun, served: Instant::now() }),
                        Err(failure) => failures.push(failure),
                    }
                    sleep(Duration::from_millis(5)).await;
                }
                (visits, failures)
            });
        }
        Self { stop, clients: tasks }
    }

    /// All visits, and all failures.
    pub(super) async fn end(self) -> (Vec<Visit>, Vec<String>) {
        self.stop.store(true, SeqCst);
        let (mut visits, mut failures) = (Vec::new(), Vec::new());
        for (v, f) in self.clients.join_all().await {
            visits.extend(v);
            failures.extend(f);
        }
        (visits, failures)
    }
}
