//! The real `flytt` as a child: its lines as they come, so that a moment can be hit, and the signals that make it a bad one.

use std::{fmt, os::unix::process::ExitStatusExt as _, path::Path, process::Stdio, time::Duration};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use serde_json::Value;
use tokio::{
    io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader},
    process::Child,
    sync::mpsc,
    task::JoinHandle,
};

/// Nothing here takes longer.
const LIMIT: Duration = Duration::from_secs(150);

/// A moment of a step, as the command itself tells it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Moment {
    /// It is about to be asked for.
    Begins(&'static str),
    /// Its host has begun to change something.
    Does(&'static str),
    /// It is done, and on record.
    Ends(&'static str),
}

/// A command under way. Dropped, it is killed.
pub(crate) struct Flytt {
    name: String,
    child: Child,
    lines: mpsc::UnboundedReceiver<Value>,
    heard: Vec<Value>,
    words: JoinHandle<String>,
}

/// A command that has ended.
#[derive(Debug)]
pub(crate) struct Ended {
    /// `None` when a signal ended it.
    pub(crate) code: Option<i32>,
    pub(crate) signal: Option<i32>,
    pub(crate) heard: Vec<Value>,
    pub(crate) words: String,
}

impl Flytt {
    pub(crate) fn start(home: &Path, arguments: &[&str]) -> Self {
        Self::fed(home, arguments, "")
    }

    /// With this on its standard input.
    #[allow(clippy::disallowed_methods, reason = "the program under test is a process of its own, so that it can be killed")]
    pub(crate) fn fed(home: &Path, arguments: &[&str], input: &str) -> Self {
        let us = std::env::current_exe().expect("a path");
        // Tests of a Cargo workspace run from a folder below the one with the binaries.
        let binary = us.ancestors().skip(1).take(2).map(|near| near.join("flytt")).find(|path| path.is_file());
        let binary = binary.expect("flytt is built: cargo build --workspace");
        let mut child = tokio::process::Command::new(binary)
            .arg("--home")
            .arg(home)
            .arg("--json")
            .args(arguments)
            .env_clear()
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .expect("flytt starts");
        let (mut to, input) = (child.stdin.take().expect("piped"), input.to_owned());
        tokio::spawn(async move { to.write_all(input.as_bytes()).await });
        let mut from = BufReader::new(child.stdout.take().expect("piped")).lines();
        let (sender, lines) = mpsc::unbounded_channel();
        tokio::spawn(async move {
            while let Ok(Some(line)) = from.next_line().await {
                let _ = sender.send(serde_json::from_str(&line).unwrap_or(Value::String(line)));
            }
        });
        let mut said = child.stderr.take().expect("piped");
        let words = tokio::spawn(async move {
            let mut text = String::new();
            let _ = said.read_to_string(&mut text).await;
            text
        });
        Self { name: arguments.join(" "), child, lines, heard: Vec::new(), words }
    }

    /// Waits for a line; every story that waits in vain fails here.
    pub(crate) async fn until(&mut self, what: &str, is: impl Fn(&Value) -> bool) -> Value {
        self.within(LIMIT, what, is).await
    }

    /// The same, for what takes its time.
    pub(crate) async fn within(&mut self, limit: Duration, what: &str, is: impl Fn(&Value) -> bool) -> Value {
        let search = async {
            while let Some(line) = self.lines.recv().await {
                self.heard.push(line.clone());
                if is(&line) {
                    return Some(line);
                }
            }
            None
        };
        let found = tokio::time::timeout(limit, search).await;
        match found {
            Ok(Some(line)) => line,
            Ok(None) => panic!("flytt {} ended before {what}: {}", self.name, shown(&self.heard)),
            Err(_) => panic!("flytt {} does not come to {what}: {}", self.name, shown(&self.heard)),
        }
    }

    pub(crate) async fn comes_to(&mut self, moment: Moment) {
        let what = format!("{moment:?}");
        self.until(&what, |line| match moment {
            Moment::Begins(step) => line["step"] == step && line["what"].is_string(),
            Moment::Does(step) => line["step"] == step && line["doing"].is_string(),
            Moment::Ends(step) => line["step"] == step && line["done"] == true,
        })
        .await;
    }

    /// The copy is under way: so many bytes have arrived.
    pub(crate) async fn copies(&mut self, bytes: u64) {
        self.until("bytes copied", |line| {
            // 64-bit numbers of protobuf are strings in JSON, in some mappings.
            let done = &line["progress"]["done"];
            line["step"] == "seed" && done.as_u64().or_else(|| done.as_str()?.parse().ok()) >= Some(bytes)
        })
        .await;
    }

    fn signal(&self, signal: Signal) {
        let pid = self.child.id().expect("not waited for yet");
        kill(Pid::from_raw(i32::try_from(pid).expect("a pid")), signal).expect("it lives");
    }

    /// SIGKILL; returns when it is gone.
    pub(crate) async fn kill_hard(self) {
        self.signal(Signal::SIGKILL);
        let ended = self.end().await;
        assert_eq!(ended.signal, Some(9), "it had ended by itself: {ended}");
    }

    /// The same, whether or not it is still there.
    pub(crate) fn kill_if_there(&self) {
        if let Some(pid) = self.child.id() {
            let _ = kill(Pid::from_raw(i32::try_from(pid).expect("a pid")), Signal::SIGKILL);
        }
    }

    /// Ctrl-C.
    pub(crate) fn interrupt(&self) {
        self.signal(Signal::SIGINT);
    }

    /// SIGSTOP: it lives and does nothing.
    pub(crate) fn freeze(&self) {
        self.signal(Signal::SIGSTOP);
    }

    pub(crate) fn thaw(&self) {
        self.signal(Signal::SIGCONT);
    }

    pub(crate) fn has_ended(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(Some(_)))
    }

    /// What it has said so far.
    pub(crate) fn said(&mut self) -> String {
        while let Ok(line) = self.lines.try_recv() {
            self.heard.push(line);
        }
        shown(&self.heard)
    }

    pub(crate) async fn end(self) -> Ended {
        self.ends_within(LIMIT).await
    }

    pub(crate) async fn ends_within(mut self, limit: Duration) -> Ended {
        let status = tokio::time::timeout(limit, self.child.wait()).await;
        while let Ok(line) = self.lines.try_recv() {
            self.heard.push(line);
        }
        let Ok(status) = status else { panic!("flytt {} does not end: {}", self.name, shown(&self.heard)) };
        // What was still in the pipe.
        while let Some(line) = self.lines.recv().await {
            self.heard.push(line);
        }
        let status = status.expect("waited for");
        let words = self.words.await.expect("read");
        Ended { code: status.code(), signal: status.signal(), heard: self.heard, words }
    }
}

impl Ended {
    /// Its last line: the answer, or why it stopped.
    pub(crate) fn answer(&self) -> &Value {
        self.heard.last().unwrap_or(&Value::Null)
    }

    /// The codes of the failures it names, in order.
    pub(crate) fn failures(&self) -> Vec<&str> {
        let failures = self.answer()["failures"].as_array().map(Vec::as_slice).unwrap_or_default();
        failures.iter().filter_map(|failure| failure["code"].as_str()).collect()
    }

    /// Whether this step was begun.
    pub(crate) fn began(&self, step: &str) -> bool {
        self.heard.iter().any(|line| line["step"] == step && line["what"].is_string())
    }
}

impl fmt::Display for Ended {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "exit {:?} signal {:?}\n{}\n{}", self.code, self.signal, shown(&self.heard), self.words)
    }
}

/// The last lines; the rest is seldom of use.
fn shown(lines: &[Value]) -> String {
    let skipped = lines.len().saturating_sub(30);
    lines.iter().skip(skipped).map(|line| format!("\n  {line}")).collect()
}
