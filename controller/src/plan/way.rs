//! How the target gets its first copy: as the operator says, or as both hosts' facts do. What a way asks of the hosts is found by
//! their own preflight.

use flytt_proto::v1::{self, FactsReply};

use super::Known;
use crate::spec::{self, Engine, Spec};

/// The way that is taken, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Choice {
    pub way: v1::seed::Way,
    pub reason: String,
}

/// `None` while the facts of a side are not known.
pub fn way(spec: &Spec, known: &Known) -> Option<Choice> {
    let (source, target) = (known.facts.get(&spec.source)?, known.facts.get(&spec.target)?);
    let (way, reason) = match (spec.seed.way, spec.engine) {
        (spec::Way::Physical, _) => (v1::seed::Way::Physical, "migration.toml says so".to_owned()),
        (spec::Way::Dump, _) => (v1::seed::Way::Dump, "migration.toml says so".to_owned()),
        (spec::Way::Auto, Engine::Mariadb | Engine::Mysql) => by_facts(source, target, spec.replace_system.is_some()),
        (spec::Way::Auto, Engine::Postgres) => (v1::seed::Way::Physical, format!("{} has no other", spec.engine.title())),
    };
    Some(Choice { way, reason })
}

/// What stays the same while a move is under way decides, so that a copy which is made anew is made as it was before: the target's
/// agent knows how the one came that is there. A copy of files may carry the source's identifier, too.
fn by_facts(source: &FactsReply, target: &FactsReply, may_replace: bool) -> (v1::seed::Way, String) {
    use v1::seed::Way::{Dump, Physical};
    if target.copied == "dump" {
        return (Dump, "the target holds a dump of this source already, or a part of one".into());
    }
    if target.copied == "physical" || !target.system.is_empty() && target.system == source.system {
        return (Physical, "the target holds a copy of the source's files already".into());
    }
    if source.series != target.series {
        return (Dump, format!("files of {} are not for {}", named(&source.series), named(&target.series)));
    }
    if may_replace {
        return (Physical, "`replace` names the data that may go".into());
    }
    if target.system.is_empty() {
        return (Physical, format!("the target's data directory may be filled, and both are {}", named(&source.series)));
    }
    match target.server.as_str() {
        "down" => (Dump, "the target has a server of its own, whose data nobody named as the one to be replaced".into()),
        _ => (Dump, "the target's server runs".into()),
    }
}

fn named(series: &str) -> &str {
    if series.is_empty() { "an unknown version" } else { series }
}

impl Choice {
    /// As an operator reads it.
    pub fn sentence(&self) -> String {
        let what = match self.way {
            v1::seed::Way::Dump => "a dump: schema and rows, into the server that runs on the target",
            v1::seed::Way::Physical | v1::seed::Way::Unspecified => "physical: the server's files, into an empty data directory",
        };
        format!("the copy is {what} ({})", self.reason)
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use v1::seed::Way::{Dump, Physical};

    use super::*;

    fn host(system: &str, series: &str, server: &str) -> FactsReply {
        FactsReply { system: system.into(), series: series.into(), server: server.into(), ..FactsReply::default() }
    }

    fn choose(engine: &str, seed: &str, target: FactsReply, replace: &str) -> Choice {
        let named = if engine == "mysql" { "\"670f2239-e567-11f1-a3a2-02fc00000001\"" } else { "\"2\"" };
        let replace = replace.replace("\"2\"", named);
        let text = format!(
            "name = \"shop\"\nengine = \"{engine}\"\n[source]\nhost = \"a\"\n[target]\nhost = \"b\"\n{replace}\n[seed]\n{seed}\n\
             [[router]]\nkind = \"haproxy\"\nhost = \"c\"\nbackend = \"d\"\nsource = \"e\"\ntarget = \"f\"\n"
        );
        let spec = Spec::parse(Path::new("shop.toml"), &text).expect("a good file");
        let facts = [(spec.source.clone(), host("1", "10.11", "writable")), (spec.target.clone(), target)].into();
        way(&spec, &Known { facts, ..Known::default() }).expect("both are known")
    }

    #[test]
    fn the_facts_decide_where_nobody_does() {
        let replace = "replace = \"2\"";
        for (target, replace, expected, why) in [
            (host("", "10.11", "down"), "", Physical, "may be filled"),
            (host("2", "10.11", "standby"), "", Dump, "server runs"),
            (host("2", "10.11", "down"), "", Dump, "nobody named"),
            (host("2", "10.11", "down"), replace, Physical, "`replace`"),
            (host("2", "11.8", "writable"), replace, Dump, "files of 10.11 are not for 11.8"),
            (host("", "11.8", "down"), "", Dump, "files of 10.11 are not for 11.8"),
            (host("", "", "down"), "", Dump, "an unknown version"),
            (host("1", "10.11", "standby"), "", Physical, "already"),
            (host("1", "10.11", "down"), "", Physical, "already"),
        ] {
            for engine in ["mariadb", "mysql"] {
                let choice = choose(engine, "", target.clone(), replace);
                assert!(choice.way == expected && choice.sentence().contains(why), "{engine} {target:?} {replace}: {choice:?}");
            }
        }
    }

    #[test]
    fn a_copy_that_is_there_says_how_it_came() {
        let copied = |how: &str| FactsReply { copied: how.into(), ..host("2", "10.11", "standby") };
        for engine in ["mariadb", "mysql"] {
            assert_eq!(choose(engine, "", copied("physical"), "").way, Physical, "{engine}");
            assert_eq!(choose(engine, "", copied("dump"), "replace = \"2\"").way, Dump, "{engine}");
        }
    }

    #[test]
    fn the_operator_s_word_counts_first_and_others_have_no_choice() {
        let runs = || host("2", "11.8", "standby");
        assert_eq!(choose("mariadb", "way = \"physical\"", runs(), "").way, Physical);
        assert_eq!(choose("mariadb", "way = \"dump\"", host("", "10.11", "down"), "").way, Dump);
        assert_eq!(choose("postgres", "", runs(), "").way, Physical);
    }
}
