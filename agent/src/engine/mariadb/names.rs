//! What a move calls its things on a MariaDB server. Every name comes from a checked migration name, so it is safe in SQL.

use std::path::{Path, PathBuf};

use flytt_proto::name::Migration;

/// The agent's own way in, from the fence on the only one. One for all moves: a server has one agent.
pub(super) const AGENT: &str = "flytt_agent";
/// Nobody logs in as this one but to find out whether the locks hold: it is locked like every other.
pub(super) const PROBE: &str = "flytt_probe";
/// Under this key the password of both is kept; no migration can be called so.
pub(super) const OWN_PASSWORD: &str = "_agent";

pub(super) fn replication(migration: &Migration) -> String {
    format!("{}_repl", migration.identifier())
}

/// The database of the move's marker.
pub(super) fn database(migration: &Migration) -> String {
    migration.identifier()
}

/// The database of a logical copy's progress, on the target while it runs.
pub(super) fn copy(migration: &Migration) -> String {
    format!("{}_copy", migration.identifier())
}

/// An option file in the agent's directory.
pub(super) fn drop_in(directory: &Path, migration: &Migration, purpose: &str) -> PathBuf {
    directory.join(format!("flytt-{migration}-{purpose}.cnf"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_name_fits() {
        let migration: Migration = format!("a{}", "-b".repeat(14)).parse().unwrap();
        // 80 characters for an account (MariaDB manual, "Identifier Names").
        assert!(replication(&migration).len() <= 80 && copy(&migration).len() <= 64);
        assert!("_agent".parse::<Migration>().is_err());
    }
}
