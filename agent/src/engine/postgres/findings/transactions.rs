//! Transactions that would hold up the window.

use flytt_proto::v1::Finding;

use super::{Sides, warn};

const LONG: u64 = 300;

pub(super) fn look(sides: &Sides<'_>) -> Vec<Finding> {
    let live = &sides.source.live;
    let mut found = Vec::new();
    if live.prepared > 0 {
        found.push(warn(
            "PREPARED_TRANSACTIONS",
            format!("{} prepared transactions wait on the source", live.prepared),
            "see that none is left at the cutover: behind the fence nobody could finish it",
        ));
    }
    if live.longest_transaction > LONG {
        found.push(warn(
            "LONG_TRANSACTION",
            format!("a transaction on the source is {} s old", live.longest_transaction),
            "see that none is left at the cutover: the fence would cut it off",
        ));
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::postgres::findings::sample::codes;

    #[test]
    fn transactions_is_looked_at() {
        assert_eq!(codes(look, |_, _| {}), [""; 0]);
        assert_eq!(codes(look, |source, _| source.live.prepared = 1), ["PREPARED_TRANSACTIONS"]);
        assert_eq!(codes(look, |source, _| source.live.longest_transaction = 301), ["LONG_TRANSACTION"]);
    }
}
