//! Jobs through io_uring: one thread, one ring, buffers and file registered, as many operations under way as the job says,
//! each handed over as it comes.

use std::{
    fs::File,
    io,
    mem::ManuallyDrop,
    os::fd::AsRawFd as _,
    time::{Duration, Instant},
};

use io_uring::{IoUring, Probe, opcode, squeue, types};
use nix::libc;

use super::{
    data::Buffers,
    halt::Halt,
    job::{Job, Operation, Work},
    meter::{self, Meter},
};

/// A wait ends so often to see whether somebody wants an end. By an operation of the ring's own: a time limit of the wait itself
/// would set a timer, and take it back, for every single operation of a job of depth 1.
static PATIENCE: types::Timespec = types::Timespec::new().nsec(100_000_000);
/// Names that operation; the others are named by their slots.
const TICK: u64 = u64::MAX;
/// What is under way may take so long to come back once an end is wanted.
const LAST_CALL: Duration = Duration::from_secs(10);

/// Whether the kernel lets us: a container's seccomp filter, `kernel.io_uring_disabled` or an old kernel may not.
pub(super) fn offered() -> io::Result<()> {
    let ring = IoUring::new(2)?;
    let mut probe = Probe::new();
    ring.submitter().register_probe(&mut probe)?;
    let needed =
        [opcode::ReadFixed::CODE, opcode::WriteFixed::CODE, opcode::Read::CODE, opcode::Write::CODE, opcode::Timeout::CODE];
    if needed.iter().all(|code| probe.is_supported(*code)) {
        Ok(())
    } else {
        Err(io::Error::other("the kernel's io_uring is too old"))
    }
}

/// A ring with its job's buffers. `under_way` operations may still write to them.
struct Ring {
    ring: IoUring,
    buffers: ManuallyDrop<Buffers>,
    under_way: usize,
    /// The operation that ends a wait is under way. The kernel drops it with the ring.
    ticking: bool,
    /// Buffers are registered; an unprivileged user's RLIMIT_MEMLOCK may be too small for that.
    fixed: bool,
    block: u32,
}

impl Drop for Ring {
    fn drop(&mut self) {
        if self.under_way == 0 {
            // A ring that is closed lets go of its file only some time later; the file's space should be back now.
            let _ = self.ring.submitter().unregister_files();
            #[allow(unsafe_code, reason = "the buffers outlive the kernel's use of them, and not longer")]
            // SAFETY: dropped once, here, and not used afterwards. Nothing is under way that could write to them.
            unsafe {
                ManuallyDrop::drop(&mut self.buffers);
            }
        }
        // Else they are leaked: a disk that answers one day must not write into memory that has become something else.
    }
}

impl Ring {
    fn new(file: &File, job: &Job) -> io::Result<Self> {
        // One more for the tick.
        let entries = u32::from(job.depth) + 1;
        // Each of these spares interrupts of the thread; older kernels know fewer of them.
        let ring = IoUring::builder()
            .setup_single_issuer()
            .setup_defer_taskrun()
            .build(entries)
            .or_else(|_| IoUring::builder().setup_coop_taskrun().build(entries))
            .or_else(|_| IoUring::new(entries))?;
        ring.submitter().register_files(&[file.as_raw_fd()])?;
        let mut buffers = Buffers::new(usize::from(job.depth), job.block as usize);
        let block = |index| libc::iovec { iov_base: buffers.block(index).as_mut_ptr().cast(), iov_len: job.block as usize };
        let blocks: Vec<libc::iovec> = (0..usize::from(job.depth)).map(block).collect();
        #[allow(unsafe_code, reason = "registered buffers spare the kernel a look-up of pages for each operation")]
        // SAFETY: each is a part of `buffers`, which does not move and outlives what is under way (see Drop).
        let fixed = match unsafe { ring.submitter().register_buffers(&blocks) } {
            Ok(()) => true,
            Err(error) if matches!(error.raw_os_error(), Some(libc::ENOMEM | libc::EPERM)) => false,
            Err(error) => return Err(error),
        };
        let buffers = ManuallyDrop::new(buffers);
        Ok(Self { ring, buffers, under_way: 0, ticking: false, fixed, block: job.block })
    }

    /// Puts one operation into the queue.
    fn push(&mut self, slot: u16, operation: Operation) -> io::Result<()> {
        let memory = self.buffers.block(usize::from(slot)).as_mut_ptr();
        let (file, offset) = (types::Fixed(0), operation.offset);
        let entry: squeue::Entry = match (operation.is_write, self.fixed) {
            (true, true) => opcode::WriteFixed::new(file, memory, self.block, slot).offset(offset).build(),
            (true, false) => opcode::Write::new(file, memory, self.block).offset(offset).build(),
            (false, true) => opcode::ReadFixed::new(file, memory, self.block, slot).offset(offset).build(),
            (false, false) => opcode::Read::new(file, memory, self.block).offset(offset).build(),
        };
        self.enqueue(&entry.user_data(u64::from(slot)))?;
        self.under_way += 1;
        Ok(())
    }

