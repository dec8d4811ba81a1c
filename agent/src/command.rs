//! The only module that spawns a process: by absolute path, without a shell, with an empty environment, in a process group
//! of its own that ends as a whole. What is run, and what its output means, is left to the caller.

use std::{
    ffi::OsString,
    fmt,
    path::PathBuf,
    process::{ExitStatus, Stdio},
    time::{Duration, Instant},
};

use nix::{
    sys::signal::{Signal, killpg},
    unistd::Pid,
};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader},
    process::{Child, ChildStderr, ChildStdin, ChildStdout},
};

/// The search path of what a child itself starts; nothing else stands in its environment, so nothing leaks into it.
const PATH: &str = "/usr/sbin:/usr/bin:/sbin:/bin";
/// More output than this is not kept.
const KEPT: u64 = 1 << 20;
/// Of a program under way, for the text of its failure.
const KEPT_LINES: usize = 4;
/// How long the words of a program that has ended may take to come out of the pipe.
const LAST_WORDS: Duration = Duration::from_millis(100);

/// A program and its arguments. It cannot hold a secret: there is no way to turn one into an argument.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Command {
    program: PathBuf,
    arguments: Vec<OsString>,
}

#[derive(Debug, thiserror::Error)]
pub enum CommandError {
    #[error("{program} cannot be run: {source}")]
    Spawn { program: String, source: std::io::Error },
    #[error("{program} does not end within {} s", limit.as_secs())]
    Late { program: String, limit: Duration },
    #[error("{program} fails ({status}){}", if said.is_empty() { String::new() } else { format!(": {said}") })]
    Exit { program: String, status: ExitStatus, said: String },
}

/// What a program wrote before it ended well.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Output {
    pub stdout: String,
    pub stderr: String,
}

impl Command {
    pub fn new(program: impl Into<PathBuf>) -> Self {
        Self { program: program.into(), arguments: Vec::new() }
    }

    #[must_use]
    pub fn arg(mut self, argument: impl Into<OsString>) -> Self {
        self.arguments.push(argument.into());
        self
    }

    #[must_use]
    pub fn args<T: Into<OsString>>(mut self, arguments: impl IntoIterator<Item = T>) -> Self {
        self.arguments.extend(arguments.into_iter().map(Into::into));
        self
    }

    /// Runs it to its end. Its group is killed when `limit` passes or the future is dropped.
    pub async fn run(&self, limit: Duration) -> Result<Output, CommandError> {
        self.run_on("", limit).await
    }

    /// The same with something to read. What it does not read is no error; its exit status tells.
    pub async fn run_on(&self, input: &str, limit: Duration) -> Result<Output, CommandError> {
        let mut group = self.spawn(if input.is_empty() { Stdio::null() } else { Stdio::piped() }, Stdio::piped())?;
        let mut stdin = group.child.stdin.take();
        let mut stdout = group.child.stdout.take().expect("piped above").take(KEPT);
        let mut stderr = group.child.stderr.take().expect("piped above").take(KEPT);
        let (mut out, mut err) = (Vec::new(), Vec::new());
        let work = async {
            // Read both at once: a child that fills one pipe while we wait for the other would never end.
            let feed = async {
                if let Some(mut stdin) = stdin.take() {
                    let _ = stdin.write_all(input.as_bytes()).await;
                }
                Ok(())
            };
            let read = tokio::try_join!(stdout.read_to_end(&mut out), stderr.read_to_end(&mut err), feed);
            let status = group.child.wait().await;
            read.and(status)
        };
        let status = match tokio::time::timeout(limit, work).await {
            Ok(status) => status.map_err(|source| CommandError::Spawn { program: self.to_string(), source })?,
            Err(_) => return Err(CommandError::Late { program: self.to_string(), limit }),
        };
        group.ended = true;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim_end().to_owned();
        let output = Output { stdout: text(&out), stderr: text(&err) };
        if status.success() {
            Ok(output)
        } else {
            Err(CommandError::Exit { program: self.to_string(), status, said: last_words(&output.stderr) })
        }
    }

    /// Starts it; each line of its stderr goes to [`Running::line`], its stdout nowhere.
    pub fn start(&self) -> Result<Running, CommandError> {
        self.spawn(Stdio::null(), Stdio::null()).map(|group| Running::of(self, group))
    }

