//! Router (C1): new connections wait. A hold that nobody renews ends by itself: see `lease.rs`.

use super::*;
use crate::change::{RouteChange, RouteState};

#[tonic::async_trait]
impl Intent for v1::Hold {
    fn role(&self) -> v1::Role {
        v1::Role::Router
    }

    async fn survey(&self, at: &At) -> Result<Survey, Failure> {
        let route = self.route.as_ref().ok_or_else(|| missing("the route"))?;
        let router = at.host.router()?;
        let findings = router.findings(route, self.lease_ms).await?;
        if findings.iter().any(|finding| finding.level() == v1::finding::Level::Block) {
            return Ok(Survey { findings, changes: Vec::new() });
        }
        let changes = match router.state(route).await? {
            RouteState::Target => {
                return Err(Failure::refused(
                    "ROUTED_ALREADY",
                    format!("backend {} points to {} already", route.backend, route.target),
                    "look at the router, and point it at the source if that is where the data is",
                ));
            }
            RouteState::Source | RouteState::Held | RouteState::Staged => change(route, RouteState::Held, RouteState::Source),
        };
        Ok(Survey { findings, changes })
    }

    async fn begin(&self, at: &At) -> Result<(), Failure> {
        at.host.leases.arm_hold(&at.host, &at.migration, self.lease_ms);
        Ok(())
    }

    async fn conclude(&self, at: &At) -> Result<v1::Outcome, Failure> {
        must_be(at, self.route.as_ref(), RouteState::Held).await
    }

    async fn after_undo(&self, at: &At) -> Result<v1::Outcome, Failure> {
        at.host.hold_ended(&at.migration, self.route.as_ref());
        Ok(plain("new connections go to the source"))
    }
}

pub(super) fn change(route: &v1::Route, to: RouteState, was: RouteState) -> Vec<Change> {
    let v1::Route { backend, source, target } = route.clone();
    vec![Change::Route(RouteChange { backend, source, target, to, was })]
}

pub(super) async fn must_be(at: &At, route: Option<&v1::Route>, wanted: RouteState) -> Result<v1::Outcome, Failure> {
    let route = route.ok_or_else(|| missing("the route"))?;
    let found = at.host.router()?.state(route).await?;
    if found == wanted {
        return Ok(plain(format!("backend {} {found}", route.backend)));
    }
    Err(Failure::unknown(
        "ROUTE_NOT_THERE",
        format!("backend {} is {found}, not {wanted}", route.backend),
        "look at the router's `show servers state`",
    ))
}
