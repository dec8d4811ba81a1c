//! Both servers read what their agents must make last across a restart.

use flytt_proto::v1::Finding;

use super::{Sides, block};

pub(super) fn look(sides: &Sides<'_>) -> Vec<Finding> {
    let sides = [("source", sides.source), ("target", sides.target)];
    let lost = sides.into_iter().filter(|(_, facts)| !facts.drop_in);
    let found = lost.map(|(side, facts)| {
        block(
            "DROP_IN_NOT_READ",
            format!("the {side}'s server does not read {:?}, or its agent cannot write there", facts.drop_in_path),
            "make that directory, owned by the agent's user, and add `!includedir` with it to the server's option file",
        )
    });
    found.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::mariadb::findings::sample::codes;

    #[test]
    fn drop_in_is_looked_at() {
        assert_eq!(codes(look, |_, _| {}), [""; 0]);
        assert_eq!(codes(look, |_, target| target.drop_in = false), ["DROP_IN_NOT_READ"]);
    }
}
