//! Applies changes and takes them back with the agent's own hands; without its ledger.

use flytt_agent::{
    change::{Change, Hands, sysctl::Kernel},
    engine::{Engine as _, Intent},
};
use flytt_proto::{failure::Failure, fuse::Fuse, name::Migration};

use crate::server::Server;

pub(crate) fn shop() -> Migration {
    "shop".parse().unwrap()
}

pub(crate) fn hands(server: &Server) -> Hands {
    Hands { engine: Some(server.engine.clone()), router: None, kernel: Kernel::default(), fuse: Fuse::default() }
}

/// Each change twice, because it must bear that.
pub(crate) async fn apply(server: &Server, intent: &Intent) -> Vec<Change> {
    let changes = server.engine.recipe(&shop(), intent).await.unwrap();
    for change in &changes {
        for _ in 0..2 {
            one(server, change).await.unwrap_or_else(|error| panic!("{change}: {error:?}"));
        }
    }
    changes
}

pub(crate) async fn one(server: &Server, change: &Change) -> Result<(), Failure> {
    hands(server).apply(&shop(), change, tokio::sync::mpsc::channel(64).0).await.map(drop)
}

pub(crate) async fn take_back(server: &Server, change: &Change) -> Result<Option<String>, Failure> {
    hands(server).undo(&shop(), change).await
}

/// Each twice, for the same reason.
pub(crate) async fn undo(server: &Server, changes: &[Change]) {
    for change in changes.iter().rev() {
        for _ in 0..2 {
            take_back(server, change).await.unwrap_or_else(|error| panic!("undo of {change}: {error:?}"));
        }
    }
}

/// Our accounts, and the replica's.
pub(crate) async fn admitted(source: &Server) -> Vec<Change> {
    let verifier = source.engine.credential(&shop()).await.unwrap();
    let changes = apply(source, &Intent::Admit { verifier, peer_address: None }).await;
    apply(source, &Intent::Ready).await;
    changes
}
