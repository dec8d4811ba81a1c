//! Which way of making connections wait this very HAProxy build survives: found out in a second process, never by version
//! and never in the live one. The trial drives that process through the same code as a move does.

use std::{
    io,
    net::Ipv4Addr,
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use flytt_proto::{failure::Failure, v1};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    time::{sleep, timeout},
};
use tokio_util::task::AbortOnDropHandle;

use super::{Haproxy, HoldBy, room::ADDRESS, statistics::Statistics, trial_process::TrialProcess};
use crate::{
    change::{RouteChange, RouteState},
    config,
    router::Router,
};

/// What a verdict is about: a package upgrade or another algorithm asks for a new one.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Build {
    binary: PathBuf,
    modified: Option<SystemTime>,
    algorithm: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Verdict {
    pub(super) by: HoldBy,
    /// Why the ways before it do not do.
    pub(super) reasons: Vec<String>,
}

const WAITERS: usize = 4;
/// HAProxy's watchdog ends a process that hangs for two seconds.
const SERVED: Duration = Duration::from_secs(4);

impl Haproxy {
    /// The way to hold the backend of `route`, tried once for this build.
    pub(super) async fn hold_by(&self, route: &v1::Route) -> Result<Verdict, Failure> {
        if let Some(by) = self.fixed {
            return Ok(Verdict { by, reasons: Vec::new() });
        }
        let statistics = Statistics::read(&self.socket).await?;
        let build = Build {
            binary: self.settings.binary.clone(),
            modified: tokio::fs::metadata(&self.settings.binary).await.and_then(|file| file.modified()).ok(),
            algorithm: known(statistics.value(&route.backend, "BACKEND", "algo").unwrap_or_default()),
        };
        let mut trials = self.trials.lock().await;
        if let Some(verdict) = trials.get(&build) {
            return Ok(verdict.clone());
        }
        let mut verdict = Verdict { by: HoldBy::Nothing, reasons: Vec::new() };
        for by in [HoldBy::HoldingServer, HoldBy::FrontendLimit] {
            match try_out(&self.settings.binary, &self.scratch, build.algorithm, by).await {
                Ok(()) => {
                    verdict.by = by;
                    break;
                }
                Err(reason) => verdict.reasons.push(format!("{}: {reason}", way(by))),
            }
        }
        tracing::info!(by = ?verdict.by, reasons = ?verdict.reasons, "tried how this HAProxy can hold connections");
        trials.insert(build, verdict.clone());
        Ok(verdict)
    }
}

pub(super) fn way(by: HoldBy) -> &'static str {
    match by {
        HoldBy::HoldingServer => "a holding server",
        HoldBy::FrontendLimit => "a frontend that accepts nobody",
        HoldBy::Nothing => "no hold",
    }
}

/// The algorithm as the trial's configuration can name it. The others are static, as `source` is, unless told otherwise.
fn known(algorithm: &str) -> &'static str {
    ["roundrobin", "static-rr", "leastconn", "first", "random"].into_iter().find(|name| *name == algorithm).unwrap_or("source")
}

/// `Err` = why not.
pub(super) async fn try_out(binary: &Path, scratch: &Path, algorithm: &str, by: HoldBy) -> Result<(), String> {
    let source = Named::listen("source").await.map_err(|error| error.to_string())?;
    let target = Named::listen("target").await.map_err(|error| error.to_string())?;
    let directory = scratch.join("haproxy-trial");
    let entrance = free_port().await.map_err(|error| error.to_string())?;
    let configuration = format!(
        "global\n  stats socket {socket} level admin\ndefaults\n  mode tcp\n  timeout connect 2s\n  timeout queue 20s\n  \
         timeout client 20s\n  timeout server 20s\nfrontend entrance\n  bind {ADDRESS}:{entrance}\n  default_backend trial\n\
         backend trial\n  balance {algorithm}\n  server source 127.0.0.1:{}\n  server target 127.0.0.1:{} disabled\n",
        source.port,
        target.port,
        socket = directory.join("admin").display(),
    );
    let mut process = TrialProcess::start(binary, directory.clone(), &configuration)
        .map_err(|error| format!("{} cannot be started: {error}", binary.display()))?;
    let settings = config::Haproxy {
        socket: directory.join("admin"),
        entrance: format!("{ADDRESS}:{entrance}"),
        frontend: "entrance".into(),
        binary: binary.to_owned(),
    };
    let router = Haproxy { fixed: Some(by), ..Haproxy::new(settings, scratch.to_owned()) };
    let outcome = async {
        started(&router, &mut process).await?;
        there_and_back(&router).await
    }
    .await;
    let outcome = match (outcome, process.ended()) {
        (Err(reason), Some(status)) => Err(format!("HAProxy dies of it ({status}): {reason}")),
        (outcome, _) => outcome,
    };
    drop(router);
    drop(process);
    outcome
}

async fn started(router: &Haproxy, process: &mut TrialProcess) -> Result<(), String> {
    for _ in 0..250 {
        if let Some(status) = process.ended() {
            return Err(format!("a second HAProxy ends at once ({status})"));
        }
        if router.socket.ask("show info").await.is_ok() {
            return Ok(());
        }
        sleep(Duration::from_millis(20)).await;
    }
    Err("a second HAProxy does not open its socket".into())
}

/// Hold, stage, release to the other server; then the same way back.
async fn there_and_back(router: &Haproxy) -> Result<(), String> {
    for (from, to) in [("source", "target"), ("target", "source")] {
        let go = async |state| {
            let change = RouteChange {
                backend: "trial".into(),
                source: from.into(),
                target: to.into(),
                to: state,
                was: RouteState::Source,
            };
            router.route(&change).await.map_err(|failure| failure.sentence)
        };
        go(RouteState::Held).await?;
        let mut waiting = Vec::new();
        for _ in 0..WAITERS {
            waiting
                .push(TcpStream::connect(router.entrance()).await.map_err(|error| format!("a held client is refused: {error}"))?);
        }
        sleep(Duration::from_millis(50)).await;
        go(RouteState::Staged).await?;
        for client in &waiting {
            match client.try_read(&mut [0; 1]) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Ok(0) | Err(_) => return Err("a held client is turned away".into()),
                Ok(_) => return Err("a held client gets through".into()),
            }
        }
        go(RouteState::Target).await?;
        for mut client in waiting {
            let mut name = String::new();
            match timeout(SERVED, client.read_to_string(&mut name)).await {
                Ok(Ok(_)) if name == to => {}
                Ok(Ok(_) | Err(_)) => return Err("a released client is turned away".into()),
                Err(_) => return Err("a released client is not served".into()),
            }
        }
    }
    Ok(())
}

async fn free_port() -> io::Result<u16> {
    Ok(TcpListener::bind((ADDRESS, 0)).await?.local_addr()?.port())
}

/// A server that says its name and closes.
struct Named {
    port: u16,
    _serving: AbortOnDropHandle<()>,
}

impl Named {
    async fn listen(name: &'static str) -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let port = listener.local_addr()?.port();
        let serving = tokio::spawn(async move {
            while let Ok((mut client, _)) = listener.accept().await {
                // A client that is gone already needs no name.
                let _ = client.write_all(name.as_bytes()).await;
            }
        });
        Ok(Self { port, _serving: AbortOnDropHandle::new(serving) })
    }
}
