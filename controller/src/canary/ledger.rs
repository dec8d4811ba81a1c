//! Every write a client meant to do, and what became of it. An intent stands here before it is sent, so a client that dies in
//! between leaves a "maybe", never a gap. What follows from it is the report's and the verification's business.

use std::{
    fs::File,
    io::{BufRead, BufReader, Write as _},
    os::unix::fs::OpenOptionsExt,
    path::Path,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use flytt_proto::failure::Failure;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::Pulse;

/// What became of a write. Times are since the canary's start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Sent, and the answer never came: it may or may not be there.
    Maybe,
    /// The server answered that it is committed. `server` is an index into [`History::servers`].
    Acknowledged { at: Duration, server: usize },
    /// The server answered that it is not, or the commit was never sent.
    Refused,
}

/// One transaction of `rows` consecutive rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Write {
    pub seq: i64,
    pub rows: u8,
    pub sent: Duration,
    pub outcome: Outcome,
}

/// The whole ledger, once nothing is added to it any more.
#[derive(Clone, Debug)]
pub struct History {
    pub started: Timestamp,
    /// From the start until the canary was told to stop.
    pub length: Duration,
    /// By writer, in the order sent.
    pub writers: Vec<Vec<Write>>,
    /// The servers that acknowledged, as they call themselves, in the order of their first answer.
    pub servers: Vec<String>,
}

/// The ledger while it grows.
#[derive(Debug)]
pub(super) struct Ledger {
    start: Instant,
    started: Timestamp,
    writers: Vec<Mutex<Vec<Write>>>,
    servers: Mutex<Vec<String>>,
    acknowledged: AtomicU64,
    /// Microseconds since the start.
    last: AtomicU64,
    file: Option<Mutex<File>>,
    file_is_whole: AtomicBool,
}

/// A line of the file.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Entry {
    Started { version: u32, at: Timestamp, clients: u16 },
    Sent { writer: u16, seq: i64, rows: u8, us: u64 },
    Acknowledged { writer: u16, us: u64, server: String },
    Refused { writer: u16, us: u64 },
}

const VERSION: u32 = 1;

