//! What this host is, for health checks: plain text, read-only, no secret. Routers converge by it after a move.
//!
//! Two listeners, each off unless configured: HTTP (`/primary`, `/replica`, `/health`) and HAProxy's agent-check (one line).
//! Anybody who reaches the port may ask, so everything about a connection is bounded.

use std::{future::Future, io, net::SocketAddr, sync::Arc, time::Duration};

use axum::serve::Listener as _;
use axum::{
    Router,
    http::StatusCode,
    response::{IntoResponse, Response},
    routing::any,
};
use flytt_proto::failure::Failure;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
    sync::Mutex,
    task::JoinSet,
    time::{Instant, timeout},
};

use crate::engine::Serving;

mod bounded;
#[cfg(test)]
mod tests;

use bounded::Bounded;

/// What the host may be used for right now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standing {
    pub serving: Serving,
    /// Fenced or gated: applications cannot get in, whatever the server itself would allow.
    pub fenced: bool,
    /// Of a standby: it follows somebody, so that what it shows does not stand still.
    pub follows: bool,
}

impl Standing {
    /// `Err` = why the host is not a primary that applications can use.
    pub fn primary(self) -> Result<(), &'static str> {
        match (self.serving, self.fenced) {
            (Serving::Writable, false) => Ok(()),
            (Serving::Writable, true) => Err("fenced"),
            (Serving::Standby, _) => Err("standby"),
            (Serving::Down, _) => Err("down"),
        }
    }

    /// `Err` = why the host is not a standby that applications can read from.
    pub fn replica(self) -> Result<(), &'static str> {
        match (self.serving, self.fenced) {
            (Serving::Standby, false) if self.follows => Ok(()),
            (Serving::Standby, false) => Err("follows nobody"),
            (Serving::Standby, true) => Err("fenced"),
            (Serving::Writable, _) => Err("primary"),
            (Serving::Down, _) => Err("down"),
        }
    }
}

/// A database that does not answer in this time counts as down.
const PATIENCE: Duration = Duration::from_secs(2);
/// However many ask, the database is asked this often at most.
const FRESH: Duration = Duration::from_millis(100);

/// The listeners, bound; [`Status::serve`] answers on them.
#[derive(Debug)]
pub struct Status {
    http: Option<TcpListener>,
    agent_check: Option<TcpListener>,
}

impl Status {
    pub async fn bind(http: Option<SocketAddr>, agent_check: Option<SocketAddr>) -> io::Result<Self> {
        async fn bind(address: Option<SocketAddr>) -> io::Result<Option<TcpListener>> {
            match address {
                Some(address) => TcpListener::bind(address).await.map(Some),
                None => Ok(None),
            }
        }
        Ok(Self { http: bind(http).await?, agent_check: bind(agent_check).await? })
    }

    pub fn http_address(&self) -> Option<SocketAddr> {
        self.http.as_ref()?.local_addr().ok()
    }

    pub fn agent_check_address(&self) -> Option<SocketAddr> {
        self.agent_check.as_ref()?.local_addr().ok()
    }

