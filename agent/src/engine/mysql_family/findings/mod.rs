//! Preflight for either engine: one small file for each thing that can stand in the way, each a pure function over what both
//! sides' facts have in common. This file is the list of them; each engine has its own besides.

use flytt_proto::v1;

use super::facts::Common;
use crate::engine::Facts;

mod binlog_expiry;
mod collations;
mod consent;
mod definers;
mod directory;
mod empty;
mod engines;
mod events;
mod fixed_settings;
mod keys;
mod large_transactions;
mod plugins;
mod same_server;
#[cfg(test)]
pub(crate) mod sample;
mod server_id;
mod session_defaults;
mod space;
mod time_zones;
mod transactions;

/// Both sides, read: what they have in common, or an engine's own record.
#[derive(Debug)]
pub(crate) struct Sides<'a, F = Common> {
    pub(crate) source: &'a F,
    pub(crate) target: &'a F,
    pub(crate) from: &'a Facts,
    pub(crate) to: &'a Facts,
    /// Schema and rows go into the server that runs on the target; no file of it is replaced.
    pub(crate) by_dump: bool,
    /// The one server whose data on the target may be replaced, by its system identifier; empty = none.
    pub(crate) replaced: &'a str,
}

impl<'a, F> Sides<'a, F> {
    /// Of each side's record only this.
    pub(crate) fn part<G>(&self, part: fn(&F) -> &G) -> Sides<'a, G> {
        Sides {
            source: part(self.source),
            target: part(self.target),
            from: self.from,
            to: self.to,
            by_dump: self.by_dump,
            replaced: self.replaced,
        }
    }
}

type Look = fn(&Sides<'_>) -> Vec<v1::Finding>;
/// In the order in which an operator would ask.
const ALL: &[Look] = &[
    same_server::look,
    server_id::look,
    empty::look,
    binlog_expiry::look,
    keys::look,
    engines::look,
    transactions::look,
    large_transactions::look,
    definers::look,
    events::look,
    collations::look,
    fixed_settings::look,
    session_defaults::look,
    time_zones::look,
    plugins::look,
    space::look,
    consent::look,
    directory::look,
];

pub(crate) fn all(sides: &Sides<'_>) -> Vec<v1::Finding> {
    ALL.iter().flat_map(|look| look(sides)).collect()
}

pub(crate) fn block(code: &str, sentence: String, remedy: &str) -> v1::Finding {
    finding(v1::finding::Level::Block, code, sentence, remedy)
}

pub(crate) fn warn(code: &str, sentence: String, remedy: &str) -> v1::Finding {
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
        assert_eq!(sample::codes(all, |_, _| {}), [""; 0]);
    }
}
