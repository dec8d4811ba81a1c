//! Two programs that measure one disk: the agent's probe, and fio. Each does one job in a directory of its own, with a file of
//! the same size that was written once from end to end. What the figures mean is for whoever asked.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use flytt_proto::failure::Failure;
use nix::sys::{
    resource::{UsageWho, getrusage},
    time::TimeValLike as _,
};
use serde_json::Value;

use super::{agent_beside_us, place::Place, programs, spawn::Program};

const FIO: &str = "/usr/bin/fio";
/// Beyond the job's own time.
const LIMIT: Duration = Duration::from_secs(120);

/// A directory for their files; gone with this value.
#[derive(Debug)]
pub struct Disk {
    directory: PathBuf,
    agent: PathBuf,
    bytes: u64,
    place: Place,
}

impl Disk {
    /// Below `base`, with files of `bytes`.
    ///
    /// # Errors
    /// `PROGRAM_MISSING`, `STAGE_…`.
    pub fn new(base: &Path, bytes: u64) -> Result<Self, Failure> {
        if !Path::new(FIO).is_file() {
            return Err(programs::missing("fio", Path::new(FIO)));
        }
        let place = Place::new(base)?;
        let directory = place.directory("disk", 0o700, Some(place.account()))?;
        let agent = place.executable(&agent_beside_us()?, "flytt-agent")?;
        Ok(Self { directory, agent, bytes, place })
    }

    /// What our probe says of one job, as its report has it.
    pub async fn probe(&self, job: &str, time: Duration) -> Result<Value, Failure> {
        let (seconds, bytes) = (time.as_secs().to_string(), self.bytes.to_string());
        let directory = self.directory.display().to_string();
        let arguments = ["probe", &directory, "--seconds", &seconds, "--bytes", &bytes, "--job", job];
        let said = self.run(&self.agent, &arguments, time).await?;
        let report: Value = serde_json::from_str(&said).unwrap_or_default();
        Ok(report["results"][0].clone())
    }

    /// What fio says of one job, as `jobs[0]` of its JSON, and the processor time of its processes with all their threads. Its
    /// file is made anew and written once before, as ours is: a disk is still busy with that for a while, and must be so for both.
    pub async fn fio(&self, job: &[&str], time: Duration) -> Result<(Value, Duration), Failure> {
        self.lay_out().await?;
        let runtime = format!("--runtime={}", time.as_secs());
        let more = [runtime.as_str(), "--time_based", "--overwrite=1", "--unlink=1"];
        let before = cpu_of_children();
        let said = self.run_fio(&[job, &more].concat(), time).await?;
        Ok((said, cpu_of_children().saturating_sub(before)))
    }

    /// The processor time that fio needs for a job before its first operation.
    pub async fn fio_start(&self, job: &[&str]) -> Result<Duration, Failure> {
        self.lay_out().await?;
        let before = cpu_of_children();
        self.run_fio(&[job, &["--number_ios=1", "--overwrite=1", "--unlink=1"]].concat(), Duration::ZERO).await?;
        Ok(cpu_of_children().saturating_sub(before))
    }

    async fn lay_out(&self) -> Result<(), Failure> {
        let whole = ["--rw=write", "--bs=1m", "--iodepth=4", "--end_fsync=1", "--ioengine=io_uring"];
        self.run_fio(&whole, Duration::ZERO).await.map(drop)
    }

    async fn run_fio(&self, job: &[&str], time: Duration) -> Result<Value, Failure> {
        let file = format!("--filename={}/fio", self.directory.display());
        let size = format!("--size={}", self.bytes);
        // Percentiles from the moment when an operation is handed over, as ours: fio's usual ones leave that call out.
        let fixed = ["--name=bench", "--direct=1", "--output-format=json", "--lat_percentiles=1"];
        let more = [file.as_str(), size.as_str(), "--randrepeat=0"];
        let arguments: Vec<&str> = fixed.iter().chain(&more).chain(job).copied().collect();
        let said = self.run(Path::new(FIO), &arguments, time).await?;
        // Its notes stand before the JSON.
        let whole: Value = said.find('{').and_then(|at| serde_json::from_str(&said[at..]).ok()).unwrap_or_default();
        Ok(whole["jobs"][0].clone())
    }

    async fn run(&self, program: &Path, arguments: &[&str], time: Duration) -> Result<String, Failure> {
        let arguments = arguments.iter().map(Into::into).collect();
        let (account, stage) = (self.place.account().clone(), self.place.path().to_owned());
        Program { path: program.to_owned(), arguments, account, stage }.run("", time + LIMIT).await
    }
}

/// Of all children that have ended and were waited for: getrusage(2), user and system. One is at work at a time here.
fn cpu_of_children() -> Duration {
    let Ok(usage) = getrusage(UsageWho::RUSAGE_CHILDREN) else { return Duration::ZERO };
    let us = usage.user_time().num_microseconds() + usage.system_time().num_microseconds();
    Duration::from_micros(us.try_into().unwrap_or(0))
}
