//! Two hosts that fit each other, for the findings' tests: each test spoils one thing.

use flytt_proto::v1;

use super::Sides;
use crate::engine::{
    Facts, Serving,
    postgres::facts::{Data, Database, Host, Live, PgFacts},
};

const SETTINGS: [(&str, &str); 14] = [
    ("fsync", "on"),
    ("full_page_writes", "on"),
    ("hot_standby", "on"),
    ("listen_addresses", "*"),
    ("max_connections", "100"),
    ("max_locks_per_transaction", "64"),
    ("max_prepared_transactions", "0"),
    ("max_replication_slots", "10"),
    ("max_slot_wal_keep_size", "102400"),
    ("max_wal_senders", "10"),
    ("max_worker_processes", "8"),
    ("archive_mode", "off"),
    ("ssl", "off"),
    ("wal_level", "replica"),
];

fn side(name: &str, port: u16) -> PgFacts {
    let mut settings: std::collections::BTreeMap<String, String> =
        SETTINGS.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
    settings.insert("port".into(), port.to_string());
    PgFacts {
        version: 150_018,
        control: [("Data page checksum version".to_owned(), "1".to_owned())].into(),
        host: Host {
            architecture: "x86_64".into(),
            page_size: 4096,
            glibc: "glibc 2.36".into(),
            boot_id: name.into(),
            data_free: 100 << 30,
            ..Host::default()
        },
        data: Data {
            path: "/var/lib/postgresql/15/main".into(),
            inode: format!("1:{port}"),
            exists: true,
            empty: true,
            ..Data::default()
        },
        settings,
        hba: vec!["host all all 10.0.0.0/8 scram-sha-256".into()],
        hba_file: "/etc/postgresql/15/main/pg_hba.conf".into(),
        config_file: "/etc/postgresql/15/main/postgresql.conf".into(),
        agent_port: port,
        agent_socket: "/run/postgresql".into(),
        may_replace: true,
        superuser: true,
        available: [("plpgsql".to_owned(), ["1.0".to_owned()].into())].into(),
        libraries: ["plpgsql".to_owned(), "pg_stat_statements".to_owned()].into(),
        ..PgFacts::default()
    }
}

fn outer(facts: &PgFacts, serving: Serving) -> Facts {
    Facts {
        serving,
        system: String::new(),
        data_bytes: facts.live.data_bytes,
        series: String::new(),
        copied: String::new(),
        address: "db:5432".into(),
        place: format!("{} {}", facts.host.boot_id, facts.data.inode),
        detail: serde_json::to_string(facts).unwrap(),
    }
}

fn pair() -> (PgFacts, PgFacts) {
    let mut source = side("one", 5432);
    source.live = Live {
        data_bytes: 1 << 30,
        databases: vec![Database {
            name: "shop".into(),
            provider: "c".into(),
            collate: "en_US.UTF-8".into(),
            extensions: [("plpgsql".to_owned(), "1.0".to_owned())].into(),
            libraries: vec!["$libdir/plpgsql".into()],
            ..Database::default()
        }],
        ..Live::default()
    };
    (source, side("two", 5433))
}

pub(super) fn facts() -> (Facts, Facts) {
    let (source, target) = pair();
    (outer(&source, Serving::Writable), outer(&target, Serving::Down))
}

/// The codes that `look` finds once `spoil` has had its way.
pub(super) fn codes(
    look: impl Fn(&Sides<'_>) -> Vec<v1::Finding>,
    spoil: impl FnOnce(&mut PgFacts, &mut PgFacts),
) -> Vec<String> {
    let (mut source, mut target) = pair();
    spoil(&mut source, &mut target);
    let (from, to) = (outer(&source, Serving::Writable), outer(&target, Serving::Down));
    let check = v1::Check { transport: v1::Transport::Tunnel.into(), ..v1::Check::default() };
    let found = look(&Sides { source: &source, target: &target, from: &from, to: &to, check: &check });
    for finding in &found {
        assert!(!finding.sentence.is_empty() && !finding.remedy.is_empty(), "{finding:?}");
    }
    found.into_iter().map(|finding| finding.code).collect()
}
