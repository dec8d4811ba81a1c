//! A listener on loopback for one operating-system user. Anybody on the host can connect to a port, so whoever does is looked up.
//!
//! The kernel's table of TCP sockets names the owner of each (proc(5), `/proc/net/tcp`). As long as we hold the accepted end, no
//! other connection can have its two addresses, so an established one with them is the client's own socket. A client that has
//! gone by then is in no row that counts, and is turned away.

use std::{
    io,
    net::{Ipv4Addr, SocketAddr},
};

use flytt_proto::failure::Failure;
use procfs::net::TcpState;
use tokio::net::{TcpListener, TcpStream};

pub(super) async fn bind(port: u16) -> Result<TcpListener, Failure> {
    TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await.map_err(|error| {
        let sentence = format!("the tunnel cannot listen on 127.0.0.1:{port}: {error}");
        let code = if error.kind() == io::ErrorKind::AddrInUse { "TUNNEL_IN_USE" } else { "TUNNEL_SOCKET" };
        Failure::refused(code, sentence, "set another `tunnel_port` in agent.toml, or end what uses that one")
    })
}

/// Whether the other end belongs to this user: the server and its agent are one.
pub(super) fn is_ours(accepted: &TcpStream, client: SocketAddr) -> bool {
    let (Ok(here), Ok(table)) = (accepted.local_addr(), procfs::net::tcp()) else { return false };
    let own = nix::unistd::geteuid().as_raw();
    let row =
        table.iter().find(|row| row.local_address == client && row.remote_address == here && row.state == TcpState::Established);
    row.is_some_and(|row| row.uid == own)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn only_this_user_s_connections_count_and_only_while_they_stand() {
        let listener = bind(0).await.unwrap();
        let here = listener.local_addr().unwrap();
        let client = TcpStream::connect(here).await.unwrap();
        let (accepted, peer) = listener.accept().await.unwrap();
        assert!(is_ours(&accepted, peer));
        let other = SocketAddr::from((Ipv4Addr::LOCALHOST, 1));
        assert!(!is_ours(&accepted, other), "an address that is not the client's");
        drop(client);
        assert!(!is_ours(&accepted, peer), "the client has gone");
        assert_eq!(bind(here.port()).await.unwrap_err().code, "TUNNEL_IN_USE");
    }
}
