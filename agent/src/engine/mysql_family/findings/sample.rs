//! Two hosts that fit each other, for the findings' tests: each test spoils one thing.

use flytt_proto::v1;
use serde::Serialize;

use super::Sides;
use crate::engine::{
    Facts, Serving,
    mysql_family::facts::{Common, Live},
};

fn side(number: u16) -> Common {
    let own = number.to_string();
    let settings = [
        ("binlog_expire_logs_seconds", "864000"),
        ("binlog_format", "row"),
        ("binlog_row_image", "full"),
        ("character_set_server", "utf8mb4"),
        ("innodb_page_size", "16384"),
        ("log_bin", "on"),
        ("lower_case_table_names", "0"),
        ("max_allowed_packet", "16777216"),
        ("server_id", own.as_str()),
        ("sql_mode", "strict_trans_tables"),
    ];
    Common {
        settings: settings.into_iter().map(|(key, value)| (key.to_owned(), value.to_owned())).collect(),
        data_directory: "/var/lib/mysql".into(),
        boot_id: own.clone(),
        free: 100 << 30,
        empty: number == 2,
        agent_port: 3300 + number,
        agent_socket: format!("/run/mysqld/{own}.sock"),
        may_replace: true,
        ..Common::default()
    }
}

pub(crate) fn pair() -> (Common, Common) {
    let mut source = side(1);
    source.live = Live { data_bytes: 1 << 30, ..Live::default() };
    (source, side(2))
}

/// As the other side's agent gets it; `detail` is the engine's own record.
pub(crate) fn outer(facts: &Common, serving: Serving, detail: &impl Serialize) -> Facts {
    Facts {
        serving,
        system: facts.setting("server_id").to_owned(),
        data_bytes: facts.live.data_bytes,
        series: String::new(),
        copied: String::new(),
        address: "db:3306".into(),
        place: format!("{} {}", facts.boot_id, facts.agent_port),
        detail: serde_json::to_string(detail).unwrap(),
    }
}

/// The codes that `look` finds of a physical copy once `spoil` has had its way.
pub(super) fn codes(look: impl Fn(&Sides<'_>) -> Vec<v1::Finding>, spoil: impl FnOnce(&mut Common, &mut Common)) -> Vec<String> {
    let (mut source, mut target) = pair();
    spoil(&mut source, &mut target);
    let (from, to) = (outer(&source, Serving::Writable, &source), outer(&target, Serving::Down, &target));
    told(look(&Sides { source: &source, target: &target, from: &from, to: &to, by_dump: false, replaced: "" }))
}

/// The same of a dump.
pub(super) fn codes_of_dump(
    look: impl Fn(&Sides<'_>) -> Vec<v1::Finding>,
    spoil: impl FnOnce(&mut Common, &mut Common),
) -> Vec<String> {
    codes(|sides| look(&Sides { by_dump: true, ..*sides }), spoil)
}

/// Their codes; each has a sentence and a remedy.
pub(crate) fn told(found: Vec<v1::Finding>) -> Vec<String> {
    for finding in &found {
        assert!(!finding.sentence.is_empty() && !finding.remedy.is_empty(), "{finding:?}");
    }
    found.into_iter().map(|finding| finding.code).collect()
}
