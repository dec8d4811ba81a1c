//! The source is a running primary which the agent can administer.

use flytt_proto::v1::Finding;

use super::{Sides, block};

pub(super) fn look(sides: &Sides<'_>) -> Vec<Finding> {
    use crate::engine::Serving;
    let live = &sides.source.common.live;
    match sides.from.serving {
        Serving::Down => vec![block("SOURCE_DOWN", "the source's server does not run".into(), "start it")],
        Serving::Standby if !live.replicates_from.is_empty() => vec![block(
            "SOURCE_IS_STANDBY",
            format!("the source replicates from {}: its appliers write through every fence", live.replicates_from),
            "move its primary, or stop that replication for good with RESET SLAVE ALL",
        )],
        Serving::Standby => {
            vec![block("SOURCE_READ_ONLY", "the source is read-only".into(), "find out who made it so, and undo that")]
        }
        Serving::Writable if !sides.source.own.all_privileges => vec![block(
            "NOT_SUPERUSER",
            "the agent's account on the source has not all privileges".into(),
            "GRANT ALL PRIVILEGES ON *.* to it, WITH GRANT OPTION",
        )],
        Serving::Writable => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::mariadb::findings::sample::codes;

    #[test]
    fn source_role_is_looked_at() {
        assert_eq!(codes(look, |_, _| {}), [""; 0]);
        assert_eq!(codes(look, |source, _| source.own.all_privileges = false), ["NOT_SUPERUSER"]);
    }
}
