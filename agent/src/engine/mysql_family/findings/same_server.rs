//! Source and target are two servers.

use flytt_proto::v1::Finding;

use super::{Sides, block};

pub(super) fn look(sides: &Sides<'_>) -> Vec<Finding> {
    let (source, target) = (sides.source, sides.target);
    let same_door = source.boot_id == target.boot_id
        && (source.agent_port == target.agent_port || source.agent_socket == target.agent_socket);
    if sides.from.place != sides.to.place && !same_door {
        return Vec::new();
    }
    vec![block(
        "SAME_SERVER",
        "source and target are the same server".into(),
        "name another host as target, or correct `data_directory`, `socket` and `port` in its agent.toml",
    )]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::mysql_family::{facts::Common, findings::sample::codes};

    #[test]
    fn same_server_is_looked_at() {
        assert_eq!(codes(look, |_, _| {}), [""; 0]);
        assert_eq!(codes(look, |source, target| target.boot_id = source.boot_id.clone()), [""; 0], "another port and socket");
        let same_port = |source: &mut Common, target: &mut Common| {
            target.boot_id = source.boot_id.clone();
            target.agent_port = source.agent_port;
        };
        assert_eq!(codes(look, same_port), ["SAME_SERVER"]);
    }
}
