//! Ports for the stage. Not "any free one": the kernel would take it from the range it also gives to outgoing connections, and
//! a client that reconnects while a server is down could then sit on the server's port, or even connect to itself.

use std::net::{Ipv4Addr, TcpListener, UdpSocket};

use flytt_proto::failure::Failure;

use super::place::random;

const LOWEST: u16 = 10_000;

/// `N` different ports of the loopback address that nobody listens on now, and the claims to them: as long as one lives, no stage of
/// any process gets its port, though nothing may listen there for a while yet. A claim is the port of the same number of UDP, which no
/// part of a stage uses, and the kernel gives it back whatever becomes of us.
pub(super) fn free_ports<const N: usize>() -> Result<([u16; N], Vec<UdpSocket>), Failure> {
    let range = LOWEST..first_outgoing().max(LOWEST + 1_000);
    let mut taken = Vec::new();
    for _ in 0..1_000 {
        let number = u16::from_ne_bytes(random()?);
        let port = range.start + number % (range.end - range.start);
        let Ok(claim) = UdpSocket::bind((Ipv4Addr::LOCALHOST, port)) else { continue };
        if TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            taken.push((port, claim));
        }
        if taken.len() == N {
            break;
        }
    }
    let (ports, claims): (Vec<u16>, _) = taken.into_iter().unzip();
    let ports = ports
        .try_into()
        .map_err(|_| Failure::refused("STAGE_PORTS", "no free ports are left on the loopback address", "end what uses them"))?;
    Ok((ports, claims))
}

/// First port of the range for outgoing connections (ip(7), `ip_local_port_range`).
fn first_outgoing() -> u16 {
    let text = std::fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").unwrap_or_default();
    text.split_whitespace().next().and_then(|first| first.parse().ok()).unwrap_or(32_768)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_differ_and_no_outgoing_connection_can_take_them() {
        let (mut ports, _claims): ([u16; 8], _) = free_ports().expect("ports");
        ports.sort_unstable();
        assert!(ports.windows(2).all(|pair| pair[0] < pair[1]), "{ports:?}");
        assert!(ports[7] < first_outgoing(), "{ports:?}");
    }

    #[test]
    fn a_port_that_is_claimed_is_nobody_elses_although_nothing_listens_there() {
        let (claimed, claims): ([u16; 1], _) = free_ports().expect("a port");
        let claim = || UdpSocket::bind((Ipv4Addr::LOCALHOST, claimed[0]));
        assert!(claim().is_err());
        TcpListener::bind((Ipv4Addr::LOCALHOST, claimed[0])).expect("its owner can listen there");
        drop(claims);
        claim().expect("given back");
    }
}
