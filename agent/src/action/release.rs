//! Router (C9): new connections go to the target, and what waited is served.

use super::{
    hold::{change, must_be},
    *,
};
use crate::change::RouteState;

#[tonic::async_trait]
impl Intent for v1::Release {
    fn role(&self) -> v1::Role {
        v1::Role::Router
    }

    async fn survey(&self, _at: &At) -> Result<Survey, Failure> {
        let route = self.route.as_ref().ok_or_else(|| missing("the route"))?;
        Ok(change(route, RouteState::Target, RouteState::Staged).into())
    }

    async fn conclude(&self, at: &At) -> Result<v1::Outcome, Failure> {
        let outcome = must_be(at, self.route.as_ref(), RouteState::Target).await?;
        at.host.hold_ended(&at.migration, self.route.as_ref());
        Ok(outcome)
    }

    async fn before_undo(&self, _at: &At) -> Result<(), Failure> {
        Err(past_the_point())
    }
}
