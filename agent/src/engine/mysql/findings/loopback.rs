//! The tunnel reaches the source's server: over TCP on loopback, in clear, because it is encrypted itself.

use flytt_proto::v1::Finding;

use super::{Sides, block};

pub(super) fn look(sides: &Sides<'_>) -> Vec<Finding> {
    let source = sides.source;
    let mut found = Vec::new();
    if source.is_on("require_secure_transport") {
        found.push(block(
            "TLS_REQUIRED",
            "the source refuses every connection over TCP without TLS (require_secure_transport)".into(),
            "SET GLOBAL require_secure_transport = OFF for the time of the move, and let accounts REQUIRE SSL instead",
        ));
    }
    let listens = source.setting("bind_address").split(',').any(|address| {
        // The part after a slash is the network namespace.
        let address = address.split('/').next().unwrap_or_default().trim();
        matches!(address, "*" | "0.0.0.0" | "::" | "127.0.0.1" | "localhost")
    });
    if source.is_on("skip_networking") || !listens {
        found.push(block(
            "NOT_ON_LOOPBACK",
            format!("the source does not listen on 127.0.0.1 (bind_address = {})", source.setting("bind_address")),
            "add 127.0.0.1 to bind_address in its option file and restart it: the tunnel ends there",
        ));
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::mysql::findings::sample::codes;

    #[test]
    fn loopback_is_looked_at() {
        assert_eq!(codes(look, |_, _| {}), [""; 0]);
        let set = |key: &'static str, value: &'static str| {
            codes(look, move |source, _| drop(source.common.settings.insert(key.into(), value.into())))
        };
        assert_eq!(set("require_secure_transport", "ON"), ["TLS_REQUIRED"]);
        assert_eq!(set("bind_address", "10.0.0.5,127.0.0.1"), [""; 0]);
        assert_eq!(set("bind_address", "10.0.0.5"), ["NOT_ON_LOOPBACK"]);
        assert_eq!(set("skip_networking", "ON"), ["NOT_ON_LOOPBACK"]);
    }
}
