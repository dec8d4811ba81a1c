//! Byte streams between two agents, inside the connection they have anyway. What may open one is the service's to say.
//!
//! Frames: a Hello, then data, then an End; each direction ends by itself. A stream that ends without End is a broken link,
//! and a broken link never looks like an orderly end: both sockets are dropped at once.

mod loopback;
pub mod pipe;
mod serve;
mod splice;
#[cfg(test)]
mod tests;
mod tunnel;

use flytt_proto::{failure::Failure, name::Migration, v1};
use futures::{Stream, StreamExt as _};

/// The port in the name of a tunnel's socket.
pub const PORT: u16 = 5432;

pub use serve::{Terms, serve};
pub use tunnel::Tunnel;

/// The opening frame of a link of `migration`.
pub fn hello(migration: &Migration) -> v1::Frame {
    frame(v1::frame::Kind::Hello(v1::frame::Hello { migration: migration.to_string() }))
}

/// Reads the opening frame: the migration whose link this wants to be.
pub async fn greeted<S>(frames: &mut S) -> Result<Migration, Failure>
where
    S: Stream<Item = Result<v1::Frame, tonic::Status>> + Unpin,
{
    let refused =
        |why: &str| Failure::refused("LINK_HELLO", format!("the link {why}"), "agents of one move run the same version");
    let first = frames.next().await.ok_or_else(|| refused("ends before its first frame"))??;
    match first.kind {
        Some(v1::frame::Kind::Hello(hello)) => hello.migration.parse().map_err(|_| refused("names no valid migration")),
        Some(v1::frame::Kind::Data(_) | v1::frame::Kind::End(_)) | None => Err(refused("does not begin with a Hello")),
    }
}

fn frame(kind: v1::frame::Kind) -> v1::Frame {
    v1::Frame { kind: Some(kind) }
}

fn broken(why: impl std::fmt::Display) -> Failure {
    Failure::refused("LINK_BROKEN", format!("the link to the other agent is broken: {why}"), "nothing to do: it is opened again")
}

fn refused(why: &str) -> Failure {
    Failure::refused(
        "LINK_REFUSED",
        format!("a connection through the tunnel is not let through: {why}"),
        "only replication by this move's own role passes",
    )
}
