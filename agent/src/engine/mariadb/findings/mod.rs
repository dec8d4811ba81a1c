//! Preflight: one small file for each thing that can stand in the way, each a pure function over both sides' facts.
//! This file is the list of them.

use flytt_proto::v1;

use super::facts::MaFacts;
use crate::engine::Facts;

mod binary_log;
mod binlog_expiry;
mod collations;
mod consent;
mod definers;
mod drop_in;
mod engines;
mod errant;
mod events;
mod fixed_settings;
mod gtid_domain;
mod keys;
mod other_replication;
mod passwords;
mod plugins;
mod same_server;
#[cfg(test)]
mod sample;
mod server_id;
mod session_defaults;
mod source_role;
mod space;
mod time_zones;
mod transactions;
mod vendor;
mod versions;

/// Both sides, read.
#[derive(Debug)]
struct Sides<'a> {
    source: &'a MaFacts,
    target: &'a MaFacts,
    from: &'a Facts,
    to: &'a Facts,
}

type Look = fn(&Sides<'_>) -> Vec<v1::Finding>;
/// In the order in which an operator would ask.
const ALL: &[Look] = &[
    vendor::look,
    versions::look,
    source_role::look,
    same_server::look,
    server_id::look,
    gtid_domain::look,
    binary_log::look,
    binlog_expiry::look,
    errant::look,
    other_replication::look,
    keys::look,
    engines::look,
    transactions::look,
    definers::look,
    events::look,
    collations::look,
    fixed_settings::look,
    session_defaults::look,
    time_zones::look,
    plugins::look,
    passwords::look,
    space::look,
    drop_in::look,
    consent::look,
];

pub(super) fn all(source: &Facts, target: &Facts, _: &v1::Check) -> Vec<v1::Finding> {
    let read = |facts: &Facts| serde_json::from_str::<MaFacts>(&facts.detail).ok();
    let (Some(source_facts), Some(target_facts)) = (read(source), read(target)) else {
        return vec![block(
            "UNREADABLE_FACTS",
            "the facts of a side cannot be read as MariaDB's".into(),
            "let both hosts serve the same engine, and run the same version of the agent",
        )];
    };
    let sides = Sides { source: &source_facts, target: &target_facts, from: source, to: target };
    ALL.iter().flat_map(|look| look(&sides)).collect()
}

pub(super) fn block(code: &str, sentence: String, remedy: &str) -> v1::Finding {
    finding(v1::finding::Level::Block, code, sentence, remedy)
}

pub(super) fn warn(code: &str, sentence: String, remedy: &str) -> v1::Finding {
    finding(v1::finding::Level::Warn, code, sentence, remedy)
}

/// Whose host it is about is filled in by who asked.
fn finding(level: v1::finding::Level, code: &str, sentence: String, remedy: &str) -> v1::Finding {
    v1::Finding { level: level.into(), code: code.into(), host: String::new(), sentence, remedy: remedy.into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_hosts_that_fit_have_no_finding() {
        assert_eq!(sample::codes(|sides| ALL.iter().flat_map(|look| look(sides)).collect(), |_, _| {}), [""; 0]);
    }

    #[test]
    fn facts_of_another_engine_are_a_finding_not_a_guess() {
        let (mut source, target) = sample::facts();
        source.detail = "{}".into();
        let found = all(&source, &target, &v1::Check::default());
        assert_eq!(found.iter().map(|finding| finding.code.as_str()).collect::<Vec<_>>(), ["UNREADABLE_FACTS"]);
    }
}
