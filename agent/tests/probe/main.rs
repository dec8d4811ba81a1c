//! The probe on real disks: what it measures, what it refuses, and that nothing is left of it whatever happens.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on ends there")]

mod raw;
mod volume;

use std::{
    fs,
    path::Path,
    process::{Child, Stdio},
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use flytt_agent::probe::{self, Ask, COMMITS, Place, RANDOM_WRITES};
use flytt_proto::{
    failure::{Effect, Failure},
    v1,
};
use volume::{Slow, Volume, command, must};

const MIB: u64 = 1 << 20;
const LONG: Duration = Duration::from_secs(60);

pub(crate) fn ask(place: Place, seconds: u32, jobs: &[&str]) -> Ask {
    let jobs = jobs.iter().map(|name| name.parse().unwrap()).collect();
    Ask { place, file_bytes: 32 * MIB, seconds, jobs, serving: None, gently: false }
}

fn under(directory: &Path) -> Place {
    Place::Under { directory: directory.to_owned(), state: None }
}

pub(crate) fn measure(ask: Ask) -> Result<v1::ProbeReport, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async { tokio::time::timeout(LONG, probe::run(ask, (), |_| {})).await.expect("it ends") })
}

fn refused(ask: Ask) -> Failure {
    let failure = measure(ask).unwrap_err();
    assert_eq!(failure.effect, Effect::None, "{failure}");
    failure
}

