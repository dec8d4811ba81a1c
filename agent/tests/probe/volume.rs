//! Small disks for a test: an image behind a loop device, with or without a file system; and a limit on how fast it is.
//! All of it goes with its value. Needs root.

use std::{
    fs,
    os::unix::fs::{FileTypeExt as _, MetadataExt as _},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use nix::{libc, sys::statvfs::statvfs};

#[allow(clippy::disallowed_methods, reason = "faults and disks are made by a test, not by the product")]
pub(crate) fn command(program: &str) -> Command {
    Command::new(program)
}

/// Runs it; what it says.
pub(crate) fn must(program: &str, arguments: &[&str]) -> String {
    let output = command(program).args(arguments).output().unwrap_or_else(|error| panic!("{program}: {error}"));
    assert!(output.status.success(), "{program} {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

/// A loop device.
pub(crate) struct Disk {
    pub(crate) path: PathBuf,
    image: tempfile::NamedTempFile,
}

impl Disk {
    pub(crate) fn new(mib: u64) -> Self {
        let image = tempfile::Builder::new().prefix("flytt-disk").tempfile_in("/tmp").unwrap();
        image.as_file().set_len(mib << 20).unwrap();
        let path = must("losetup", &["--find", "--show", &image.path().display().to_string()]);
        Self { path: path.into(), image }
    }

    pub(crate) fn text(&self) -> String {
        self.path.display().to_string()
    }

    /// What stands on it, past any cache.
    pub(crate) fn image(&self) -> Vec<u8> {
        must("blockdev", &["--flushbufs", &self.text()]);
        fs::read(self.image.path()).unwrap()
    }

    /// `7:0`
    pub(crate) fn number(&self) -> String {
        let about = fs::metadata(&self.path).unwrap();
        assert!(about.file_type().is_block_device());
        format!("{}:{}", libc::major(about.rdev()), libc::minor(about.rdev()))
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = command("losetup").arg("--detach").arg(&self.path).status();
    }
}

/// A disk with a file system, mounted.
pub(crate) struct Volume {
    on: tempfile::TempDir,
    pub(crate) disk: Disk,
}

impl Volume {
    pub(crate) fn new(kind: &str, mib: u64) -> Self {
        let disk = Disk::new(mib);
        must(&format!("mkfs.{kind}"), &["-q", &disk.text()]);
        let on = tempfile::Builder::new().prefix("flytt-volume").tempdir_in("/tmp").unwrap();
        must("mount", &[&disk.text(), &on.path().display().to_string()]);
        Self { on, disk }
    }

    pub(crate) fn path(&self) -> &Path {
        self.on.path()
    }

    pub(crate) fn text(&self) -> String {
        self.path().display().to_string()
    }

    pub(crate) fn free(&self) -> u64 {
        let about = statvfs(self.path()).unwrap();
        about.blocks_free() * about.fragment_size()
    }

    /// Taken by somebody else, up to what is left for those who are not root.
    pub(crate) fn fill_up_to(&self, left_mib: u64) {
        let about = statvfs(self.path()).unwrap();
        let takes = about.blocks_available() * about.fragment_size() - (left_mib << 20);
        must("fallocate", &["--length", &takes.to_string(), &format!("{}/somebody", self.text())]);
    }

    /// Unmounted in order: not possible while anybody has a file on it. The kernel may let go of a ring's a moment later.
    pub(crate) fn end(&self) {
        let begun = Instant::now();
        while !command("umount").arg(self.path()).stderr(Stdio::null()).status().unwrap().success() {
            assert!(begun.elapsed() < Duration::from_secs(10), "somebody has a file on it");
            thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Volume {
    fn drop(&mut self) {
        // By hand in the good case; lazily where a test has failed.
        let _ = command("umount").arg("-l").arg(self.path()).stderr(Stdio::null()).status();
    }
}

/// This thread, and those it starts, may do so many writes a second there (control group of the first version).
pub(crate) struct Slow(PathBuf);

impl Slow {
    pub(crate) fn this_thread(disk: &Disk, writes_a_second: u32) -> Self {
        let group = PathBuf::from(format!("/sys/fs/cgroup/blkio/flytt-{}", std::process::id()));
        fs::create_dir(&group).unwrap();
        let slow = Self(group);
        let limit = format!("{} {writes_a_second}", disk.number());
        tell(&slow.0.join("blkio.throttle.write_iops_device"), &limit);
        tell(&slow.0.join("tasks"), &nix::unistd::gettid().to_string());
        slow
    }
}

impl Drop for Slow {
    fn drop(&mut self) {
        // Whoever is in it goes home first; a group with members cannot be removed.
        for thread in fs::read_to_string(self.0.join("tasks")).unwrap_or_default().lines() {
            // One that has ended since cannot.
            let _ = try_tell(Path::new("/sys/fs/cgroup/blkio/tasks"), thread);
        }
        let _ = fs::remove_dir(&self.0);
    }
}

fn tell(file: &Path, text: &str) {
    try_tell(file, text).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
}

#[allow(clippy::disallowed_methods, reason = "the kernel's own files")]
fn try_tell(file: &Path, text: &str) -> std::io::Result<()> {
    fs::write(file, text)
}
