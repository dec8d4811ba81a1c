//! The source is a running primary which the agent can administer.

use flytt_proto::v1::Finding;

use super::{Sides, block};
use crate::engine::Serving;

pub(super) fn look(sides: &Sides<'_>) -> Vec<Finding> {
    let live = &sides.source.common.live;
    match sides.from.serving {
        Serving::Down => vec![block("SOURCE_DOWN", "the source's server does not run".into(), "start it")],
        Serving::Standby if !live.replicates_from.is_empty() => vec![block(
            "SOURCE_IS_STANDBY",
            format!("the source replicates from {}: its appliers write through every fence", live.replicates_from),
            "move its primary, or stop that replication for good with RESET REPLICA ALL",
        )],
        Serving::Standby => {
            vec![block("SOURCE_READ_ONLY", "the source is read-only".into(), "find out who made it so, and undo that")]
        }
        Serving::Writable if !sides.source.own.lacks.is_empty() => vec![block(
            "NOT_SUPERUSER",
            format!("the agent's account on the source lacks {}", sides.source.own.lacks.join(", ")),
            "GRANT ALL ON *.* to it, WITH GRANT OPTION",
        )],
        Serving::Writable => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::mysql::findings::sample::codes;

    #[test]
    fn source_role_is_looked_at() {
        assert_eq!(codes(look, |_, _| {}), [""; 0]);
        assert_eq!(codes(look, |source, _| source.own.lacks = vec!["SYSTEM_USER".into()]), ["NOT_SUPERUSER"]);
    }
}
