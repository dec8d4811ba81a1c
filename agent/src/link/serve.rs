//! The source's end: a link comes out at the local server, once its first packet is admitted.

use std::{net::Ipv4Addr, time::Duration};

use bytes::{Bytes, BytesMut};
use flytt_proto::{failure::Failure, v1};
use futures::{Stream, StreamExt as _};
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite},
    net::{TcpStream, UnixStream},
    sync::mpsc,
    time::timeout,
};
use tokio_stream::wrappers::ReceiverStream;

use super::{broken, refused, splice};
use crate::engine::{Admission, Inlet, Screen};

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

/// Serves a link whose Hello was read and allowed. Unless the server greets, `inlet` is connected to only once the first
/// packet is admitted. The returned stream is the call's answer; dropping it ends the link.
pub fn serve<S, A>(frames: S, inlet: Inlet, terms: Terms<A>) -> ReceiverStream<Result<v1::Frame, tonic::Status>>
where
    A: Fn(&[u8]) -> Admission + Send + 'static,
    S: Stream<Item = Result<v1::Frame, tonic::Status>> + Unpin + Send + 'static,
{
    let (out, answer) = mpsc::channel(splice::DEPTH);
    tokio::spawn(async move {
        if let Err(failure) = join(frames, out.clone(), &inlet, terms).await {
            tracing::debug!(code = failure.code, "{failure}");
            let _ = out.send(Err(failure.into())).await;
        }
    });
    ReceiverStream::new(answer)
}

async fn join<S, A>(
    mut frames: S,
    out: mpsc::Sender<Result<v1::Frame, tonic::Status>>,
    inlet: &Inlet,
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
        let mut socket = connect(inlet).await?;
        pass_greeting(&mut socket.0, &out).await?;
        (socket, first(&mut frames).await?)
    } else {
        let first = first(&mut frames).await?;
        (connect(inlet).await?, first)
    };
    splice::splice(frames, out, Ok, socket, first, screen).await
}

type Reader = Box<dyn AsyncRead + Unpin + Send>;
type Writer = Box<dyn AsyncWrite + Unpin + Send>;

async fn connect(inlet: &Inlet) -> Result<(Reader, Writer), Failure> {
    let absent = |error: std::io::Error| {
        let place = match inlet {
            Inlet::Socket(path) => path.display().to_string(),
            Inlet::Loopback(port) => format!("127.0.0.1:{port}"),
        };
        let sentence = format!("the server does not answer on {place}: {error}");
        Failure::refused("LINK_NO_SERVER", sentence, "start the source's server, and let it listen there")
    };
    match inlet {
        Inlet::Socket(path) => {
            let (reader, writer) = UnixStream::connect(path).await.map_err(absent)?.into_split();
            Ok((Box::new(reader), Box::new(writer)))
        }
        Inlet::Loopback(port) => {
            let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, *port)).await.map_err(absent)?;
            // A replica's word must not wait for more to send.
            stream.set_nodelay(true).map_err(absent)?;
            let (reader, writer) = stream.into_split();
            Ok((Box::new(reader), Box::new(writer)))
        }
    }
}

/// What a server says unasked is one short packet, and it says no more before it has had an answer.
async fn pass_greeting(server: &mut Reader, out: &mpsc::Sender<Result<v1::Frame, tonic::Status>>) -> Result<(), Failure> {
    let mut greeting = BytesMut::with_capacity(1024);
    let read = timeout(PATIENCE, server.read_buf(&mut greeting)).await.map_err(|_| broken("the server says nothing"))?;
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