    /// The same, but what it writes is read from the second value.
    pub fn start_reading(&self) -> Result<(Running, ChildStdout), CommandError> {
        let mut group = self.spawn(Stdio::null(), Stdio::piped())?;
        let stdout = group.child.stdout.take().expect("piped above");
        Ok((Running::of(self, group), stdout))
    }

    /// The same, but it reads what is written to the second value; dropping that is its end of file.
    pub fn start_writing(&self) -> Result<(Running, ChildStdin), CommandError> {
        let mut group = self.spawn(Stdio::piped(), Stdio::null())?;
        let stdin = group.child.stdin.take().expect("piped above");
        Ok((Running::of(self, group), stdin))
    }

    #[allow(clippy::disallowed_methods, reason = "this is the module that spawns")]
    fn spawn(&self, stdin: Stdio, stdout: Stdio) -> Result<Group, CommandError> {
        let child = tokio::process::Command::new(&self.program)
            .args(&self.arguments)
            .env_clear()
            .env("PATH", PATH)
            .stdin(stdin)
            .stdout(stdout)
            .stderr(Stdio::piped())
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
            .map_err(|source| CommandError::Spawn { program: self.to_string(), source })?;
        let id = child.id().and_then(|id| i32::try_from(id).ok()).expect("a child just started has an id");
        Ok(Group { child, id: Pid::from_raw(id), ended: false })
    }
}

/// The program's name alone: what failed, without the paths.
impl fmt::Display for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = self.program.file_name().unwrap_or(self.program.as_os_str());
        f.write_str(&name.to_string_lossy())
    }
}

/// A program under way.
#[derive(Debug)]
pub struct Running {
    program: String,
    group: Group,
    stderr: BufReader<ChildStderr>,
    /// The first process has ended.
    over: bool,
    partial: Vec<u8>,
    heard: Vec<String>,
}

impl Running {
    fn of(command: &Command, mut group: Group) -> Self {
        let stderr = BufReader::new(group.child.stderr.take().expect("every child's is piped"));
        Self { program: command.to_string(), group, stderr, over: false, partial: Vec::new(), heard: Vec::new() }
    }

    /// The next line it says; `None` at its end, also where a child that outlives it keeps the pipe open.
    pub async fn line(&mut self) -> Option<String> {
        loop {
            let read = self.stderr.read_until(b'\n', &mut self.partial);
            let read = if self.over {
                tokio::time::timeout(LAST_WORDS, read).await.unwrap_or(Ok(0))
            } else {
                tokio::select! {
                    biased;
                    read = read => read,
                    _ = self.group.child.wait() => {
                        self.over = true;
                        continue;
                    }
                }
            };
            // What was read before an interruption stands in `partial`.
            if read.is_err() || (matches!(read, Ok(0)) && self.partial.is_empty()) {
                return None;
            }
            let line = String::from_utf8_lossy(&std::mem::take(&mut self.partial)).trim().to_owned();
            if self.heard.len() == KEPT_LINES {
                self.heard.remove(0);
            }
            self.heard.push(line.clone());
            return Some(line);
        }
    }

    /// How it ended, if it did.
    pub fn ended(&mut self) -> Option<String> {
        self.group.child.try_wait().ok().flatten().map(|status| status.to_string())
    }

    /// Waits for its end; children that it left behind are ended, too.
    pub async fn wait(mut self) -> Result<(), CommandError> {
        let status = self.group.child.wait().await;
        let status = status.map_err(|source| CommandError::Spawn { program: self.program.clone(), source })?;
        if status.success() {
            Ok(())
        } else {
            // Tools clean up after themselves and say so: the reason stands before that.
            let reason = self.heard.iter().rev().find(|line| line.to_ascii_lowercase().contains("error: ")).or(self.heard.last());
            let said = reason.cloned().unwrap_or_default();
            Err(CommandError::Exit { program: self.program.clone(), status, said })
        }
    }
}

/// Ends with all its members when it goes out of scope, whatever became of its first process.
#[derive(Debug)]
struct Group {
    child: Child,
    id: Pid,
    ended: bool,
}

