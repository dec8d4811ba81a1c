//! The tunnel reaches the source's server, and on the way back the target's: over TCP on loopback, in clear, because it is encrypted
//! itself.

use flytt_proto::v1::Finding;

use super::{super::facts::MyFacts, Sides, block};

pub(super) fn look(sides: &Sides<'_>) -> Vec<Finding> {
    [("source", sides.source), ("target", sides.target)].into_iter().flat_map(|(name, side)| look_at(name, side)).collect()
}

fn look_at(name: &str, side: &MyFacts) -> Vec<Finding> {
    let mut found = Vec::new();
    if side.is_on("require_secure_transport") {
        found.push(block(
            "TLS_REQUIRED",
            format!("the {name} refuses every connection over TCP without TLS (require_secure_transport)"),
            "SET GLOBAL require_secure_transport = OFF for the time of the move, and let accounts REQUIRE SSL instead",
        ));
    }
    let listens = side.setting("bind_address").split(',').any(|address| {
        // The part after a slash is the network namespace.
        let address = address.split('/').next().unwrap_or_default().trim();
        matches!(address, "*" | "0.0.0.0" | "::" | "127.0.0.1" | "localhost")
    });
    if side.is_on("skip_networking") || !listens {
        found.push(block(
            "NOT_ON_LOOPBACK",
            format!("the {name} does not listen on 127.0.0.1 (bind_address = {})", side.setting("bind_address")),
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
            let of_source = codes(look, move |source, _| drop(source.common.settings.insert(key.into(), value.into())));
            let of_target = codes(look, move |_, target| drop(target.common.settings.insert(key.into(), value.into())));
            assert_eq!(of_source, of_target, "{key}");
            of_source
        };
        assert_eq!(set("require_secure_transport", "ON"), ["TLS_REQUIRED"]);
        assert_eq!(set("bind_address", "10.0.0.5,127.0.0.1"), [""; 0]);
        assert_eq!(set("bind_address", "10.0.0.5"), ["NOT_ON_LOOPBACK"]);
        assert_eq!(set("skip_networking", "ON"), ["NOT_ON_LOOPBACK"]);
    }
}
