//! What may pass the tunnel of a move: a replica as the move's own account, and nothing else, for as long as it is connected
//! (MySQL internals manual, "Connection Phase": Handshake Response 41; "Command Phase").
//!
//! The source's end of the tunnel may reach the server over its unix socket as the agent's operating-system user, whom the server
//! may take for an administrator. So it is not enough to look at the first packet: a client may change its account later.

use crate::engine::{Admission, Screen};

/// Far above any handshake response without connection attributes of a kilobyte or two.
const MOST: usize = 8 * 1024;

const SECURE_CONNECTION: u32 = 1 << 15;
const PROTOCOL_41: u32 = 1 << 9;
const COMPRESS: u32 = 1 << 5;
const SSL: u32 = 1 << 11;
/// Where the user name begins: capabilities, largest packet, character set, filler.
const NAME_AT: usize = 32;

/// The first packet of a client, after the server's greeting.
pub(crate) fn admits(account: &str, packet: &[u8]) -> Admission {
    let no = |why: &str| Admission::No(why.to_owned());
    let Some((header, body)) = packet.split_first_chunk::<4>() else { return Admission::More };
    let (length, sequence) = length_and_sequence(*header);
    if sequence != 1 || !(NAME_AT + 1..=MOST).contains(&length) {
        return no("this is no handshake response");
    }
    let Some(capabilities) = body.first_chunk::<4>().map(|bytes| u32::from_le_bytes(*bytes)) else { return Admission::More };
    if capabilities & SSL != 0 {
        return no("encryption inside the tunnel does not pass: the tunnel is encrypted already");
    }
    if capabilities & COMPRESS != 0 {
        return no("a compressed connection does not pass: switch slave_compressed_protocol off");
    }
    if capabilities & PROTOCOL_41 == 0 || capabilities & SECURE_CONNECTION == 0 {
        return no("this is not protocol 4.1");
    }
    if body.len() < length {
        return Admission::More;
    }
    if packet.len() > length + 4 {
        return no("something follows the handshake response before the server has answered");
    }
    if account_of(packet) == account.as_bytes() { Admission::Yes } else { Admission::No(format!("only {account} passes")) }
}

/// Who logs in with a whole first packet.
pub(crate) fn account_of(packet: &[u8]) -> &[u8] {
    packet.get(4 + NAME_AT..).and_then(|rest| rest.split(|byte| *byte == 0).next()).unwrap_or_default()
}

fn length_and_sequence(header: [u8; 4]) -> (usize, u8) {
    let [a, b, c, sequence] = header;
    (usize::from(a) | usize::from(b) << 8 | usize::from(c) << 16, sequence)
}

/// Commands that each vendor's replica sends: `COM_QUIT`, `COM_QUERY`, `COM_PING`, `COM_REGISTER_SLAVE`, and the reply of
/// semi-synchronous replication.
const COMMANDS: [u8; 5] = [0x01, 0x03, 0x0e, 0x15, 0xef];
/// `COM_BINLOG_DUMP`, which names a file and an offset, or a GTID position set before by a query (MariaDB).
pub(crate) const DUMP: u8 = 0x12;
/// `COM_BINLOG_DUMP_GTID`, which carries the set of what the replica has (MySQL with auto-positioning).
pub(crate) const DUMP_GTID: u8 = 0x1e;
/// What a server sends that is cloned into: `COM_QUIT`, `COM_QUERY`, `COM_PING`, `COM_RESET_CONNECTION`, `COM_CLONE`, and after that
/// one the plugin's own commands 1 to 6 (`plugin/clone/include/clone.h`, `Command_RPC`). Those of these numbers that a client may send
/// without it do nothing for an account of no database.
pub(crate) const CLONE: [u8; 9] = [0x01, 0x02, 0x03, 0x04, 0x05, 0x06, 0x0e, 0x1f, 0x20];

/// Follows the packets of one connection after its handshake response. A packet numbered 0 begins a command; any other
/// continues what the server has asked for, and the server itself checks its number. No command passes that changes the account
/// or the connection's nature.
#[derive(Debug)]
pub(crate) struct Commands {
    allowed: Vec<u8>,
    /// Of the packet at hand: its header as far as it has come, and then the bytes of it that are still to come.
    header: Vec<u8>,
    rest: usize,
    /// The next byte is a command's first.
    begins: bool,
}

impl Commands {
    /// A replica's; `dump` is that by which it asks for the binary log.
    pub(crate) fn with(dump: u8) -> Self {
        Self::of([&COMMANDS[..], &[dump]].concat())
    }

