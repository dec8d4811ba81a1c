//! The pipe's own frames inside a link's data: what makes a cut, an exchanged or a changed byte impossible to overlook. What is
//! sent, and what becomes of it, is left to the two ends.
//!
//! A frame: kind (1 byte), length of the payload (4), sequence (8), all little-endian; the payload; BLAKE3 of all that (32).
//! The payload of a block is its length before compression (4) and one zstd frame; that of the end is the count of bytes before
//! compression (8), BLAKE3 of all of them (32), the producer's exit status (4) and its last words. Nothing follows the end.

use std::io;

use bytes::{Buf as _, Bytes, BytesMut};

/// Bytes of a block before compression, at most.
pub(super) const BLOCK: usize = 1 << 20;
/// zstd's fastest level proper: the network is seldom slower than the next ones.
const LEVEL: i32 = 1;

const HEAD: usize = 1 + 4 + 8;
const DIGEST: usize = blake3::OUT_LEN;
const KIND_BLOCK: u8 = 1;
const KIND_END: u8 = 2;
/// zstd's bound for what cannot be compressed is below length + length / 256 + 64 (`ZSTD_COMPRESSBOUND`).
const LONGEST: usize = 4 + BLOCK + BLOCK / 256 + 64;
/// Of the producer's last words.
const WORDS: usize = 600;

/// How the producer ended. The status is its exit code, or the number of the signal that ended it below zero.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Exit {
    pub(super) status: i32,
    pub(super) words: String,
}

/// Why a stream is not what was sent.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Corrupt {
    #[error("frame {0} has an impossible head")]
    Head(u64),
    #[error("frame {0} is not what was sent")]
    Digest(u64),
    #[error("frame {0} is missing, or another stands in its place")]
    Order(u64),
    #[error("frame {0} cannot be unpacked")]
    Pack(u64),
    #[error("the whole is not what was sent: {arrived} bytes arrived, {sent} were sent")]
    Whole { arrived: u64, sent: u64 },
    #[error("it goes on after its end")]
    Beyond,
    #[error("it ends without an end frame, after {0} frames")]
    Cut(u64),
}

/// The source's side.
pub(super) struct Encoder {
    compressor: zstd::bulk::Compressor<'static>,
    sequence: u64,
    bytes: u64,
    whole: blake3::Hasher,
}

impl Encoder {
    pub(super) fn new() -> io::Result<Self> {
        let compressor = zstd::bulk::Compressor::new(LEVEL)?;
        Ok(Self { compressor, sequence: 0, bytes: 0, whole: blake3::Hasher::new() })
    }

    /// One frame of at most [`BLOCK`] bytes.
    pub(super) fn block(&mut self, raw: &[u8]) -> io::Result<Bytes> {
        self.whole.update(raw);
        self.bytes += raw.len() as u64;
        let packed = self.compressor.compress(raw)?;
        let length = u32::try_from(raw.len()).map_err(io::Error::other)?;
        Ok(self.frame(KIND_BLOCK, &[&length.to_le_bytes(), &packed]))
    }

    /// The last frame.
    pub(super) fn end(mut self, exit: &Exit) -> Bytes {
        let words: String = exit
            .words
            .chars()
            .scan(0, |size, c| {
                *size += c.len_utf8();
                (*size <= WORDS).then_some(c)
            })
            .collect();
        let whole = self.whole.finalize();
        let bytes = self.bytes.to_le_bytes();
        self.frame(KIND_END, &[&bytes, whole.as_bytes(), &exit.status.to_le_bytes(), words.as_bytes()])
    }

    fn frame(&mut self, kind: u8, payload: &[&[u8]]) -> Bytes {
        let length: usize = payload.iter().map(|part| part.len()).sum();
        debug_assert!(length <= LONGEST, "a payload is bounded by its parts");
        let mut frame = BytesMut::with_capacity(HEAD + length + DIGEST);
        frame.extend_from_slice(&[kind]);
        frame.extend_from_slice(&u32::try_from(length).unwrap_or(u32::MAX).to_le_bytes());
        frame.extend_from_slice(&self.sequence.to_le_bytes());
        for part in payload {
            frame.extend_from_slice(part);
        }
        let digest = blake3::hash(&frame);
        frame.extend_from_slice(digest.as_bytes());
        self.sequence += 1;
        frame.freeze()
    }
}

