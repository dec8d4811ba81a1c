//! Making new connections wait: they stay open, unanswered, until they are released. Sessions that exist are left alone.
//!
//! A *holding server* with one slot, taken by ourselves (`room`), leaves everybody else in the backend's queue. Where a
//! backend cannot have one, the frontend stops accepting. Which of the two is safe here, `trial` finds out.

use std::{collections::HashMap, io, time::Duration};

use flytt_proto::{failure::Failure, v1};
use tokio::time::{Instant, sleep};

use super::{
    Haproxy,
    room::{ADDRESS, Room},
    servers::{self, Admin, HOLDING, Server, View},
    statistics,
};

/// How new connections are made to wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum HoldBy {
    /// In the backend's queue, behind a server whose only slot is ours.
    HoldingServer,
    /// In the kernel, before HAProxy accepts them.
    FrontendLimit,
    /// Not at all: they are refused.
    Nothing,
}

/// What this process keeps for the holds that stand.
#[derive(Debug, Default)]
pub(super) struct Holds {
    /// By backend.
    pub(super) rooms: HashMap<String, Room>,
    /// The frontend's own limit, while ours replaces it.
    pub(super) frontend_limit: Option<u64>,
}

/// How the target stood before a hold took it out of use; its return to the source brings that back. It is kept as the
/// holding server's weight: in HAProxy itself, so that it lives exactly as long as what it is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Before {
    OutOfUse = 254,
    ReadyDown = 255,
    ReadyUp = 256,
}

impl Before {
    fn of(target: &Server) -> Self {
        match (target.admin(), target.is_up()) {
            (Admin::Ready, true) => Before::ReadyUp,
            (Admin::Ready, false) => Before::ReadyDown,
            (Admin::Drain | Admin::Maint, _) => Before::OutOfUse,
        }
    }

    pub(super) fn kept_in(holding: &Server) -> Self {
        [Before::ReadyDown, Before::ReadyUp].into_iter().find(|kept| *kept as u16 == holding.weight).unwrap_or(Before::OutOfUse)
    }
}

/// Our connection comes round to the slot within a few attempts, or never.
const SLOT: Duration = Duration::from_secs(1);

impl Haproxy {
    pub(super) async fn hold(&self, holds: &mut Holds, route: &v1::Route) -> Result<(), Failure> {
        let view = self.view(route).await?;
        let by = match view.holding {
            // Begun by an earlier process.
            Some(_) => HoldBy::HoldingServer,
            None => self.hold_by(route).await?.by,
        };
        match by {
            HoldBy::HoldingServer => self.hold_by_server(holds, route, &view).await?,
            HoldBy::FrontendLimit => self.hold_by_frontend(holds).await?,
            HoldBy::Nothing => {}
        }
        self.socket.order(&[state(route, &route.source, "maint"), state(route, &route.target, "maint")]).await
    }

    async fn hold_by_server(&self, holds: &mut Holds, route: &v1::Route, view: &View) -> Result<(), Failure> {
        let room = self.room(holds, &route.backend, view.holding.as_ref()).await?;
        let before = Before::of(&view.target) as u16;
        match view.holding.as_ref().map(Server::admin) {
            None => {
                let port = room.port();
                let server = format!("{}/{HOLDING} {ADDRESS}:{port} maxconn 1 weight {before} send-proxy", route.backend);
                self.socket.expect(&format!("add server {server}"), "New server registered").await?;
            }
            // Left by an earlier hold, whose last client is still there.
            Some(Admin::Maint) => self.socket.order(&[format!("set weight {}/{HOLDING} {before}", route.backend)]).await?,
            Some(Admin::Ready | Admin::Drain) => {}
        }
        self.socket.order(&[state(route, HOLDING, "ready")]).await?;
        if view.source.admin() == Admin::Maint && view.target.admin() != Admin::Ready {
            // Whoever is in the slot waits there like the others do in the queue.
            room.occupy_in_turn();
            return Ok(());
        }
        room.occupy();
        let taken = self.take_slot(room, route).await;
        if !matches!(taken, Ok(true)) {
            self.socket.order(&[state(route, HOLDING, "maint")]).await?;
            self.dismiss(holds, &route.backend).await?;
            taken?;
            return Err(Failure::refused(
                "HOLD_NOT_TAKEN",
                format!("no connection through {} comes round to backend {}", self.settings.entrance, route.backend),
                "let `haproxy.entrance` in agent.toml be an address of this very HAProxy that leads to the backend",
            ));
        }
        Ok(())
    }

