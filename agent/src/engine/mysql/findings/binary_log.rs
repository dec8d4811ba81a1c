//! The source writes a binary log of whole rows that leaves out nothing and keeps it, and the target one of what it replicates.

use flytt_proto::v1::Finding;

use super::{Sides, block};

pub(super) fn look(sides: &Sides<'_>) -> Vec<Finding> {
    let mut found = Vec::new();
    for (side, facts) in [("source", sides.source), ("target", sides.target)] {
        if matches!(facts.setting("log_bin").to_ascii_lowercase().as_str(), "" | "off" | "0" | "false") {
            found.push(block(
                "NO_BINARY_LOG",
                format!("the {side} writes no binary log"),
                "remove skip_log_bin from its option file and restart it",
            ));
        }
    }
    for (code, name, want) in [
        ("BINLOG_FORMAT", "binlog_format", "row"),
        ("BINLOG_ROW_IMAGE", "binlog_row_image", "full"),
        ("BINLOG_PARTIAL_JSON", "binlog_row_value_options", ""),
    ] {
        let has = sides.source.setting(name);
        if !has.eq_ignore_ascii_case(want) {
            found.push(block(
                code,
                format!("the source's {name} is {has:?}"),
                &format!("SET PERSIST {name} = '{want}', and have every session connect anew: the way back and the checks need whole rows"),
            ));
        }
    }
    if !sides.source.own.binlog_filters.is_empty() {
        found.push(block(
            "BINLOG_FILTER",
            format!("the source's binary log leaves out databases: {}", sides.source.own.binlog_filters.join(", ")),
            "remove these options and restart it: what is not logged does not arrive",
        ));
    }
    if !sides.target.is_on("log_replica_updates") {
        found.push(block(
            "NO_LOG_SLAVE_UPDATES",
            "the target does not log what it replicates".into(),
            "set log_replica_updates in its option file: its own replicas, and a way back, need the whole log",
        ));
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::mysql::findings::sample::codes;

    #[test]
    fn binary_log_is_looked_at() {
        assert_eq!(codes(look, |_, _| {}), [""; 0]);
        let set = |key: &'static str, value: &'static str| {
            codes(look, move |source, _| drop(source.common.settings.insert(key.into(), value.into())))
        };
        assert_eq!(set("log_bin", "OFF"), ["NO_BINARY_LOG"]);
        assert_eq!(set("binlog_format", "STATEMENT"), ["BINLOG_FORMAT"]);
        assert_eq!(set("binlog_row_image", "NOBLOB"), ["BINLOG_ROW_IMAGE"]);
        assert_eq!(set("binlog_row_value_options", "PARTIAL_JSON"), ["BINLOG_PARTIAL_JSON"]);
        let filtered = codes(look, |source, _| source.own.binlog_filters = vec!["binlog_do_db = a".into()]);
        assert_eq!(filtered, ["BINLOG_FILTER"]);
        let silent = codes(look, |_, target| drop(target.common.settings.remove("log_replica_updates")));
        assert_eq!(silent, ["NO_LOG_SLAVE_UPDATES"]);
    }
}
