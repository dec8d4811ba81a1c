//! The copy fits on the target's disk, and the binary log that is kept meanwhile on the source's.

use flytt_proto::v1::Finding;

use super::{Sides, block};

pub(super) fn look(sides: &Sides<'_>) -> Vec<Finding> {
    let data = sides.source.live.data_bytes;
    let mut found = Vec::new();
    for (side, free, need) in [("target", sides.target.free, data + data / 5), ("source", sides.source.free, data / 10)] {
        if free < need {
            found.push(block(
                "NO_SPACE",
                format!("the {side} has {} MiB free; the move needs {} MiB there", free >> 20, need >> 20),
                "give its data directory a larger disk",
            ));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::mysql_family::findings::sample::codes;

    #[test]
    fn space_is_looked_at() {
        assert_eq!(codes(look, |_, _| {}), [""; 0]);
        assert_eq!(codes(look, |_, target| target.free = 1 << 20), ["NO_SPACE"]);
        assert_eq!(codes(look, |source, _| source.free = 1 << 20), ["NO_SPACE"]);
    }
}
