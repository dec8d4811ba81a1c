//! Slow disks under one host's data directory, made of loop devices and the blkio controller of cgroup v1: one that does so many
//! writes a second and no more, and one that is busy all the time. Gone with their values.

use std::{fs, path::PathBuf};

use flytt::stage::{Agent, Server};

use super::{
    pause,
    shell::{command, run},
};

const GROUPS: &str = "/sys/fs/cgroup/blkio";

#[allow(clippy::disallowed_methods, reason = "files of the kernel, and a mount point")]
fn put(path: PathBuf, text: &str) {
    fs::write(&path, text).unwrap_or_else(|error| panic!("{text} into {}: {error}", path.display()));
}

fn number(device: &str) -> String {
    fs::read_to_string(format!("/sys/block/{device}/dev")).expect("a block device").trim().to_owned()
}

/// Loop devices, the lowest first.
struct Loops(Vec<String>);

impl Loops {
    /// Over a file beside the directory, which keeps its space only as long as the device is there.
    fn over_file(beside: PathBuf) -> Self {
        let image = beside.with_extension("image");
        fs::File::create(&image).and_then(|file| file.set_len(2 << 30)).expect("a sparse image");
        let mut loops = Self(Vec::new());
        loops.attach(&image.display().to_string());
        // The device keeps it; nothing else needs its name.
        fs::remove_file(&image).expect("removed");
        loops
    }

    fn attach(&mut self, to: &str) {
        let mut attach = command("losetup");
        attach.args(["--find", "--show", "--direct-io=on", to]);
        self.0.push(run(attach).trim_start_matches("/dev/").to_owned());
    }

    fn top(&self) -> &str {
        self.0.last().expect("at least one")
    }
}

impl Drop for Loops {
    fn drop(&mut self) {
        for device in self.0.iter().rev() {
            let _ = command("losetup").arg("--detach").arg(format!("/dev/{device}")).status();
        }
    }
}

/// A file system mounted over an empty data directory, with its owner and mode.
struct Mounted(PathBuf);

impl Mounted {
    fn over(on: PathBuf, device: &str) -> Self {
        use std::os::unix::fs::MetadataExt as _;
        let about = fs::metadata(&on).expect("there");
        let path = format!("/dev/{device}");
        let mut format = command("mkfs.ext4");
        format.args(["-q", "-F", &path]);
        run(format);
        let mut mount = command("mount");
        mount.arg(&path).arg(&on);
        run(mount);
        let mounted = Self(on);
        fs::remove_dir(mounted.0.join("lost+found")).expect("empty");
        std::os::unix::fs::chown(&mounted.0, Some(about.uid()), Some(about.gid())).expect("given");
        fs::set_permissions(&mounted.0, about.permissions()).expect("mode");
        mounted
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let _ = command("umount").arg("-l").arg(&self.0).status();
    }
}

/// Starts an agent anew, so that it sees its new disk at once. Its process.
async fn anew(agent: &Agent) -> u32 {
    let before = agent.process.pid();
    agent.process.bring_back();
    for _ in 0..500 {
        if let Some(pid) = agent.process.pid().filter(|pid| Some(*pid) != before)
            && tokio::net::TcpStream::connect(agent.address).await.is_ok()
        {
            return pid;
        }
        pause(20).await;
    }
    panic!("the agent does not come back");
}

/// A limit for the processes of one host's agent.
struct Group(PathBuf);

impl Drop for Group {
    #[allow(clippy::disallowed_methods, reason = "a file of the kernel")]
    fn drop(&mut self) {
        for pid in fs::read_to_string(self.0.join("cgroup.procs")).unwrap_or_default().lines() {
            let _ = fs::write(PathBuf::from(GROUPS).join("cgroup.procs"), pid);
        }
        let _ = fs::remove_dir(&self.0);
    }
}

/// So many writes a second. The kernel holds requests back before it counts them: such a device looks idle, and its file system
/// waits.
pub(crate) struct SlowDisk {
    pub(crate) device: String,
    group: Group,
    _mounted: Mounted,
    _loops: Loops,
}

impl SlowDisk {
    /// Under an empty data directory.
    pub(crate) async fn under(server: &Server, agent: &Agent, writes: u32) -> Self {
        let loops = Loops::over_file(server.data());
        agent.process.keep_down();
        let mounted = Mounted::over(server.data(), loops.top());
        let device = loops.top().to_owned();
        let group = Group(PathBuf::from(format!("{GROUPS}/flytt-moment-{}-{device}", std::process::id())));
        fs::create_dir(&group.0).expect("a blkio controller of cgroup v1");
        let disk = Self { device, group, _mounted: mounted, _loops: loops };
        disk.allow(writes);
        put(disk.group.0.join("cgroup.procs"), &anew(agent).await.to_string());
        disk
    }

    /// So many writes a second from now on; 0 = no limit.
    pub(crate) fn allow(&self, writes: u32) {
        put(self.group.0.join("blkio.throttle.write_iops_device"), &format!("{} {writes}", number(&self.device)));
    }
}

/// So many bytes a second, and the rest has begun and waits: a loop device over one whose writes are held back, whoever's they are.
/// What a copy leaves to the kernel to write is the root group's, so the limit is that group's.
pub(crate) struct BusyDisk {
    pub(crate) device: String,
    limit: Limit,
    _mounted: Mounted,
    _loops: Loops,
}

/// On a device, for everybody.
struct Limit(String);

impl Limit {
    fn set(&self, bytes: u64) {
        put(PathBuf::from(GROUPS).join("blkio.throttle.write_bps_device"), &format!("{} {bytes}", self.0));
    }
}

impl Drop for Limit {
    fn drop(&mut self) {
        // Before the file system goes, which writes.
        self.set(0);
    }
}

impl BusyDisk {
    /// Under an empty data directory.
    pub(crate) async fn under(server: &Server, agent: &Agent, bytes: u64) -> Self {
        let mut loops = Loops::over_file(server.data());
        let limit = Limit(number(loops.top()));
        loops.attach(&format!("/dev/{}", loops.top()));
        agent.process.keep_down();
        let mounted = Mounted::over(server.data(), loops.top());
        limit.set(bytes);
        anew(agent).await;
        Self { device: loops.top().to_owned(), limit, _mounted: mounted, _loops: loops }
    }

    /// So many bytes a second from now on; 0 = no limit.
    pub(crate) fn allow(&self, bytes: u64) {
        self.limit.set(bytes);
    }
}
