//! Every table has a key: without one the replica reads the whole table for each row that changes.

use flytt_proto::v1::Finding;

use super::{Sides, warn};

pub(super) fn look(sides: &Sides<'_>) -> Vec<Finding> {
    let tables = &sides.source.live.without_key;
    if tables.is_empty() {
        return Vec::new();
    }
    vec![warn(
        "NO_PRIMARY_KEY",
        format!("tables without a primary or unique key: {}", tables.join(", ")),
        "add a primary key to those that are written much: the target would fall behind",
    )]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::mysql_family::findings::sample::codes;

    #[test]
    fn keys_is_looked_at() {
        assert_eq!(codes(look, |_, _| {}), [""; 0]);
        assert_eq!(codes(look, |source, _| source.live.without_key = vec!["a.b".into()]), ["NO_PRIMARY_KEY"]);
    }
}
