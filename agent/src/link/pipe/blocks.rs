//! A pipe without programs: blocks that this agent makes itself go out, and blocks come in, in the same frames. What the blocks
//! hold, and what becomes of them, is the engine's.

use std::collections::VecDeque;

use flytt_proto::{failure::Failure, v1};
use futures::{Stream, StreamExt as _, stream};
use tokio::{sync::mpsc, time::Instant};
use tokio_stream::wrappers::ReceiverStream;

use super::{
    frame::{BLOCK, Decoder, Encoder, Exit},
    pace::Pace,
};
use crate::{
    engine::{Blocks, Poured},
    link::{broken, frame, splice::DEPTH},
};

/// Gives what comes out of `blocks` as the call's answer, at most `max_rate` bytes a second (0 = no limit). Only after its `End`
/// does the answer end well; `until` coming true ends it otherwise.
pub fn pour(
    blocks: mpsc::Receiver<Poured>,
    max_rate: u64,
    until: impl Future<Output = ()> + Send + 'static,
) -> ReceiverStream<Result<v1::Frame, tonic::Status>> {
    let (out, answer) = mpsc::channel(DEPTH);
    tokio::spawn(async move {
        let sent = tokio::select! {
            sent = press(blocks, max_rate, &out) => sent,
            () = out.closed() => Err(broken("the other agent is gone")),
            () = until => Err(broken("the source's agent ends it")),
        };
        if let Err(failure) = sent {
            let _ = out.send(Err(failure.into())).await;
        }
    });
    ReceiverStream::new(answer)
}

async fn press(
    mut blocks: mpsc::Receiver<Poured>,
    max_rate: u64,
    out: &mpsc::Sender<Result<v1::Frame, tonic::Status>>,
) -> Result<(), Failure> {
    let pace = Pace::new(max_rate);
    let mut encoder = Encoder::new().map_err(broken)?;
    let mut due = Instant::now();
    loop {
        let block = match blocks.recv().await {
            Some(Poured::Block(block)) => block,
            Some(Poured::End) => break,
            Some(Poured::Failed(failure)) => return Err(failure),
            None => return Err(broken("the source's agent gives up")),
        };
        for piece in block.chunks(pace.piece().min(BLOCK)) {
            due = pace.next(due.max(Instant::now()), piece.len());
            let raw = piece.to_vec();
            let pressed = tokio::task::spawn_blocking(move || encoder.block(&raw).map(|data| (encoder, data)));
            let (rest, data) = pressed.await.map_err(broken)?.map_err(broken)?;
            encoder = rest;
            out.send(Ok(frame(v1::frame::Kind::Data(data)))).await.map_err(|_| broken("the other agent is gone"))?;
            pace.until(due).await;
        }
    }
    let end = encoder.end(&Exit { status: 0, words: String::new() });
    for last in [v1::frame::Kind::Data(end), v1::frame::Kind::End(v1::frame::End {})] {
        out.send(Ok(frame(last))).await.map_err(|_| broken("the other agent is gone"))?;
    }
    Ok(())
}

/// The blocks inside `frames`. They end without an error only once all of them have arrived.
pub fn blocks<S>(frames: S) -> Blocks
where
    S: Stream<Item = Result<v1::Frame, tonic::Status>> + Unpin + Send + 'static,
{
    let begin = Decoder::new().map(|decoder| Some((frames, decoder, VecDeque::<Vec<u8>>::new())));
    let begin = match begin {
        Ok(begin) => begin,
        Err(error) => return stream::once(async move { Err(torn(error)) }).boxed(),
    };
    stream::try_unfold(begin, |state| async move {
        let Some((mut frames, mut decoder, mut ready)) = state else { return Ok(None) };
        loop {
            if let Some(block) = ready.pop_front() {
                return Ok(Some((block, Some((frames, decoder, ready)))));
            }
            let next = frames.next().await.ok_or_else(|| torn("the link ends in the middle"))??;
            match next.kind {
                Some(v1::frame::Kind::Data(data)) => {
                    let unpack = move || decoder.take(&data).map(|blocks| (decoder, blocks));
                    let (rest, blocks) = tokio::task::spawn_blocking(unpack).await.map_err(torn)?.map_err(torn)?;
                    decoder = rest;
                    ready.extend(blocks);
                }
                Some(v1::frame::Kind::End(_)) => {
                    decoder.close().map_err(torn)?;
                    return Ok(None);
                }
                Some(v1::frame::Kind::Hello(_)) | None => return Err(torn("a frame that has no place here")),
            }
        }
    })
    .boxed()
}

