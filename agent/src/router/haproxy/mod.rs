//! HAProxy, by its admin socket. What is done here is read back from HAProxy before it counts; nothing here decides who may
//! accept writes.
//!
//! `socket` speaks, `servers` reads, `hold` makes new connections wait (with `room`), `release` lets them go, `trial` finds
//! out in a second process which way of waiting this build survives, `findings` and `settings` look before a move.

use std::{collections::HashMap, path::PathBuf};

use flytt_proto::{
    failure::{Effect, Failure},
    v1,
};
use tokio::sync::Mutex;

use crate::{
    change::{RouteChange, RouteState},
    config,
    router::Router,
};

mod findings;
mod hold;
mod release;
mod room;
mod servers;
mod settings;
mod socket;
mod statistics;
mod trial;
mod trial_process;

#[cfg(test)]
mod tests;

pub use hold::HoldBy;
use hold::Holds;
use servers::View;
use socket::Socket;

/// The HAProxy process of this host.
#[derive(Debug)]
pub struct Haproxy {
    settings: config::Haproxy,
    socket: Socket,
    /// Where a trial puts its socket and configuration.
    scratch: PathBuf,
    /// Held while a route is being changed, so that one change is made at a time.
    holds: Mutex<Holds>,
    trials: Mutex<HashMap<trial::Build, trial::Verdict>>,
    /// Set in the trial itself: the way that is being tried.
    fixed: Option<HoldBy>,
}

impl Haproxy {
    /// `scratch`: a directory of this agent's own (0700).
    pub fn new(settings: config::Haproxy, scratch: PathBuf) -> Self {
        let socket = Socket::new(settings.socket.clone());
        Self { settings, socket, scratch, holds: Mutex::default(), trials: Mutex::default(), fixed: None }
    }

    /// To be called when the agent starts. A hold that an earlier process left behind lost its listener with it: this takes
    /// the same port again, so that clients which HAProxy sends there are kept rather than refused, until the route is
    /// brought where it belongs. A holding server that is already out of use is removed.
    pub async fn adopt(&self) -> Result<(), Failure> {
        let mut holds = self.holds.lock().await;
        for backend in servers::with_holding(&self.socket.ask("show servers state").await?) {
            self.take_over(&mut holds, &backend).await?;
        }
        Ok(())
    }

    async fn view(&self, route: &v1::Route) -> Result<View, Failure> {
        servers::check_names(route)?;
        let answer = self.socket.ask(&format!("show servers state {}", route.backend)).await?;
        View::new(route, servers::parse(&route.backend, &answer)?)
    }

    /// The steps from wherever the route stands to `to`.
    async fn bring(&self, holds: &mut Holds, route: &v1::Route, to: RouteState) -> Result<(), Failure> {
        match to {
            RouteState::Source => self.release_to_source(holds, route).await,
            RouteState::Held => self.hold(holds, route).await,
            RouteState::Staged => self.stage(holds, route).await,
            RouteState::Target => self.release_to_target(holds, route).await,
        }
    }
}

#[tonic::async_trait]
impl Router for Haproxy {
    fn name(&self) -> &'static str {
        "haproxy"
    }

    fn entrance(&self) -> &str {
        &self.settings.entrance
    }

    async fn facts(&self) -> Result<String, Failure> {
        findings::facts(self).await
    }

    async fn findings(&self, route: &v1::Route, lease_ms: u64) -> Result<Vec<v1::Finding>, Failure> {
        findings::findings(self, route, lease_ms).await
    }

    async fn state(&self, route: &v1::Route) -> Result<RouteState, Failure> {
        Ok(self.view(route).await.map_err(|failure| failure.with_effect(Effect::None))?.state())
    }

    async fn route(&self, change: &RouteChange) -> Result<(), Failure> {
        let route = v1::Route { backend: change.backend.clone(), source: change.source.clone(), target: change.target.clone() };
        let mut holds = self.holds.lock().await;
        let before = self.view(&route).await.map_err(|failure| failure.with_effect(Effect::None))?.state();
        let brought = self.bring(&mut holds, &route, change.to).await;
        let after = match (self.view(&route).await, &brought) {
            (Ok(view), _) => view.state(),
            (Err(_), Err(failure)) => return Err(failure.clone().with_effect(Effect::Unknown)),
            (Err(failure), Ok(())) => return Err(failure.with_effect(Effect::Unknown)),
        };
        match brought {
            Ok(()) if after == change.to => Ok(()),
            Ok(()) => Err(Failure::unknown(
                "ROUTE_NOT_REACHED",
                format!("HAProxy took every order, but backend {} stands {after} rather than {}", route.backend, change.to),
                "see who else administers this HAProxy (another operator, an agent-check that answers `ready`), then resume",
            )),
            Err(failure) if after == change.to => Err(failure.with_effect(Effect::Done)),
            Err(failure) if after == before => Err(failure.with_effect(Effect::None)),
            Err(failure) => Err(failure.with_effect(Effect::Unknown)),
        }
    }
}
