//! The target listens for others where the source does, with TLS where the source has it.

use flytt_proto::v1::{Finding, Transport};

use super::{Sides, block};
use crate::engine::postgres::facts::PgFacts;

pub(super) fn look(sides: &Sides<'_>) -> Vec<Finding> {
    let mut found = Vec::new();
    // Not known where the target's configuration will come with the copy.
    if !sides.target.settings.contains_key("listen_addresses") {
        return found;
    }
    let for_others = |facts: &PgFacts| {
        facts.list("listen_addresses").iter().any(|host| !matches!(host.as_str(), "localhost" | "127.0.0.1" | "::1"))
    };
    if for_others(sides.source) && !for_others(sides.target) {
        found.push(block(
            "TARGET_NOT_LISTENING",
            "the target's server listens for nobody but its own host".into(),
            "set listen_addresses on the target",
        ));
    }
    if sides.source.is_on("ssl") && !sides.target.is_on("ssl") {
        found.push(block(
            "TARGET_WITHOUT_TLS",
            "the source offers TLS, the target does not".into(),
            "set ssl, ssl_cert_file and ssl_key_file on the target",
        ));
    }
    if sides.check.transport() == Transport::Direct && !sides.source.is_on("ssl") {
        found.push(block(
            "SOURCE_WITHOUT_TLS",
            "direct transport is asked for, but the source's server has no TLS".into(),
            "switch ssl on there, or use the tunnel",
        ));
    }
    if sides.check.transport() == Transport::Direct && sides.from.address.is_empty() {
        found.push(block(
            "SOURCE_NOT_LISTENING",
            "direct transport is asked for, but the source's server listens for nobody".into(),
            "set listen_addresses there, or use the tunnel",
        ));
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::postgres::findings::sample::codes;

    #[test]
    fn listening_is_looked_at() {
        assert_eq!(codes(look, |_, _| {}), [""; 0]);
        let set = |name: &'static str, value: &'static str| {
            move |_: &mut PgFacts, target: &mut PgFacts| {
                target.settings.insert(name.into(), value.into());
            }
        };
        assert_eq!(codes(look, set("listen_addresses", "localhost")), ["TARGET_NOT_LISTENING"]);
        let tls = |source: &mut PgFacts, _: &mut PgFacts| {
            source.settings.insert("ssl".into(), "on".into());
        };
        assert_eq!(codes(look, tls), ["TARGET_WITHOUT_TLS"]);
    }
}
