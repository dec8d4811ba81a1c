//! Target: the former contents of the data directory are moved aside, and the source's cluster is copied in.

use std::time::Instant;

use super::*;
use crate::{
    baton::{Command, Phase},
    watch,
};

#[tonic::async_trait]
impl Intent for v1::Seed {
    fn role(&self) -> v1::Role {
        v1::Role::Target
    }

    async fn survey(&self, at: &At) -> Result<Survey, Failure> {
        let order = engine::SeedOrder {
            upstream: upstream(at, self.transport(), &self.server)?,
            max_rate: self.max_rate,
            fast_checkpoint: self.fast_checkpoint,
            system: self.system.clone(),
            replace_system: self.replace_system.clone(),
            expected_bytes: self.expected_bytes,
            way: way(self.way()),
            origin: at.host.upstream_of(&at.migration).map(|(host, address)| engine::Origin {
                migration: at.migration.clone(),
                host,
                address,
            }),
        };
        recipe(at, engine::Intent::Seed(order)).await
    }

    async fn watch(&self, at: &At) -> Failure {
        watch::copy(at, self.gates.as_ref()).await
    }

    async fn conclude(&self, at: &At) -> Result<v1::Outcome, Failure> {
        if at.host.phase(&at.migration) == Some(Phase::Burned) {
            at.host.baton(&at.migration, &Command::Reseed { epoch: at.epoch }).await?;
        }
        let began = at.events.began();
        let (bytes, copy_ms) = (at.events.copied(), at.events.copied_ms());
        let elapsed_ms = Instant::now().duration_since(began).as_millis().try_into().unwrap_or(u64::MAX);
        Ok(v1::Outcome { kind: Some(v1::outcome::Kind::Seeded(v1::outcome::Seeded { bytes, elapsed_ms, copy_ms })) })
    }
}

/// The way that the controller has chosen; an older one knows of none but the first.
fn way(way: v1::seed::Way) -> engine::Way {
    match way {
        v1::seed::Way::Dump => engine::Way::Dump,
        v1::seed::Way::Physical | v1::seed::Way::Unspecified => engine::Way::Physical,
    }
}

/// How this target reaches the source's server.
pub(super) fn upstream(at: &At, transport: v1::Transport, server: &str) -> Result<engine::Upstream, Failure> {
    match transport {
        v1::Transport::Direct => {
            let bad = || {
                Failure::refused(
                    "BAD_ADDRESS",
                    format!("{server:?} is not host:port"),
                    "let the source's server listen on an address, or use the tunnel",
                )
            };
            let (host, port) = server.rsplit_once(':').ok_or_else(bad)?;
            let port = port.parse().map_err(|_| bad())?;
            Ok(engine::Upstream::Direct { host: host.trim_matches(['[', ']']).to_owned(), port })
        }
        v1::Transport::Tunnel | v1::Transport::Unspecified => {
            Ok(engine::Upstream::Tunnel { directory: at.host.tunnel_directory(&at.migration), port: crate::link::PORT })
        }
    }
}
