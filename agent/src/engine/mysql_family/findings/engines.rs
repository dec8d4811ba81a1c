//! Every table is transactional: what is not can be cut off in the middle of a statement.

use flytt_proto::v1::Finding;

use super::{Sides, warn};

pub(super) fn look(sides: &Sides<'_>) -> Vec<Finding> {
    let tables = &sides.source.live.not_transactional;
    if tables.is_empty() {
        return Vec::new();
    }
    vec![warn(
        "NOT_TRANSACTIONAL",
        format!("tables that are not transactional: {}", tables.join(", ")),
        "ALTER TABLE … ENGINE = InnoDB, or see that nobody writes to them in the cutover: a statement may be cut in half",
    )]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::mysql_family::findings::sample::codes;

    #[test]
    fn engines_is_looked_at() {
        assert_eq!(codes(look, |_, _| {}), [""; 0]);
        assert_eq!(codes(look, |source, _| source.live.not_transactional = vec!["a.b (MyISAM)".into()]), ["NOT_TRANSACTIONAL"]);
    }
}
