//! A pipe that is cut, changed or left in the middle is never taken for one that has ended; with bytes alone, and with real
//! programs at both ends.
#![allow(clippy::disallowed_methods, reason = "throw-away files")]

use std::{
    path::Path,
    time::{Duration, Instant},
};

use flytt_proto::v1;
use futures::StreamExt as _;
use tokio_stream::wrappers::ReceiverStream;

use super::{
    frame::{BLOCK, Corrupt, Decoder, Encoder, Exit},
    receive, send,
};
use crate::{
    command::{Command, end_all, processes},
    engine::{Source, Stage},
};

const LONG: Duration = Duration::from_secs(20);

/// The frames of these blocks and their end, one after the other.
fn frames(blocks: &[&[u8]], exit: &Exit) -> Vec<Vec<u8>> {
    let mut encoder = Encoder::new().unwrap();
    let mut frames: Vec<Vec<u8>> = blocks.iter().map(|block| encoder.block(block).unwrap().to_vec()).collect();
    frames.push(encoder.end(exit).to_vec());
    frames
}

fn well() -> Exit {
    Exit { status: 0, words: String::new() }
}

/// What a target makes of these bytes, which come in pieces of `piece`.
fn taken(stream: &[u8], piece: usize) -> Result<(Vec<u8>, Exit), Corrupt> {
    let mut decoder = Decoder::new().unwrap();
    let mut whole = Vec::new();
    for bytes in stream.chunks(piece) {
        whole.extend(decoder.take(bytes)?.concat());
    }
    Ok((whole, decoder.close()?))
}

fn small() -> (Vec<u8>, Vec<Vec<u8>>) {
    let blocks: [&[u8]; 3] = [b"CREATE TABLE t (id int);", &[0; 300], b"-- Dump completed"];
    (blocks.concat(), frames(&blocks, &well()))
}

#[test]
fn a_whole_stream_arrives_however_it_is_cut_into_pieces() {
    let (raw, frames) = small();
    let stream = frames.concat();
    for piece in [1, 2, 7, 50, stream.len()] {
        assert_eq!(taken(&stream, piece), Ok((raw.clone(), well())), "pieces of {piece}");
    }
    let failed = Exit { status: -9, words: "é".repeat(2000) };
    let (none, exit) = taken(&self::frames(&[], &failed).concat(), 5).unwrap();
    assert!(none.is_empty() && exit.status == -9 && exit.words == "é".repeat(300));
}

#[test]
fn a_stream_that_is_cut_anywhere_is_refused() {
    let (_, frames) = small();
    let stream = frames.concat();
    for end in 0..stream.len() {
        let error = taken(&stream[..end], stream.len()).expect_err("a part is taken for the whole");
        assert!(matches!(error, Corrupt::Cut(_)), "cut at {end}: {error}");
    }
    // Each boundary between frames is among them; a digest alone could not tell these.
    let boundaries = frames.iter().scan(0, |at, frame| {
        *at += frame.len();
        Some(*at)
    });
    assert_eq!(boundaries.last(), Some(stream.len()));
}

#[test]
fn a_stream_with_any_one_bit_changed_is_refused() {
    let (_, frames) = small();
    let stream = frames.concat();
    for bit in 0..stream.len() * 8 {
        let mut changed = stream.clone();
        changed[bit / 8] ^= 1 << (bit % 8);
        assert!(taken(&changed, changed.len()).is_err(), "bit {bit} changed, and nobody sees it");
    }
}

#[test]
fn frames_in_another_order_lost_doubled_or_of_another_stream_are_refused() {
    let (_, frames) = small();
    let of = |order: &[usize]| order.iter().flat_map(|at| frames[*at].clone()).collect::<Vec<u8>>();
    for order in [&[1, 0, 2, 3][..], &[0, 2, 3], &[1, 2, 3], &[0, 1, 3], &[0, 1, 1, 2, 3], &[3]] {
        assert!(taken(&of(order), 64).is_err(), "{order:?}");
    }
    assert_eq!(taken(&of(&[0, 1, 2, 3, 3]), 64), Err(Corrupt::Beyond));
    assert_eq!(taken(&[of(&[0, 1, 2, 3]), vec![0]].concat(), 64), Err(Corrupt::Beyond));
    // Each frame is right in itself and in its place: only the digest of the whole can tell.
    let other = self::frames(&[b"CREATE TABLE u (id int);", &[0; 300], b"-- Dump completed"], &well());
    let mixed = [frames[0].clone(), other[1].clone(), other[2].clone(), other[3].clone()].concat();
    assert!(matches!(taken(&mixed, 64), Err(Corrupt::Whole { .. })));
}

