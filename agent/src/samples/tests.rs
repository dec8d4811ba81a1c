//! The sampler on this machine, and its numbers beside those of iostat.

#![allow(clippy::disallowed_methods, reason = "a test starts iostat, and fio against a device of its own")]

use std::process::{Command, Stdio};

use flytt_proto::v1::sample::Disk;

use super::{snapshot::Snapshot, *};

/// A loop device over a file, gone with the test.
struct Loop {
    name: String,
    _file: tempfile::NamedTempFile,
}

impl Loop {
    fn new() -> Self {
        let file = tempfile::NamedTempFile::new().unwrap();
        file.as_file().set_len(256 << 20).unwrap();
        let made = Command::new("losetup").args(["-f", "--show"]).arg(file.path()).output().unwrap();
        assert!(made.status.success(), "{made:?}");
        let path = String::from_utf8(made.stdout).unwrap();
        Self { name: path.trim().trim_start_matches("/dev/").to_owned(), _file: file }
    }

    /// Every kind of request: random and sequential (which merges), written and read, flushed, discarded. Until it is done.
    fn load(&self) {
        let mut fio = Command::new("fio");
        fio.args([format!("--filename=/dev/{}", self.name), "--direct=1".into(), "--output=/dev/null".into()]);
        fio.args(["--ioengine=libaio", "--bs=4k", "--time_based", "--runtime=2", "--size=128m"]);
        fio.args(["--name=mixed", "--rw=randrw", "--iodepth=4", "--fdatasync=16"]);
        fio.args(["--name=rows", "--rw=rw", "--iodepth=32", "--iodepth_batch_submit=16", "--stonewall"]);
        fio.args(["--name=trim", "--rw=randtrim", "--offset=128m", "--rate_iops=200", "--stonewall"]);
        assert!(fio.status().unwrap().success());
    }
}

impl Drop for Loop {
    fn drop(&mut self) {
        let _ = Command::new("losetup").args(["-d", &format!("/dev/{}", self.name)]).status();
    }
}

/// What `iostat` says of a device over its one interval, by its names of columns; and of the processors.
fn iostat(output: &[u8]) -> (serde_json::Value, serde_json::Value) {
    let all: serde_json::Value = serde_json::from_slice(output).unwrap();
    let mut interval = all["sysstat"]["hosts"][0]["statistics"][0].clone();
    (interval["disk"][0].take(), interval["avg-cpu"].take())
}

/// Which columns differ by more than iostat's rounding to hundredths. Totals are compared: `ours` over its own interval, and
/// iostat's over `length`.
fn mismatches(ours: &Disk, seconds: f64, theirs: &serde_json::Value, length: f64) -> Vec<String> {
    let rates = [
        ("r/s", ours.r_s),
        ("w/s", ours.w_s),
        ("d/s", ours.d_s),
        ("f/s", ours.f_s),
        ("rMB/s", ours.r_mb_s),
        ("wMB/s", ours.w_mb_s),
        ("dMB/s", ours.d_mb_s),
        ("rrqm/s", ours.rrqm_s),
        ("wrqm/s", ours.wrqm_s),
        ("drqm/s", ours.drqm_s),
        ("aqu-sz", ours.aqu_sz),
        ("util", ours.util),
    ];
    // A wait is a mean over the same requests, however long either looked.
    let waits = [("r_await", ours.r_await), ("w_await", ours.w_await), ("d_await", ours.d_await), ("f_await", ours.f_await)];
    let rounding = 0.005;
    let mut found = Vec::new();
    for (column, rate) in rates {
        let (ours, theirs) = (rate * seconds, theirs[column].as_f64().unwrap() * length);
        // The length itself is known as well as one rounded rate of thousands is.
        if (ours - theirs).abs() > rounding * length + ours * 1e-5 {
            found.push(format!("{column}: {ours} and {theirs}"));
        }
    }
    for (column, ours) in waits {
        let theirs = theirs[column].as_f64().unwrap();
        if (ours - theirs).abs() > rounding * 1.01 {
            found.push(format!("{column}: {ours} and {theirs}"));
        }
    }
    found
}

