//! What a person has to type before a right is taken that nobody can prove: a fingerprint of the very state that was shown.
//!
//! Controller and agent compute it each from what they know, so that it fits neither another host nor a later state.

use crate::{
    name::{Epoch, HostName, Migration},
    v1::baton_state::Phase,
};

/// Eight hexadecimal digits in two groups, of BLAKE3 over the state. `position` is written as the engine writes it, or empty.
pub fn fingerprint(migration: &Migration, host: &HostName, phase: Phase, epoch: Epoch, position: &str) -> String {
    let state = [migration.as_str(), host.as_str(), phase.as_str_name(), &epoch.to_string(), position];
    // None of the parts can hold a line break, so that no two states have one text.
    let digest = blake3::hash(format!("flytt recover\n{}", state.join("\n")).as_bytes());
    let digits = &digest.to_hex()[..8];
    format!("{}-{}", &digits[..4], &digits[4..])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_state_has_another_fingerprint() {
        let of = |migration: &str, host: &str, phase, epoch, position| {
            fingerprint(&migration.parse().unwrap(), &host.parse().unwrap(), phase, Epoch(epoch), position)
        };
        let shown = of("shop", "db-old", Phase::Surrendered, 7, "0/3000060");
        assert_eq!(shown.len(), 9, "{shown}");
        assert_eq!(shown, of("shop", "db-old", Phase::Surrendered, 7, "0/3000060"));
        for other in [
            of("shop.back", "db-old", Phase::Surrendered, 7, "0/3000060"),
            of("shop", "db-new", Phase::Surrendered, 7, "0/3000060"),
            of("shop", "db-old", Phase::Closed, 7, "0/3000060"),
            of("shop", "db-old", Phase::Surrendered, 8, "0/3000060"),
            of("shop", "db-old", Phase::Surrendered, 7, "0/3000061"),
        ] {
            assert_ne!(other, shown);
        }
    }
}