#[test]
fn a_block_that_does_not_unpack_to_what_it_says_is_refused() {
    let mut encoder = Encoder::new().unwrap();
    let bomb = encoder.block(&vec![0; BLOCK]).unwrap();
    assert!(bomb.len() < 1000);
    assert_eq!(taken(&[bomb.to_vec(), encoder.end(&well()).to_vec()].concat(), 4096).unwrap().0.len(), BLOCK);
    assert!(Encoder::new().unwrap().block(&vec![7; BLOCK]).is_ok());
    // One that says less than it holds, sealed as a frame must be.
    let mut payload = 3_u32.to_le_bytes().to_vec();
    payload.extend(zstd::bulk::compress(&vec![0; BLOCK], 1).unwrap());
    let mut frame = vec![1];
    frame.extend(u32::try_from(payload.len()).unwrap().to_le_bytes());
    frame.extend(0_u64.to_le_bytes());
    frame.extend(payload);
    let digest = blake3::hash(&frame);
    frame.extend(digest.as_bytes());
    assert_eq!(taken(&frame, 4096), Err(Corrupt::Pack(0)));
}

// --- with programs

type Answer = ReceiverStream<Result<v1::Frame, tonic::Status>>;

fn shell(script: &str) -> Command {
    Command::new("/bin/sh").args(["-c", script])
}

fn stage(line: &str) -> Option<Stage> {
    match line {
        "hurry" => Some(Stage::Hurry),
        "hold" => Some(Stage::Hold(Duration::from_secs(1))),
        "release" => Some(Stage::Release),
        _ => None,
    }
}

fn producer(script: &str) -> Source {
    Source { program: shell(script), stage }
}

fn sent(script: &str) -> Answer {
    send(producer(script), 0, std::future::pending())
}

fn into(path: &Path) -> Command {
    shell(&format!("cat >{0}.part && mv {0}.part {0}", path.display()))
}

fn sleeping(mark: &str) -> usize {
    processes(|line| line.first().is_some_and(|program| program.ends_with("sleep")) && line.get(1).is_some_and(|it| it == mark))
        .len()
}