/// Our two snapshots stand around iostat's, and the load lies within both: nothing happens to the device at the edges.
#[test]
fn every_column_is_iostats() {
    if !nix::unistd::geteuid().is_root() {
        return;
    }
    let device = Loop::new();
    // iostat, like us, lists what was used.
    let touched =
        Command::new("dd").args(["of=/dev/null", "count=1", "status=none", &format!("if=/dev/{}", device.name)]).status();
    assert!(touched.unwrap().success());
    let mut reader = Reader::new();
    let before = reader.take();
    let child = Command::new("iostat")
        .args(["-mxy", "-o", "JSON", &device.name, "12", "1"])
        .env("LC_ALL", "C")
        .env("S_TIME_FORMAT", "ISO")
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    std::thread::sleep(Duration::from_secs(1));
    device.load();
    let output = child.wait_with_output().unwrap();
    let after = reader.take();
    let sample = interval::between(&before, &after, &[]).unwrap();
    let (disk, cpu) = iostat(&output.stdout);
    let ours = sample.disks.iter().find(|disk| disk.name == device.name).unwrap();

    // How long iostat looked follows from one column; that it looked within our interval is the first thing to hold.
    let length = ours.w_s * sample.seconds / disk["w/s"].as_f64().unwrap();
    // Its clock, /proc/uptime, has hundredths.
    assert!((11.98..=sample.seconds + 0.02).contains(&length), "{length} s of {} s", sample.seconds);
    assert_eq!(mismatches(ours, sample.seconds, &disk, length), Vec::<String>::new(), "{disk} {ours:?}");
    for (column, number) in [
        ("r/s", ours.r_s),
        ("d/s", ours.d_s),
        ("f/s", ours.f_s),
        ("wrqm/s", ours.wrqm_s),
        ("f_await", ours.f_await),
        ("util", ours.util),
    ] {
        assert!(number > 0.0, "the load has none of {column}: {ours:?}");
    }
    // The comparison sees it when one column is off by a hundredth of itself and one of its unit.
    let mut wrong = ours.clone();
    for column in 0..columns::disk(&mut wrong).len() {
        let mut wrong = ours.clone();
        let number = &mut *columns::disk(&mut wrong)[column];
        *number = *number * 1.01 + 0.02;
        assert_eq!(mismatches(&wrong, sample.seconds, &disk, length).len(), 1, "column {column}");
    }

    // Processors have no quiet edges: what we saw and iostat did not may have been anything.
    let edge = (sample.seconds - length) / sample.seconds * 100.0 + 0.5;
    let own = sample.cpu.unwrap();
    for (column, ours) in [
        ("user", own.user),
        ("nice", own.nice),
        ("system", own.system),
        ("iowait", own.iowait),
        ("steal", own.steal),
        ("idle", own.idle),
    ] {
        let theirs = cpu[column].as_f64().unwrap();
        assert!((ours - theirs).abs() <= edge, "{column}: {ours} and {theirs}, edge {edge}");
    }
}

/// A disk in memory that can be unplugged, gone with the test.
struct Plugged(String);

impl Plugged {
    const CONTROL: &str = "/sys/class/zram-control";

    fn new() -> Self {
        // Reading this makes a device (Documentation/admin-guide/blockdev/zram.rst).
        let number = std::fs::read_to_string(format!("{}/hot_add", Self::CONTROL)).unwrap();
        let plugged = Self(number.trim().to_owned());
        std::fs::write(format!("/sys/block/{}/disksize", plugged.name()), "16M").unwrap();
        plugged
    }

    fn name(&self) -> String {
        format!("zram{}", self.0)
    }

    fn write(&self, blocks: usize) {
        let into = format!("of=/dev/{}", self.name());
        let dd = ["if=/dev/zero", "bs=4k", "oflag=direct", "status=none", &into, &format!("count={blocks}")];
        assert!(Command::new("dd").args(dd).status().unwrap().success());
    }
}

