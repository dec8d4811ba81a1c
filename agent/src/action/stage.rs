//! Router (C5): the target is in place; connections still wait.

use super::{
    hold::{change, must_be},
    *,
};
use crate::change::RouteState;

#[tonic::async_trait]
impl Intent for v1::Stage {
    fn role(&self) -> v1::Role {
        v1::Role::Router
    }

    async fn survey(&self, _at: &At) -> Result<Survey, Failure> {
        let route = self.route.as_ref().ok_or_else(|| missing("the route"))?;
        Ok(change(route, RouteState::Staged, RouteState::Held).into())
    }

    async fn conclude(&self, at: &At) -> Result<v1::Outcome, Failure> {
        must_be(at, self.route.as_ref(), RouteState::Staged).await
    }
}
