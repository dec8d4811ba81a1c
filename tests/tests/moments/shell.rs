//! Programs that a bad moment needs: mounts of its own, and SQL as the agent's own role while everybody else is locked out.

use std::{
    ffi::OsStr,
    fs,
    io::Write as _,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    process::Command,
};

use flytt::stage::Server;

#[allow(clippy::disallowed_methods, reason = "these are faults made by a test, not the product")]
pub(crate) fn command(program: impl AsRef<OsStr>) -> Command {
    Command::new(program)
}

pub(crate) fn run(mut command: Command) -> String {
    let output = command.output().expect("it can be run");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{command:?}: {said}");
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

/// Runs a program of the server as the user that owns its data.
pub(crate) fn as_owner(server: &Server, program: &str, arguments: &[&str]) -> String {
    use std::os::unix::process::CommandExt as _;
    let about = fs::metadata(server.data()).expect("there");
    let mut command = command(server.bin().join(program));
    command.args(arguments).env_clear().current_dir("/").uid(about.uid()).gid(about.gid());
    run(command)
}

/// SQL as this role, over the socket.
pub(crate) fn sql_as(server: &Server, role: &str, sql: &str) -> String {
    let (socket, port) = (server.socket().display().to_string(), server.port().to_string());
    as_owner(server, "psql", &["-XqAtw", "-h", &socket, "-p", &port, "-U", role, "-d", "app", "-c", sql])
}

const FILLER: &str = "somebody-else";

/// A small disk over a directory, gone with this value.
pub(crate) struct Disk {
    on: PathBuf,
}

impl Disk {
    pub(crate) fn over(directory: &Path, mib: u32) -> Self {
        let about = fs::metadata(directory).expect("there");
        let options = format!("size={mib}M,mode=700,uid={},gid={}", about.uid(), about.gid());
        let mut mount = command("mount");
        mount.args(["-t", "tmpfs", "-o", &options, "flytt-moment"]).arg(directory);
        run(mount);
        Self { on: directory.to_owned() }
    }

    /// A small disk for all that a host has, which is moved onto it. Nothing of it may run.
    pub(crate) fn under(host: &Path, mib: u32) -> Self {
        let aside = host.with_extension("aside");
        let copy = |from: &Path, to: &Path| {
            let mut copy = command("cp");
            copy.args(["-a", "--"]).arg(from.join(".")).arg(to);
            run(copy);
        };
        fs::create_dir(&aside).expect("a directory");
        copy(host, &aside);
        let disk = Self::over(host, mib);
        copy(&aside, host);
        fs::remove_dir_all(aside).expect("ours");
        disk
    }

    /// Somebody else takes what is free, but for this much.
    pub(crate) fn fill_up_to(&self, left_mib: u64) {
        let about = nix::sys::statvfs::statvfs(&self.on).expect("mounted");
        let used = (about.blocks() - about.blocks_free()) * about.fragment_size();
        self.resize((used >> 20) + left_mib);
    }

    /// Somebody else takes all that is free, to the last block, until [`Self::free`].
    pub(crate) fn fill(&self) {
        self.fill_up_to(2);
        let mut file = fs::File::create(self.on.join(FILLER)).expect("a name still fits");
        while file.write_all(&[1; 4096]).is_ok() {}
    }

    /// There is room again: so much in all.
    pub(crate) fn free(&self, mib: u32) {
        fs::remove_file(self.on.join(FILLER)).expect("there");
        self.resize(mib.into());
    }

    pub(crate) fn resize(&self, mib: u64) {
        let mut mount = command("mount");
        mount.args(["-o", &format!("remount,size={mib}M")]).arg(&self.on);
        run(mount);
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = command("umount").arg("-l").arg(&self.on).status();
    }
}
