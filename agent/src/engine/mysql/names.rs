//! What a move calls its things on a MySQL server. Every name comes from a checked migration name, so it is safe in SQL.

use flytt_proto::name::Migration;

/// An account's name has at most so many characters (MySQL manual, "Account User Names").
const LONGEST: usize = 32;

/// The agent's own way in, from the fence on the only one. One for all moves: a server has one agent.
pub(super) const AGENT: &str = "flytt_agent";
/// Nobody logs in as this one but to find out whether the locks hold: it is locked like every other.
pub(super) const PROBE: &str = "flytt_probe";
/// Under this key the password of both is kept; no migration can be called so.
pub(super) const OWN_PASSWORD: &str = "_agent";
/// Where a replica comes from: the tunnel ends at this address, and MySQL compares an address with it whether or not it looks for
/// the name that goes with one.
pub(super) const LOOPBACK: &str = "127.0.0.1";

pub(super) fn replication(migration: &Migration) -> String {
    for_use(migration, "repl")
}

/// How every account ends that may be cloned from.
pub(super) const CLONE: &str = "_clone";

/// Whom the source's data is copied by.
pub(super) fn clone(migration: &Migration) -> String {
    for_use(migration, &CLONE[1..])
}

/// A long migration's is told by a digest of its name: both hosts must come to the same.
fn for_use(migration: &Migration, part: &str) -> String {
    let name = format!("{}_{part}", migration.identifier());
    if name.len() <= LONGEST {
        return name;
    }
    let digest = blake3::hash(migration.name().as_bytes()).to_hex();
    format!("flytt_{}_{part}", &digest[..20])
}

/// The source's account on the target, and the name of its channel there, on the way back.
pub(super) fn back(migration: &Migration) -> String {
    for_use(migration, "back")
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

/// A pattern of the way back's channels, of whichever move: beside them a server replicates from somebody.
pub(super) const BACK_CHANNELS: &str = r"'flytt\\_%\\_back'";

/// The accounts that no lock of ours touches, and no fence ends.
pub(super) fn ours(migration: &Migration) -> [String; 3] {
    [AGENT.to_owned(), replication(migration), back(migration)]
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_name_fits() {
        let migration: Migration = format!("a{}", "-b".repeat(14)).parse().unwrap();
        let name = replication(&migration);
        assert!(clone(&migration).len() <= LONGEST && clone(&migration).ends_with(CLONE));
        assert!(
            back(&migration).len() <= LONGEST && back(&migration).starts_with("flytt_") && back(&migration).ends_with("_back")
        );
        assert!(name.len() <= LONGEST && database(&migration).len() <= 64 && copy(&migration).len() <= 64, "{name}");
        let other: Migration = format!("b{}", "-b".repeat(14)).parse().unwrap();
        assert_ne!(name, replication(&other));
        assert_eq!(replication(&"shop".parse().unwrap()), "flytt_shop_repl");
        assert!("_agent".parse::<Migration>().is_err());
    }
}
