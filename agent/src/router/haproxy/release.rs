//! Letting connections go: to the target, or back to the source. Whoever waits is served at once, by one line of orders.

use std::time::Duration;

use flytt_proto::{failure::Failure, v1};
use tokio::time::{Instant, sleep};

use super::{
    Haproxy,
    hold::{Before, Holds, state},
    servers::{Admin, HOLDING, Server},
    socket::Socket,
    statistics,
};

/// Checks run every second or more often where a move matters.
const CHECKS_AGREE: Duration = Duration::from_secs(1);
/// HAProxy counts a connection for a moment after it closed.
const LAST_CONNECTIONS: Duration = Duration::from_millis(500);
/// How long it may count one after that.
const LATER: Duration = Duration::from_secs(60);

impl Haproxy {
    /// The target is drained: in place, and sent nothing. It need not stay up: its check may know that it is not open yet.
    pub(super) async fn stage(&self, holds: &mut Holds, route: &v1::Route) -> Result<(), Failure> {
        self.hold(holds, route).await?;
        let view = self.view(route).await?;
        let mut orders = vec![state(route, &route.target, "drain")];
        orders.extend(healthy(route, &view.target));
        self.socket.order(&orders).await
    }

    pub(super) async fn release_to_target(&self, holds: &mut Holds, route: &v1::Route) -> Result<(), Failure> {
        let view = self.view(route).await?;
        let mut orders = ready(route, &view.target);
        if view.holding.is_some() {
            orders.push(state(route, HOLDING, "maint"));
        }
        if view.source.admin() != Admin::Maint {
            orders.push(state(route, &route.source, "maint"));
        }
        self.socket.order(&orders).await?;
        self.accept_again(holds).await?;
        self.socket.order(&[shut_sessions(route, &route.source)]).await?;
        self.dismiss(holds, &route.backend).await?;
        self.keep_up(route, &route.target).await
    }

    pub(super) async fn release_to_source(&self, holds: &mut Holds, route: &v1::Route) -> Result<(), Failure> {
        let view = self.view(route).await?;
        let was_out = view.source.admin() == Admin::Maint;
        let mut orders = Vec::new();
        if was_out {
            orders.extend(ready(route, &view.source));
        }
        if view.holding.is_some() {
            orders.push(state(route, HOLDING, "maint"));
        }
        if was_out {
            orders.extend(match view.holding.as_ref().map_or(Before::OutOfUse, Before::kept_in) {
                Before::OutOfUse => vec![state(route, &route.target, "maint")],
                // Straight from maintenance a server counts as up until its first check; drained, it gets nothing meanwhile.
                Before::ReadyDown => vec![
                    state(route, &route.target, "drain"),
                    format!("set server {}/{} health down", route.backend, route.target),
                    state(route, &route.target, "ready"),
                ],
                Before::ReadyUp => vec![state(route, &route.target, "ready")],
            });
            if view.target.admin() == Admin::Ready {
                orders.push(shut_sessions(route, &route.target));
            }
        }
        self.socket.order(&orders).await?;
        self.accept_again(holds).await?;
        self.dismiss(holds, &route.backend).await?;
        if was_out { self.keep_up(route, &route.source).await } else { Ok(()) }
    }

    /// A check that began before the server opened may still report it down: it is told again until the checks know better.
    async fn keep_up(&self, route: &v1::Route, name: &str) -> Result<(), Failure> {
        let begun = Instant::now();
        loop {
            let view = self.view(route).await?;
            let server = if name == route.source { &view.source } else { &view.target };
            if server.is_up() {
                return Ok(());
            }
            if begun.elapsed() > CHECKS_AGREE {
                return Err(Failure::unknown(
                    "SERVER_NOT_UP",
                    format!("HAProxy counts server {name} as down although it was told otherwise"),
                    "look at the server's health check: it keeps failing",
                ));
            }
            self.socket.order(&healthy(route, server)).await?;
            sleep(Duration::from_millis(20)).await;
        }
    }

