//! Clients that check the server's certificate, or show one of theirs, find the same authority behind the target.

use flytt_proto::v1::Finding;

use super::{Sides, warn};

pub(super) fn look(sides: &Sides<'_>) -> Vec<Finding> {
    let source = sides.source;
    // Relative to the data directory: made by the server itself, and made anew by every other.
    let own_authority = !sides.target.setting("ssl_ca").starts_with('/');
    let certified = &source.own.certified;
    let matters = !certified.is_empty() || source.is_on("require_secure_transport") || source.setting("ssl_ca").starts_with('/');
    if !own_authority || !matters {
        return Vec::new();
    }
    let who =
        if certified.is_empty() { String::new() } else { format!("; accounts with certificates: {}", certified.join(", ")) };
    vec![warn(
        "OTHER_CERTIFICATES",
        format!("clients of the source use TLS, and the target will make certificates of its own{who}"),
        "let ssl_ca, ssl_cert and ssl_key in the target's option file name certificates that the source's clients trust",
    )]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::mysql::findings::sample::codes;

    #[test]
    fn certificates_is_looked_at() {
        assert_eq!(codes(look, |_, _| {}), [""; 0]);
        assert_eq!(codes(look, |source, _| source.own.certified = vec!["app@%".into()]), ["OTHER_CERTIFICATES"]);
        let set = |key: &'static str, value: &'static str, also: &'static str| {
            codes(look, move |source, target| {
                source.common.settings.insert(key.into(), value.into());
                target.common.settings.insert("ssl_ca".into(), also.into());
            })
        };
        assert_eq!(set("require_secure_transport", "ON", "ca.pem"), ["OTHER_CERTIFICATES"]);
        assert_eq!(set("ssl_ca", "/etc/ssl/our.pem", "ca.pem"), ["OTHER_CERTIFICATES"]);
        assert_eq!(set("ssl_ca", "/etc/ssl/our.pem", "/etc/ssl/our.pem"), [""; 0]);
    }
}
