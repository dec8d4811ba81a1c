//! The source's end: a link comes out at the local server's socket, once its first packet is admitted.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use bytes::{Bytes, BytesMut};
use flytt_proto::{failure::Failure, v1};
use futures::{Stream, StreamExt as _};
use tokio::{io::AsyncReadExt as _, net::UnixStream, sync::mpsc, time::timeout};
use tokio_stream::wrappers::ReceiverStream;

use super::{broken, refused, splice};
use crate::engine::{Admission, Screen};

/// PostgreSQL's own limit for a startup packet is 10,000 bytes (`MAX_STARTUP_PACKET_LENGTH`).
const FIRST_PACKET: usize = 16 * 1024;

/// How long a client may take for its first packet.
const PATIENCE: Duration = Duration::from_secs(15);

/// What a connection must satisfy before, and while, it reaches the server.
pub struct Terms<A> {
    /// Judges the client's first bytes: nothing of it reaches the server before.
    pub admit: A,
    /// The server speaks first: its greeting goes to the client before the client is judged.
    pub greets: bool,
    /// Looks at what the client sends after its first packet.
    pub screen: Option<Box<dyn Screen>>,
}

impl<A> std::fmt::Debug for Terms<A> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Terms").field("greets", &self.greets).field("screened", &self.screen.is_some()).finish_non_exhaustive()
    }
}

/// Serves a link whose Hello was read and allowed. Unless the server greets, `socket` is connected to only once the first
/// packet is admitted. The returned stream is the call's answer; dropping it ends the link.
pub fn serve<S, A>(frames: S, socket: PathBuf, terms: Terms<A>) -> ReceiverStream<Result<v1::Frame, tonic::Status>>
where
    A: Fn(&[u8]) -> Admission + Send + 'static,
    S: Stream<Item = Result<v1::Frame, tonic::Status>> + Unpin + Send + 'static,
{
    let (out, answer) = mpsc::channel(splice::DEPTH);
    tokio::spawn(async move {
        if let Err(failure) = join(frames, out.clone(), &socket, terms).await {
            tracing::debug!(code = failure.code, "{failure}");
            let _ = out.send(Err(failure.into())).await;
        }
    });
    ReceiverStream::new(answer)
}

async fn join<S, A>(
    mut frames: S,
    out: mpsc::Sender<Result<v1::Frame, tonic::Status>>,
    socket: &Path,
    terms: Terms<A>,
) -> Result<(), Failure>
where
    S: Stream<Item = Result<v1::Frame, tonic::Status>> + Unpin,
    A: Fn(&[u8]) -> Admission,
{
    let Terms { admit, greets, screen } = terms;
    let first =
        async |frames: &mut S| timeout(PATIENCE, first_packet(frames, admit)).await.map_err(|_| refused("sends nothing"))?;
    let (socket, first) = if greets {
        let mut socket = connect(socket).await?;
        pass_greeting(&mut socket, &out).await?;
        (socket, first(&mut frames).await?)
    } else {
        let first = first(&mut frames).await?;
        (connect(socket).await?, first)
    };
    splice::splice(frames, out, Ok, socket.into_split(), first, screen).await
}

async fn connect(socket: &Path) -> Result<UnixStream, Failure> {
    UnixStream::connect(socket).await.map_err(|error| {
        let sentence = format!("the server does not answer on {}: {error}", socket.display());
        Failure::refused("LINK_NO_SERVER", sentence, "start the source's server")
    })
}

/// What a server says unasked is one short packet, and it says no more before it has had an answer.
async fn pass_greeting(socket: &mut UnixStream, out: &mpsc::Sender<Result<v1::Frame, tonic::Status>>) -> Result<(), Failure> {
    let mut greeting = BytesMut::with_capacity(1024);
    let read = timeout(PATIENCE, socket.read_buf(&mut greeting)).await.map_err(|_| broken("the server says nothing"))?;
    if read.map_err(broken)? == 0 {
        return Err(broken("the server ends the connection"));
    }
    let frame = super::frame(v1::frame::Kind::Data(greeting.freeze()));
    out.send(Ok(frame)).await.map_err(|_| broken("the other agent is gone"))
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
