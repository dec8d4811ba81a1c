//! Two hosts that fit each other, for the findings' tests: each test spoils one thing.

use flytt_proto::v1;

use super::Sides;
use crate::engine::{
    Facts, Serving,
    mysql::facts::{MyFacts, Own},
    mysql_family::{
        facts::Common,
        findings::sample::{self, told},
    },
};

pub(super) const UUID: &str = "3e11fa47-71ca-11e1-9e33-c80aa9429562";

fn side(mut common: Common) -> MyFacts {
    common.version = "9.7.4".into();
    let settings = [
        ("bind_address", "*"),
        ("enforce_gtid_consistency", "on"),
        ("gtid_mode", "on"),
        ("innodb_log_group_home_dir", "./"),
        ("log_replica_updates", "true"),
        ("ssl_ca", "ca.pem"),
    ];
    for (key, value) in settings {
        common.settings.insert(key.into(), value.into());
    }
    MyFacts { common, libraries: ["auth_socket.so".to_owned(), "mysql_clone.so".to_owned()].into(), own: Own::default() }
}

fn pair() -> (MyFacts, MyFacts) {
    let (source, target) = sample::pair();
    let mut source = side(source);
    source.own = Own {
        server_uuid: UUID.into(),
        gtid_executed: format!("{UUID}:1-9"),
        libraries_used: ["auth_socket.so".to_owned()].into(),
        ..Own::default()
    };
    (source, side(target))
}

fn outer(facts: &MyFacts, serving: Serving) -> Facts {
    sample::outer(&facts.common, serving, facts)
}

pub(super) fn facts() -> (Facts, Facts) {
    let (source, target) = pair();
    (outer(&source, Serving::Writable), outer(&target, Serving::Down))
}

/// The codes that `look` finds of a physical copy once `spoil` has had its way.
pub(super) fn codes(
    look: impl Fn(&Sides<'_>) -> Vec<v1::Finding>,
    spoil: impl FnOnce(&mut MyFacts, &mut MyFacts),
) -> Vec<String> {
    let (mut source, mut target) = pair();
    spoil(&mut source, &mut target);
    let (from, to) = (outer(&source, Serving::Writable), outer(&target, Serving::Down));
    told(look(&Sides { source: &source, target: &target, from: &from, to: &to, by_dump: false, replaced: "" }))
}

/// The same of a dump, into a server that runs and takes no writes.
pub(super) fn codes_of_dump(
    look: impl Fn(&Sides<'_>) -> Vec<v1::Finding>,
    spoil: impl FnOnce(&mut MyFacts, &mut MyFacts),
) -> Vec<String> {
    let (mut source, mut target) = pair();
    spoil(&mut source, &mut target);
    let (from, to) = (outer(&source, Serving::Writable), outer(&target, Serving::Standby));
    told(look(&Sides { source: &source, target: &target, from: &from, to: &to, by_dump: true, replaced: "" }))
}
