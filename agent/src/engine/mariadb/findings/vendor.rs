//! Both are MariaDB: no other vendor's server reads its positions, so there would be no way back.

use flytt_proto::v1::Finding;

use super::{Sides, block};

pub(super) fn look(sides: &Sides<'_>) -> Vec<Finding> {
    let sides = [("source", sides.source), ("target", sides.target)];
    let other = sides.into_iter().filter(|(_, facts)| !facts.common.version.contains("MariaDB"));
    let found = other.map(|(side, facts)| {
        block(
            "OTHER_VENDOR",
            format!("the {side}'s server calls itself {:?}, which is not MariaDB", facts.common.version),
            "a live move stays with one vendor: positions of one mean nothing to the other, and nothing could be taken back",
        )
    });
    found.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::mariadb::findings::sample::codes;

    #[test]
    fn vendor_is_looked_at() {
        assert_eq!(codes(look, |_, _| {}), [""; 0]);
        assert_eq!(codes(look, |_, target| target.common.version = "8.4.3".into()), ["OTHER_VENDOR"]);
    }
}
