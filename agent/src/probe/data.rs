//! What is written: random bytes, so that no layer below can compress them, and never the same block twice, so that none can
//! keep it once. And the numbers that jobs pick blocks by.

use std::time::{SystemTime, UNIX_EPOCH};

/// O_DIRECT asks for memory on this boundary at most (a page; devices ask for 512 bytes or less).
const BOUNDARY: usize = 4096;
/// Each piece of this size is made different with every write: no storage looks for duplicates in smaller ones.
const PIECE: usize = 512;

/// SplitMix64 (Steele, Lea, Flood: Fast Splittable Pseudorandom Number Generators, 2014). Fast; not for secrets.
#[derive(Clone, Debug)]
pub(super) struct Random(u64);

impl Random {
    pub(super) fn new() -> Self {
        let mut seed = [0; 8];
        if aws_lc_rs::rand::fill(&mut seed).is_err() {
            // Any other seed serves as well.
            let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
            seed = (now.as_nanos() as u64).to_le_bytes();
        }
        Self(u64::from_le_bytes(seed))
    }

    pub(super) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// Evenly from 0 up to but not `limit`; the bias of the multiplication is below 2⁻³² for what is asked here.
    pub(super) fn below(&mut self, limit: u64) -> u64 {
        ((u128::from(self.next()) * u128::from(limit)) >> 64) as u64
    }

    /// Makes a block unlike every other, at the price of a few instructions.
    pub(super) fn stamp(&mut self, block: &mut [u8]) {
        for piece in block.chunks_mut(PIECE) {
            if let Some(head) = piece.first_chunk_mut() {
                *head = self.next().to_le_bytes();
            }
        }
    }
}

/// Blocks of random bytes, each on a boundary that O_DIRECT takes. They never move.
#[derive(Debug)]
pub(super) struct Buffers {
    memory: Vec<u8>,
    start: usize,
    each: usize,
}

impl Buffers {
    pub(super) fn new(count: usize, each: usize) -> Self {
        let mut memory = vec![0; count * each + BOUNDARY];
        let start = memory.as_ptr().align_offset(BOUNDARY);
        let mut random = Random::new();
        for word in memory.chunks_exact_mut(8) {
            word.copy_from_slice(&random.next().to_le_bytes());
        }
        Self { memory, start, each }
    }

    pub(super) fn block(&mut self, index: usize) -> &mut [u8] {
        let from = self.start + index * self.each;
        &mut self.memory[from..from + self.each]
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn blocks_are_aligned_apart_and_random() {
        let mut buffers = Buffers::new(3, 4096);
        let first = buffers.block(0).as_ptr() as usize;
        assert_eq!((first % BOUNDARY, buffers.block(2).as_ptr() as usize), (0, first + 2 * 4096));
        let mut seen = [0_u32; 256];
        buffers.block(1).iter().for_each(|byte| seen[usize::from(*byte)] += 1);
        assert!(seen.iter().all(|count| *count < 64), "no byte is frequent: {seen:?}");
    }

    #[test]
    fn no_two_writes_share_a_piece() {
        let (mut buffers, mut random) = (Buffers::new(1, 4096), Random::new());
        let mut seen = HashSet::new();
        for _ in 0..100 {
            random.stamp(buffers.block(0));
            for piece in buffers.block(0).chunks(PIECE) {
                assert!(seen.insert(piece.to_vec()), "a piece comes twice");
            }
        }
    }

    #[test]
    fn numbers_stay_below_their_limit_and_reach_all() {
        let mut random = Random::new();
        let seen: HashSet<u64> = (0..1000).map(|_| random.below(7)).collect();
        assert_eq!(seen, (0..7).collect());
    }
}
