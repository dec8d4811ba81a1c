//! The source's end: a link comes out at the local server's socket, once its first packet is admitted.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use bytes::{Bytes, BytesMut};
use flytt_proto::{failure::Failure, v1};
use futures::{Stream, StreamExt as _};
use tokio::{net::UnixStream, sync::mpsc, time::timeout};
use tokio_stream::wrappers::ReceiverStream;

use super::{broken, splice};
use crate::engine::Admission;

/// PostgreSQL's own limit for a startup packet is 10,000 bytes (`MAX_STARTUP_PACKET_LENGTH`).
const FIRST_PACKET: usize = 16 * 1024;

/// How long a client may take for its first packet.
const PATIENCE: Duration = Duration::from_secs(15);

/// Serves a link whose Hello was read and allowed. `admit` judges the first bytes; only then is `socket` connected to. The
/// returned stream is the call's answer; dropping it ends the link.
pub fn serve<S>(
    frames: S,
    socket: PathBuf,
    admit: impl Fn(&[u8]) -> Admission + Send + 'static,
) -> ReceiverStream<Result<v1::Frame, tonic::Status>>
where
    S: Stream<Item = Result<v1::Frame, tonic::Status>> + Unpin + Send + 'static,
{
    let (out, answer) = mpsc::channel(splice::DEPTH);
    tokio::spawn(async move {
        if let Err(failure) = join(frames, out.clone(), &socket, admit).await {
            tracing::debug!(code = failure.code, "{failure}");
            let _ = out.send(Err(failure.into())).await;
        }
    });
    ReceiverStream::new(answer)
}

async fn join<S>(
    mut frames: S,
    out: mpsc::Sender<Result<v1::Frame, tonic::Status>>,
    socket: &Path,
    admit: impl Fn(&[u8]) -> Admission,
) -> Result<(), Failure>
where
    S: Stream<Item = Result<v1::Frame, tonic::Status>> + Unpin,
{
    let first = timeout(PATIENCE, first_packet(&mut frames, admit)).await.map_err(|_| refused("sends nothing"))??;
    let socket = UnixStream::connect(socket).await.map_err(|error| {
        let sentence = format!("the server does not answer on {}: {error}", socket.display());
        Failure::refused("LINK_NO_SERVER", sentence, "start the source's server")
    })?;
    splice::splice(frames, out, Ok, socket, first).await
}

async fn first_packet<S>(frames: &mut S, admit: impl Fn(&[u8]) -> Admission) -> Result<Bytes, Failure>
where
    S: Stream<Item = Result<v1::Frame, tonic::Status>> + Unpin,
{
    let mut packet = BytesMut::new();
    loop {
        let frame = frames.next().await.ok_or_else(|| broken("it ends before its first packet"))??;
        match frame.kind {
            Some(v1::frame::Kind::Data(data)) => packet.extend_from_slice(&data),
            Some(v1::frame::Kind::End(_)) => return Err(refused("ends before it says what it wants")),
            Some(v1::frame::Kind::Hello(_)) | None => return Err(broken("a frame that has no place here")),
        }
        match admit(&packet) {
            Admission::Yes => return Ok(packet.freeze()),
            Admission::More if packet.len() < FIRST_PACKET => {}
            Admission::More => return Err(refused("does not come to the point")),
            Admission::No(why) => return Err(refused(&why)),
        }
    }
}

fn refused(why: &str) -> Failure {
    Failure::refused(
        "LINK_REFUSED",
        format!("a connection through the tunnel is not let through: {why}"),
        "only replication by this move's own role passes",
    )
}