    /// Takes our limit off the frontend, whoever set it.
    async fn accept_again(&self, holds: &mut Holds) -> Result<(), Failure> {
        let frontend = &self.settings.frontend;
        if statistics::frontend_limit(&self.socket, frontend).await? == Some(0) {
            // After a restart of the agent the frontend's own limit is not known any more; the process's is never too low.
            let limit = match holds.frontend_limit {
                Some(limit) => limit,
                None => statistics::process_limit(&self.socket).await?,
            };
            self.socket.order(&[format!("set maxconn frontend {frontend} {limit}")]).await?;
        }
        holds.frontend_limit = None;
        Ok(())
    }

    /// Removes the holding server, which is in maintenance by now. While a client that slipped into it is still served
    /// through this process, that waits in the background.
    pub(super) async fn dismiss(&self, holds: &mut Holds, backend: &str) -> Result<(), Failure> {
        let mut room = holds.rooms.remove(backend);
        if let Some(room) = &room {
            room.leave();
        }
        let begun = Instant::now();
        loop {
            let Err(failure) = delete_holding(&self.socket, backend).await else { return Ok(()) };
            match room.take() {
                Some(room) if room.guests() > 0 => {
                    tracing::warn!(
                        backend,
                        guests = room.guests(),
                        "clients of the holding server are still served through this agent"
                    );
                    self.deletes_later(backend, async move { room.emptied().await });
                    return Ok(());
                }
                kept => room = kept,
            }
            if begun.elapsed() > LAST_CONNECTIONS {
                // In maintenance it gets nobody, and the route is what it should be.
                tracing::warn!(%failure, backend, "the holding server goes with its last connection");
                self.deletes_later(backend, std::future::ready(()));
                return Ok(());
            }
            if room.is_none() {
                // Connections to a listener that no longer exists.
                self.socket.order(&[format!("shutdown sessions server {backend}/{HOLDING}")]).await?;
            }
            sleep(Duration::from_millis(5)).await;
        }
    }

    /// Ends nobody's session: a hold that comes meanwhile takes the same server into use again, and then it is not deleted here.
    fn deletes_later(&self, backend: &str, emptied: impl Future<Output = ()> + Send + 'static) {
        let (socket, backend) = (self.socket.clone(), backend.to_owned());
        tokio::spawn(async move {
            emptied.await;
            let begun = Instant::now();
            while let Err(error) = delete_holding(&socket, &backend).await {
                if begun.elapsed() > LATER {
                    tracing::warn!(%error, backend, "the holding server stays until the next change of this route");
                    return;
                }
                sleep(Duration::from_millis(50)).await;
            }
        });
    }
}

async fn delete_holding(socket: &Socket, backend: &str) -> Result<(), Failure> {
    let answer = socket.ask(&format!("del server {backend}/{HOLDING}")).await?;
    if answer.contains("Server deleted") || answer.contains("No such server") {
        return Ok(());
    }
    Err(Failure::unknown(
        "HOLD_REMAINS",
        format!("HAProxy does not remove the holding server of backend {backend}: {}", answer.trim()),
        format!("run `del server {backend}/{HOLDING}` on HAProxy's admin socket once its last connection is gone"),
    ))
}

/// From wherever the server stands to serving, and the queue with it: HAProxy looks at the queue when a server leaves
/// maintenance, not when it leaves drain.
fn ready(route: &v1::Route, server: &Server) -> Vec<String> {
    let mut orders = match server.admin() {
        Admin::Ready => Vec::new(),
        Admin::Maint => vec![state(route, &server.name, "ready")],
        Admin::Drain => vec![state(route, &server.name, "maint"), state(route, &server.name, "ready")],
    };
    orders.extend(healthy(route, server));
    orders
}

/// Counted as up now; the next checks say for themselves.
fn healthy(route: &v1::Route, server: &Server) -> Vec<String> {
    let name = format!("{}/{}", route.backend, server.name);
    let mut orders = Vec::new();
    if server.has_agent_check() {
        orders.push(format!("set server {name} agent up"));
    }
    orders.push(format!("set server {name} health up"));
    orders
}

fn shut_sessions(route: &v1::Route, server: &str) -> String {
    format!("shutdown sessions server {}/{server}", route.backend)
}
