//! Whoever the source lets in, the target lets in: else the outage does not end with the cutover.

use flytt_proto::v1::Finding;

use super::{Sides, block, warn};

pub(super) fn look(sides: &Sides<'_>) -> Vec<Finding> {
    let mut found = Vec::new();
    for (side, facts) in [("source", sides.source), ("target", sides.target)] {
        if let Some(error) = facts.hba_errors.first() {
            found.push(block(
                "ACCESS_RULES_BROKEN",
                format!("pg_hba.conf of the {side} has a mistake: {error}"),
                "correct it: a file with a mistake is not taken, so no fence would hold",
            ));
        }
    }
    // Rules in the data directory come with the copy.
    if super::is_inside(&sides.target.hba_file, sides.target) {
        return found;
    }
    let missing: Vec<&str> = sides
        .source
        .hba
        .iter()
        .map(String::as_str)
        .filter(|rule| matters(rule) && !sides.target.hba.iter().any(|r| r == rule))
        .collect();
    if !missing.is_empty() {
        found.push(warn(
            "ACCESS_RULE_MISSING",
            format!("the target's pg_hba.conf lacks: {}", missing.join("; ")),
            "add these rules on the target, unless those they admit need not come",
        ));
    }
    let maps: Vec<&str> = sides
        .source
        .ident
        .iter()
        .map(String::as_str)
        .filter(|line| !line.starts_with("flytt_") && !sides.target.ident.iter().any(|l| l == line))
        .collect();
    if !maps.is_empty() {
        found.push(warn(
            "IDENT_MAP_MISSING",
            format!("the target's pg_ident.conf lacks: {}", maps.join("; ")),
            "add these lines on the target",
        ));
    }
    found
}

/// Rules that let somebody in over the network, replication and our own apart.
fn matters(rule: &str) -> bool {
    let words: Vec<&str> = rule.split(' ').collect();
    words.first().is_some_and(|kind| kind.starts_with("host"))
        && words.get(1) != Some(&"replication")
        && words.last() != Some(&"reject")
        && !words.get(2).is_some_and(|user| user.starts_with("flytt_"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::postgres::facts::PgFacts;
    use crate::engine::postgres::findings::sample::codes;

    #[test]
    fn access_is_looked_at() {
        assert_eq!(codes(look, |_, _| {}), [""; 0]);
        assert_eq!(codes(look, |_, target| target.hba.clear()), ["ACCESS_RULE_MISSING"]);
        assert_eq!(codes(look, |source, _| source.ident = vec!["ops root postgres".into()]), ["IDENT_MAP_MISSING"]);
        assert_eq!(codes(look, |source, _| source.hba_errors = vec!["invalid".into()]), ["ACCESS_RULES_BROKEN"]);
        let inside = |_: &mut PgFacts, target: &mut PgFacts| {
            target.hba.clear();
            target.hba_file = format!("{}/pg_hba.conf", target.data.path);
        };
        assert_eq!(codes(look, inside), [""; 0], "they come with the copy");
    }
}
