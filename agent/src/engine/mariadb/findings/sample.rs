//! Two hosts that fit each other, for the findings' tests: each test spoils one thing.

use flytt_proto::v1;

use super::Sides;
use crate::engine::{
    Facts, Serving,
    mariadb::facts::{Live, MaFacts},
};

fn side(number: u16) -> MaFacts {
    let own = number.to_string();
    let settings = [
        ("binlog_format", "row"),
        ("binlog_row_image", "full"),
        ("binlog_expire_logs_seconds", "864000"),
        ("character_set_server", "utf8mb4"),
        ("gtid_domain_id", if number == 1 { "0" } else { "2" }),
        ("gtid_strict_mode", "on"),
        ("innodb_page_size", "16384"),
        ("log_bin", "on"),
        ("log_slave_updates", "on"),
        ("lower_case_table_names", "0"),
        ("max_allowed_packet", "16777216"),
        ("server_id", own.as_str()),
        ("sql_mode", "strict_trans_tables"),
    ];
    MaFacts {
        version: "10.11.19-MariaDB-0+deb12u1".into(),
        settings: settings.into_iter().map(|(key, value)| (key.to_owned(), value.to_owned())).collect(),
        data_directory: "/var/lib/mysql".into(),
        boot_id: own.clone(),
        free: 100 << 30,
        empty: number == 2,
        agent_port: 3300 + number,
        agent_socket: format!("/run/mysqld/{own}.sock"),
        may_replace: true,
        drop_in: true,
        drop_in_path: "/var/lib/flytt/mysql/server".into(),
        live: Live::default(),
    }
}

fn pair() -> (MaFacts, MaFacts) {
    let mut source = side(1);
    source.live = Live { all_privileges: true, data_bytes: 1 << 30, binlog_pos: "0-1-9".into(), ..Live::default() };
    (source, side(2))
}

fn outer(facts: &MaFacts, serving: Serving) -> Facts {
    Facts {
        serving,
        system: facts.setting("server_id").to_owned(),
        data_bytes: facts.live.data_bytes,
        address: "db:3306".into(),
        place: format!("{} {}", facts.boot_id, facts.agent_port),
        detail: serde_json::to_string(facts).unwrap(),
    }
}

pub(super) fn facts() -> (Facts, Facts) {
    let (source, target) = pair();
    (outer(&source, Serving::Writable), outer(&target, Serving::Down))
}

/// The codes that `look` finds once `spoil` has had its way.
pub(super) fn codes(
    look: impl Fn(&Sides<'_>) -> Vec<v1::Finding>,
    spoil: impl FnOnce(&mut MaFacts, &mut MaFacts),
) -> Vec<String> {
    let (mut source, mut target) = pair();
    spoil(&mut source, &mut target);
    let (from, to) = (outer(&source, Serving::Writable), outer(&target, Serving::Down));
    let found = look(&Sides { source: &source, target: &target, from: &from, to: &to });
    for finding in &found {
        assert!(!finding.sentence.is_empty() && !finding.remedy.is_empty(), "{finding:?}");
    }
    found.into_iter().map(|finding| finding.code).collect()
}
