//! The source writes a binary log of whole rows, and the target one of what it replicates.

use flytt_proto::v1::Finding;

use super::{Sides, block};

pub(super) fn look(sides: &Sides<'_>) -> Vec<Finding> {
    let mut found = Vec::new();
    for (side, facts) in [("source", sides.source), ("target", sides.target)] {
        if facts.setting("log_bin").is_empty() || facts.setting("log_bin").eq_ignore_ascii_case("off") {
            found.push(block(
                "NO_BINARY_LOG",
                format!("the {side} writes no binary log"),
                "set log_bin in its option file and restart it",
            ));
        }
    }
    if !sides.source.setting("binlog_format").eq_ignore_ascii_case("row") {
        found.push(block(
            "BINLOG_FORMAT",
            format!("the source's binlog_format is {}", sides.source.setting("binlog_format")),
            "SET GLOBAL binlog_format = ROW, also in the option file, and have every session connect anew",
        ));
    }
    if !sides.source.setting("binlog_row_image").eq_ignore_ascii_case("full") {
        found.push(block(
            "BINLOG_ROW_IMAGE",
            format!("the source's binlog_row_image is {}", sides.source.setting("binlog_row_image")),
            "SET GLOBAL binlog_row_image = FULL, also in the option file, and have every session connect anew",
        ));
    }
    if !sides.target.is_on("log_slave_updates") {
        found.push(block(
            "NO_LOG_SLAVE_UPDATES",
            "the target does not log what it replicates".into(),
            "set log_slave_updates in its option file: its own replicas, and a way back, need the whole log",
        ));
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::mariadb::{facts::MaFacts, findings::sample::codes};

    #[test]
    fn binary_log_is_looked_at() {
        assert_eq!(codes(look, |_, _| {}), [""; 0]);
        let set = |key: &'static str, value: &'static str| {
            move |source: &mut MaFacts, _: &mut MaFacts| {
                source.common.settings.insert(key.into(), value.into());
            }
        };
        assert_eq!(codes(look, set("log_bin", "OFF")), ["NO_BINARY_LOG"]);
        assert_eq!(codes(look, set("binlog_format", "MIXED")), ["BINLOG_FORMAT"]);
        assert_eq!(codes(look, set("binlog_row_image", "MINIMAL")), ["BINLOG_ROW_IMAGE"]);
        assert_eq!(codes(look, |_, target| drop(target.common.settings.remove("log_slave_updates"))), ["NO_LOG_SLAVE_UPDATES"]);
    }
}
