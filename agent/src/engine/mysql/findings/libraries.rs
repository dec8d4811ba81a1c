//! The target has the files of the plugins and components that the source has loaded.

use flytt_proto::v1::Finding;

use super::{Sides, block};

pub(super) fn look(sides: &Sides<'_>) -> Vec<Finding> {
    let missing: Vec<&str> = sides.source.own.libraries_used.difference(&sides.target.libraries).map(String::as_str).collect();
    if missing.is_empty() {
        return Vec::new();
    }
    vec![block(
        "LIBRARY_MISSING",
        format!("the target's plugin directory lacks what the source has loaded: {}", missing.join(", ")),
        "install their packages on the target, or uninstall them on the source",
    )]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::mysql::findings::sample::codes;

    #[test]
    fn libraries_is_looked_at() {
        assert_eq!(codes(look, |_, _| {}), [""; 0]);
        let other = codes(look, |source, _| source.own.libraries_used.extend(["rewriter.so".to_owned()]));
        assert_eq!(other, ["LIBRARY_MISSING"]);
    }
}
