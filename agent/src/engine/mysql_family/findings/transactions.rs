//! Nothing is prepared or open for long.

use flytt_proto::v1::Finding;

use super::{Sides, warn};

pub(super) fn look(sides: &Sides<'_>) -> Vec<Finding> {
    let live = &sides.source.live;
    let mut found = Vec::new();
    if live.prepared > 0 {
        found.push(warn(
            "PREPARED_TRANSACTIONS",
            format!("{} prepared transactions (XA) wait for their second phase", live.prepared),
            "commit or roll them back before the cutover",
        ));
    }
    if live.longest_transaction > 60 {
        found.push(warn(
            "LONG_TRANSACTION",
            format!("a transaction has been open for {} s", live.longest_transaction),
            "see that none is open for long when you cut over",
        ));
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::mysql_family::findings::sample::codes;

    #[test]
    fn transactions_is_looked_at() {
        assert_eq!(codes(look, |_, _| {}), [""; 0]);
        assert_eq!(codes(look, |source, _| source.live.prepared = 1), ["PREPARED_TRANSACTIONS"]);
        assert_eq!(codes(look, |source, _| source.live.longest_transaction = 61), ["LONG_TRANSACTION"]);
    }
}
