//! Every routine, view, trigger and event belongs to an account that exists.

use flytt_proto::v1::Finding;

use super::{Sides, warn};

pub(super) fn look(sides: &Sides<'_>) -> Vec<Finding> {
    let lost = &sides.source.live.lost_definers;
    if lost.is_empty() {
        return Vec::new();
    }
    vec![warn(
        "LOST_DEFINER",
        format!("objects whose definer is no account: {}", lost.join("; ")),
        "create the account or change the definer: such an object fails when it is used (error 1449)",
    )]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::mysql_family::findings::sample::codes;

    #[test]
    fn definers_is_looked_at() {
        assert_eq!(codes(look, |_, _| {}), [""; 0]);
        assert_eq!(codes(look, |source, _| source.live.lost_definers = vec!["x@y: view a.b".into()]), ["LOST_DEFINER"]);
    }
}
