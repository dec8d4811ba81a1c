//! `flytt samples` against agents that serve: live until it is interrupted, what was, and what cannot be asked for.

#![allow(clippy::disallowed_methods, reason = "the program under test is a process of its own, so that it can be interrupted")]

use std::{path::Path, process::Stdio, time::Duration};

use flytt_proto::v1;
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncReadExt as _, BufReader, Lines},
    process::{Child, ChildStdout, Command},
};

use crate::lab::Lab;

const LIMIT: Duration = Duration::from_secs(30);

struct Flytt {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Flytt {
    fn start(home: &Path, arguments: &[&str]) -> Self {
        let us = std::env::current_exe().expect("a path");
        let mut child = Command::new(us.ancestors().nth(2).expect("target/debug").join("flytt"))
            .arg("--home")
            .arg(home)
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .expect("built with the workspace");
        let lines = BufReader::new(child.stdout.take().expect("piped")).lines();
        Self { child, lines }
    }

    async fn line(&mut self) -> Option<String> {
        tokio::time::timeout(LIMIT, self.lines.next_line()).await.expect("a line, or an end").expect("text")
    }

    async fn sample(&mut self) -> Option<v1::Sample> {
        Some(serde_json::from_str(&self.line().await?).expect("a sample a line"))
    }

    /// The exit code, and what it said on standard error.
    async fn end(mut self) -> (Option<i32>, String) {
        let mut words = String::new();
        let mut stderr = self.child.stderr.take().expect("piped");
        drop(self.lines);
        let end = async {
            stderr.read_to_string(&mut words).await.expect("text");
            self.child.wait().await.expect("it ends").code()
        };
        let code = tokio::time::timeout(LIMIT, end).await.expect("it ends in time");
        (code, words)
    }

    fn interrupt(&self) {
        let pid = i32::try_from(self.child.id().expect("it runs")).expect("a pid");
        kill(Pid::from_raw(pid), Signal::SIGINT).expect("signalled");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn live_until_interrupted_and_then_looked_back_at() {
    let lab = Lab::new(|_| 0).await;
    let mut live = Flytt::start(&lab.home, &["--json", "samples", "db-old"]);
    let first = live.sample().await.expect("a sample");
    let second = live.sample().await.expect("and the next");
    assert!(first.at_ms < second.at_ms && second.seconds > 0.5, "{first:?} {second:?}");
    assert!(second.cpu.is_some() && second.memory.is_some_and(|memory| memory.total > 0), "{second:?}");
    live.interrupt();
    assert_eq!(live.end().await, (Some(0), String::new()), "quietly, and no failure");

    let mut past = Flytt::start(&lab.home, &["--json", "samples", "db-old", "--history", "--since", "10m", "--resolution", "1s"]);
    let mut seen = Vec::new();
    while let Some(sample) = past.sample().await {
        seen.push(sample.at_ms);
    }
    assert_eq!(past.end().await.0, Some(0));
    assert!(seen.contains(&first.at_ms) && seen.contains(&second.at_ms), "{seen:?}");

    let mut minutes = Flytt::start(&lab.home, &["samples", "db-old", "--history", "--resolution", "1m"]);
    let head = minutes.line().await.expect("a head");
    assert!(head.contains("the most of each column"), "{head}");
    assert_eq!(minutes.end().await.0, Some(0));
}

/// `flytt samples … | head -1`: nobody reads any more, so there is nothing left to do.
#[tokio::test(flavor = "multi_thread")]
async fn a_reader_that_goes_away_ends_it() {
    let lab = Lab::new(|_| 0).await;
    let mut live = Flytt::start(&lab.home, &["--json", "samples", "lb-1"]);
    assert!(live.line().await.is_some());
    assert_eq!(live.end().await, (Some(0), String::new()));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_told_is_an_error_with_a_remedy() {
    let lab = Lab::new(|_| 0).await;
    for (arguments, says) in [
        (&["samples", "nobody"][..], "HOST_UNKNOWN"),
        // The Lab's agents have no data directory of their own.
        (&["samples", "lb-1", "--peak"], "NO_PEAK"),
        (&["samples", "lb-1", "--resolution", "5s", "--history"], "1s or 1m"),
        (&["samples", "lb-1", "--since", "yesterday", "--history"], "a number with its unit"),
    ] {
        let (code, words) = Flytt::start(&lab.home, arguments).end().await;
        assert!(code.is_some_and(|code| code != 0) && words.contains(says), "{arguments:?}: {code:?} {words}");
    }
}
