//! One socket and a stream of frames each way, joined until both directions have ended or either side is gone.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use flytt_proto::{failure::Failure, v1};
use futures::{Stream, StreamExt as _};
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    sync::mpsc,
    time::timeout,
};

use super::{broken, frame, refused};
use crate::engine::Screen;

/// Bytes asked of a socket at once: enough that a frame's own cost does not count.
const CHUNK: usize = 256 * 1024;

/// With less than this left in the buffer a new one is begun.
const LEAST: usize = 64 * 1024;

/// A server's full buffer (PostgreSQL: `PQ_SEND_BUFFER_SIZE`): more is on its way.
const PIECE: usize = 8 * 1024;

/// How long that is waited for. At 1 GiB/s some 50 KiB come meanwhile, which the socket still holds (`net.core.wmem_default`).
const NAP: Duration = Duration::from_micros(50);

/// Frames on their way to the transport: while one waits, the next grows.
pub(super) const DEPTH: usize = 1;

/// How long a transport that is gone may take to say why.
const LAST_WORD: Duration = Duration::from_secs(1);

/// Joins a socket with the frames that come in and those that go `out` (as the transport wants them: `wrap`). `first` was
/// received already; what follows it passes the `screen`. Done once both directions have ended orderly; on an error both ends are dropped at once.
pub(super) async fn splice<S, T>(
    mut frames: S,
    out: mpsc::Sender<T>,
    wrap: impl Fn(v1::Frame) -> T,
    (reader, writer): (impl AsyncRead + Unpin, impl AsyncWrite + Unpin),
    first: Bytes,
    screen: Option<Box<dyn Screen>>,
) -> Result<(), Failure>
where
    S: Stream<Item = Result<v1::Frame, tonic::Status>> + Unpin,
{
    let joined = tokio::try_join!(receive(&mut frames, writer, first, screen), send(reader, &out, wrap));
    if let Err(failure) = joined {
        // The sockets are gone by now. Where the transport takes no more, what it says last is the better reason.
        let reason = async { if out.is_closed() { last_word(&mut frames).await } else { None } };
        return Err(timeout(LAST_WORD, reason).await.ok().flatten().unwrap_or(failure));
    }
    // Only now: a call that ends on one side takes with it what is still under way in the other direction.
    drop(out);
    match frames.next().await {
        None => Ok(()),
        Some(Ok(_)) => Err(broken("it goes on after its End")),
        Some(Err(status)) => Err(status.into()),
    }
}

async fn last_word<S>(frames: &mut S) -> Option<Failure>
where
    S: Stream<Item = Result<v1::Frame, tonic::Status>> + Unpin,
{
    while let Some(frame) = frames.next().await {
        if let Err(status) = frame {
            return Some(status.into());
        }
    }
    None
}

async fn receive<S>(
    frames: &mut S,
    mut writer: impl AsyncWrite + Unpin,
    first: Bytes,
    mut screen: Option<Box<dyn Screen>>,
) -> Result<(), Failure>
where
    S: Stream<Item = Result<v1::Frame, tonic::Status>> + Unpin,
{
    if let Some(screen) = &mut screen {
        screen.begins(&first);
    }
    writer.write_all(&first).await.map_err(broken)?;
    while let Some(frame) = frames.next().await {
        match frame?.kind {
            Some(v1::frame::Kind::Data(data)) => {
                if let Some(screen) = &mut screen {
                    screen.passes(&data).map_err(|why| refused(&why))?;
                }
                writer.write_all(&data).await.map_err(broken)?;
            }
            Some(v1::frame::Kind::End(_)) => {
                // The other end may be gone by now; it has had everything.
                let _ = writer.shutdown().await;
                return Ok(());
            }
            Some(v1::frame::Kind::Hello(_)) | None => return Err(broken("a frame that has no place here")),
        }
    }
    Err(broken("it ends without an End"))
}

/// A server writes in pieces of 8 KiB, and every frame costs wake-ups on its whole way. So after a full piece the next ones are
/// waited for a moment, and what comes while the transport is busy goes along. What is smaller than a piece never waits.
async fn send<T>(
    mut reader: impl AsyncRead + Unpin,
    out: &mpsc::Sender<T>,
    wrap: impl Fn(v1::Frame) -> T,
) -> Result<(), Failure> {
    let gone = || broken("the other agent is gone");
    let mut buffer = BytesMut::with_capacity(CHUNK);
    let mut ended = false;
    while !ended {
        if buffer.capacity() < LEAST {
            buffer.reserve(CHUNK);
        }
        let read = tokio::select! {
            read = reader.read_buf(&mut buffer) => read.map_err(broken)?,
            () = out.closed() => return Err(gone()),
        };
        ended = read == 0;
        if read >= PIECE {
            // The runtime's own timers tick in milliseconds. If a thread cannot be had, there is less in the frame.
            let _ = tokio::task::spawn_blocking(|| std::thread::sleep(NAP)).await;
        }
        let permit = loop {
            tokio::select! {
                biased;
                read = reader.read_buf(&mut buffer), if !ended && buffer.len() < buffer.capacity() => {
                    ended = read.map_err(broken)? == 0;
                }
                permit = out.reserve() => break permit.map_err(|_| gone())?,
            }
        };
        if !buffer.is_empty() {
            permit.send(wrap(frame(v1::frame::Kind::Data(buffer.split().freeze()))));
        }
    }
    out.send(wrap(frame(v1::frame::Kind::End(v1::frame::End {})))).await.map_err(|_| gone())
}