    /// Answers until dropped. `ask` looks at the server; what it says is used for a tenth of a second. `shut` says whether a fence or a
    /// gate stands by now, which is never told late: two hosts would call themselves the primary.
    pub async fn serve<A, F, S>(self, ask: A, shut: S) -> io::Result<()>
    where
        A: Fn() -> F + Send + Sync + 'static,
        F: Future<Output = Result<Standing, Failure>> + Send + 'static,
        S: Fn() -> bool + Send + Sync + 'static,
    {
        let latest = Arc::new(Latest { ask, shut, answer: Mutex::new(None) });
        let http = async {
            match self.http {
                Some(listener) => axum::serve(Bounded::new(listener), pages(Arc::clone(&latest))).await,
                None => std::future::pending().await,
            }
        };
        let agent_check = async {
            match self.agent_check {
                Some(listener) => answer_checks(listener, Arc::clone(&latest)).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! { ended = http => ended, ended = agent_check => ended }
    }
}

struct Latest<A, S> {
    ask: A,
    shut: S,
    answer: Mutex<Option<(Instant, Result<Standing, &'static str>)>>,
}

impl<A, F, S> Latest<A, S>
where
    A: Fn() -> F,
    F: Future<Output = Result<Standing, Failure>>,
    S: Fn() -> bool,
{
    /// `Err` = why nothing can be said.
    async fn standing(&self) -> Result<Standing, &'static str> {
        let lately = self.lately().await?;
        Ok(Standing { fenced: lately.fenced || (self.shut)(), ..lately })
    }

    /// One question at a time; whoever waited for it takes its answer.
    async fn lately(&self) -> Result<Standing, &'static str> {
        let mut answer = self.answer.lock().await;
        if let Some((at, standing)) = &*answer
            && at.elapsed() < FRESH
        {
            return *standing;
        }
        let standing = match timeout(PATIENCE, (self.ask)()).await {
            Ok(Ok(standing)) => Ok(standing),
            Ok(Err(failure)) => {
                tracing::debug!(%failure, "the status of the server cannot be told");
                Err("unknown")
            }
            Err(_) => Err("no answer from the server"),
        };
        *answer = Some((Instant::now(), standing));
        standing
    }
}

fn pages<A, F, S>(latest: Arc<Latest<A, S>>) -> Router
where
    A: Fn() -> F + Send + Sync + 'static,
    F: Future<Output = Result<Standing, Failure>> + Send + 'static,
    S: Fn() -> bool + Send + Sync + 'static,
{
    // HAProxy's checks ask by OPTIONS unless told otherwise.
    let page = |tell: fn(Standing) -> Result<(), &'static str>| {
        let latest = Arc::clone(&latest);
        any(move |method: axum::http::Method| {
            let latest = Arc::clone(&latest);
            async move {
                match method.as_str() {
                    "GET" | "HEAD" | "OPTIONS" => reply(latest.standing().await.and_then(tell)),
                    _ => StatusCode::METHOD_NOT_ALLOWED.into_response(),
                }
            }
        })
    };
    Router::new()
        .route("/primary", page(Standing::primary))
        .route("/replica", page(Standing::replica))
        .route("/health", any(async || reply(Ok(()))))
}

fn reply(outcome: Result<(), &'static str>) -> Response {
    match outcome {
        Ok(()) => (StatusCode::OK, "ok\n").into_response(),
        Err(reason) => (StatusCode::SERVICE_UNAVAILABLE, format!("{reason}\n")).into_response(),
    }
}

/// HAProxy connects, reads one line and closes (Configuration Manual, `agent-check`). The answer says `up`, never `ready`:
/// that would cancel the maintenance by which a route is held.
async fn answer_checks<A, F, S>(listener: TcpListener, latest: Arc<Latest<A, S>>) -> io::Result<()>
where
    A: Fn() -> F + Send + Sync + 'static,
    F: Future<Output = Result<Standing, Failure>> + Send + 'static,
    S: Fn() -> bool + Send + Sync + 'static,
{
    let mut listener = Bounded::new(listener);
    let mut checks = JoinSet::new();
    loop {
        tokio::select! {
            (mut stream, _) = listener.accept() => {
                let latest = Arc::clone(&latest);
                checks.spawn(async move {
                    let line = match latest.standing().await.and_then(Standing::primary) {
                        Ok(()) => "up\n".to_owned(),
                        Err(reason) => format!("down #{reason}\n"),
                    };
                    let told = async {
                        stream.write_all(line.as_bytes()).await?;
                        stream.shutdown().await?;
                        // Closing with something unread would reset the connection, and take the line with it.
                        stream.read(&mut [0; 256]).await
                    };
                    if let Err(error) = told.await {
                        tracing::debug!(%error, "an agent check ends early");
                    }
                });
            }
            Some(_) = checks.join_next() => {}
        }
    }
}
