//! What sends the application's connections to a server. Never authoritative: it may point anywhere without losing a write.

use std::fmt::Debug;

use flytt_proto::{failure::Failure, v1};

use crate::change::{RouteChange, RouteState};

pub mod haproxy;

#[tonic::async_trait]
pub trait Router: Debug + Send + Sync + 'static {
    /// `haproxy`
    fn name(&self) -> &'static str;
    /// `host:port` that the applications use.
    fn entrance(&self) -> &str;
    /// Version, backends and servers, for people to read (JSON).
    async fn facts(&self) -> Result<String, Failure>;
    /// Preflight: names that do not exist, a socket without admin level, timeouts below the lease, a hold that cannot be had.
    async fn findings(&self, route: &v1::Route, lease_ms: u64) -> Result<Vec<v1::Finding>, Failure>;
    /// Where the route stands now, read from the router itself.
    async fn state(&self, route: &v1::Route) -> Result<RouteState, Failure>;

    // --- hands: only `change/` calls this

    /// Brings the route to `change.to` from whatever it is in, and reads it back.
    async fn route(&self, change: &RouteChange) -> Result<(), Failure>;
}
