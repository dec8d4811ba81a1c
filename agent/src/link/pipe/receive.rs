//! The target's end: what comes out of the frames goes to a program of this host. It sees an end of file only once all of it has
//! arrived and the producer has ended well; in every other case it is killed, so that it cannot take a part for the whole.

use flytt_proto::{failure::Failure, v1};
use futures::{Stream, StreamExt as _};
use tokio::{io::AsyncWriteExt as _, process::ChildStdin};

use super::frame::Decoder;
use crate::command::Command;

/// Runs `consumer` on the stream that `frames` carry. Returns the count of bytes once both programs have ended well; `progress`
/// is told the same count meanwhile.
pub async fn receive<S>(frames: S, consumer: &Command, progress: impl Fn(u64)) -> Result<u64, Failure>
where
    S: Stream<Item = Result<v1::Frame, tonic::Status>> + Unpin,
{
    let failed = |error: crate::command::CommandError| {
        Failure::unknown("CONSUMER_FAILED", error.to_string(), "see to what the target's program says, then start the copy again")
    };
    let (running, stdin) = consumer.start_writing().map_err(failed)?;
    // In this order: on every way out but the good one the program is killed before its input ends.
    let mut stdin = Some(stdin);
    let mut running = running;
    let hear = async {
        while running.line().await.is_some() {}
        Ok(())
    };
    match tokio::try_join!(drain(frames, &mut stdin, progress), hear) {
        Ok((bytes, ())) => running.wait().await.map_err(failed).map(|()| bytes),
        // It took no more: its own words are the reason, unless it ended as if all were well.
        Err(Trouble::Refused(error)) => {
            while running.line().await.is_some() {}
            running.wait().await.map_err(failed)?;
            let sentence = format!("{consumer} ends before it has all: {error}");
            Err(Failure::unknown("CONSUMER_FAILED", sentence, "report this; then start the copy again"))
        }
        Err(Trouble::Stream(failure)) => Err(failure),
    }
}

enum Trouble {
    /// The consumer takes no more.
    Refused(std::io::Error),
    Stream(Failure),
}

async fn drain<S>(mut frames: S, input: &mut Option<ChildStdin>, progress: impl Fn(u64)) -> Result<u64, Trouble>
where
    S: Stream<Item = Result<v1::Frame, tonic::Status>> + Unpin,
{
    let stdin = input.as_mut().expect("its end is ours to give");
    let mut decoder = Decoder::new().map_err(broken)?;
    let mut bytes = 0;
    loop {
        let next = frames.next().await.ok_or_else(|| broken("the link ends in the middle"))?;
        let frame = next.map_err(|status| Trouble::Stream(status.into()))?;
        match frame.kind {
            Some(v1::frame::Kind::Data(data)) => {
                let unpack = move || decoder.take(&data).map(|blocks| (decoder, blocks));
                let (rest, blocks) = tokio::task::spawn_blocking(unpack).await.map_err(broken)?.map_err(broken)?;
                decoder = rest;
                for block in blocks {
                    stdin.write_all(&block).await.map_err(Trouble::Refused)?;
                    bytes += block.len() as u64;
                    progress(bytes);
                }
            }
            Some(v1::frame::Kind::End(_)) => break,
            Some(v1::frame::Kind::Hello(_)) | None => return Err(broken("a frame that has no place here")),
        }
    }
    let exit = decoder.close().map_err(broken)?;
    if exit.status != 0 {
        let sentence = format!("on the source {}", exit.words);
        let failure = Failure::unknown("PRODUCER_FAILED", sentence, "see to the source's server, then start the copy again");
        return Err(Trouble::Stream(failure));
    }
    drop(input.take());
    Ok(bytes)
}

fn broken(why: impl std::fmt::Display) -> Trouble {
    let sentence = format!("the stream from the source is not whole: {why}");
    Trouble::Stream(Failure::unknown("PIPE_BROKEN", sentence, "start the copy again; nothing of a part is used"))
}