async fn until(what: &str, mut is: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !is() {
        assert!(begun.elapsed() < LONG, "{what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn what_one_program_writes_the_other_reads() {
    let home = tempfile::tempdir().unwrap();
    let (from, to) = (home.path().join("from"), home.path().join("to"));
    // Neither a whole number of blocks nor anything that gets smaller.
    let mut noise = vec![0; 3 * BLOCK + 12_345];
    aws_lc_rs::rand::fill(&mut noise).unwrap();
    std::fs::write(&from, &noise).unwrap();
    let told = std::sync::Mutex::new(Vec::new());
    let frames = sent(&format!("cat {}", from.display()));
    let bytes = receive(frames, &into(&to), |done| told.lock().unwrap().push(done)).await.unwrap();
    assert_eq!(bytes, noise.len() as u64);
    assert_eq!(told.lock().unwrap().last(), Some(&bytes));
    assert!(std::fs::read(&to).unwrap() == noise);
}

#[tokio::test]
async fn a_producer_that_fails_fails_the_whole_and_the_consumer_sees_no_end() {
    let home = tempfile::tempdir().unwrap();
    let to = home.path().join("to");
    for (script, said) in
        [("echo part; echo 'Error: gone away' >&2; exit 3", "Error: gone away"), ("echo part; kill -9 $$", "signal: 9")]
    {
        let failure = receive(sent(script), &into(&to), drop).await.unwrap_err();
        assert_eq!(failure.code, "PRODUCER_FAILED");
        assert!(failure.sentence.contains(said), "{}", failure.sentence);
        assert!(!to.exists(), "the consumer takes a part for the whole");
    }
    let failure = receive(send(Source { program: Command::new("/no/such"), stage }, 0, std::future::pending()), &into(&to), drop)
        .await
        .unwrap_err();
    assert_eq!(failure.code, "PRODUCER_FAILED");
}

#[tokio::test]
async fn a_consumer_that_fails_says_why_and_the_producer_ends() {
    let mark = format!("41.{}", std::process::id());
    let endless = format!("sleep {mark} & yes");
    for consumer in ["head -c 10000 >/dev/null; echo 'Error: No space left on device' >&2; exit 1", "cat >/dev/full"] {
        let failure = receive(sent(&endless), &shell(consumer), drop).await.unwrap_err();
        assert_eq!(failure.code, "CONSUMER_FAILED");
        assert!(failure.sentence.contains("No space left on device"), "{}", failure.sentence);
        until("the producer goes on", || sleeping(&mark) == 0).await;
    }
    let failure = receive(sent("yes"), &shell("head -c 10000 >/dev/null"), drop).await.unwrap_err();
    assert_eq!(failure.code, "CONSUMER_FAILED", "it left early and content");
    let failure = receive(sent("echo all"), &shell("cat >/dev/null; exit 4"), drop).await.unwrap_err();
    assert_eq!(failure.code, "CONSUMER_FAILED", "all has arrived, and it is not content");
}

#[tokio::test]
async fn a_real_stream_that_is_cut_between_two_frames_or_changed_is_refused() {
    let home = tempfile::tempdir().unwrap();
    let to = home.path().join("to");
    let script = "head -c 3000000 /dev/zero";
    let whole = sent(script).collect::<Vec<_>>().await;
    assert_eq!(whole.len(), 5, "three blocks, the end, and the link's own");
    let frames = || whole.iter().map(|frame| Ok(frame.clone().unwrap())).collect::<Vec<_>>();
    for cut in 0..=4 {
        let part = || frames().into_iter().take(cut);
        let failure = receive(futures::stream::iter(part()), &into(&to), drop).await.unwrap_err();
        assert_eq!(failure.code, "PIPE_BROKEN", "cut after {cut}");
        if cut < 4 {
            // The link itself says, over the part, that it has ended orderly.
            let orderly = futures::stream::iter(part().chain(frames().into_iter().skip(4)));
            let failure = receive(orderly, &into(&to), drop).await.unwrap_err();
            assert_eq!(failure.code, "PIPE_BROKEN", "cut after {cut}, with an end");
        }
        assert!(!to.exists());
    }
    for at in 0..4 {
        let mut changed = frames();
        if let Ok(v1::Frame { kind: Some(v1::frame::Kind::Data(data)) }) = &mut changed[at] {
            let mut bytes = data.to_vec();
            let middle = bytes.len() / 2;
            bytes[middle] ^= 4;
            *data = bytes.into();
        }
        let failure = receive(futures::stream::iter(changed), &into(&to), drop).await.unwrap_err();
        assert_eq!(failure.code, "PIPE_BROKEN", "changed in {at}");
        assert!(!to.exists());
    }
    receive(futures::stream::iter(frames()), &into(&to), drop).await.unwrap();
    assert_eq!(to.metadata().unwrap().len(), 3_000_000);
}

#[tokio::test]
async fn who_lets_go_ends_both_programs_with_all_that_they_started() {
    let (here, there) = (format!("42.{}", std::process::id()), format!("43.{}", std::process::id()));
    let (endless, consumer) = (format!("sleep {there} & yes"), shell(&format!("sleep {here} & sleep {here} & wait")));
    let work = tokio::spawn(async move { receive(sent(&endless), &consumer, drop).await });
    until("both are there", || sleeping(&here) == 2 && sleeping(&there) == 1).await;
    work.abort();
    until("one lives on", || sleeping(&here) + sleeping(&there) == 0).await;

    // The source lets go: its grant is withdrawn.
    let (withdraw, withdrawn) = tokio::sync::oneshot::channel::<()>();
    let frames = send(producer(&format!("sleep {there} & wait")), 0, async { drop(withdrawn.await) });
    let consumer = shell(&format!("sleep {here} & cat >/dev/null"));
    let work = tokio::spawn(async move { receive(frames, &consumer, drop).await });
    until("both are there", || sleeping(&here) == 1 && sleeping(&there) == 1).await;
    drop(withdraw);
    assert_eq!(work.await.unwrap().unwrap_err().code, "LINK_BROKEN");
    until("one lives on", || sleeping(&here) + sleeping(&there) == 0).await;
    assert!(end_all(|line| line.get(1).is_some_and(|it| *it == here || *it == there), LONG).await);
}

#[tokio::test]
async fn a_slow_consumer_holds_the_producer_up() {
    let home = tempfile::tempdir().unwrap();
    let count = home.path().join("count");
    // It notes each block of a MiB that it got rid of.
    let script = format!("while head -c 1048576 /dev/zero; do echo >>{}; done", count.display());
    let frames = send(producer(&script), 0, std::future::pending());
    let work = tokio::spawn(async move { receive(frames, &shell("sleep 60"), drop).await });
    tokio::time::sleep(Duration::from_millis(1500)).await;
    let lines = || std::fs::read(&count).map_or(0, |text| text.len());
    let held = lines();
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!(lines(), held, "it goes on");
    assert!((1..=8).contains(&held), "{held} MiB are under way");
    work.abort();
}

#[tokio::test]
async fn a_limit_is_kept_until_others_wait_for_the_program() {
    let begun = Instant::now();
    let frames = send(producer("head -c 600000 /dev/zero"), 400_000, std::future::pending());
    receive(frames, &shell("cat >/dev/null"), drop).await.unwrap();
    assert!(begun.elapsed() >= Duration::from_millis(1200), "{:?}", begun.elapsed());

    let begun = Instant::now();
    let frames =
        send(producer("head -c 50000 /dev/zero; echo hurry >&2; head -c 600000 /dev/zero"), 10_000, std::future::pending());
    receive(frames, &shell("cat >/dev/null"), drop).await.unwrap();
    assert!(begun.elapsed() < LONG, "{:?}, and with its limit a minute", begun.elapsed());
}

#[tokio::test]
async fn a_program_that_others_wait_for_too_long_is_ended() {
    let mark = format!("44.{}", std::process::id());
    let slow = |after: &str| producer(&format!("echo hold >&2; {after} sleep {mark} & yes"));
    let target = shell("sleep 3; cat >/dev/null");
    let failure = receive(send(slow(""), 0, std::future::pending()), &target, drop).await.unwrap_err();
    assert_eq!(failure.code, "COPY_HOLDS_UP");
    until("it goes on", || sleeping(&mark) == 0).await;

    let frames = send(slow("echo release >&2;"), 0, std::future::pending());
    let work = receive(frames, &target, drop);
    assert!(tokio::time::timeout(Duration::from_secs(5), work).await.is_err(), "nobody waits for it any more");
}