fn us(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn server_index(servers: &mut Vec<String>, name: &str) -> usize {
    servers.iter().position(|known| known == name).unwrap_or_else(|| {
        servers.push(name.to_owned());
        servers.len() - 1
    })
}

impl Ledger {
    pub(super) fn open(clients: u16, path: Option<&Path>) -> Result<Self, Failure> {
        let file = match path {
            Some(path) => Some(Mutex::new(
                File::options().create_new(true).append(true).mode(0o600).open(path).map_err(|error| unusable(path, &error))?,
            )),
            None => None,
        };
        let ledger = Self {
            start: Instant::now(),
            started: Timestamp::now(),
            writers: (0..clients).map(|_| Mutex::default()).collect(),
            servers: Mutex::default(),
            acknowledged: AtomicU64::new(0),
            last: AtomicU64::new(0),
            file,
            file_is_whole: AtomicBool::new(true),
        };
        ledger.append(&Entry::Started { version: VERSION, at: ledger.started, clients });
        Ok(ledger)
    }

    pub(super) fn elapsed(&self) -> Duration {
        self.start.elapsed()
    }

    /// Before the write is sent.
    pub(super) fn intend(&self, writer: u16, rows: u8) -> i64 {
        let mut writes = lock(&self.writers[usize::from(writer)]);
        let seq = writes.last().map_or(1, |last| last.seq + i64::from(last.rows));
        let sent = self.elapsed();
        self.append(&Entry::Sent { writer, seq, rows, us: us(sent) });
        writes.push(Write { seq, rows, sent, outcome: Outcome::Maybe });
        seq
    }

    /// The writer's last write is committed.
    pub(super) fn acknowledge(&self, writer: u16, server: &str) {
        let at = self.elapsed();
        self.append(&Entry::Acknowledged { writer, us: us(at), server: server.to_owned() });
        let server = server_index(&mut lock(&self.servers), server);
        if let Some(write) = lock(&self.writers[usize::from(writer)]).last_mut() {
            write.outcome = Outcome::Acknowledged { at, server };
        }
        self.acknowledged.fetch_add(1, Ordering::Relaxed);
        self.last.fetch_max(us(at), Ordering::Relaxed);
    }

    /// The writer's last write is not committed and never will be.
    pub(super) fn refuse(&self, writer: u16) {
        self.append(&Entry::Refused { writer, us: us(self.elapsed()) });
        if let Some(write) = lock(&self.writers[usize::from(writer)]).last_mut() {
            write.outcome = Outcome::Refused;
        }
    }

    pub(super) fn pulse(&self) -> Pulse {
        let last = Duration::from_micros(self.last.load(Ordering::Relaxed));
        Pulse { acknowledged: self.acknowledged.load(Ordering::Relaxed), silence: self.elapsed().saturating_sub(last) }
    }

    pub(super) fn every_writer_was_acknowledged(&self) -> bool {
        let acknowledged = |write: &Write| matches!(write.outcome, Outcome::Acknowledged { .. });
        self.writers.iter().all(|writer| lock(writer).iter().any(acknowledged))
    }

    pub(super) fn history(&self, length: Duration) -> History {
        History {
            started: self.started,
            length,
            writers: self.writers.iter().map(|writer| lock(writer).clone()).collect(),
            servers: lock(&self.servers).clone(),
        }
    }

    /// One `write` of a short line: it is in the kernel's hands when this returns, so our own death loses nothing of it.
    fn append(&self, entry: &Entry) {
        let Some(file) = &self.file else { return };
        let Ok(mut line) = serde_json::to_vec(entry) else { return };
        line.push(b'\n');
        if lock(file).write_all(&line).is_err() && self.file_is_whole.swap(false, Ordering::Relaxed) {
            tracing::warn!("the canary's ledger file is incomplete; the ledger in memory is not");
        }
    }
}

fn unusable(path: &Path, error: &dyn std::fmt::Display) -> Failure {
    Failure::refused(
        "CANARY_LEDGER",
        format!("the canary's ledger {} cannot be used: {error}", path.display()),
        "name a new file in a directory of yours with free space",
    )
}

impl History {
    /// Reads what a canary with a ledger file left, also when it was killed: a last line cut short is left out.
    ///
    /// # Errors
    /// `CANARY_LEDGER` when the file cannot be read or is not a ledger.
    pub fn from_file(path: &Path) -> Result<Self, Failure> {
        let file = File::open(path).map_err(|error| unusable(path, &error))?;
        let mut history = None;
        let mut lines = BufReader::new(file).split(b'\n').peekable();
        while let Some(line) = lines.next() {
            let line = line.map_err(|error| unusable(path, &error))?;
            match serde_json::from_slice(&line) {
                Ok(entry) => Self::fold(&mut history, entry).ok_or_else(|| unusable(path, &"its lines are out of order"))?,
                Err(_) if lines.peek().is_none() => {}
                Err(error) => return Err(unusable(path, &error)),
            }
        }
        history.ok_or_else(|| unusable(path, &"it is empty"))
    }

    fn fold(history: &mut Option<Self>, entry: Entry) -> Option<()> {
        if let Entry::Started { version, at, clients } = entry {
            let first = Self { started: at, length: Duration::ZERO, writers: vec![vec![]; clients.into()], servers: vec![] };
            return (version == VERSION && history.replace(first).is_none()).then_some(());
        }
        let history = history.as_mut()?;
        let (writer, at) = match &entry {
            Entry::Started { .. } => return None,
            Entry::Sent { writer, us, .. } | Entry::Acknowledged { writer, us, .. } | Entry::Refused { writer, us } => {
                (*writer, *us)
            }
        };
        let at = Duration::from_micros(at);
        history.length = history.length.max(at);
        let writes = history.writers.get_mut(usize::from(writer))?;
        match entry {
            Entry::Started { .. } => return None,
            Entry::Sent { seq, rows, .. } => writes.push(Write { seq, rows, sent: at, outcome: Outcome::Maybe }),
            Entry::Acknowledged { server, .. } => {
                let server = server_index(&mut history.servers, &server);
                writes.last_mut()?.outcome = Outcome::Acknowledged { at, server };
            }
            Entry::Refused { .. } => writes.last_mut()?.outcome = Outcome::Refused,
        }
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_tells_the_same_as_memory_even_when_cut_short() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("ledger");
        let ledger = Ledger::open(2, Some(&path)).expect("a ledger");
        assert_eq!(ledger.intend(0, 1), 1);
        ledger.acknowledge(0, "a:1");
        assert_eq!(ledger.intend(0, 2), 2);
        ledger.refuse(0);
        assert_eq!(ledger.intend(0, 1), 4);
        assert_eq!(ledger.intend(1, 1), 1);
        ledger.acknowledge(1, "b:2");
        assert_eq!(ledger.pulse().acknowledged, 2);
        assert!(ledger.every_writer_was_acknowledged());

        std::io::Write::write_all(&mut File::options().append(true).open(&path).expect("open"), b"{\"sent\":{\"wri")
            .expect("written");
        let (read, kept) = (History::from_file(&path).expect("readable"), ledger.history(ledger.elapsed()));
        let plain = |history: &History| {
            let flat = |write: &Write| {
                (write.seq, write.rows, matches!(write.outcome, Outcome::Acknowledged { .. }), write.outcome == Outcome::Maybe)
            };
            history.writers.iter().map(|writes| writes.iter().map(flat).collect::<Vec<_>>()).collect::<Vec<_>>()
        };
        assert_eq!(plain(&read), plain(&kept));
        assert_eq!(plain(&read)[0], [(1, 1, true, false), (2, 2, false, false), (4, 1, false, true)]);
        assert_eq!(read.servers, ["a:1", "b:2"]);
        assert_eq!(Ledger::open(1, Some(&path)).expect_err("another's ledger").code, "CANARY_LEDGER");
    }

    #[test]
    fn a_file_with_a_broken_middle_is_refused() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("ledger");
        let ledger = Ledger::open(1, Some(&path)).expect("a ledger");
        std::io::Write::write_all(&mut File::options().append(true).open(&path).expect("open"), b"garbage\n").expect("written");
        ledger.intend(0, 1);
        assert_eq!(History::from_file(&path).expect_err("broken").code, "CANARY_LEDGER");
    }
}
