//! The target knows every collation that the source uses.

use flytt_proto::v1::Finding;

use super::{Sides, block};

pub(super) fn look(sides: &Sides<'_>) -> Vec<Finding> {
    let known = &sides.target.live.collations_known;
    let unknown: Vec<&str> =
        sides.source.live.collations_used.iter().filter(|used| !known.contains(*used)).map(String::as_str).collect();
    // A target that does not run yet cannot be asked; one that is not older knows them all.
    if known.is_empty() || unknown.is_empty() {
        return Vec::new();
    }
    vec![block(
        "COLLATION_UNKNOWN",
        format!("the target does not know these collations: {}", unknown.join(", ")),
        "install the source's version on the target, or convert those tables first",
    )]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::mysql_family::{facts::Common, findings::sample::codes};

    #[test]
    fn collations_is_looked_at() {
        assert_eq!(codes(look, |_, _| {}), [""; 0]);
        let other = |source: &mut Common, target: &mut Common| {
            source.live.collations_used.insert("utf8mb4_0900_ai_ci".into());
            target.live.collations_known.insert("utf8mb4_general_ci".into());
        };
        assert_eq!(codes(look, other), ["COLLATION_UNKNOWN"]);
    }
}
