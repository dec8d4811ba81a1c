//! agent.toml speaks of the server that answers: a fence goes into the files of one, the proof is asked of the other.

use flytt_proto::v1::Finding;

use super::{Sides, block};

pub(super) fn look(sides: &Sides<'_>) -> Vec<Finding> {
    let both = [("source", sides.source), ("target", sides.target)];
    let differ = both.into_iter().flat_map(|(side, facts)| facts.false_claims.iter().map(move |claim| (side, claim)));
    differ
        .map(|(side, claim)| {
            block(
                "AGENT_CONFIG_DIFFERS",
                format!(
                    "the {side}'s agent.toml says {} = {:?}, the server that answers there says {:?}",
                    claim.key, claim.claimed, claim.is
                ),
                "let `[postgres]` in that agent.toml name the one server that this move is about, and restart the agent",
            )
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::postgres::facts::Claim;
    use crate::engine::postgres::findings::sample::codes;

    #[test]
    fn agent_config_is_looked_at() {
        assert_eq!(codes(look, |_, _| {}), [""; 0]);
        let claim = || Claim { key: "data_directory".into(), claimed: "/a".into(), is: "/b".into() };
        assert_eq!(codes(look, |source, _| source.false_claims.push(claim())), ["AGENT_CONFIG_DIFFERS"]);
        assert_eq!(codes(look, |_, target| target.false_claims.push(claim())), ["AGENT_CONFIG_DIFFERS"]);
    }
}
