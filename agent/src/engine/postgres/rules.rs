//! The lines of `pg_hba.conf` and `pg_ident.conf` that a move needs. The first line that matches counts, so our blocks stand
//! at the head of the file (PostgreSQL manual, "The pg_hba.conf File").

use std::net::IpAddr;

use flytt_proto::name::Migration;

use super::names;

/// `all` does not include replication, so that is rejected by lines of its own.
const REJECT: &str =
    "local all all reject\nlocal replication all reject\nhost all all all reject\nhost replication all all reject\n";

pub(super) fn ident(migration: &Migration, system_user: &str) -> String {
    format!("{} \"{}\" {}\n", names::map(migration), system_user, names::agent_role(migration))
}

pub(super) fn admission(migration: &Migration, peer: Option<IpAddr>) -> String {
    let replication = names::replication_role(migration);
    let mut text = agent(migration);
    text.push_str(&format!("local replication {replication} scram-sha-256\n"));
    if let Some(address) = peer {
        let bits = if address.is_ipv4() { 32 } else { 128 };
        text.push_str(&format!("hostssl replication {replication} {address}/{bits} scram-sha-256\n"));
    }
    text
}

/// The old source's ways in, once this server is the primary: replication, and one database for what `pg_rewind` reads.
pub(super) fn way_back(migration: &Migration, database: &str) -> String {
    let (back, database) = (migration.back(), database.replace('"', "\"\""));
    format!("{}local \"{database}\" {} scram-sha-256\n", admission(&back, None), names::replication_role(&back))
}

/// Ourselves, this move's replication as `hba` admits it already, and nobody else.
pub(super) fn closed(migration: &Migration, hba: &str) -> String {
    let replication = names::replication_role(migration);
    let local = format!("local replication {replication} scram-sha-256");
    let mut lines = vec![local];
    for line in hba.lines().map(str::trim) {
        let words: Vec<&str> = line.split_whitespace().collect();
        let ours = words.get(1) == Some(&"replication") && words.get(2) == Some(&replication.as_str());
        if ours && words.last() != Some(&"reject") && !lines.iter().any(|known| known == line) {
            lines.push(line.to_owned());
        }
    }
    format!("{}{}\n{REJECT}", agent(migration), lines.join("\n"))
}

/// The proof through the routers logs in with the replication role's password, from wherever a router speaks.
pub(super) fn entrance(migration: &Migration, database: &str) -> String {
    let database = database.replace('"', "\"\"");
    format!("host \"{database}\" {} all scram-sha-256\n", names::replication_role(migration))
}

fn agent(migration: &Migration) -> String {
    format!("local all {} peer map={}\n", names::agent_role(migration), names::map(migration))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fence_keeps_the_standby_and_nobody_else() {
        let shop: Migration = "shop".parse().unwrap();
        let hba = format!("{}host all all 0.0.0.0/0 trust\n", admission(&shop, Some("10.0.0.6".parse().unwrap())));
        let closed_once = closed(&shop, &hba);
        assert_eq!(
            closed_once,
            "local all flytt_shop_agent peer map=flytt_shop\n\
             local replication flytt_shop_repl scram-sha-256\n\
             hostssl replication flytt_shop_repl 10.0.0.6/32 scram-sha-256\n\
             local all all reject\nlocal replication all reject\nhost all all all reject\nhost replication all all reject\n"
        );
        assert_eq!(closed(&shop, &format!("{closed_once}{hba}")), closed_once, "the same when it stands already");
    }

    #[test]
    fn the_old_source_comes_in_by_its_own_role_alone() {
        let shop: Migration = "shop".parse().unwrap();
        assert_eq!(
            way_back(&shop, "postgres"),
            "local all flytt_shop_agent peer map=flytt_shop\nlocal replication flytt_shop_back scram-sha-256\n\
             local \"postgres\" flytt_shop_back scram-sha-256\n"
        );
    }

    #[test]
    fn an_address_is_admitted_alone() {
        let shop: Migration = "shop".parse().unwrap();
        assert!(admission(&shop, Some("fd00::1".parse().unwrap())).contains(" fd00::1/128 "));
        assert!(!admission(&shop, None).contains("host"));
    }
}