/// The target's side: takes bytes as they come.
pub(super) struct Decoder {
    unpacker: zstd::bulk::Decompressor<'static>,
    waiting: BytesMut,
    sequence: u64,
    bytes: u64,
    whole: blake3::Hasher,
    ended: Option<Exit>,
}

impl Decoder {
    pub(super) fn new() -> io::Result<Self> {
        let unpacker = zstd::bulk::Decompressor::new()?;
        let (waiting, whole) = (BytesMut::new(), blake3::Hasher::new());
        Ok(Self { unpacker, waiting, sequence: 0, bytes: 0, whole, ended: None })
    }

    /// The blocks that are complete with these bytes, in order.
    pub(super) fn take(&mut self, bytes: &[u8]) -> Result<Vec<Vec<u8>>, Corrupt> {
        self.waiting.extend_from_slice(bytes);
        let mut blocks = Vec::new();
        while let Some((kind, payload)) = self.frame()? {
            match kind {
                KIND_BLOCK => blocks.push(self.block(payload)?),
                _ => self.end(payload)?,
            }
            self.sequence += 1;
        }
        if self.ended.is_some() && !self.waiting.is_empty() {
            return Err(Corrupt::Beyond);
        }
        Ok(blocks)
    }

    /// Nothing comes any more: how the producer ended, if all of it has arrived.
    pub(super) fn close(self) -> Result<Exit, Corrupt> {
        self.ended.ok_or(Corrupt::Cut(self.sequence))
    }

    /// The next frame whose digest is right.
    fn frame(&mut self) -> Result<Option<(u8, Bytes)>, Corrupt> {
        if self.ended.is_some() || self.waiting.len() < HEAD {
            return Ok(None);
        }
        let mut head = &self.waiting[..HEAD];
        let (kind, length, sequence) = (head.get_u8(), head.get_u32_le() as usize, head.get_u64_le());
        // Before it is waited for: a changed length would otherwise only show at the stream's end.
        if !matches!(kind, KIND_BLOCK | KIND_END) || length > LONGEST {
            return Err(Corrupt::Head(self.sequence));
        }
        if self.waiting.len() < HEAD + length + DIGEST {
            return Ok(None);
        }
        let mut frame = self.waiting.split_to(HEAD + length + DIGEST).freeze();
        let digest = frame.split_off(HEAD + length);
        if blake3::hash(&frame).as_bytes().as_slice() != digest.as_ref() {
            return Err(Corrupt::Digest(self.sequence));
        }
        if sequence != self.sequence {
            return Err(Corrupt::Order(self.sequence));
        }
        Ok(Some((kind, frame.split_off(HEAD))))
    }

    fn block(&mut self, mut payload: Bytes) -> Result<Vec<u8>, Corrupt> {
        let bad = || Corrupt::Pack(self.sequence);
        let length = payload.try_get_u32_le().ok().map(|length| length as usize).filter(|length| (1..=BLOCK).contains(length));
        let length = length.ok_or_else(bad)?;
        let raw = self.unpacker.decompress(&payload, length).map_err(|_| bad())?;
        if raw.len() != length {
            return Err(bad());
        }
        self.whole.update(&raw);
        self.bytes += raw.len() as u64;
        Ok(raw)
    }

    fn end(&mut self, mut payload: Bytes) -> Result<(), Corrupt> {
        if payload.len() < 8 + DIGEST + 4 {
            return Err(Corrupt::Pack(self.sequence));
        }
        let sent = payload.get_u64_le();
        let digest = payload.split_to(DIGEST);
        let status = payload.get_i32_le();
        if sent != self.bytes || self.whole.finalize().as_bytes().as_slice() != digest.as_ref() {
            return Err(Corrupt::Whole { arrived: self.bytes, sent });
        }
        self.ended = Some(Exit { status, words: String::from_utf8_lossy(&payload).into_owned() });
        Ok(())
    }
}
