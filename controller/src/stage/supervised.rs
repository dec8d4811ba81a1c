//! A process that comes back when it dies, as systemd would see to it. Faults are made here: ended hard, stopped, kept down.

use std::{
    fmt,
    path::{Path, PathBuf},
    process::Child,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread::{self, JoinHandle, sleep},
    time::{Duration, Instant},
};

use flytt_proto::failure::Failure;
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use super::spawn::Program;

/// `RestartSec` of the packaged units.
const RESTART: Duration = Duration::from_millis(200);
const LOOK: Duration = Duration::from_millis(10);

/// A supervised process. Dropped, it is gone for good.
pub struct Supervised {
    shared: Arc<Shared>,
    log: PathBuf,
    watcher: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    program: Program,
    log: PathBuf,
    state: Mutex<State>,
}

#[derive(Debug)]
enum State {
    /// Not waited for, so its pid is its own.
    Running(Child),
    Died(Instant),
    KeptDown,
    Over,
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn start(&self) -> State {
        match self.program.start(&self.log) {
            Ok(child) => State::Running(child),
            Err(error) => {
                tracing::warn!("{} does not start: {error}", self.program.path.display());
                State::Died(Instant::now())
            }
        }
    }

    /// Notices a death, brings back to life; `false` when all is over.
    fn look(&self) -> bool {
        let mut state = self.state();
        match &mut *state {
            State::Running(child) => {
                if !matches!(child.try_wait(), Ok(None)) {
                    *state = State::Died(Instant::now());
                }
            }
            State::Died(when) => {
                if when.elapsed() >= RESTART {
                    *state = self.start();
                }
            }
            State::KeptDown => {}
            State::Over => return false,
        }
        true
    }

    /// Ends the process, and what it started in its own process group, and leaves it as `next`.
    fn end(&self, next: State) {
        let mut state = self.state();
        if let State::Running(child) = &mut *state {
            let _ = nix::sys::signal::killpg(pid_of(child), Signal::SIGKILL);
            let _ = child.wait();
        }
        *state = next;
    }
}

fn pid_of(child: &Child) -> Pid {
    Pid::from_raw(i32::try_from(child.id()).expect("the kernel's pids fit"))
}

impl Supervised {
    pub(super) fn start(program: Program, log: PathBuf) -> Self {
        let shared = Arc::new(Shared { program, log: log.clone(), state: Mutex::new(State::KeptDown) });
        *shared.state() = shared.start();
        let watched = Arc::clone(&shared);
        let watcher = thread::spawn(move || {
            while watched.look() {
                sleep(LOOK);
            }
        });
        Self { shared, log, watcher: Some(watcher) }
    }

    /// Of the process that runs now; `None` while it is down.
    pub fn pid(&self) -> Option<u32> {
        match &*self.shared.state() {
            State::Running(child) => Some(child.id()),
            State::Died(_) | State::KeptDown | State::Over => None,
        }
    }

    pub fn log(&self) -> &Path {
        &self.log
    }

    fn signal(&self, signal: Signal) {
        if let State::Running(child) = &*self.shared.state() {
            let _ = kill(pid_of(child), signal);
        }
    }

    /// SIGKILL to this one process. It comes back after 200 ms; what it had started is left to itself.
    pub fn kill_hard(&self) {
        self.signal(Signal::SIGKILL);
    }

    /// SIGSTOP: it lives and does nothing, until [`Self::resume`].
    pub fn pause(&self) {
        self.signal(Signal::SIGSTOP);
    }

    pub fn resume(&self) {
        self.signal(Signal::SIGCONT);
    }

    /// Ends it, with its process group, and keeps it down until [`Self::bring_back`].
    pub fn keep_down(&self) {
        self.shared.end(State::KeptDown);
    }

    pub fn bring_back(&self) {
        let mut state = self.shared.state();
        if matches!(*state, State::KeptDown) {
            *state = self.shared.start();
        }
    }
}

impl Drop for Supervised {
    fn drop(&mut self) {
        self.shared.end(State::Over);
        if let Some(watcher) = self.watcher.take() {
            let _ = watcher.join();
        }
    }
}

impl fmt::Debug for Supervised {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Supervised").field("program", &self.shared.program.path).field("pid", &self.pid()).finish()
    }
}

/// Waits until somebody listens there.
pub(super) async fn wait_until(
    address: std::net::SocketAddr,
    limit: Duration,
    late: impl FnOnce() -> Failure,
) -> Result<(), Failure> {
    let listening = async {
        while tokio::net::TcpStream::connect(address).await.is_err() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(limit, listening).await.map_err(|_| late())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stage::spawn::Account;

    fn eventually(mut holds: impl FnMut() -> bool) -> bool {
        (0..500).any(|_| {
            sleep(Duration::from_millis(10));
            holds()
        })
    }

    #[test]
    fn what_dies_comes_back_until_it_is_kept_down_or_dropped() {
        let directory = tempfile::tempdir().expect("a directory");
        // The account must be able to enter it, whoever that is.
        std::fs::set_permissions(directory.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755)).expect("mode");
        let program = Program {
            path: "/bin/sleep".into(),
            arguments: vec!["1000".into()],
            account: Account::of_stage().expect("an account"),
            stage: directory.path().to_owned(),
        };
        let supervised = Supervised::start(program, directory.path().join("log"));
        let first = supervised.pid().expect("it runs");
        supervised.kill_hard();
        assert!(eventually(|| supervised.pid().is_some_and(|pid| pid != first)), "it does not come back");

        supervised.keep_down();
        assert_eq!(supervised.pid(), None);
        sleep(RESTART * 2);
        assert_eq!(supervised.pid(), None, "it was to stay down");
        supervised.bring_back();
        let last = supervised.pid().expect("it runs again");

        supervised.pause();
        let is_stopped = || std::fs::read_to_string(format!("/proc/{last}/stat")).expect("alive").contains(") T ");
        assert!(eventually(is_stopped), "it was to stop");
        supervised.resume();
        assert!(eventually(|| !is_stopped()), "it was to go on");
        drop(supervised);
        assert!(!Path::new(&format!("/proc/{last}")).exists());
    }
}
