//! Jobs through plain system calls: commits always (that is how a server writes its log), everything else where io_uring is
//! refused. A queue depth is a number of threads then, each with one operation under way.

use std::{
    fs::File,
    io,
    os::unix::fs::FileExt as _,
    sync::{
        Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use super::{
    data::{Buffers, Random},
    halt::Halt,
    job::{Job, Operation, Work},
    meter::{self, Meter},
};

/// How often the threads are looked after.
const LOOK: Duration = Duration::from_millis(20);

/// Like the ring's: `tell` hears the number of operations every second.
pub(super) fn run(
    file: &File,
    job: &Job,
    work: Work,
    limit: Duration,
    halt: &Halt,
    tell: &dyn Fn(Duration, u64),
) -> io::Result<Meter> {
    let (began, work, failed, count) = (Instant::now(), Mutex::new(work), AtomicBool::new(false), AtomicU64::new(0));
    let shared = Shared { file, job, work: &work, began, limit, halt, failed: &failed, count: &count };
    thread::scope(|scope| {
        let start = |_| thread::Builder::new().name("probe-call".into()).spawn_scoped(scope, || shared.one());
        let threads: io::Result<Vec<_>> = (0..job.depth).map(start).collect();
        let threads = threads.inspect_err(|_| failed.store(true, Ordering::Relaxed))?;
        let mut told = 0;
        while threads.iter().any(|thread| !thread.is_finished()) {
            thread::sleep(LOOK);
            let elapsed = began.elapsed();
            if elapsed.as_secs() > told {
                told = elapsed.as_secs();
                tell(elapsed, count.load(Ordering::Relaxed));
            }
        }
        let mut whole = Meter::new(began);
        for thread in threads {
            whole.add(&thread.join().map_err(|_| io::Error::other("a thread of the probe has died"))??);
        }
        Ok(whole)
    })
}

struct Shared<'a> {
    file: &'a File,
    job: &'a Job,
    work: &'a Mutex<Work>,
    began: Instant,
    limit: Duration,
    halt: &'a Halt,
    failed: &'a AtomicBool,
    count: &'a AtomicU64,
}

impl Shared<'_> {
    /// One thread's part.
    fn one(&self) -> io::Result<Meter> {
        let (mut buffers, mut random) = (Buffers::new(1, self.job.block as usize), Random::new());
        let mut meter = Meter::new(self.began);
        let cpu = meter::cpu();
        while self.began.elapsed() < self.limit && !self.halt.is_asked() && !self.failed.load(Ordering::Relaxed) {
            let Some(operation) = self.work.lock().expect("no panic while held").next() else { break };
            let block = buffers.block(0);
            if operation.is_write {
                random.stamp(block);
            }
            let handed = Instant::now();
            self.call(operation, block).inspect_err(|_| self.failed.store(true, Ordering::Relaxed))?;
            let now = Instant::now();
            meter.record(now, now.duration_since(handed));
            self.count.fetch_add(1, Ordering::Relaxed);
        }
        meter.spent(meter::cpu().saturating_sub(cpu));
        Ok(meter)
    }

    fn call(&self, operation: Operation, block: &mut [u8]) -> io::Result<()> {
        if !operation.is_write {
            return self.file.read_exact_at(block, operation.offset);
        }
        self.file.write_all_at(block, operation.offset)?;
        if self.job.is_commit() { self.file.sync_data() } else { Ok(()) }
    }
}
