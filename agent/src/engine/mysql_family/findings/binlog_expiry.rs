//! The binary log outlives the seed three times over.

use flytt_proto::v1::Finding;

use super::{Sides, block};

pub(super) fn look(sides: &Sides<'_>) -> Vec<Finding> {
    /// Bytes a second that a slow seed makes.
    const SLOW: u64 = 20 << 20;
    let seconds = sides.source.number("binlog_expire_logs_seconds");
    let need = i64::try_from(sides.source.live.data_bytes / SLOW * 3).unwrap_or(i64::MAX).max(3_600);
    if seconds == 0 || seconds >= need {
        return Vec::new();
    }
    vec![block(
        "BINLOG_EXPIRES",
        format!("the source keeps its binary log for {seconds} s; a copy of its size may need {need} s until it has caught up"),
        "SET GLOBAL binlog_expire_logs_seconds to more than that for the time of the move",
    )]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::mysql_family::{facts::Common, findings::sample::codes};

    #[test]
    fn binlog_expiry_is_looked_at() {
        assert_eq!(codes(look, |_, _| {}), [""; 0]);
        let short = |source: &mut Common, _: &mut Common| {
            source.settings.insert("binlog_expire_logs_seconds".into(), "600".into());
        };
        assert_eq!(codes(look, short), ["BINLOG_EXPIRES"]);
    }
}
