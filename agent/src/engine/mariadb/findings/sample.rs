//! Two hosts that fit each other, for the findings' tests: each test spoils one thing.

use flytt_proto::v1;

use super::Sides;
use crate::engine::{
    Facts, Serving,
    mariadb::facts::{MaFacts, Own},
    mysql_family::{
        facts::Common,
        findings::sample::{self, told},
    },
};

fn side(mut common: Common, domain: &str) -> MaFacts {
    common.version = "10.11.19-MariaDB-0+deb12u1".into();
    for (key, value) in [("gtid_domain_id", domain), ("gtid_strict_mode", "on"), ("log_slave_updates", "on")] {
        common.settings.insert(key.into(), value.into());
    }
    MaFacts { common, drop_in: true, drop_in_path: "/var/lib/flytt/mysql/server".into(), own: Own::default() }
}

fn pair() -> (MaFacts, MaFacts) {
    let (source, target) = sample::pair();
    let mut source = side(source, "0");
    source.own = Own { all_privileges: true, binlog_pos: "0-1-9".into(), ..Own::default() };
    (source, side(target, "2"))
}

fn outer(facts: &MaFacts, serving: Serving) -> Facts {
    sample::outer(&facts.common, serving, facts)
}

pub(super) fn facts() -> (Facts, Facts) {
    let (source, target) = pair();
    (outer(&source, Serving::Writable), outer(&target, Serving::Down))
}

/// The codes that `look` finds of a physical copy once `spoil` has had its way.
pub(super) fn codes(
    look: impl Fn(&Sides<'_>) -> Vec<v1::Finding>,
    spoil: impl FnOnce(&mut MaFacts, &mut MaFacts),
) -> Vec<String> {
    let (mut source, mut target) = pair();
    spoil(&mut source, &mut target);
    let (from, to) = (outer(&source, Serving::Writable), outer(&target, Serving::Down));
    told(look(&Sides { source: &source, target: &target, from: &from, to: &to, by_dump: false, replaced: "" }))
}

/// The same of a dump, into a server that runs and takes no writes.
pub(super) fn codes_of_dump(
    look: impl Fn(&Sides<'_>) -> Vec<v1::Finding>,
    spoil: impl FnOnce(&mut MaFacts, &mut MaFacts),
) -> Vec<String> {
    let (mut source, mut target) = pair();
    target.own.all_privileges = true;
    spoil(&mut source, &mut target);
    let (from, to) = (outer(&source, Serving::Writable), outer(&target, Serving::Standby));
    told(look(&Sides { source: &source, target: &target, from: &from, to: &to, by_dump: true, replaced: "" }))
}
