//! Each server has a number of its own: a replica skips what carries its own.

use flytt_proto::v1::Finding;

use super::{Sides, block};

pub(super) fn look(sides: &Sides<'_>) -> Vec<Finding> {
    let (source, target) = (sides.source.setting("server_id"), sides.target.setting("server_id"));
    if source != target {
        return Vec::new();
    }
    vec![block(
        "SAME_SERVER_ID",
        format!("source and target both have server_id = {source}"),
        "set another server_id in the target's option file: a replica ignores events of its own number",
    )]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::mysql_family::findings::sample::codes;

    #[test]
    fn server_id_is_looked_at() {
        assert_eq!(codes(look, |_, _| {}), [""; 0]);
        assert_eq!(codes(look, |_, target| drop(target.settings.insert("server_id".into(), "1".into()))), ["SAME_SERVER_ID"]);
    }
}
