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

/// The accounts that no lock of ours touches, and no fence ends.
pub(super) fn ours(migration: &Migration) -> [String; 3] {
    [AGENT.to_owned(), replication(migration), back(migration)]
}

/// The source's account on the target, and the name of its connection there, on the way back.
pub(super) fn back(migration: &Migration) -> String {
    format!("{}_back", migration.identifier())
}

/// Under this key the password of [`replication`] is kept. On the leg back that of the account that proves the way through the routers
/// is another one.
pub(super) fn password(migration: &Migration) -> String {
    if migration.is_back() { format!("{}.home", migration.name()) } else { migration.as_str().to_owned() }
}

/// Under this key its password is kept; no migration can be called so.
pub(super) fn back_password(migration: &Migration) -> String {
    format!("{migration}.back")
}

/// The database of the move's marker.
pub(super) fn database(migration: &Migration) -> String {
    migration.identifier()
}

/// The database of the import's trial. No migration has a `$` in its name, so it is nobody's marker.
pub(super) fn trial(migration: &Migration) -> String {
    format!("{}$trial", migration.identifier())
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
        // 64 characters for a connection and a database, 80 for an account (MariaDB manual, "Identifier Names").
        assert!(replication(&migration).len() <= 80 && trial(&migration).len() <= 64 && copy(&migration).len() <= 64);
        assert!(back(&migration).len() <= 64 && database(&migration).len() <= 64);
        assert!("_agent".parse::<Migration>().is_err());
    }
}
