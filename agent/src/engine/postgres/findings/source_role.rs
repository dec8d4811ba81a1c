//! The source is a running primary which the agent can administer.

use flytt_proto::v1::Finding;

use super::{Sides, block};
use crate::engine::Serving;

pub(super) fn look(sides: &Sides<'_>) -> Vec<Finding> {
    let mut found = Vec::new();
    match sides.from.serving {
        Serving::Writable => {
            if !sides.source.superuser {
                found.push(block(
                    "NOT_SUPERUSER",
                    "the agent's role on the source is no superuser".into(),
                    "let `role` in the source's agent.toml be one",
                ));
            }
        }
        Serving::Standby => found.push(block("SOURCE_IS_STANDBY", "the source is itself a standby".into(), "move its primary")),
        Serving::Down => found.push(block("SOURCE_DOWN", "the source's server does not run".into(), "start it")),
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::postgres::findings::sample::codes;

    #[test]
    fn source_role_is_looked_at() {
        assert_eq!(codes(look, |_, _| {}), [""; 0]);
        assert_eq!(codes(look, |source, _| source.superuser = false), ["NOT_SUPERUSER"]);
    }
}
