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

fn hands(server: &Server) -> Hands {
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
    // A copy is not made twice over itself here: that is a test of its own.
    let copied = server.data().join("PG_VERSION").exists();
    if matches!(change, Change::Backup(backup) if copied && server.data() == backup.into) {
        return Ok(());
    }
    hands(server).apply(&shop(), change, tokio::sync::mpsc::channel(64).0).await.map(drop)
}

/// Each twice, for the same reason.
pub(crate) async fn undo(server: &Server, changes: &[Change]) {
    for change in changes.iter().rev() {
        for _ in 0..2 {
            hands(server).undo(&shop(), change).await.unwrap_or_else(|error| panic!("undo of {change}: {error:?}"));
        }
    }
}
