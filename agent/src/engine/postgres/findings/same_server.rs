//! Source and target are two servers.

use flytt_proto::v1::Finding;

use super::{Sides, block};

pub(super) fn look(sides: &Sides<'_>) -> Vec<Finding> {
    let same_data = !sides.source.data.inode.is_empty() && sides.from.place == sides.to.place;
    let same_door = sides.source.host.boot_id == sides.target.host.boot_id
        && sides.source.agent_port == sides.target.agent_port
        && sides.source.agent_socket == sides.target.agent_socket;
    let mut found = Vec::new();
    if same_data || same_door {
        found.push(block(
            "SAME_SERVER",
            "source and target are the same server".into(),
            "name another host as target, or correct `data_directory`, `socket` and `port` in its agent.toml",
        ));
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::postgres::facts::PgFacts;
    use crate::engine::postgres::findings::sample::codes;

    #[test]
    fn same_server_is_looked_at() {
        assert_eq!(codes(look, |_, _| {}), [""; 0]);
        assert_eq!(codes(look, |source, target| target.host.boot_id = source.host.boot_id.clone()), [""; 0], "another port");
        let same_port = |source: &mut PgFacts, target: &mut PgFacts| {
            target.host.boot_id = source.host.boot_id.clone();
            target.agent_port = source.agent_port;
        };
        assert_eq!(codes(look, same_port), ["SAME_SERVER"]);
    }
}
