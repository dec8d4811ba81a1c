//! The only place in the controller that starts a process: the stage's own throw-away servers, under an account that is not
//! root. Each gets a process group of its own and a mark by which [`super::processes`] finds it again.

use std::{
    ffi::OsString,
    fs::File,
    io,
    os::unix::{fs::OpenOptionsExt, process::CommandExt},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use flytt_proto::failure::Failure;
use nix::unistd::{Gid, Uid, User, geteuid};
use tokio::io::AsyncWriteExt;

use super::processes::MARK;

/// Who the stage's processes run as: where we are root, which database servers refuse, one who has no rights; else ourselves.
#[derive(Clone, Debug)]
pub(super) struct Account {
    pub(super) name: String,
    pub(super) uid: Uid,
    pub(super) gid: Gid,
}

/// The servers' own, where their packages made them.
const ACCOUNTS: [&str; 3] = ["postgres", "mysql", "nobody"];

impl Account {
    pub(super) fn of_stage() -> Result<Self, Failure> {
        let known = |name: &&str| User::from_name(name).ok().flatten();
        let found = if geteuid().is_root() { ACCOUNTS.iter().find_map(known) } else { User::from_uid(geteuid()).ok().flatten() };
        found.map(|user| Self { name: user.name, uid: user.uid, gid: user.gid }).ok_or_else(|| {
            Failure::refused(
                "PROGRAM_MISSING",
                "there is no operating-system user for the stage's servers",
                "run `apt install postgresql`, which makes the user postgres",
            )
        })
    }
}

/// A program with its arguments, to be started once or again and again.
#[derive(Clone, Debug)]
pub(super) struct Program {
    pub(super) path: PathBuf,
    pub(super) arguments: Vec<OsString>,
    pub(super) account: Account,
    /// The stage's directory: working directory and mark.
    pub(super) stage: PathBuf,
}

impl Program {
    #[allow(clippy::disallowed_methods, reason = "the demo's own throw-away servers")]
    fn command(&self) -> Command {
        let mut command = Command::new(&self.path);
        command.args(&self.arguments).current_dir(&self.stage).process_group(0);
        command.env_clear().env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin").env("LC_ALL", "C.UTF-8").env(MARK, &self.stage);
        if geteuid().is_root() {
            // Also drops the supplementary groups.
            command.uid(self.account.uid.as_raw()).gid(self.account.gid.as_raw());
        }
        command
    }

    fn name(&self) -> String {
        self.path.file_name().unwrap_or_default().to_string_lossy().into_owned()
    }

    /// Starts it for long; what it says goes to the log.
    pub(super) fn start(&self, log: &Path) -> io::Result<Child> {
        let log = append(log)?;
        self.command().stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log).spawn()
    }

    /// Starts it with its output for us to read. It ends with the returned value.
    pub(super) fn talk(&self, log: &Path) -> io::Result<tokio::process::Child> {
        let mut command = tokio::process::Command::from(self.command());
        command.kill_on_drop(true).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(append(log)?).spawn()
    }

    /// Runs it to its end and returns what it wrote; an exit code other than 0 is an error.
    pub(super) async fn run(&self, input: &str, limit: Duration) -> Result<String, Failure> {
        let failed = |why: &str| {
            Failure::unknown(
                "STAGE_PROGRAM",
                format!("{} {why}", self.name()),
                "look at the sentence, free disk and memory, and try again",
            )
        };
        let work = async {
            let mut command = tokio::process::Command::from(self.command());
            let mut child =
                command.kill_on_drop(true).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
            let mut stdin = child.stdin.take();
            let feed = async {
                if let Some(stdin) = &mut stdin {
                    // One that ends without reading says why by its exit code.
                    let _ = stdin.write_all(input.as_bytes()).await;
                }
                drop(stdin.take());
            };
            let (_, output) = tokio::join!(feed, child.wait_with_output());
            output
        };
        let output = tokio::time::timeout(limit, work).await.map_err(|_| failed(&format!("does not end within {limit:?}")))?;
        let output = output.map_err(|error| failed(&format!("cannot be run: {error}")))?;
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr);
            return Err(failed(&format!("fails ({}): {}", output.status, said.trim().escape_debug())));
        }
        Ok(String::from_utf8_lossy(&output.stdout).trim_end().to_owned())
    }
}

fn append(log: &Path) -> io::Result<File> {
    File::options().create(true).append(true).mode(0o600).open(log)
}
