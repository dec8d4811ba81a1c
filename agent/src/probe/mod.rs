//! What a disk sustains, measured by our own O_DIRECT engine: on io_uring, or on plain system calls where that is refused.
//! What is measured, and whether that is enough, is for others to say.

mod calls;
mod data;
mod ground;
mod halt;
mod job;
mod kept;
mod meter;
mod priority;
mod raw;
mod ring;
mod watch;

use std::{
    io,
    path::PathBuf,
    thread,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use bytesize::ByteSize;
use flytt_proto::{failure::Failure, v1};
use nix::libc;
use tokio::sync::oneshot;

pub use job::{COMMITS, Job, RANDOM_WRITES};
pub use kept::last;

use crate::device;
use ground::{Ground, Limits};
use halt::{Halt, Presence, Reason};
use job::Work;
use watch::{Judge, Watch};

/// Of each job, where nobody says otherwise.
const USUAL_SECONDS: u32 = 5;
const MAX_SECONDS: u32 = 600;
/// On a host that serves, a commit probe needs no more.
const GENTLE_BYTES: u64 = 64 << 20;
/// How often somebody looks whether the host suffers.
const LOOK: Duration = Duration::from_millis(100);

/// Where to measure.
#[derive(Clone, Debug)]
pub enum Place {
    /// In an unnamed file on the file system of this directory (which may be still to be made). The report is kept in
    /// the agent's directory `state`.
    Under { directory: PathBuf, state: Option<PathBuf> },
    /// A whole disk without a file system; `again` must be the same.
    Raw { device: String, again: String },
}

/// What is asked for.
#[derive(Clone, Debug)]
pub struct Ask {
    pub place: Place,
    /// 0 = min(1 GiB, 5 % of what is free).
    pub file_bytes: u64,
    /// Of each job; 0 = the usual.
    pub seconds: u32,
    /// Empty = the usual ones.
    pub jobs: Vec<Job>,
    /// A server is up on this host: idle priority, a watch beside it, and this share of the file system (percent) stays free.
    pub serving: Option<u8>,
    /// Only what a commit costs, in a small file.
    pub gently: bool,
}

/// Measures. Dropping the future ends it at once, on a thread of its own; `hold` is let go of when nothing is left of it.
///
/// # Errors
/// `NO_DIRECT_IO`, `NO_UNNAMED_FILE`, `PROBE_…` and `RAW_…` as in docs/errors.md; none leaves anything behind.
pub async fn run(
    ask: Ask,
    hold: impl Send + 'static,
    tell: impl Fn(v1::Progress) + Send + 'static,
) -> Result<v1::ProbeReport, Failure> {
    let halt = Halt::default();
    let _presence = Presence(halt.clone());
    let (judge_sender, judge) = oneshot::channel();
    let (sender, mut done) = oneshot::channel();
    let work = {
        let halt = halt.clone();
        move || {
            let result = Probe { ask: &ask, halt: &halt, tell: &tell, judge: Some(judge_sender) }.measure();
            drop(hold);
            let _ = sender.send(result);
        }
    };
    thread::Builder::new().name("probe".into()).spawn(work).map_err(|error| {
        Failure::refused("PROBE_FAILED", format!("no thread can be started: {error}"), "see the limits of the agent's unit")
    })?;
    let looking = async {
        let Ok(judge) = judge.await else { return std::future::pending().await };
        loop {
            tokio::time::sleep(LOOK).await;
            if let Some(why) = Judge::verdict(&judge, Instant::now()) {
                halt.ask(Reason::HostFirst(why));
            }
        }
    };
    tokio::select! {
        result = &mut done => result.unwrap_or_else(|_| {
            Err(Failure::refused("PROBE_FAILED", "the probe's thread has died", "see the agent's log, and report it"))
        }),
        () = looking => unreachable!("it looks for ever"),
    }
}

struct Probe<'a> {
    ask: &'a Ask,
    halt: &'a Halt,
    tell: &'a dyn Fn(v1::Progress),
    judge: Option<oneshot::Sender<Judge>>,
}

/// What does the work.
enum Engine {
    Ring,
    Calls,
}

