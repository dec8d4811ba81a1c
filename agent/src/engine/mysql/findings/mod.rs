//! Preflight: one small file for each thing that can stand in the way of MySQL alone, each a pure function over both sides' facts.
//! This file is the list of them.

use flytt_proto::v1;

use super::facts::MyFacts;
use crate::engine::{Facts, mysql_family::findings as family};
pub(super) use family::{block, warn};

mod binary_log;
mod certificates;
mod encryption;
mod errant;
mod gtid_mode;
mod libraries;
mod loopback;
mod other_replication;
mod outside_files;
mod persisted;
mod restrictions;
#[cfg(test)]
mod sample;
mod server_uuid;
mod source_role;
mod target_role;
mod vendor;
mod versions;

type Sides<'a> = family::Sides<'a, MyFacts>;
type Look = fn(&Sides<'_>) -> Vec<v1::Finding>;
/// In the order in which an operator would ask; then come those that MariaDB shares.
const OWN: &[Look] = &[
    vendor::look,
    versions::look,
    source_role::look,
    target_role::look,
    server_uuid::look,
    gtid_mode::look,
    binary_log::look,
    errant::look,
    other_replication::look,
    loopback::look,
    encryption::look,
    libraries::look,
    outside_files::look,
    persisted::look,
    certificates::look,
    restrictions::look,
];

pub(super) fn all(source: &Facts, target: &Facts, check: &v1::Check) -> Vec<v1::Finding> {
    let read = |facts: &Facts| serde_json::from_str::<MyFacts>(&facts.detail).ok();
    let (Some(source_facts), Some(target_facts)) = (read(source), read(target)) else {
        return vec![block(
            "UNREADABLE_FACTS",
            "the facts of a side cannot be read as MySQL's".into(),
            "let both hosts serve the same engine, and run the same version of the agent",
        )];
    };
    look(&Sides {
        source: &source_facts,
        target: &target_facts,
        from: source,
        to: target,
        by_dump: check.way() == v1::seed::Way::Dump,
        replaced: &check.replace_system,
    })
}

fn look(sides: &Sides<'_>) -> Vec<v1::Finding> {
    let own = OWN.iter().flat_map(|look| look(sides));
    own.chain(family::all(&sides.part(|facts| &facts.common))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_hosts_that_fit_have_no_finding() {
        assert_eq!(sample::codes(look, |_, _| {}), [""; 0]);
    }

    #[test]
    fn facts_of_another_engine_are_a_finding_not_a_guess() {
        let (mut source, target) = sample::facts();
        source.detail = "{}".into();
        let found = all(&source, &target, &v1::Check::default());
        assert_eq!(found.iter().map(|finding| finding.code.as_str()).collect::<Vec<_>>(), ["UNREADABLE_FACTS"]);
    }
}
