//! What may pass the tunnel of a move: a physical replication connection as the move's own role, or an ordinary one as the role of
//! the way back, for `pg_rewind`: what that role may do the server knows. Nothing else
//! (PostgreSQL manual, "Message Formats": StartupMessage; "Streaming Replication Protocol").

use flytt_proto::name::Migration;

use super::names;
use crate::engine::Admission;

/// The server's own limit for a startup packet.
const MOST: usize = 10_000;

pub(super) fn admits(migration: &Migration, packet: &[u8]) -> Admission {
    let no = |why: &str| Admission::No(why.to_owned());
    let Some(length) = number(packet, 0) else { return Admission::More };
    if !(8..=MOST).contains(&length) {
        return no("this is no startup packet");
    }
    let Some(version) = number(packet, 4) else { return Admission::More };
    match version >> 16 {
        3 => {}
        1234 => return no("encryption and cancel requests do not pass"),
        _ => return no("this is not protocol 3"),
    }
    let Some(body) = packet.get(8..length) else { return Admission::More };
    if packet.len() > length {
        return no("something follows the startup packet before the server has answered");
    }
    match parameters(body) {
        Some(parameters) => judge(migration, &parameters),
        None => no("the startup packet is malformed"),
    }
}

fn number(packet: &[u8], at: usize) -> Option<usize> {
    let bytes: [u8; 4] = packet.get(at..at + 4)?.try_into().ok()?;
    usize::try_from(u32::from_be_bytes(bytes)).ok()
}

/// Pairs of strings, each ended by a zero, and a last zero.
fn parameters(body: &[u8]) -> Option<Vec<(&[u8], &[u8])>> {
    let body = body.strip_suffix(&[0])?;
    if body.is_empty() {
        return Some(Vec::new());
    }
    let words: Vec<&[u8]> = body.strip_suffix(&[0])?.split(|byte| *byte == 0).collect();
    let (pairs, rest) = words.as_chunks::<2>();
    (rest.is_empty() && words.iter().step_by(2).all(|key| !key.is_empty())).then(|| pairs.iter().map(|[k, v]| (*k, *v)).collect())
}

/// A key given twice would let the server read another value than we do.
fn judge(migration: &Migration, parameters: &[(&[u8], &[u8])]) -> Admission {
    let all = |key: &[u8]| parameters.iter().filter(|(name, _)| *name == key).map(|(_, value)| *value).collect::<Vec<_>>();
    // Each server has one follower, and both are its roles: one server is a copy of the other.
    let roles = [&migration.there(), &migration.back()].map(names::replication_role);
    if !roles.iter().any(|role| all(b"user") == [role.as_bytes()]) {
        return Admission::No(format!("only {} pass", roles.join(" and ")));
    }
    match all(b"replication").as_slice() {
        [b"true" | b"on" | b"yes" | b"1"] => {}
        [] if all(b"user") == [roles[1].as_bytes()] => {}
        _ => return Admission::No("only physical replication passes".into()),
    }
    if parameters.iter().any(|(key, _)| *key == b"options") {
        return Admission::No("server options do not pass".into());
    }
    Admission::Yes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packet(version: u32, pairs: &[(&str, &str)]) -> Vec<u8> {
        let mut body = version.to_be_bytes().to_vec();
        for (key, value) in pairs {
            for word in [key, value] {
                body.extend_from_slice(word.as_bytes());
                body.push(0);
            }
        }
        body.push(0);
        let mut packet = u32::try_from(body.len() + 4).unwrap().to_be_bytes().to_vec();
        packet.extend(body);
        packet
    }

    fn shop() -> Migration {
        "shop".parse().unwrap()
    }

    const GOOD: [(&str, &str); 3] = [("user", "flytt_shop_repl"), ("replication", "true"), ("application_name", "x")];

    #[test]
    fn a_standby_of_this_move_passes_once_its_packet_is_whole() {
        let packet = packet(196_608, &GOOD);
        for cut in 0..packet.len() {
            assert_eq!(admits(&shop(), &packet[..cut]), Admission::More, "{cut} bytes");
        }
        assert_eq!(admits(&shop(), &packet), Admission::Yes);
        let back = [("user", "flytt_shop_back"), GOOD[1], GOOD[2]];
        for pairs in [&back[..], &[back[0], ("database", "postgres")]] {
            assert_eq!(admits(&shop(), &self::packet(196_608, pairs)), Admission::Yes, "the old source's, on the way back");
        }
        let mut more = packet.clone();
        more.push(b'Q');
        assert!(matches!(admits(&shop(), &more), Admission::No(_)));
    }

    #[test]
    fn nobody_else_passes() {
        let refused = [
            packet(196_608, &[("user", "postgres"), ("replication", "true")]),
            packet(196_608, &[("user", "flytt_shop_repl")]),
            packet(196_608, &[("user", "flytt_shop_repl"), ("replication", "database")]),
            packet(196_608, &[("user", "flytt_shop_repl"), ("replication", "true"), ("replication", "database")]),
            packet(196_608, &[("user", "flytt_shop_repl"), ("user", "postgres"), ("replication", "true")]),
            packet(196_608, &[("user", "flytt_shop_repl"), ("replication", "true"), ("options", "-c log_statement=all")]),
            packet(196_608, &[("user", "flytt_other_repl"), ("replication", "true")]),
            packet(196_608, &[("user", "flytt_other_back"), ("replication", "true")]),
            packet(196_608, &[("user", "flytt_other_back")]),
            packet(196_608, &[("user", "flytt_shop_back"), ("replication", "database")]),
            packet(131_072, &GOOD),
            packet(80_877_103, &[]),
            packet(80_877_104, &[]),
            packet(80_877_102, &[]),
            packet(196_608, &[]),
            vec![0, 0, 0, 3, 0, 3, 0, 0],
            vec![0xff; 8],
            b"GET / HTTP/1.1\r\n\r\n".to_vec(),
        ];
        for (number, packet) in refused.iter().enumerate() {
            assert!(matches!(admits(&shop(), packet), Admission::No(_)), "case {number} passes");
        }
    }
}