    /// A client that gets the slot first is led on by the room; the slot beside it is then ours.
    async fn take_slot(&self, room: &Room, route: &v1::Route) -> Result<bool, Failure> {
        let (begun, mut slots) = (Instant::now(), 1);
        let slots_are = |n: usize| [format!("set maxconn server {}/{HOLDING} {n}", route.backend)];
        while !room.is_occupied() {
            if begun.elapsed() > SLOT {
                return Ok(false);
            }
            room.news(Duration::from_millis(10)).await;
            if !room.is_occupied() && room.guests() >= slots {
                slots = room.guests() + 1;
                self.socket.order(&slots_are(slots)).await?;
            }
        }
        if slots > 1 {
            self.socket.order(&slots_are(1)).await?;
        }
        Ok(true)
    }

    /// The room behind the holding server: ours, or one on the port that HAProxy already knows.
    async fn room<'a>(&self, holds: &'a mut Holds, backend: &str, holding: Option<&Server>) -> Result<&'a Room, Failure> {
        let fits = |room: &Room| holding.is_none_or(|server| server.port == room.port());
        let room = match holds.rooms.remove(backend).filter(fits) {
            Some(room) => room,
            None => {
                let known = holding.map_or(0, |server| server.port);
                let room = match Room::open(known, &self.settings.entrance).await {
                    Err(error) if known != 0 && error.kind() == io::ErrorKind::AddrInUse => {
                        Room::open(0, &self.settings.entrance).await
                    }
                    other => other,
                }
                .map_err(|error| {
                    Failure::refused(
                        "HOLD_LISTENER",
                        format!("the agent cannot listen on loopback: {error}"),
                        "let the agent's user open sockets on loopback (127.0.0.0/8)",
                    )
                })?;
                if known != 0 && room.port() != known {
                    let command = format!("set server {backend}/{HOLDING} addr {ADDRESS} port {}", room.port());
                    self.socket.expect(&command, "changed from").await?;
                }
                room
            }
        };
        Ok(holds.rooms.entry(backend.to_owned()).or_insert(room))
    }

    async fn hold_by_frontend(&self, holds: &mut Holds) -> Result<(), Failure> {
        let frontend = &self.settings.frontend;
        let limit = statistics::frontend_limit(&self.socket, frontend).await?.ok_or_else(|| {
            Failure::refused(
                "FRONTEND_UNKNOWN",
                format!("HAProxy has no frontend {frontend}"),
                "let `haproxy.frontend` in agent.toml be the name of the `frontend` or `listen` section",
            )
        })?;
        if limit != 0 {
            holds.frontend_limit = Some(limit);
            self.socket.order(&[format!("set maxconn frontend {frontend} 0")]).await?;
        }
        // What was accepted before still finds its server.
        sleep(Duration::from_millis(10)).await;
        Ok(())
    }

    /// After a restart of the agent.
    pub(super) async fn take_over(&self, holds: &mut Holds, backend: &str) -> Result<(), Failure> {
        let answer = self.socket.ask(&format!("show servers state {backend}")).await?;
        let servers = servers::parse(backend, &answer)?;
        match servers.iter().find(|server| server.name == HOLDING) {
            Some(holding) if holding.admin() == Admin::Ready => {
                self.room(holds, backend, Some(holding)).await?.occupy_in_turn();
                Ok(())
            }
            Some(_) => self.dismiss(holds, backend).await,
            None => Ok(()),
        }
    }
}

pub(super) fn state(route: &v1::Route, server: &str, to: &str) -> String {
    format!("set server {}/{server} state {to}", route.backend)
}