impl Drop for Group {
    fn drop(&mut self) {
        if !self.ended {
            // ESRCH is the good case: nobody is left.
            let _ = killpg(self.id, Signal::SIGKILL);
        }
    }
}

/// Processes of this user whose command line satisfies `matching`, zombies apart.
pub fn processes(matching: impl Fn(&[String]) -> bool) -> Vec<Pid> {
    let own = nix::unistd::geteuid().as_raw();
    let Ok(all) = procfs::process::all_processes() else { return Vec::new() };
    all.filter_map(Result::ok)
        .filter(|process| process.uid().is_ok_and(|uid| uid == own))
        .filter(|process| process.cmdline().is_ok_and(|line| matching(&line)))
        .filter(|process| process.stat().is_ok_and(|stat| stat.state != 'Z'))
        .map(|process| Pid::from_raw(process.pid()))
        .collect()
}

/// Kills every process that `matching` finds until none is left; false when some outlive `limit`.
pub async fn end_all(matching: impl Fn(&[String]) -> bool, limit: Duration) -> bool {
    let begun = Instant::now();
    loop {
        let left = processes(&matching);
        if left.is_empty() {
            return true;
        }
        if begun.elapsed() > limit {
            return false;
        }
        for process in left {
            let _ = nix::sys::signal::kill(process, Signal::SIGKILL);
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

fn last_words(text: &str) -> String {
    let line = text.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or_default();
    line.chars().take(400).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONG: Duration = Duration::from_secs(20);

    #[tokio::test]
    async fn a_child_sees_no_environment_of_ours() {
        let output = Command::new("/usr/bin/env").run(LONG).await.unwrap();
        assert_eq!(output.stdout, format!("PATH={PATH}"));
    }

    #[tokio::test]
    async fn a_failure_names_the_program_and_its_last_words() {
        let error = Command::new("/bin/sh").args(["-c", "echo first >&2; echo last >&2; exit 3"]).run(LONG).await.unwrap_err();
        assert_eq!(error.to_string(), "sh fails (exit status: 3): last");
        assert!(matches!(Command::new("/no/such").run(LONG).await, Err(CommandError::Spawn { .. })));
    }

    #[tokio::test]
    async fn both_pipes_full_do_not_stop_it() {
        let script = "head -c 300000 /dev/zero >&2; head -c 300000 /dev/zero; exit 0";
        let output = Command::new("/bin/sh").args(["-c", script]).run(LONG).await.unwrap();
        assert_eq!((output.stdout.len(), output.stderr.len()), (300_000, 300_000));
    }

    #[tokio::test]
    async fn dropping_it_ends_the_grandchildren() {
        let mark = format!("31.{}", std::process::id());
        let script = format!("sleep {mark} & echo ready >&2; wait");
        let mut running = Command::new("/bin/sh").args(["-c", &script]).start().unwrap();
        assert_eq!(running.line().await.as_deref(), Some("ready"));
        let of_ours = |line: &[String]| line.first().is_some_and(|a| a == "sleep") && line.get(1) == Some(&mark);
        while processes(of_ours).is_empty() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        drop(running);
        let begun = Instant::now();
        while !processes(of_ours).is_empty() {
            assert!(begun.elapsed() < LONG, "the grandchild lives on");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    #[tokio::test]
    async fn its_end_is_seen_although_a_grandchild_holds_the_pipe() {
        let mark = format!("33.{}", std::process::id());
        let script = format!("sleep {mark} & echo last >&2; exit 7");
        let mut running = Command::new("/bin/sh").args(["-c", &script]).start().unwrap();
        assert_eq!(running.line().await.as_deref(), Some("last"));
        assert_eq!(tokio::time::timeout(LONG, running.line()).await, Ok(None));
        assert_eq!(running.wait().await.unwrap_err().to_string(), "sh fails (exit status: 7): last");
        assert!(end_all(|line| line.get(1) == Some(&mark), LONG).await);
    }

    #[tokio::test]
    async fn a_late_child_is_ended() {
        let mark = format!("32.{}", std::process::id());
        let error = Command::new("/bin/sleep").arg(&mark).run(Duration::from_millis(50)).await.unwrap_err();
        assert!(matches!(error, CommandError::Late { .. }), "{error}");
        assert!(end_all(|line| line.get(1) == Some(&mark), LONG).await);
    }
}
