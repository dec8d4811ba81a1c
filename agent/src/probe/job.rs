//! What is measured: a job by its name (`randwrite-4k-qd32`), and the stream of reads and writes that it is made of.

use std::{fmt, str::FromStr};

use flytt_proto::failure::Failure;

use super::data::Random;

/// The job that tells what random writes a disk sustains.
pub const RANDOM_WRITES: &str = "randwrite-4k-qd32";
/// The job that tells what a commit costs.
pub const COMMITS: &str = "commit-8k";

/// What is measured where nothing else is asked for.
const USUAL: [&str; 6] = [RANDOM_WRITES, "randread-4k-qd32", "randrw-8k-qd16", "write-1m-qd4", "read-1m-qd4", COMMITS];

/// Of a mixed job's operations, as many in a hundred read.
const READS_PERCENT: u64 = 70;

const MAX_DEPTH: u32 = 256;
const MAX_BLOCK: u32 = 16 << 20;
/// Of all buffers of a job together: they are pinned while it runs.
const MAX_BUFFERS: u64 = 64 << 20;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Read,
    Write,
    Mixed,
    /// A write and then `fdatasync`, one after the other, as a server writes its log.
    Commit,
}

/// One job: a kind of I/O with its block size (bytes) and how many are under way at once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Job {
    pub(super) name: String,
    pub(super) kind: Kind,
    pub(super) random: bool,
    pub(super) block: u32,
    pub(super) depth: u16,
}

impl Job {
    /// What is measured where nothing else is asked for; on a host that serves only the commits.
    pub fn usual(gently: bool) -> Vec<Self> {
        let names = USUAL.iter().filter(|name| !gently || **name == COMMITS);
        names.map(|name| name.parse().expect("a literal of the right form")).collect()
    }

    /// Whether it is one that `check` looks for.
    pub(super) fn is_usual(name: &str) -> bool {
        USUAL.contains(&name)
    }

    /// The whole file, front to back and once.
    pub(super) fn fill() -> Self {
        Self { name: "fill".to_owned(), kind: Kind::Write, random: false, block: 1 << 20, depth: 4 }
    }

    /// How many threads do it where each has one operation under way.
    pub(super) fn is_commit(&self) -> bool {
        self.kind == Kind::Commit
    }
}

impl fmt::Display for Job {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

impl FromStr for Job {
    type Err = Failure;

    /// `randread`, `randwrite`, `randrw`, `read`, `write`, `rw` with `-BLOCK-qdDEPTH`, or `commit-BLOCK`. BLOCK is in KiB or
    /// MiB: `4k`, `1m`.
    fn from_str(name: &str) -> Result<Self, Failure> {
        let bad = |why: &str| {
            let sentence = format!("{:?} is not a job of the probe: {why}", name.chars().take(60).collect::<String>());
            Failure::refused("PROBE_JOB", sentence, "name jobs as in randwrite-4k-qd32, randrw-8k-qd16, read-1m-qd4, commit-8k")
        };
        let mut parts = name.split('-');
        let (what, block, depth, more) = (parts.next().unwrap_or_default(), parts.next(), parts.next(), parts.next());
        let (random, what) = what.strip_prefix("rand").map_or((false, what), |rest| (true, rest));
        let kind = match (what, random) {
            ("read", _) => Kind::Read,
            ("write", _) => Kind::Write,
            ("rw", _) => Kind::Mixed,
            ("commit", false) => Kind::Commit,
            _ => return Err(bad("it neither reads nor writes nor commits")),
        };
        let block = block.and_then(bytes).ok_or_else(|| bad("its block size is missing or not understood"))?;
        let depth = match (kind, depth) {
            (Kind::Commit, None) => 1,
            (Kind::Commit, Some(_)) => return Err(bad("commits come one after the other")),
            (Kind::Read | Kind::Write | Kind::Mixed, depth) => depth
                .and_then(|depth| depth.strip_prefix("qd")?.parse::<u32>().ok())
                .ok_or_else(|| bad("it lacks its queue depth"))?,
        };
        let fits = (1..=MAX_DEPTH).contains(&depth) && (512..=MAX_BLOCK).contains(&block) && block.is_power_of_two();
        if !fits || u64::from(depth) * u64::from(block) > MAX_BUFFERS || more.is_some() {
            return Err(bad(
                "block size (512 to 16m, a power of two) or depth (1 to 256) is out of range, or both are too large together",
            ));
        }
        let depth = u16::try_from(depth).expect("checked above");
        Ok(Self { name: name.to_owned(), kind, random, block, depth })
    }
}

fn bytes(text: &str) -> Option<u32> {
    let (digits, unit) = match text.strip_suffix('k') {
        Some(digits) => (digits, 1 << 10),
        None => text.strip_suffix('m').map_or((text, 1), |digits| (digits, 1 << 20)),
    };
    digits.parse::<u32>().ok()?.checked_mul(unit)
}

/// One read or write; `offset` in bytes from the beginning of file or device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Operation {
    pub(super) is_write: bool,
    pub(super) offset: u64,
}

