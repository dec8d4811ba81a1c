//! No transaction is so large that the target is behind for long after one.

use flytt_proto::v1::Finding;

use super::{Sides, warn};

/// Some seconds of applying, on a disk of today. Bytes.
const LARGE: u64 = 64 << 20;

pub(super) fn look(sides: &Sides<'_>) -> Vec<Finding> {
    let Some(largest) = sides.source.live.largest_transaction.filter(|largest| *largest > LARGE) else { return Vec::new() };
    vec![warn(
        "LARGE_TRANSACTIONS",
        format!("the source has lately written a transaction of {} MiB", largest >> 20),
        "cut over when none of this size is written: until it is applied, the target is behind by all of it",
    )]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::mysql_family::findings::sample::codes;

    #[test]
    fn large_transactions_is_looked_at() {
        assert_eq!(codes(look, |_, _| {}), [""; 0]);
        assert_eq!(codes(look, |source, _| source.live.largest_transaction = Some(LARGE)), [""; 0]);
        assert_eq!(codes(look, |source, _| source.live.largest_transaction = Some(LARGE + 1)), ["LARGE_TRANSACTIONS"]);
    }
}