impl Drop for Plugged {
    fn drop(&mut self) {
        // udev may be looking at it still.
        for _ in 0..100 {
            if std::fs::write(format!("{}/hot_remove", Self::CONTROL), &self.0).is_ok() {
                return;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

/// A device that goes, and one of the same name and number that comes: never a rate out of two devices' counters.
#[test]
fn a_device_is_taken_out_and_another_put_in() {
    if !nix::unistd::geteuid().is_root() || !Path::new(Plugged::CONTROL).exists() {
        return;
    }
    let mut reader = Reader::new();
    let plugged = Plugged::new();
    let name = plugged.name();
    let writes = |before: &Snapshot, after: &Snapshot| {
        let sample = interval::between(before, after, &[]).unwrap();
        let disk = sample.disks.iter().find(|disk| disk.name == name)?;
        Some((disk.w_s * sample.seconds).round())
    };
    plugged.write(100);
    let first = reader.take();
    plugged.write(50);
    let second = reader.take();
    assert_eq!(writes(&first, &second), Some(50.0));
    drop(plugged);
    let without = reader.take();
    assert_eq!(writes(&second, &without), None);

    let plugged = Plugged::new();
    assert_eq!(plugged.name(), name, "the number is given anew");
    plugged.write(20);
    let again = reader.take();
    assert_eq!(writes(&without, &again), None, "how long it was there nobody knows");
    assert_eq!(writes(&second, &again), None, "both happened within one interval");
    plugged.write(5);
    assert_eq!(writes(&again, &reader.take()), Some(5.0));
}

#[test]
fn partitions_are_not_listed() {
    let Snapshot { disks, memory, cpu, .. } = Reader::new().take();
    assert!(memory.is_some() && cpu.is_some(), "every machine has both");
    let partitions = disks.iter().filter(|disk| !Path::new("/sys/block").join(&disk.name).exists());
    assert_eq!(partitions.count(), 0, "iostat lists whole devices: {disks:?}");
}

/// Live, looked back at, ended, begun again: nothing is lost, nothing is there twice, and the peak is still known.
#[tokio::test]
async fn a_restart_keeps_what_was_seen() {
    let home = tempfile::tempdir().unwrap();
    let data = home.path().join("data/not/made/yet");
    let samples = Samples::start(home.path(), Some(data.clone())).unwrap();
    let mut live = samples.live();
    let mut seen = Vec::new();
    for _ in 0..3 {
        let sample = live.recv().await.unwrap();
        assert!((0.5..30.0).contains(&sample.seconds), "{}", sample.seconds);
        seen.push(sample.at_ms);
    }
    assert_eq!(look_back(&samples, 1).await, seen, "what is not on the disk yet is part of it");
    samples.end().await;
    assert!(samples.past(&v1::SamplesRequest::default()).await.is_err_and(|failure| failure.code == "STOPPED"));
    let peak = samples.peak();
    drop(samples);

    let samples = Samples::start(home.path(), Some(data)).unwrap();
    let all = look_back(&samples, 1).await;
    assert_eq!(all[..seen.len()], seen);
    assert_eq!(look_back(&samples, 60).await.len(), 1, "an unfinished minute is one");
    let mut live = samples.live();
    live.recv().await.unwrap();
    if let Some(before) = peak {
        let now = samples.peak().expect("it is read back");
        assert!(now.observed_s >= before.observed_s && now.write_iops >= before.write_iops, "{before:?} {now:?}");
        assert_eq!(now.since_ms, before.since_ms);
        assert!(samples.storage().is_some_and(|device| !device.name.is_empty()));
    }
}

async fn look_back(samples: &Samples, resolution_s: u32) -> Vec<i64> {
    let mut past = samples.past(&v1::SamplesRequest { resolution_s, ..v1::SamplesRequest::default() }).await.unwrap();
    let mut found = Vec::new();
    while let Some(some) = past.next().await.unwrap() {
        found.extend(some.into_iter().map(|sample| sample.at_ms));
    }
    found
}

#[tokio::test]
async fn what_is_not_kept_cannot_be_asked_for() {
    let home = tempfile::tempdir().unwrap();
    let samples = Samples::start(home.path(), None).unwrap();
    for request in [
        v1::SamplesRequest { resolution_s: 5, ..v1::SamplesRequest::default() },
        v1::SamplesRequest { from_ms: 2, to_ms: 1, ..v1::SamplesRequest::default() },
    ] {
        assert_eq!(samples.past(&request).await.unwrap_err().code, "BAD_REQUEST", "{request:?}");
    }
    assert_eq!((samples.peak(), samples.storage()), (None, None));
}
