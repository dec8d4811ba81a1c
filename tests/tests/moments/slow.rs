//! A disk that does so many writes a second and no more, under one host's data directory: a loop device, throttled for the
//! processes of that host's agent (blkio controller of cgroup v1). Gone with its value.

use std::{fs, path::PathBuf};

use flytt::stage::{Agent, Server};

use super::{
    pause,
    shell::{command, run},
};

pub(crate) struct SlowDisk {
    pub(crate) device: String,
    on: PathBuf,
    group: PathBuf,
}

#[allow(clippy::disallowed_methods, reason = "files of the kernel, and a mount point")]
fn put(path: PathBuf, text: &str) {
    fs::write(&path, text).unwrap_or_else(|error| panic!("{text} into {}: {error}", path.display()));
}

impl SlowDisk {
    /// Under an empty data directory. The agent is started anew, so that it sees its new disk at once.
    pub(crate) async fn under(server: &Server, agent: &Agent, writes: u32) -> Self {
        use std::os::unix::fs::MetadataExt as _;
        let on = server.data();
        let about = fs::metadata(&on).expect("there");
        let image = on.with_extension("image");
        fs::File::create(&image).and_then(|file| file.set_len(2 << 30)).expect("a sparse image");
        let mut attach = command("losetup");
        attach.args(["--find", "--show", "--direct-io=on"]).arg(&image);
        let path = run(attach);
        // The device keeps it; nothing else needs its name.
        fs::remove_file(&image).expect("removed");
        let device = path.trim_start_matches("/dev/").to_owned();
        let group = PathBuf::from(format!("/sys/fs/cgroup/blkio/flytt-moment-{}-{device}", std::process::id()));
        let disk = Self { device, on, group };
        let mut format = command("mkfs.ext4");
        format.args(["-q", "-F", &path]);
        run(format);
        agent.process.keep_down();
        let mut mount = command("mount");
        mount.arg(&path).arg(&disk.on);
        run(mount);
        fs::remove_dir(disk.on.join("lost+found")).expect("empty");
        std::os::unix::fs::chown(&disk.on, Some(about.uid()), Some(about.gid())).expect("given");
        fs::set_permissions(&disk.on, about.permissions()).expect("mode");
        fs::create_dir(&disk.group).expect("a blkio controller of cgroup v1");
        disk.allow(writes);
        let before = agent.process.pid();
        agent.process.bring_back();
        for _ in 0..500 {
            if let Some(pid) = agent.process.pid().filter(|pid| Some(*pid) != before)
                && tokio::net::TcpStream::connect(agent.address).await.is_ok()
            {
                put(disk.group.join("cgroup.procs"), &pid.to_string());
                return disk;
            }
            pause(20).await;
        }
        panic!("the agent does not come back");
    }

    /// So many writes a second from now on; 0 = no limit.
    pub(crate) fn allow(&self, writes: u32) {
        let number = fs::read_to_string(format!("/sys/block/{}/dev", self.device)).expect("a block device");
        put(self.group.join("blkio.throttle.write_iops_device"), &format!("{} {writes}", number.trim()));
    }
}

impl Drop for SlowDisk {
    #[allow(clippy::disallowed_methods, reason = "a file of the kernel")]
    fn drop(&mut self) {
        for pid in fs::read_to_string(self.group.join("cgroup.procs")).unwrap_or_default().lines() {
            let _ = fs::write("/sys/fs/cgroup/blkio/cgroup.procs", pid);
        }
        let _ = command("umount").arg("-l").arg(&self.on).status();
        let _ = command("losetup").arg("--detach").arg(format!("/dev/{}", self.device)).status();
        let _ = fs::remove_dir(&self.group);
    }
}