/// The operations of a job, one after the other.
#[derive(Debug)]
pub(super) struct Work {
    job: Job,
    base: u64,
    blocks: u64,
    next: u64,
    is_once: bool,
    random: Random,
}

impl Work {
    /// Over `bytes` from `base`, without end.
    pub(super) fn endless(job: &Job, base: u64, bytes: u64) -> Self {
        let blocks = (bytes / u64::from(job.block)).max(1);
        Self { job: job.clone(), base, blocks, next: 0, is_once: false, random: Random::new() }
    }

    /// Every block once.
    pub(super) fn once(job: &Job, base: u64, bytes: u64) -> Self {
        Self { is_once: true, ..Self::endless(job, base, bytes) }
    }

    pub(super) fn next(&mut self) -> Option<Operation> {
        if self.is_once && self.next == self.blocks {
            return None;
        }
        let block = if self.job.random { self.random.below(self.blocks) } else { self.next % self.blocks };
        self.next += 1;
        let is_write = match self.job.kind {
            Kind::Read => false,
            Kind::Write | Kind::Commit => true,
            Kind::Mixed => self.random.below(100) >= READS_PERCENT,
        };
        Some(Operation { is_write, offset: self.base + block * u64::from(self.job.block) })
    }

    pub(super) fn random(&mut self) -> &mut Random {
        &mut self.random
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn job(name: &str) -> Job {
        name.parse().unwrap()
    }

    #[test]
    fn a_name_says_all() {
        let Job { kind, random, block, depth, .. } = job("randwrite-4k-qd32");
        assert_eq!((kind, random, block, depth), (Kind::Write, true, 4096, 32));
        let Job { kind, random, block, depth, .. } = job("rw-1m-qd4");
        assert_eq!((kind, random, block, depth), (Kind::Mixed, false, 1 << 20, 4));
        assert_eq!((job("commit-8k").depth, job("commit-8k").is_commit(), job("read-512-qd1").block), (1, true, 512));
        assert_eq!(Job::usual(true), [job(COMMITS)]);
        assert!(Job::usual(false).iter().any(|job| job.name == RANDOM_WRITES));
    }

    #[test]
    fn a_name_that_says_something_else_is_refused() {
        let bad = [
            "",
            "randwrite",
            "randwrite-4k",
            "randwrite-4k-32",
            "randwrite-4k-qd0",
            "randwrite-4k-qd257",
            "randwrite-3k-qd1",
            "write-32m-qd1",
            "write-16m-qd8",
            "commit-8k-qd2",
            "randcommit-8k",
            "trim-4k-qd1",
            "write-4k-qd1-x",
            "write--qd1",
            "write-4294967295m-qd1",
            "write-4k-qd-1",
            "\u{1b}[2J",
        ];
        for name in bad {
            assert_eq!(name.parse::<Job>().unwrap_err().code, "PROBE_JOB", "{name}");
        }
    }

    #[test]
    fn operations_stay_within_their_range_and_once_means_once() {
        let mut work = Work::endless(&job("randrw-4k-qd1"), 1 << 20, 10 * 4096 + 100);
        let all: Vec<Operation> = (0..10_000).filter_map(|_| work.next()).collect();
        assert!(all.iter().all(|it| it.offset >= 1 << 20 && it.offset + 4096 <= (1 << 20) + 10 * 4096 && it.offset % 4096 == 0));
        for block in 0..10 {
            assert!(all.iter().any(|it| it.offset == (1 << 20) + block * 4096), "block {block} is never touched");
        }
        let writes = all.iter().filter(|it| it.is_write).count();
        assert!((2_500..3_500).contains(&writes), "{writes}");

        let mut work = Work::once(&job("write-1m-qd4"), 0, 3 << 20);
        let all: Vec<u64> = std::iter::from_fn(|| work.next()).map(|it| it.offset).collect();
        assert_eq!(all, [0, 1 << 20, 2 << 20]);
    }
}
