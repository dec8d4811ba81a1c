//! The HAProxy in front of both servers. Where there are agents, their `/primary` says which server is up; else an open port.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use flytt_proto::failure::Failure;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::UnixStream,
};

use super::{
    loopback, not_up,
    place::Place,
    programs::Programs,
    spawn::Program,
    supervised::{Supervised, wait_until},
};

pub(super) const FRONTEND: &str = "database";
pub(super) const BACKEND: &str = "database_back";
pub(super) const OLD: &str = "db_old";
pub(super) const NEW: &str = "db_new";

/// A server as the proxy sees it: its port, and the port of its agent's `/primary` where there is one.
#[derive(Clone, Copy, Debug)]
pub struct Upstream {
    pub port: u16,
    pub status: Option<u16>,
}

/// A running HAProxy, restarted when it dies.
#[derive(Debug)]
pub struct Proxy {
    entrance: SocketAddr,
    socket: PathBuf,
    binary: PathBuf,
    process: Supervised,
}

impl Proxy {
    /// Starts it; returns when it accepts connections.
    ///
    /// # Errors
    /// `STAGE_DIRECTORY`, or `STAGE_NOT_UP` with the end of its log.
    pub async fn create(place: &Place, programs: &Programs, port: u16, old: Upstream, new: Upstream) -> Result<Self, Failure> {
        let account = place.account();
        let root = place.directory(super::ROUTER, 0o755, Some(account))?;
        let (socket, config, log) = (root.join("admin.sock"), root.join("haproxy.cfg"), root.join("haproxy.log"));
        place.file(&config, &configuration(&socket, port, old, new), 0o640, Some(account))?;
        let program = Program {
            path: programs.haproxy.clone(),
            arguments: vec!["-db".into(), "-f".into(), config.into()],
            account: account.clone(),
            stage: place.path().to_owned(),
        };
        let process = Supervised::start(program, log);
        let proxy = Self { entrance: loopback(port), socket, binary: programs.haproxy.clone(), process };
        wait_until(proxy.entrance, Duration::from_secs(10), || not_up("HAProxy does not start", proxy.log())).await?;
        Ok(proxy)
    }

    /// Where the application connects.
    pub fn entrance(&self) -> SocketAddr {
        self.entrance
    }

    /// The admin socket.
    pub fn socket(&self) -> &Path {
        &self.socket
    }

    pub fn binary(&self) -> &Path {
        &self.binary
    }

    pub fn log(&self) -> &Path {
        self.process.log()
    }

    /// Whether the proxy knows by its checks that the target does not serve. It takes every server for up until then.
    pub(super) async fn has_seen_target_down(&self) -> bool {
        let ask = async {
            let mut socket = UnixStream::connect(&self.socket).await?;
            socket.write_all(format!("show servers state {BACKEND}\n").as_bytes()).await?;
            let mut answer = String::new();
            socket.read_to_string(&mut answer).await?;
            Ok::<_, std::io::Error>(answer)
        };
        // `be_id be_name srv_id srv_name srv_addr srv_op_state …`; 0 = stopped (HAProxy management guide, 9.3).
        let is_down = |line: &str| {
            let cells: Vec<&str> = line.split(' ').collect();
            cells.get(3) == Some(&NEW) && cells.get(5) == Some(&"0")
        };
        ask.await.is_ok_and(|answer| answer.lines().any(is_down))
    }

    /// Faults are made through this.
    pub fn process(&self) -> &Supervised {
        &self.process
    }
}

/// `db_new` is not `disabled`: such a server could not be brought in without a change of this file. It is simply not up yet.
fn configuration(socket: &Path, port: u16, old: Upstream, new: Upstream) -> String {
    let check = |upstream: Upstream| upstream.status.map_or_else(|| "check".into(), |status| format!("check port {status}"));
    let by_agents = if old.status.is_some() && new.status.is_some() { "    option httpchk GET /primary\n" } else { "" };
    format!(
        "global\n    stats socket {} level admin mode 600\n    stats timeout 1h\n    maxconn 1000\n\n\
         defaults\n    mode tcp\n    timeout connect 3s\n    timeout queue 30s\n    timeout check 1s\n    timeout client 1h\n    timeout server 1h\n\n\
         frontend {FRONTEND}\n    bind 127.0.0.1:{port}\n    default_backend {BACKEND}\n\n\
         backend {BACKEND}\n{by_agents}    default-server inter 500ms fall 4 rise 1\n    \
         server {OLD} 127.0.0.1:{} {}\n    server {NEW} 127.0.0.1:{} {}\n",
        socket.display(),
        old.port,
        check(old),
        new.port,
        check(new),
    )
}
