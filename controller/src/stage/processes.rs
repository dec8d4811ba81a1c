//! Which processes belong to a stage, and their end. Servers that an agent started are nobody's children any more, so they are
//! known by a mark in their environment, or by their working directory where a server has overwritten its environment.

use std::{
    path::{Path, PathBuf},
    thread::sleep,
    time::{Duration, Instant},
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

/// Environment variable of each of the stage's processes; its value is the stage's directory.
pub(super) const MARK: &str = "FLYTT_STAGE";

/// How long servers may take to end tidily (PostgreSQL's immediate shutdown), and then how long the kernel may.
const PATIENCE: Duration = Duration::from_secs(5);

/// What runs on a stage. An operator's shell that stands in its directory is left alone.
const OURS: [&str; 10] =
    ["postgres", "haproxy", "flytt-agent", "psql", "initdb", "mariadbd", "mariadb-backup", "mbstream", "mariadb", "mysqld"];

#[derive(Clone, Debug, PartialEq, Eq)]
struct Process {
    pid: i32,
    parent: i32,
    /// Name of the executable's file, at most 15 bytes.
    name: String,
}

/// Those of a stage, or of a part of it, that live.
fn members(directory: &Path) -> Vec<Process> {
    let own = i32::try_from(std::process::id()).unwrap_or_default();
    let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).filter(|pid| *pid != own);
    pids.filter_map(|pid| read(pid, directory)).collect()
}

fn read(pid: i32, directory: &Path) -> Option<Process> {
    let root = PathBuf::from(format!("/proc/{pid}"));
    let stat = std::fs::read_to_string(root.join("stat")).ok()?;
    let (before, after) = stat.rsplit_once(')')?;
    let (_, name) = before.split_once('(')?;
    let mut fields = after.split_whitespace();
    let (state, parent) = (fields.next()?, fields.next()?.parse().ok()?);
    if state == "Z" || state == "X" {
        return None;
    }
    let marked = || {
        let wanted = format!("{MARK}={}", directory.display());
        std::fs::read(root.join("environ")).is_ok_and(|all| all.split(|byte| *byte == 0).any(|one| one == wanted.as_bytes()))
    };
    let ours = |name: &str| name.starts_with("pg_") || OURS.contains(&name);
    let inside = || std::fs::read_link(root.join("cwd")).is_ok_and(|cwd| cwd.starts_with(directory));
    ((ours(name) && inside()) || marked()).then(|| Process { pid, parent, name: name.to_owned() })
}

fn send(process: &Process, signal: Signal) {
    // Gone already is as good.
    let _ = kill(Pid::from_raw(process.pid), signal);
}

/// Sends SIGKILL to each of them, without waiting.
pub(super) fn kill_all(directory: &Path) {
    members(directory).iter().for_each(|process| send(process, Signal::SIGKILL));
}

/// Whether any of them lives.
pub(super) fn any(directory: &Path) -> bool {
    !members(directory).is_empty()
}

/// Ends all processes of a stage or of a part of it: servers by an immediate shutdown, so that they give back their shared
/// memory, the rest at once. Blocks until none is left, for ten seconds at most.
pub(super) fn end_all(directory: &Path) {
    let first = members(directory);
    let is_server = |process: &Process| {
        process.name == "postgres" && !first.iter().any(|other| other.pid == process.parent && other.name == "postgres")
    };
    for process in &first {
        if is_server(process) {
            send(process, Signal::SIGQUIT);
            // One that was stopped could not take it.
            send(process, Signal::SIGCONT);
        } else if process.name != "postgres" {
            send(process, Signal::SIGKILL);
        }
    }
    if !gone_within(directory, PATIENCE, || {}) {
        gone_within(directory, PATIENCE, || kill_all(directory));
    }
}

fn gone_within(directory: &Path, limit: Duration, again: impl Fn()) -> bool {
    let deadline = Instant::now() + limit;
    while any(directory) {
        if Instant::now() >= deadline {
            return false;
        }
        again();
        sleep(Duration::from_millis(10));
    }
    true
}

/// When a process began, in the kernel's ticks since boot: with the pid it names one process for good. `None` = it is gone.
pub(super) fn began(pid: u32) -> Option<u64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // proc(5): starttime is field 22, and field 3 is the first after the name.
    stat.rsplit_once(')')?.1.split_whitespace().nth(19)?.parse().ok()
}