fn torn(why: impl std::fmt::Display) -> Failure {
    let sentence = format!("the stream from the source is not whole: {why}");
    Failure::unknown("PIPE_BROKEN", sentence, "start the copy again; nothing of a part is used")
}

#[cfg(test)]
mod tests {
    use futures::TryStreamExt as _;

    use super::*;

    fn whole() -> Vec<Vec<u8>> {
        let mut encoder = Encoder::new().unwrap();
        let mut frames: Vec<Vec<u8>> =
            [b"1\tone\n".as_slice(), b"2\ttwo\n"].iter().map(|block| encoder.block(block).unwrap().to_vec()).collect();
        frames.push(encoder.end(&Exit { status: 0, words: String::new() }).to_vec());
        frames
    }

    async fn read(data: Vec<Vec<u8>>, ends: bool) -> Result<Vec<u8>, Failure> {
        let end = ends.then_some(v1::frame::Kind::End(v1::frame::End {}));
        let kinds = data.into_iter().map(|data| v1::frame::Kind::Data(data.into())).chain(end);
        let frames: Vec<_> = kinds.map(|kind| Ok(frame(kind))).collect();
        let read: Vec<Vec<u8>> = blocks(stream::iter(frames)).try_collect().await?;
        Ok(read.concat())
    }

    #[tokio::test]
    async fn a_piece_that_is_cut_between_frames_or_changed_anywhere_is_refused() {
        assert_eq!(read(whole(), true).await.unwrap(), b"1\tone\n2\ttwo\n");
        for count in 0..=whole().len() {
            for ends in [false, true] {
                if (count, ends) == (whole().len(), true) {
                    continue;
                }
                let cut = whole().into_iter().take(count).collect();
                assert_eq!(read(cut, ends).await.unwrap_err().code, "PIPE_BROKEN", "cut after {count} frames, End: {ends}");
            }
        }
        for at in 0..whole().len() {
            for byte in 0..whole()[at].len() {
                for bit in 0..8 {
                    let mut changed = whole();
                    changed[at][byte] ^= 1 << bit;
                    assert_eq!(read(changed, true).await.unwrap_err().code, "PIPE_BROKEN", "frame {at}, byte {byte}, bit {bit}");
                }
            }
        }
    }

    #[tokio::test]
    async fn what_is_poured_arrives_and_a_producer_that_is_gone_is_no_end() {
        let pouring = async |poured: Vec<Poured>| {
            let (sender, receiver) = mpsc::channel(1);
            tokio::spawn(async move {
                for one in poured {
                    sender.send(one).await.unwrap();
                }
            });
            blocks(pour(receiver, 0, std::future::pending())).try_concat().await
        };
        let long = vec![7; 3 * BLOCK + 5];
        assert_eq!(
            pouring(vec![Poured::Block(long.clone()), Poured::Block(vec![8]), Poured::End]).await.unwrap(),
            [long, vec![8]].concat()
        );
        assert!(pouring(vec![Poured::End]).await.unwrap().is_empty());
        assert_eq!(pouring(vec![Poured::Block(vec![1])]).await.unwrap_err().code, "LINK_BROKEN");
        let failed = Failure::refused("SNAPSHOT_GONE", "it is gone", "begin again");
        assert_eq!(pouring(vec![Poured::Block(vec![1]), Poured::Failed(failed)]).await.unwrap_err().code, "SNAPSHOT_GONE");
    }
}
