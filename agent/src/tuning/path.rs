//! The path to the other agent: how far it is, and what its first interface can carry. Looks; sends nothing but three
//! connections that end at once.

use std::{net::SocketAddr, time::Duration};

use nix::sys::socket::getsockopt;
use tokio::net::TcpStream;

const CONNECTIONS: usize = 3;
const LIMIT: Duration = Duration::from_secs(2);

/// What the buffers are computed from.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Route {
    /// The least of three handshakes, as the kernel measured it (`tcpi_rtt`): a queue on the way only ever adds.
    pub(super) round_trip: Duration,
    /// By which the connection leaves this host.
    pub(super) interface: String,
    /// Bits a second; `None` where the interface does not tell (virtual ones often do not).
    pub(super) bits: Option<u64>,
}

/// Connects to `address` (host:port). `None` when it does not answer within two seconds.
///
/// Bandwidth is the interface's, not `tcpi_delivery_rate`: on a connection that has carried nothing yet the kernel's estimate
/// is limited by the application and far too low, and a copy made to measure it would load the source. What is computed from
/// it is a limit up to which the kernel adapts a buffer by itself, so too high a value costs next to nothing.
pub(super) async fn measure(address: &str) -> Option<Route> {
    let mut best: Option<Duration> = None;
    let mut interface = String::new();
    for _ in 0..CONNECTIONS {
        let stream = tokio::time::timeout(LIMIT, TcpStream::connect(address)).await.ok()?.ok()?;
        let info = getsockopt(&stream, info::TcpInfo).ok()?;
        let round_trip = Duration::from_micros(info.rtt.into());
        best = Some(best.map_or(round_trip, |best| best.min(round_trip)));
        if interface.is_empty() {
            interface = stream.local_addr().ok().and_then(name).unwrap_or_default();
        }
    }
    Some(Route { round_trip: best?, bits: speed(&interface), interface })
}

/// The interface that has this address.
fn name(address: SocketAddr) -> Option<String> {
    let all = nix::ifaddrs::getifaddrs().ok()?;
    let same = |it: &nix::ifaddrs::InterfaceAddress| {
        let of = it.address?;
        let v4 = of.as_sockaddr_in().map(|of| std::net::IpAddr::V4(of.ip()));
        let v6 = of.as_sockaddr_in6().map(|of| std::net::IpAddr::V6(of.ip()));
        Some(v4.or(v6)? == address.ip().to_canonical())
    };
    all.into_iter().find(|it| same(it) == Some(true)).map(|it| it.interface_name)
}

/// In Mbit/s there; -1 or an error where it is not known (kernel: Documentation/ABI/testing/sysfs-class-net).
fn speed(interface: &str) -> Option<u64> {
    let text = std::fs::read_to_string(format!("/sys/class/net/{interface}/speed")).ok()?;
    text.trim().parse::<u64>().ok().filter(|mbit| *mbit > 0 && *mbit < u64::from(u32::MAX)).map(|mbit| mbit * 1_000_000)
}

#[allow(unreachable_pub, reason = "nix's macro makes a public type, whose value must be as public")]
mod info {
    // The macros call each other, and `libc`, by these bare names.
    use nix::{getsockopt_impl, libc, sockopt_impl};

    /// The head of the kernel's `struct tcp_info` (include/uapi/linux/tcp.h), which never changes: a kernel gives as much of
    /// it as is asked for.
    #[repr(C)]
    #[derive(Clone, Copy, Debug)]
    pub struct Head {
        before: [u8; 8],
        timers: [u32; 2],
        sizes: [u32; 2],
        packets: [u32; 5],
        last: [u32; 4],
        path: [u32; 2],
        /// Smoothed, µs.
        pub rtt: u32,
        pub rttvar: u32,
    }

    sockopt_impl!(
        /// What the kernel knows of a connection.
        TcpInfo,
        GetOnly,
        libc::IPPROTO_TCP,
        libc::TCP_INFO,
        Head
    );
}

#[cfg(test)]
mod tests {
    use nix::libc;

    use super::*;

    #[test]
    fn the_head_ends_where_the_kernels_does() {
        assert_eq!(std::mem::offset_of!(info::Head, rtt), std::mem::offset_of!(libc::tcp_info, tcpi_rtt));
        assert_eq!(std::mem::offset_of!(info::Head, rttvar), std::mem::offset_of!(libc::tcp_info, tcpi_rttvar));
    }

    #[tokio::test]
    async fn a_path_on_this_machine_is_short_and_leaves_by_lo() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("bound").to_string();
        let route = measure(&address).await.expect("it answers");
        assert!(route.round_trip > Duration::ZERO && route.round_trip < Duration::from_secs(1), "{route:?}");
        assert_eq!((route.interface.as_str(), route.bits), ("lo", None));
        drop(listener);
        assert_eq!(measure(&address).await, None, "nobody is there any more");
    }
}
