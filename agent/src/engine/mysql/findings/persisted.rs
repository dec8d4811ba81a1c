//! Settings that the source keeps in its data directory do not come along.

use flytt_proto::v1::Finding;

use super::{Sides, warn};

pub(super) fn look(sides: &Sides<'_>) -> Vec<Finding> {
    let names = &sides.source.own.persisted;
    let left: Vec<&str> = names.iter().filter(|name| !sides.target.own.persisted.contains(name)).map(String::as_str).collect();
    if left.is_empty() {
        return Vec::new();
    }
    vec![warn(
        "PERSISTED_SETTINGS",
        format!("the source has settings by SET PERSIST, which no copy brings along: {}", left.join(", ")),
        "set those that are still wanted in the target's option file",
    )]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::mysql::findings::sample::codes;

    #[test]
    fn persisted_is_looked_at() {
        assert_eq!(codes(look, |_, _| {}), [""; 0]);
        assert_eq!(codes(look, |source, _| source.own.persisted = vec!["sql_mode".into()]), ["PERSISTED_SETTINGS"]);
    }
}
