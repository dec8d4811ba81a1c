//! The target has the authentication plugins that accounts of the source need.

use flytt_proto::v1::Finding;

use super::{Sides, block};

pub(super) fn look(sides: &Sides<'_>) -> Vec<Finding> {
    let active = &sides.target.live.plugins_active;
    let missing: Vec<&str> =
        sides.source.live.plugins_used.iter().filter(|used| !active.contains(*used)).map(String::as_str).collect();
    if active.is_empty() || missing.is_empty() {
        return Vec::new();
    }
    vec![block(
        "AUTHENTICATION_PLUGIN",
        format!("accounts of the source log in by plugins that the target has not: {}", missing.join(", ")),
        "install and activate them on the target: those accounts could not log in",
    )]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::mysql_family::{facts::Common, findings::sample::codes};

    #[test]
    fn plugins_is_looked_at() {
        assert_eq!(codes(look, |_, _| {}), [""; 0]);
        let missing = |source: &mut Common, target: &mut Common| {
            source.live.plugins_used.insert("ed25519".into());
            target.live.plugins_active.insert("mysql_native_password".into());
        };
        assert_eq!(codes(look, missing), ["AUTHENTICATION_PLUGIN"]);
    }
}