fn until(what: &str, is: impl Fn() -> bool) {
    let begun = Instant::now();
    while !is() {
        assert!(begun.elapsed() < LONG, "{what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

#[test]
fn every_kind_of_job_is_measured() {
    let volume = Volume::new("ext4", 300);
    let (free, state) = (volume.free(), tempfile::tempdir().unwrap());
    let jobs = [RANDOM_WRITES, "randread-4k-qd8", "randrw-8k-qd4", "write-1m-qd2", "read-64k-qd1", "rw-16k-qd2", COMMITS];
    let place = Place::Under { directory: volume.path().join("to/be/made"), state: Some(state.path().to_owned()) };
    let report = measure(ask(place, 2, &jobs)).unwrap();

    assert_eq!(report.way, "io_uring");
    assert_eq!((report.file_bytes, report.stopped.as_str()), (32 * MIB, ""));
    let device = report.device.clone().unwrap();
    assert_eq!(device.file_system, "ext4");
    assert!(device.through.iter().any(|name| Path::new("/dev").join(name) == volume.disk.path), "{device:?}");
    assert!(device.free_bytes <= free && device.size_bytes > free, "{device:?}");
    assert_eq!(report.results.iter().map(|result| result.job.as_str()).collect::<Vec<_>>(), jobs);
    for result in &report.results {
        assert!(result.operations > 0 && result.iops > 0.0 && result.mib_s > 0.0, "{result:?}");
        let times = [result.p50_us, result.p99_us, result.p999_us, result.max_us];
        assert!(times[0] > 0 && times.is_sorted(), "{result:?}");
        assert!(result.per_second.len() >= 2 && result.cpu_us_per_io > 0.0, "{result:?}");
        // By Little's law no more than the depth was under way on average.
        let depth: f64 = result.job.rsplit_once("qd").map_or(1.0, |(_, depth)| depth.parse().unwrap());
        assert!(result.iops * result.p50_us as f64 / 1e6 <= depth * 2.0, "{result:?}");
    }
    let kept = probe::last(state.path()).unwrap();
    assert_eq!((kept.at_ms, kept.results.len(), kept.device), (report.at_ms, jobs.len(), report.device));
    assert_eq!(volume.free(), free, "the space is back");
    volume.end();
}

#[test]
fn on_a_host_that_serves_only_commits_and_little_room() {
    let volume = Volume::new("ext4", 2200);
    let asked = Ask { file_bytes: 0, serving: Some(10), gently: true, ..ask(under(volume.path()), 1, &[]) };
    let report = measure(asked).unwrap();
    assert_eq!(report.file_bytes, 64 * MIB);
    let measured: Vec<_> = report.results.iter().map(|result| result.job.as_str()).collect();
    // A machine that is busy otherwise may have suffered before the first of them.
    assert!(measured == [COMMITS] || !report.stopped.is_empty(), "{report:?}");
    volume.end();
}

#[test]
fn memory_is_not_measured() {
    let directory = tempfile::tempdir_in("/dev/shm").unwrap();
    let failure = refused(ask(under(directory.path()), 1, &[]));
    assert_eq!(failure.code, "NO_DIRECT_IO");
}

#[test]
fn a_read_only_file_system() {
    let volume = Volume::new("ext4", 100);
    must("mount", &["-o", "remount,ro", &volume.text()]);
    assert_eq!(refused(ask(under(volume.path()), 1, &[])).code, "PROBE_READ_ONLY");
    volume.end();
}

#[test]
fn a_file_system_that_is_nearly_full() {
    let volume = Volume::new("ext4", 300);
    volume.fill_up_to(40);
    let free = volume.free();
    let failure = refused(Ask { file_bytes: 0, ..ask(under(volume.path()), 1, &[]) });
    assert!(failure.code == "PROBE_NO_SPACE" && failure.sentence.contains("tell nothing"), "{failure}");
    let failure = refused(ask(under(volume.path()), 1, &[]));
    assert!(failure.code == "PROBE_NO_SPACE" && failure.sentence.contains("half"), "{failure}");
    let asked = Ask { file_bytes: 17 * MIB, serving: Some(10), ..ask(under(volume.path()), 1, &[]) };
    let failure = refused(asked);
    assert!(failure.code == "PROBE_NO_SPACE" && failure.sentence.contains("10 %"), "{failure}");
    assert_eq!(volume.free(), free);
    // What fits goes through.
    measure(Ask { file_bytes: 17 * MIB, ..ask(under(volume.path()), 1, &[COMMITS]) }).unwrap();
    volume.end();
}

#[test]
fn a_disk_that_breaks_while_it_is_measured() {
    for (kind, job) in [("xfs", RANDOM_WRITES), ("xfs", COMMITS), ("ext4", "randrw-4k-qd8")] {
        let volume = Volume::new(kind, 320);
        let told = Arc::new(Mutex::new(String::new()));
        let hear = told.clone();
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let probing = runtime.spawn(probe::run(ask(under(volume.path()), 50, &[job]), (), move |progress| {
            *hear.lock().unwrap() = progress.text;
        }));
        until("it measures", || told.lock().unwrap().starts_with(job));
        // As a power cut would: nothing that is not on the disk yet gets there.
        must("xfs_io", &["-x", if kind == "xfs" { "-r" } else { "-F" }, "-c", "shutdown", &volume.text()]);
        let failure = runtime.block_on(async { tokio::time::timeout(LONG, probing).await.unwrap().unwrap() }).unwrap_err();
        assert_eq!((failure.code.as_str(), failure.effect), ("PROBE_FAILED", Effect::None), "{failure}");
        assert!(failure.sentence.contains(job) && failure.sentence.contains("Input/output error"), "{failure}");
        volume.end();
    }
}

#[test]
fn cancelled_at_any_moment() {
    let volume = Volume::new("ext4", 300);
    let free = volume.free();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    for (turn, ms) in [0, 1, 3, 10, 30, 100, 300, 1100, 1300, 2500].into_iter().enumerate() {
        let (hold, mut held) = tokio::sync::oneshot::channel::<()>();
        let serving = (turn % 2 == 0).then_some(1);
        let asked = Ask { serving, ..ask(under(volume.path()), 100, &["randwrite-4k-qd32", COMMITS]) };
        runtime.block_on(async {
            let probing = probe::run(asked, hold, |_| {});
            tokio::time::timeout(Duration::from_millis(ms), probing).await.expect_err("it takes longer than that");
            // What it holds is let go of when nothing is left of it.
            tokio::time::timeout(LONG, &mut held).await.expect("it ends by itself").unwrap_err();
        });
        until("the space is back", || volume.free() == free);
    }
    volume.end();
}

/// The agent's own program, measuring there.
fn agent(directory: &Path, more: &[&str]) -> Vec<String> {
    let program = env!("CARGO_BIN_EXE_flytt-agent").to_owned();
    let fixed = ["probe".to_owned(), directory.display().to_string(), "--bytes".to_owned(), (32 * MIB).to_string()];
    [program].into_iter().chain(fixed).chain(more.iter().map(ToString::to_string)).collect()
}

struct Ends(Child);

impl Drop for Ends {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn an_agent_that_is_killed_leaves_nothing() {
    let volume = Volume::new("ext4", 300);
    let free = volume.free();
    let line = agent(volume.path(), &["--seconds", "50", "--job", "randwrite-4k-qd32"]);
    for ms in [0, 200, 1500] {
        let mut child = Ends(command(&line[0]).args(&line[1..]).stdout(Stdio::null()).spawn().unwrap());
        until("its file is there", || volume.free() + 30 * MIB < free);
        std::thread::sleep(Duration::from_millis(ms));
        child.0.kill().unwrap();
        child.0.wait().unwrap();
        let names: Vec<_> = fs::read_dir(volume.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(names, ["lost+found"]);
        until("the space is back", || volume.free() == free);
    }
    volume.end();
}

/// Sets a seccomp filter that refuses a system call with an error, and becomes the program. Its arguments are the call's numbers
/// on x86-64 and on aarch64, the error's number, and the program's line.
const REFUSING: &str = r#"
my $arm = `uname -m` =~ /aarch64/;
my ($prctl, $seccomp) = $arm ? (167, 277) : (157, 317);
my ($intel, $other, $error) = splice @ARGV, 0, 3;
my $filter = pack("SCCL" x 4, 0x20,0,0,0, 0x15,0,1,$arm ? $other : $intel, 0x06,0,0,0x00050000 + $error, 0x06,0,0,0x7fff0000);
my $program = pack("S x6 P", 4, $filter);
syscall($prctl, 38, 1, 0, 0, 0) == 0 or die "prctl: $!";
syscall($seccomp, 1, 0, $program) == 0 or die "seccomp: $!";
exec @ARGV or die;
"#;

#[test]
fn where_io_uring_is_refused_threads_do_it() {
    let volume = Volume::new("ext4", 300);
    let line = agent(volume.path(), &["--seconds", "1", "--job", "randwrite-4k-qd8", "--job", "randrw-8k-qd3", "--job", COMMITS]);
    // io_uring_setup has the same number everywhere; a container's filter says EPERM.
    let output = command("perl").args(["-e", REFUSING, "425", "425", "1"]).args(&line).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let report: v1::ProbeReport = serde_json::from_slice(&output.stdout).unwrap();
    assert!(report.way.starts_with("pread/pwrite: io_uring is refused (Operation not permitted"), "{}", report.way);
    assert!(report.results.len() == 3 && report.results.iter().all(|result| result.operations > 0), "{report:?}");
    volume.end();
}

/// The code by which the agent's program ends, where it must end so.
fn refused_as(mut line: std::process::Command) -> String {
    let output = line.output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success() && output.stdout.is_empty(), "{output:?}");
    said
}

/// Quotas in the words of the kernel: EDQUOT, once when room is reserved and once when it is written to.
#[test]
fn a_quota_that_is_used_up() {
    let volume = Volume::new("ext4", 300);
    let free = volume.free();
    for [intel, other] in [["285", "47"], ["18", "68"]] {
        let mut perl = command("perl");
        perl.args(["-e", REFUSING, intel, other, "122"]).args(agent(volume.path(), &["--seconds", "1"]));
        let said = refused_as(perl);
        assert!(said.contains("PROBE_QUOTA") && said.contains("--size"), "{said}");
        until("the space is back", || volume.free() == free);
    }
    volume.end();
}

#[test]
fn a_directory_of_somebody_else() {
    use std::os::unix::process::CommandExt as _;
    let volume = Volume::new("ext4", 300);
    // Where it is built, the program need not be one that everybody may reach.
    let place = tempfile::tempdir_in("/tmp").unwrap();
    fs::set_permissions(place.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let program = place.path().join("flytt-agent");
    fs::copy(env!("CARGO_BIN_EXE_flytt-agent"), &program).unwrap();
    let mut as_nobody = command(&program.display().to_string());
    as_nobody.args(&agent(volume.path(), &["--seconds", "1"])[1..]).uid(65534).gid(65534).current_dir("/");
    let said = refused_as(as_nobody);
    assert!(said.contains("PROBE_DENIED") && said.contains("the database's own user"), "{said}");
    volume.end();
}

/// As on NFS, or vfat.
#[test]
fn a_file_system_without_unnamed_files() {
    assert_eq!(refused(ask(under(Path::new("/sys")), 1, &[])).code, "NO_UNNAMED_FILE");
}

#[test]
fn a_probe_ends_when_the_host_suffers() {
    // Room for the slow disk's own journal, too.
    let volume = Volume::new("ext4", 1100);
    let slow = Slow::this_thread(&volume.disk, 150);
    let asked = Ask { serving: Some(10), ..ask(under(volume.path()), 50, &["randwrite-4k-qd64", COMMITS]) };
    let begun = Instant::now();
    let report = measure(asked).unwrap();
    assert!(report.stopped.starts_with("the host comes first: "), "{report:?}");
    assert!(begun.elapsed() < Duration::from_secs(45), "{:?}", begun.elapsed());
    assert!(report.results.len() <= 1, "nothing is begun after that: {report:?}");
    drop(slow);
    volume.end();
}
