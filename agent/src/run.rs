//! The agent's life: open the ledger, serve, end in order.

use std::{sync::Arc, time::Duration};

use flytt_proto::{
    durable,
    failure::Failure,
    fuse::Fuse,
    identity::Credentials,
    v1::{
        link_server::LinkServer, observe_server::ObserveServer, operate_server::OperateServer, peer_server::PeerServer,
        verify_server::VerifyServer,
    },
};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::{
    beat,
    change::{Hands, sysctl::Kernel},
    config::Config,
    engine::{mariadb::Mariadb, mysql::Mysql, postgres::Postgres},
    guard,
    host::Host,
    link,
    router::haproxy::Haproxy,
    serve,
    service::{link::Link, observe::Observe, operate::Operate, peer::Peer, verify::Verify},
    status::Status,
};

/// What is at work may end by itself for so long, once the agent is told to stop.
const GRACE: Duration = Duration::from_secs(2);

/// Runs until `stop`; what is at work goes on in its ledger.
pub async fn run(config: Config, stop: CancellationToken) -> Result<(), Failure> {
    let listener = TcpListener::bind(config.listen).await.map_err(|error| {
        Failure::refused(
            "CANNOT_LISTEN",
            format!("cannot listen on {}: {error}", config.listen),
            "see `listen` in agent.toml; is another agent running?",
        )
    })?;
    serve_host(open(config).await?, listener, stop).await
}

/// A server that a confined agent started would run under filters that were made for the agent: PostgreSQL compiles queries into memory
/// which it then executes, and nobody would know why they fail.
pub fn must_be_started_elsewhere(config: &Config) -> Result<(), Failure> {
    if config.is_started_elsewhere() {
        return Ok(());
    }
    let sentence = "this agent is confined by its service, and agent.toml does not say how its server is started outside of that";
    Err(Failure::refused("START_CONFINED", sentence, "set `start` and `stop` in the server's section of agent.toml"))
}

/// This host with its ledger, as it was left. Nothing is served yet.
pub async fn open(config: Config) -> Result<Arc<Host>, Failure> {
    let credentials = Arc::new(Credentials::load(&config.state.join("identity"))?);
    let engine: Option<Arc<dyn crate::engine::Engine>> = match (&config.postgres, &config.mariadb, &config.mysql) {
        (Some(postgres), None, None) => Some(Arc::new(Postgres::new(postgres.clone(), &config.state, config.may_replace_data))),
        (None, Some(mariadb), None) => {
            durable::directory(&mariadb.drop_in, 0o755)
                .map_err(|error| Failure::refused("DISK", error.to_string(), "see `drop_in` in agent.toml"))?;
            let pipes = Arc::new(link::pipe::Pipes::new(credentials.clone()));
            Some(Arc::new(Mariadb::new(mariadb.clone(), &config.state, config.may_replace_data).through(pipes)))
        }
        (None, None, Some(mysql)) => {
            let pipes = Arc::new(link::pipe::Pipes::new(credentials.clone()));
            Some(Arc::new(Mysql::new(mysql.clone(), &config.state, config.may_replace_data).through(pipes)))
        }
        (None, None, None) => None,
        (_, _, _) => {
            let sentence = "agent.toml has more than one of the sections [postgres], [mariadb] and [mysql]";
            return Err(Failure::refused("TWO_ENGINES", sentence, "run one agent for each server, each with its own agent.toml"));
        }
    };
    let router = match &config.haproxy {
        Some(haproxy) => {
            durable::directory(&config.runtime, 0o700)
                .map_err(|error| Failure::refused("DISK", error.to_string(), "see `runtime` in agent.toml"))?;
            let router = Haproxy::new(haproxy.clone(), config.runtime.clone());
            if let Err(failure) = router.adopt().await {
                tracing::warn!(code = failure.code, "{failure}");
            }
            Some(Arc::new(router) as Arc<dyn crate::router::Router>)
        }
        None => None,
    };
    let kernel = Kernel::at(&config.tuning.sysctl);
    let fuse = Fuse::beside(&config.state);
    Host::open(config, credentials, Hands { engine, router, kernel, fuse }).await
}

/// Serves an open host on a bound socket. The Lab enters here, with a host of its own making.
pub async fn serve_host(host: Arc<Host>, listener: TcpListener, stop: CancellationToken) -> Result<(), Failure> {
    // Whatever way this ends, what it started ends with it.
    let mut beside = tokio::task::JoinSet::new();
    beside.spawn(guard::watch(host.clone()));
    beside.spawn(beat::beat(host.clone()));
    let standing = {
        let host = host.clone();
        move || {
            let host = host.clone();
            async move { host.standing().await }
        }
    };
    let shut = {
        let host = host.clone();
        move || host.is_shut()
    };
    let status = Status::bind(host.config.status, host.config.agent_check).await.map_err(|error| {
        Failure::refused("CANNOT_LISTEN", format!("the status port: {error}"), "see `status` and `agent_check` in agent.toml")
    })?;
    beside.spawn(async move {
        if let Err(error) = status.serve(standing, shut).await {
            tracing::error!("the status port: {error}");
        }
    });
    let services = serve::Services {
        observe: ObserveServer::new(Observe(host.clone())),
        operate: OperateServer::new(Operate(host.clone())),
        link: LinkServer::new(Link(host.clone())),
        peer: PeerServer::new(Peer(host.clone())),
        verify: VerifyServer::new(Verify(host.clone())),
    };
    tracing::info!(host = %host.name, address = ?listener.local_addr().ok(), "serving");
    let _ = sd_notify::notify(&[sd_notify::NotifyState::Ready]);
    let served = serve::serve(listener, &host.credentials, services, stop, GRACE).await;
    host.close().await;
    served
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_confined_agent_starts_no_server_itself() {
        let judge = |section: &str| {
            let head = "listen = \"127.0.0.1:7431\"\nstate = \"/s\"\nruntime = \"/r\"\n";
            must_be_started_elsewhere(&toml::from_str(&format!("{head}{section}")).expect("an agent.toml"))
        };
        let postgres = "[postgres]\ndata_directory = \"/d\"\nbin = \"/b\"\nsocket = \"/s\"\nport = 1\n";
        assert_eq!(judge(postgres).expect_err("by itself").code, "START_CONFINED");
        let by_its_unit = "start = [\"/usr/bin/systemctl\", \"start\", \"postgresql@17-main\"]\n";
        judge(&format!("{postgres}{by_its_unit}")).expect("by its unit");
        judge("").expect("a router's host has no server");
    }

    #[test]
    fn whoever_starts_the_server_is_also_told_that_it_stays_down() {
        let directory = tempfile::tempdir().expect("a directory");
        let read = |more: &str| {
            let path = directory.path().join("agent.toml");
            let text = format!(
                "listen = \"127.0.0.1:7431\"\nstate = \"/s\"\nruntime = \"/r\"\n[postgres]\ndata_directory = \"/d\"\nbin = \"/b\"\n\
                 socket = \"/s\"\nport = 1\n{more}"
            );
            flytt_proto::durable::write(&path, text.as_bytes(), 0o600).expect("written");
            Config::read(&path)
        };
        assert!(read("").is_ok() && read("start = [\"/a\"]\nstop = [\"/b\"]\n").is_ok());
        for half in ["start = [\"/a\"]\n", "stop = [\"/b\"]\n"] {
            assert!(read(half).expect_err("one of the two").to_string().contains("both `start` and `stop`"), "{half}");
        }
    }
}
