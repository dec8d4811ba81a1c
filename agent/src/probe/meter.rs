//! What a job came to: latencies in a histogram (HdrHistogram, three digits), operations in each second, processor time.

use std::{
    fs,
    time::{Duration, Instant},
};

use flytt_proto::v1;
use hdrhistogram::Histogram;
use nix::{
    sys::{
        resource::{UsageWho, getrusage},
        time::TimeValLike as _,
    },
    unistd::gettid,
};

use super::job::Job;

/// Nothing is told apart beyond it; a disk that takes longer for one operation is broken anyway.
const LONGEST: Duration = Duration::from_secs(600);

/// Counts the operations of one thread.
#[derive(Clone, Debug)]
pub(super) struct Meter {
    latencies: Histogram<u64>,
    began: Instant,
    last: Instant,
    per_second: Vec<u64>,
    cpu: Duration,
}

impl Meter {
    /// `began` is common to the threads of one job.
    pub(super) fn new(began: Instant) -> Self {
        let longest = LONGEST.as_nanos() as u64;
        let latencies = Histogram::new_with_bounds(1, longest, 3).expect("bounds and digits that the histogram takes");
        Self { latencies, began, last: began, per_second: Vec::new(), cpu: Duration::ZERO }
    }

    pub(super) fn began(&self) -> Instant {
        self.began
    }

    /// One operation has ended `now`, this long after it was handed over.
    pub(super) fn record(&mut self, now: Instant, latency: Duration) {
        self.latencies.saturating_record(latency.as_nanos() as u64);
        self.last = self.last.max(now);
        let second = now.duration_since(self.began).as_secs() as usize;
        if self.per_second.len() <= second {
            self.per_second.resize(second + 1, 0);
        }
        self.per_second[second] += 1;
    }

    pub(super) fn operations(&self) -> u64 {
        self.latencies.len()
    }

    /// Processor time of the thread that did it, and of those that the kernel started for it.
    pub(super) fn spent(&mut self, cpu: Duration) {
        self.cpu += cpu;
    }

    /// What another thread of the same job counted.
    pub(super) fn add(&mut self, other: &Self) {
        self.latencies.add(&other.latencies).expect("of the same bounds");
        self.last = self.last.max(other.last);
        self.cpu += other.cpu;
        self.per_second.resize(self.per_second.len().max(other.per_second.len()), 0);
        for (ours, theirs) in self.per_second.iter_mut().zip(&other.per_second) {
            *ours += theirs;
        }
    }

    /// Rates are over the time from the beginning to the last operation's end. Only whole seconds stand in the series.
    pub(super) fn result(&self, job: &Job) -> v1::ProbeResult {
        let operations = self.operations();
        let elapsed = self.last.duration_since(self.began);
        let iops = if operations == 0 { 0.0 } else { operations as f64 / elapsed.as_secs_f64().max(1e-9) };
        let us = |ns: u64| (ns + 500) / 1000;
        let at = |quantile: f64| us(self.latencies.value_at_quantile(quantile));
        let whole = (elapsed.as_secs() as usize).min(self.per_second.len());
        v1::ProbeResult {
            job: job.to_string(),
            operations,
            iops,
            mib_s: iops * f64::from(job.block) / f64::from(1 << 20),
            p50_us: at(0.5),
            p99_us: at(0.99),
            p999_us: at(0.999),
            max_us: us(self.latencies.max()),
            per_second: self.per_second[..whole].iter().map(|count| *count as f64).collect(),
            cpu_us_per_io: if operations == 0 { 0.0 } else { self.cpu.as_secs_f64() * 1e6 / operations as f64 },
        }
    }
}

/// Processor time of this thread so far: getrusage(2), user and system.
pub(super) fn cpu() -> Duration {
    let Ok(usage) = getrusage(UsageWho::RUSAGE_THREAD) else { return Duration::ZERO };
    let us = usage.user_time().num_microseconds() + usage.system_time().num_microseconds();
    Duration::from_micros(us.try_into().unwrap_or(0))
}

/// That of the threads to which the kernel has handed operations of this thread's rings that would have blocked it. They bear its
/// number (`iou-wrk-4711`) and count for the process alone. The first number of `schedstat` is nanoseconds on a processor, proc(5).
pub(super) fn cpu_of_workers() -> Duration {
    let name = format!("iou-wrk-{}", gettid());
    let threads = fs::read_dir("/proc/self/task").into_iter().flatten().flatten().map(|thread| thread.path());
    let ours = threads.filter(|thread| fs::read_to_string(thread.join("comm")).is_ok_and(|comm| comm.trim_end() == name));
    let used =
        ours.filter_map(|thread| fs::read_to_string(thread.join("schedstat")).ok()?.split(' ').next()?.parse::<u64>().ok());
    Duration::from_nanos(used.sum())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_result_is_what_was_counted() {
        let began = Instant::now();
        let (mut meter, mut other) = (Meter::new(began), Meter::new(began));
        for n in 1..=1000_u64 {
            let now = began + Duration::from_millis(2 * n);
            if n % 2 == 0 { &mut meter } else { &mut other }.record(now, Duration::from_micros(n));
        }
        meter.spent(Duration::from_millis(3));
        other.spent(Duration::from_millis(2));
        meter.add(&other);
        let result = meter.result(&"randwrite-4k-qd2".parse().unwrap());
        assert_eq!((result.operations, result.max_us), (1000, 1000));
        assert!((result.iops - 500.0).abs() < 1.0 && (result.mib_s - 500.0 / 256.0).abs() < 0.01, "{result:?}");
        assert!((498..=502).contains(&result.p50_us) && (988..=992).contains(&result.p99_us), "{result:?}");
        assert_eq!(result.per_second, [499.0, 500.0]);
        assert!((result.cpu_us_per_io - 5.0).abs() < 1e-9);
        assert_eq!(Meter::new(began).result(&"commit-8k".parse().unwrap()).iops, 0.0);
    }

    #[test]
    fn a_busy_thread_uses_its_processor() {
        let before = cpu();
        let begun = Instant::now();
        while cpu() == before {
            assert!(begun.elapsed() < Duration::from_secs(20), "no processor time is counted");
        }
    }

    #[test]
    fn what_the_kernels_threads_do_for_us_counts() {
        use io_uring::{IoUring, opcode, squeue::Flags, types};
        use std::os::fd::AsRawFd as _;

        let Ok(mut ring) = IoUring::new(2) else { return };
        let (random, mut into) = (fs::File::open("/dev/urandom").unwrap(), vec![0_u8; 1 << 20]);
        assert_eq!(cpu_of_workers(), Duration::ZERO, "nothing was handed to any");
        let begun = Instant::now();
        while cpu_of_workers() < Duration::from_millis(1) {
            let read = opcode::Read::new(types::Fd(random.as_raw_fd()), into.as_mut_ptr(), 1 << 20).build().flags(Flags::ASYNC);
            #[allow(unsafe_code, reason = "the kernel is told where to read to")]
            // SAFETY: waited for below, before anybody else looks at the buffer.
            unsafe { ring.submission().push(&read) }.unwrap();
            ring.submit_and_wait(1).unwrap();
            assert_eq!(ring.completion().map(|done| done.result() > 0).collect::<Vec<_>>(), [true]);
            assert!(begun.elapsed() < Duration::from_secs(20), "their time is not counted");
        }
    }
}
