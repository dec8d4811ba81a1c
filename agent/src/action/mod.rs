//! One file per intent: what it would change, what must be on record before, and what it came to.
//!
//! An intent looks and proposes; `apply.rs` writes down and does. Adding one touches the proto, a file here, the match
//! below, and a line in the controller's plan.

use std::{net::SocketAddr, sync::Arc};

use flytt_proto::{
    artefact::{Claim, Kind as ClaimKind},
    failure::Failure,
    name::{Epoch, HostName, Migration},
    v1,
};

use crate::{apply::Events, change::Change, engine, host::Host};

mod admit;
mod arm;
mod arrive;
mod catch_up;
mod check;
mod credential;
mod fence;
mod finish;
mod follow;
mod gate;
mod hold;
mod judge;
mod mark;
mod open;
pub(crate) mod probe;
mod promote;
mod prove;
mod ready;
mod recover;
mod rejoin;
mod release;
mod retire;
mod seed;
mod stage;
mod surrender;
pub(crate) mod tune;
mod tunnel;
mod welcome;

/// What an intent finds on its host.
#[derive(Debug, Default)]
pub(crate) struct Survey {
    pub(crate) findings: Vec<v1::Finding>,
    pub(crate) changes: Vec<Change>,
}

impl From<Vec<Change>> for Survey {
    fn from(changes: Vec<Change>) -> Self {
        Self { findings: Vec::new(), changes }
    }
}

/// Where an intent is at work: this host, in this move, under this controller.
#[derive(Clone, Debug)]
pub(crate) struct At {
    pub(crate) host: Arc<Host>,
    pub(crate) migration: Migration,
    pub(crate) epoch: Epoch,
    pub(crate) events: Events,
}

#[tonic::async_trait]
pub(crate) trait Intent: Send + Sync {
    /// The part that this host plays.
    fn role(&self) -> v1::Role;

    /// Looks, and says which changes are missing.
    async fn survey(&self, at: &At) -> Result<Survey, Failure>;

    /// Whether it stays done: asked for again, it answers what it came to. What only looks or waits is done anew.
    fn stays(&self) -> bool {
        true
    }

    /// Whether nothing of the move is left on this host after it.
    fn ends(&self) -> bool {
        false
    }

    /// What must be on record before the first change; the operation itself is.
    async fn begin(&self, _at: &At) -> Result<(), Failure> {
        Ok(())
    }

    /// What may end the work while it is under way; returns only to end it.
    async fn watch(&self, _at: &At) -> Failure {
        std::future::pending().await
    }

    /// Waits until it is true, proves it, and says what it came to.
    async fn conclude(&self, _at: &At) -> Result<v1::Outcome, Failure> {
        Ok(plain("done"))
    }

    /// What must be on record before the first change is taken back.
    async fn before_undo(&self, _at: &At) -> Result<(), Failure> {
        Ok(())
    }

    /// The recipe that takes this back, where that is not the recorded changes backwards.
    fn reversal(&self) -> Option<engine::Intent> {
        None
    }

    /// What it came to, once it is taken back.
    async fn after_undo(&self, _at: &At) -> Result<v1::Outcome, Failure> {
        Ok(plain("taken back"))
    }
}

/// The intent behind a wire action.
pub(crate) fn intent(action: &v1::Action) -> Result<Box<dyn Intent>, Failure> {
    use v1::action::Kind;
    let kind = action.kind.clone().ok_or_else(|| {
        Failure::refused(
            "UNKNOWN_ACTION",
            "the controller asks for an action that this agent does not know",
            "install the same version of flytt and flytt-agent everywhere",
        )
    })?;
    Ok(match kind {
        Kind::Check(it) => Box::new(it),
        Kind::Credential(it) => Box::new(it),
        Kind::Admit(it) => Box::new(it),
        Kind::Tunnel(it) => Box::new(it),
        Kind::Seed(it) => Box::new(it),
        Kind::Follow(it) => Box::new(it),
        Kind::Ready(it) => Box::new(it),
        Kind::Gate(it) => Box::new(it),
        Kind::Hold(it) => Box::new(it),
        Kind::Fence(it) => Box::new(it),
        Kind::CatchUp(it) => Box::new(it),
        Kind::Stage(it) => Box::new(it),
        Kind::Promote(it) => Box::new(it),
        Kind::Surrender(it) => Box::new(it),
        Kind::Open(it) => Box::new(it),
        Kind::Release(it) => Box::new(it),
        Kind::Prove(it) => Box::new(it),
        Kind::Retire(it) => Box::new(it),
        Kind::Finish(it) => Box::new(it),
        Kind::Tune(it) => Box::new(it),
        Kind::Probe(it) => Box::new(it),
        Kind::Judge(it) => it,
        Kind::Welcome(it) => Box::new(it),
        Kind::Arm(it) => Box::new(it),
        Kind::Mark(it) => Box::new(it),
        Kind::Arrive(it) => Box::new(it),
        Kind::Rejoin(it) => Box::new(it),
        Kind::Recover(it) => Box::new(it),
    })
}

fn plain(text: impl Into<String>) -> v1::Outcome {
    v1::Outcome { kind: Some(v1::outcome::Kind::Plain(v1::outcome::Plain { text: text.into() })) }
}

fn artefact(artefact: v1::Artefact) -> v1::Outcome {
    v1::Outcome { kind: Some(v1::outcome::Kind::Artefact(artefact)) }
}

fn missing(what: &str) -> Failure {
    Failure::refused(
        "BAD_REQUEST",
        format!("the request lacks {what}"),
        "install the same version of flytt and flytt-agent everywhere",
    )
}

/// A peer as the controller names it.
pub(crate) fn peer(peer: Option<&v1::PeerHost>) -> Result<(HostName, String), Failure> {
    let peer = peer.ok_or_else(|| missing("the other host"))?;
    let name =
        peer.host.parse().map_err(|error| Failure::refused("BAD_REQUEST", format!("{error}"), "correct migration.toml"))?;
    Ok((name, peer.address.clone()))
}

/// The address of the target's server as the source's server will see it, for direct transport.
async fn peer_ip(address: &str) -> Result<std::net::IpAddr, Failure> {
    let found = tokio::net::lookup_host(address).await.ok().and_then(|mut all| all.next());
    found.map(|address: SocketAddr| address.ip()).ok_or_else(|| {
        Failure::refused(
            "NO_ADDRESS",
            format!("{address} has no address that this host can resolve"),
            "use an IP address in `flytt host add`",
        )
    })
}

/// An artefact of this move and kind, signed by the host that plays the other part here.
async fn claim(at: &At, artefact: Option<&v1::Artefact>, kind: ClaimKind) -> Result<Claim, Failure> {
    let artefact = artefact.ok_or_else(|| missing("its artefact"))?;
    at.host.verify(&at.migration, artefact, kind)
}

/// What only its engine can tell.
pub(crate) async fn recipe(at: &At, intent: engine::Intent) -> Result<Survey, Failure> {
    Ok(at.host.engine()?.recipe(&at.migration, &intent).await?.into())
}

/// The source has surrendered.
pub(crate) fn past_the_point() -> Failure {
    Failure::refused(
        "POINT_OF_NO_RETURN",
        "the source has surrendered, so this cannot be taken back",
        "run `flytt resume` to complete the move",
    )
}