    fn enqueue(&mut self, entry: &squeue::Entry) -> io::Result<()> {
        #[allow(unsafe_code, reason = "the kernel is told where to read and write")]
        // SAFETY: the block belongs to its slot, the slot has nothing else under way, and the block outlives it (see Drop); the
        // tick's time is a static.
        let pushed = unsafe { self.ring.submission().push(entry) };
        pushed.map_err(|_| io::Error::other("the queue is full"))
    }

    /// Hands over what was pushed: not in batches, since the kernel holds one back until it has all of it, and the disk is without
    /// work meanwhile (at depth 8, 5 to 10 % fewer operations with two at once). What it does not take now, the next wait hands over.
    fn hand_over(&mut self) -> io::Result<()> {
        passing(self.ring.submit())
    }

    /// Hands over what is left of what was pushed, and waits until something has come back, or for a while.
    fn wait(&mut self) -> io::Result<()> {
        if !self.ticking {
            self.enqueue(&opcode::Timeout::new(&raw const PATIENCE).build().user_data(TICK))?;
            self.ticking = true;
        }
        passing(self.ring.submit_and_wait(1))
    }

    /// What has come back: slot and outcome of each.
    fn reap(&mut self, into: &mut Vec<(u16, io::Result<()>)>) {
        for entry in self.ring.completion() {
            if entry.user_data() == TICK {
                self.ticking = false;
                continue;
            }
            self.under_way -= 1;
            let outcome = match entry.result() {
                error if error < 0 => Err(io::Error::from_raw_os_error(-error)),
                short if short.unsigned_abs() < self.block => Err(io::ErrorKind::WriteZero.into()),
                _ => Ok(()),
            };
            into.push((entry.user_data() as u16, outcome));
        }
    }
}

/// An interrupted wait, or a kernel that has its hands full, is no error: the next one goes on.
fn passing(outcome: io::Result<usize>) -> io::Result<()> {
    match outcome.map_err(|error| (error.raw_os_error(), error)) {
        Ok(_) | Err((Some(libc::EINTR | libc::EBUSY | libc::EAGAIN), _)) => Ok(()),
        Err((_, error)) => Err(error),
    }
}

/// Does `work` until `limit` has passed, it is through, or somebody wants an end. `tell` hears the number of
/// operations every second.
pub(super) fn run(
    file: &File,
    job: &Job,
    mut work: Work,
    limit: Duration,
    halt: &Halt,
    tell: &dyn Fn(Duration, u64),
) -> io::Result<Meter> {
    let mut ring = Ring::new(file, job)?;
    let mut slots: Vec<u16> = (0..job.depth).collect();
    let mut back = Vec::with_capacity(slots.len());
    let cpu = meter::cpu() + meter::cpu_of_workers();
    let mut meter = Meter::new(Instant::now());
    let mut handed = vec![meter.began(); slots.len()];
    let (mut told, mut ending, mut failed) = (0, None, None);
    let mut now = meter.began();
    loop {
        let elapsed = now.duration_since(meter.began());
        if ending.is_none() && (elapsed >= limit || halt.is_asked() || failed.is_some()) {
            ending = Some(now);
        }
        if ending.is_none() {
            while let Some(operation) = slots.last().and_then(|_| work.next()) {
                let slot = slots.pop().expect("looked at above");
                if operation.is_write {
                    work.random().stamp(ring.buffers.block(usize::from(slot)));
                }
                handed[usize::from(slot)] = Instant::now();
                ring.push(slot, operation)?;
                ring.hand_over()?;
            }
        }
        if ring.under_way == 0 {
            break;
        }
        if ending.is_some_and(|since| now.duration_since(since) > LAST_CALL) {
            return Err(failed.unwrap_or_else(|| io::ErrorKind::TimedOut.into()));
        }
        ring.wait()?;
        now = Instant::now();
        ring.reap(&mut back);
        for (slot, outcome) in back.drain(..) {
            slots.push(slot);
            match outcome {
                Ok(()) => meter.record(now, now.duration_since(handed[usize::from(slot)])),
                Err(error) => failed = failed.or(Some(error)),
            }
        }
        if elapsed.as_secs() > told {
            told = elapsed.as_secs();
            tell(elapsed, meter.operations());
        }
    }
    meter.spent((meter::cpu() + meter::cpu_of_workers()).saturating_sub(cpu));
    match failed {
        Some(error) => Err(error),
        None => Ok(meter),
    }
}
