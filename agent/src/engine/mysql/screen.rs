//! What may pass the tunnel of a move: a replica as its account, and a server that is being copied into as the copy's. Neither may
//! do what the other does. On the source the replica is the target, on the target it is the source: each account exists on one of them
//! alone.

use flytt_proto::name::Migration;

use super::names;
use crate::engine::{
    Admission, Screen,
    mysql_family::screen::{self, CLONE, Commands, DUMP_GTID},
};

pub(super) fn admits(migration: &Migration, first_packet: &[u8]) -> Admission {
    let first = screen::admits(&names::replication(migration), first_packet);
    let mut others = [names::clone(migration), names::back(migration)].into_iter();
    if others.any(|name| screen::admits(&name, first_packet) == Admission::Yes) { Admission::Yes } else { first }
}

/// The commands of whoever logged in.
#[derive(Debug)]
pub(super) struct ByAccount(Commands);

impl Default for ByAccount {
    fn default() -> Self {
        Self(Commands::with(DUMP_GTID))
    }
}

impl Screen for ByAccount {
    fn begins(&mut self, first_packet: &[u8]) {
        // It was admitted, so it is one of this move's.
        if screen::account_of(first_packet).ends_with(names::CLONE.as_bytes()) {
            self.0 = Commands::of(CLONE);
        }
    }

    fn passes(&mut self, bytes: &[u8]) -> Result<(), String> {
        self.0.passes(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A handshake response of protocol 4.1, with a password's scramble.
    fn login(account: &str) -> Vec<u8> {
        let mut body = (1_u32 << 15 | 1 << 9).to_le_bytes().to_vec();
        body.extend([0; 28]);
        body.extend(account.as_bytes());
        body.extend(b"\0\x14aaaaaaaaaaaaaaaaaaaa");
        [&[u8::try_from(body.len()).unwrap(), 0, 0, 1], &body[..]].concat()
    }

    #[test]
    fn each_account_has_its_own_commands() {
        let shop: Migration = "shop".parse().unwrap();
        let passes = |account: &str, command: u8| {
            let packet = login(account);
            assert_eq!(admits(&shop, &packet), Admission::Yes, "{account}");
            assert_eq!(admits(&shop, &packet[..20]), Admission::More);
            let mut screen = ByAccount::default();
            screen.begins(&packet);
            screen.passes(&[1, 0, 0, 0, command]).is_ok()
        };
        for (command, replica, copy) in [
            (0x20, false, true),
            (0x1e, true, false),
            (0x15, true, false),
            (0x1f, false, true),
            (0x11, false, false),
            (0x12, false, false),
        ] {
            assert_eq!(passes("flytt_shop_repl", command), replica, "{command:#04x}");
            assert_eq!(passes("flytt_shop_back", command), replica, "{command:#04x}");
            assert_eq!(passes("flytt_shop_clone", command), copy, "{command:#04x}");
        }
        for other in ["flytt_other_clone", "root", "flytt_shop_clon", "_clone"] {
            assert!(matches!(admits(&shop, &login(other)), Admission::No(_)), "{other}");
        }
    }
}
