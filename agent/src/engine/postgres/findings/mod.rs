//! Preflight: one small file for each thing that can stand in the way, each a pure function over both sides' facts.
//! This file is the list of them.

use flytt_proto::v1;

use super::facts::PgFacts;
use crate::engine::Facts;

mod access;
mod agent_config;
mod architecture;
mod archiving;
mod collation;
mod config_place;
mod data_directory;
mod extensions;
mod libraries;
mod listening;
mod logical_slots;
mod managers;
mod recovery_settings;
mod rewind;
mod same_server;
#[cfg(test)]
mod sample;
mod senders;
mod slot_limit;
mod source_role;
mod space;
mod standby_minimums;
mod tablespaces;
mod transactions;
mod unlogged;
mod versions;
mod wal_level;
mod workers;

/// Both sides, read.
#[derive(Debug)]
struct Sides<'a> {
    source: &'a PgFacts,
    target: &'a PgFacts,
    from: &'a Facts,
    to: &'a Facts,
    check: &'a v1::Check,
}

type Look = fn(&Sides<'_>) -> Vec<v1::Finding>;
/// In the order in which an operator would ask.
const ALL: &[Look] = &[
    agent_config::look,
    source_role::look,
    same_server::look,
    versions::look,
    architecture::look,
    collation::look,
    extensions::look,
    libraries::look,
    standby_minimums::look,
    wal_level::look,
    senders::look,
    slot_limit::look,
    data_directory::look,
    space::look,
    tablespaces::look,
    config_place::look,
    access::look,
    listening::look,
    archiving::look,
    recovery_settings::look,
    managers::look,
    workers::look,
    transactions::look,
    unlogged::look,
    logical_slots::look,
    rewind::look,
];

pub(super) fn all(source: &Facts, target: &Facts, check: &v1::Check) -> Vec<v1::Finding> {
    let read = |facts: &Facts| serde_json::from_str::<PgFacts>(&facts.detail).ok();
    let (Some(source_facts), Some(target_facts)) = (read(source), read(target)) else {
        return vec![block(
            "UNREADABLE_FACTS",
            "the facts of a side cannot be read".into(),
            "run the same version of the agent on both hosts",
        )];
    };
    let sides = Sides { source: &source_facts, target: &target_facts, from: source, to: target, check };
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

/// Whether `path` lies in that side's data directory.
fn is_inside(path: &str, facts: &PgFacts) -> bool {
    std::path::Path::new(path).starts_with(&facts.data.path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_hosts_that_fit_have_no_finding() {
        assert_eq!(sample::codes(|sides| ALL.iter().flat_map(|look| look(sides)).collect(), |_, _| {}), [""; 0]);
    }

    #[test]
    fn facts_of_another_form_are_a_finding_not_a_guess() {
        let (mut source, target) = sample::facts();
        source.detail = "{}".into();
        let found = all(&source, &target, &v1::Check::default());
        assert_eq!(found.iter().map(|finding| finding.code.as_str()).collect::<Vec<_>>(), ["UNREADABLE_FACTS"]);
    }
}
