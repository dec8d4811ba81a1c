//! What a move calls its things on a PostgreSQL server, and the quoting of texts for the three languages it reads.
//! Every name comes from a checked migration name, so it is safe in SQL, in `pg_hba.conf` and in a path.

use flytt_proto::name::Migration;

/// The move's superuser: the agent's own way in, from the fence on the only one.
pub(super) fn agent_role(migration: &Migration) -> String {
    format!("{}_agent", migration.identifier())
}

/// Whom the follower of this leg logs in as. On the way back that is the old source.
pub(super) fn replication_role(migration: &Migration) -> String {
    format!("{}_{}", migration.identifier(), if migration.is_back() { "back" } else { "repl" })
}

/// On the server that is followed on this leg.
pub(super) fn slot(migration: &Migration) -> String {
    if migration.is_back() { replication_role(migration) } else { migration.identifier() }
}

/// The `pg_ident.conf` map that lets this operating-system user, and nobody else, be the agent's role.
pub(super) fn map(migration: &Migration) -> String {
    migration.identifier()
}

pub(super) fn block(migration: &Migration, purpose: &str) -> String {
    format!("flytt {} {purpose}", migration.name())
}

/// An SQL string literal; `standard_conforming_strings` does not matter to it.
pub(super) fn literal(text: &str) -> String {
    let doubled = text.replace('\'', "''");
    if doubled.contains('\\') { format!(" E'{}'", doubled.replace('\\', "\\\\")) } else { format!("'{doubled}'") }
}

/// A value in `postgresql.conf`, where a backslash escapes (manual, "Parameter Names and Values").
pub(super) fn setting(text: &str) -> String {
    format!("'{}'", text.replace('\\', "\\\\").replace('\'', "''"))
}

/// `key='value' …` as libpq reads it (manual, "Connection Strings").
pub(super) fn conninfo(pairs: &[(&str, &str)]) -> String {
    let quoted = |(key, value): &(&str, &str)| format!("{key}='{}'", value.replace('\\', "\\\\").replace('\'', "\\'"));
    pairs.iter().map(quoted).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_name_fits_an_identifier() {
        let migration: Migration = format!("a{}", "-b".repeat(14)).parse().unwrap();
        assert!(agent_role(&migration).len() <= 63 && replication_role(&migration).len() <= 63);
        assert!(agent_role(&migration).bytes().all(|b| b.is_ascii_lowercase() || b == b'_'));
        assert!(replication_role(&migration.back()).len() <= 63);
    }

    #[test]
    fn both_legs_have_the_agent_in_common_and_not_the_follower() {
        let (there, back): (Migration, Migration) = ("shop".parse().unwrap(), "shop.back".parse().unwrap());
        assert_eq!((agent_role(&there), block(&there, "fence")), (agent_role(&back), block(&back, "fence")));
        assert_ne!(replication_role(&there), replication_role(&back));
        assert_ne!(slot(&there), slot(&back));
    }

    #[test]
    fn quotes_and_backslashes_survive() {
        assert_eq!(literal("o'clock"), "'o''clock'");
        assert_eq!(literal(r"a\'b"), r" E'a\\''b'");
        assert_eq!(setting(r"it's a\b"), r"'it''s a\\b'");
        assert_eq!(conninfo(&[("host", "/a b"), ("x", r"it's \")]), r"host='/a b' x='it\'s \\'");
    }
}
