//! The copy, and the WAL that comes while it is made, fit on the target's disk.

use flytt_proto::v1::Finding;

use super::{Sides, block};

pub(super) fn look(sides: &Sides<'_>) -> Vec<Finding> {
    let need = sides.source.live.data_bytes + sides.source.live.data_bytes / 10 + sides.source.live.wal_bytes;
    let free = sides.target.host.data_free;
    if free >= need {
        return Vec::new();
    }
    // What is replaced stays beside the copy until the move is over, so it makes no room.
    vec![block(
        "NO_SPACE",
        format!("the target has {} MiB free; the copy needs {} MiB", free >> 20, need >> 20),
        "give the target's data directory a larger disk",
    )]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::postgres::findings::sample::codes;

    #[test]
    fn space_is_looked_at() {
        assert_eq!(codes(look, |_, _| {}), [""; 0]);
        assert_eq!(codes(look, |source, _| source.live.data_bytes = 95 << 30), ["NO_SPACE"]);
    }
}