impl Probe<'_> {
    /// All of it, on one thread from beginning to end.
    fn measure(mut self) -> Result<v1::ProbeReport, Failure> {
        let jobs = if self.ask.jobs.is_empty() { Job::usual(self.ask.gently) } else { self.ask.jobs.clone() };
        let seconds = match self.ask.seconds {
            0 => USUAL_SECONDS,
            more => more.min(MAX_SECONDS),
        };
        match &self.ask.place {
            Place::Under { directory, state } => {
                let place = ground::nearest(directory);
                let under = device::under(directory);
                let at_most = if self.ask.gently { GENTLE_BYTES } else { u64::MAX };
                let limits = Limits { wanted: self.ask.file_bytes, at_most, keep_free: self.ask.serving };
                // Before the large file is there: it tells what is usual.
                let watch = self.ask.serving.map(|_| Watch::begin(&place, self.halt)).transpose()?;
                if let (Some(watch), Some(sender)) = (&watch, self.judge.take()) {
                    let _ = sender.send(watch.judge());
                    priority::idle();
                }
                let ground = Ground::unnamed(&place, under.is_ok(), limits)?;
                let device = under
                    .map(|under| under.facts)
                    .unwrap_or_else(|_| v1::Device { path: directory.to_string_lossy().into_owned(), ..v1::Device::default() });
                let report = self.jobs(&ground, &jobs, seconds, device)?;
                if let Some(state) = state {
                    kept::keep(state, &report)?;
                }
                Ok(report)
            }
            Place::Raw { device, again } => {
                let disk = raw::Disk::open(device, again, self.ask.file_bytes)?;
                let facts = v1::Device { path: device.clone(), ..device::facts(&disk.name) };
                self.jobs(&disk.ground, &jobs, seconds, facts)
            }
        }
    }

    fn jobs(&self, ground: &Ground, jobs: &[Job], seconds: u32, device: v1::Device) -> Result<v1::ProbeReport, Failure> {
        for job in jobs {
            self.fits(ground, job)?;
        }
        let (engine, way) = match ring::offered() {
            Ok(()) => (Engine::Ring, "io_uring".to_owned()),
            Err(error) => (Engine::Calls, format!("pread/pwrite: io_uring is refused ({error})")),
        };
        let limit = Duration::from_secs(seconds.into());
        let fill = Job::fill();
        let filled = |_, operations: u64| {
            let bytes = operations * u64::from(fill.block);
            self.say(bytes, ground.bytes, format!("writing once: {} of {}", ByteSize(bytes), ByteSize(ground.bytes)));
        };
        // A thin or sparse device flatters as long as it has nothing to look up.
        let once = Work::once(&fill, ground.base, ground.bytes);
        let filled = engine.run(ground, &fill, once, Duration::MAX, self.halt, &filled).and_then(|_| ground.file.sync_all());
        filled.map_err(|error| broken(&error, "the file is written once"))?;
        let mut results = Vec::new();
        for job in jobs {
            if self.halt.is_asked() {
                break;
            }
            let told = |elapsed: Duration, operations: u64| {
                let (second, iops) = (elapsed.as_secs(), operations as f64 / elapsed.as_secs_f64());
                self.say(0, 0, format!("{job}: {iops:.0} a second, {second} of {seconds} s"));
            };
            let work = Work::endless(job, ground.base, ground.bytes);
            let meter =
                engine.run(ground, job, work, limit, self.halt, &told).map_err(|error| broken(&error, &job.to_string()))?;
            results.push(meter.result(job));
        }
        let stopped = match self.halt.reason() {
            Some(Reason::Cancelled) => return Err(halt::cancelled()),
            Some(Reason::HostFirst(why)) => why.clone(),
            None => String::new(),
        };
        let at_ms = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis().try_into().unwrap_or(i64::MAX);
        Ok(v1::ProbeReport { device: Some(device), at_ms, way, file_bytes: ground.bytes, results, stopped })
    }

    fn fits(&self, ground: &Ground, job: &Job) -> Result<(), Failure> {
        if job.block.is_multiple_of(ground.align) && u64::from(job.block) <= ground.bytes {
            return Ok(());
        }
        let sentence =
            format!("{job} does not fit: blocks here are multiples of {} bytes, and {} in all", ground.align, ground.bytes);
        Err(Failure::refused("PROBE_JOB", sentence, "ask for another block size"))
    }

    fn say(&self, done: u64, total: u64, text: String) {
        (self.tell)(v1::Progress { done, total, rate: 0.0, eta_seconds: -1.0, text, rows: 0 });
    }
}

impl Engine {
    fn run(
        &self,
        ground: &Ground,
        job: &Job,
        work: Work,
        limit: Duration,
        halt: &Halt,
        tell: &dyn Fn(Duration, u64),
    ) -> io::Result<meter::Meter> {
        match self {
            Self::Ring if !job.is_commit() => ring::run(&ground.file, job, work, limit, halt, tell),
            Self::Ring | Self::Calls => calls::run(&ground.file, job, work, limit, halt, tell),
        }
    }
}

/// What goes wrong once it is measured is the disk's.
fn broken(error: &io::Error, doing: &str) -> Failure {
    let code = match error.raw_os_error() {
        Some(libc::ENOSPC) => "PROBE_NO_SPACE",
        Some(libc::EDQUOT) => "PROBE_QUOTA",
        _ => "PROBE_FAILED",
    };
    let sentence = format!("the disk fails the probe ({doing}): {error}");
    Failure::refused(
        code,
        sentence,
        "look at the disk and at `dmesg` on that host before anything is moved there; nothing is left of the probe",
    )
}
