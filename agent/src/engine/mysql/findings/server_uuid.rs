//! Each server has a UUID of its own: a replica skips what carries its own, as a data directory copied with its `auto.cnf` does.

use flytt_proto::v1::Finding;

use super::{Sides, block};

pub(super) fn look(sides: &Sides<'_>) -> Vec<Finding> {
    let (source, target) = (&sides.source.own.server_uuid, &sides.target.own.server_uuid);
    if source.is_empty() || source != target {
        return Vec::new();
    }
    vec![block(
        "SAME_SERVER_UUID",
        format!("source and target both are server {source}"),
        "stop the target, remove auto.cnf from its data directory, start it again: it makes a UUID of its own",
    )]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::mysql::findings::sample::codes;

    #[test]
    fn server_uuid_is_looked_at() {
        assert_eq!(codes(look, |_, _| {}), [""; 0]);
        let copied = codes(look, |source, target| target.own.server_uuid = source.own.server_uuid.clone());
        assert_eq!(copied, ["SAME_SERVER_UUID"]);
    }
}