    pub(crate) fn of(allowed: impl Into<Vec<u8>>) -> Self {
        Self { allowed: allowed.into(), header: Vec::new(), rest: 0, begins: false }
    }
}

impl Screen for Commands {
    fn passes(&mut self, mut bytes: &[u8]) -> Result<(), String> {
        while let Some(first) = bytes.first() {
            if self.rest == 0 {
                self.header.push(*first);
                bytes = &bytes[1..];
                if let Ok(header) = <[u8; 4]>::try_from(self.header.as_slice()) {
                    let (length, sequence) = length_and_sequence(header);
                    (self.rest, self.begins) = (length, sequence == 0);
                    self.header.clear();
                    if length == 0 && sequence == 0 {
                        return Err("an empty command does not pass".into());
                    }
                }
                continue;
            }
            if self.begins && !self.allowed.contains(first) {
                return Err(format!("command {first:#04x} does not pass this connection"));
            }
            self.begins = false;
            let taken = self.rest.min(bytes.len());
            self.rest -= taken;
            bytes = &bytes[taken..];
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const USUAL: u32 = PROTOCOL_41 | SECURE_CONNECTION;

    fn packet(sequence: u8, body: &[u8]) -> Vec<u8> {
        let length = u32::try_from(body.len()).unwrap().to_le_bytes();
        let mut packet = vec![length[0], length[1], length[2], sequence];
        packet.extend(body);
        packet
    }

    fn response(capabilities: u32, user: &str) -> Vec<u8> {
        let mut body = capabilities.to_le_bytes().to_vec();
        body.extend([0; NAME_AT - 4]);
        body.extend(user.as_bytes());
        body.extend(b"\0\x14aaaaaaaaaaaaaaaaaaaa");
        packet(1, &body)
    }

    #[test]
    fn a_replica_of_this_move_passes_once_its_packet_is_whole() {
        let whole = response(USUAL, "flytt_shop_repl");
        for cut in 0..whole.len() {
            assert_eq!(admits("flytt_shop_repl", &whole[..cut]), Admission::More, "{cut} bytes");
        }
        assert_eq!(admits("flytt_shop_repl", &whole), Admission::Yes);
        let mut more = whole;
        more.push(0);
        assert!(matches!(admits("flytt_shop_repl", &more), Admission::No(_)));
    }

    #[test]
    fn nobody_else_passes() {
        let refused = [
            response(USUAL, "root"),
            response(USUAL, "flytt_shop_repl2"),
            response(USUAL, "flytt_shop_rep"),
            response(USUAL, ""),
            response(USUAL | SSL, "flytt_shop_repl"),
            response(USUAL | COMPRESS, "flytt_shop_repl"),
            response(SECURE_CONNECTION, "flytt_shop_repl"),
            packet(0, &response(USUAL, "flytt_shop_repl")[4..]),
            packet(1, b"short"),
            b"GET / HTTP/1.1\r\n\r\n".to_vec(),
        ];
        for (number, packet) in refused.iter().enumerate() {
            assert!(matches!(admits("flytt_shop_repl", packet), Admission::No(_)), "case {number} passes");
        }
    }

    #[test]
    fn a_command_that_changes_the_account_does_not_pass_however_it_is_cut() {
        let good: Vec<u8> = [
            packet(3, &[0x11; 20]),
            packet(0, b"\x03select 1"),
            packet(0, b"\x15register"),
            packet(0, b"\x12dump"),
            packet(5, b""),
            packet(0, &[0xef, 0, 0]),
        ]
        .concat();
        let mut bad = good.clone();
        bad.extend(packet(0, b"\x11root\0"));
        for size in 1..=bad.len() {
            let judge = |bytes: &[u8]| {
                let mut screen = Commands::with(DUMP);
                bytes.chunks(size).try_for_each(|chunk| screen.passes(chunk))
            };
            assert_eq!(judge(&good), Ok(()), "in pieces of {size}");
            assert!(judge(&bad).is_err(), "in pieces of {size}");
        }
        for command in [0x02, 0x04, 0x11, 0x1b, 0x1e, 0x1f, 0x00] {
            assert!(Commands::with(DUMP).passes(&packet(0, &[command])).is_err(), "{command:#04x}");
        }
        assert!(Commands::with(DUMP).passes(&packet(0, b"")).is_err());
        assert_eq!(Commands::with(DUMP_GTID).passes(&packet(0, &[DUMP_GTID])), Ok(()));
        assert!(Commands::with(DUMP_GTID).passes(&packet(0, &[DUMP])).is_err());
    }
}
