//! Tablespaces lie outside the data directory, where nothing takes them back yet.

use flytt_proto::v1::Finding;

use super::{Sides, block};

pub(super) fn look(sides: &Sides<'_>) -> Vec<Finding> {
    let tablespaces = &sides.source.live.tablespaces;
    if tablespaces.is_empty() {
        return Vec::new();
    }
    vec![block(
        "TABLESPACES_NOT_SUPPORTED",
        format!("the source has tablespaces in {}", tablespaces.join(", ")),
        "move their tables into the default tablespace and drop them",
    )]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::postgres::findings::sample::codes;

    #[test]
    fn tablespaces_is_looked_at() {
        assert_eq!(codes(look, |_, _| {}), [""; 0]);
        assert_eq!(codes(look, |source, _| source.live.tablespaces = vec!["/fast".into()]), ["TABLESPACES_NOT_SUPPORTED"]);
    }
}
