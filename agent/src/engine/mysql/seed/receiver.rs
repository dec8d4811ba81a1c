//! The server that receives a copy: made for it, reached by its unix socket in a directory that is ours alone, gone with it.

use std::{
    ffi::OsString,
    fs,
    os::unix::fs::DirBuilderExt as _,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use flytt_proto::failure::Failure;
use nix::sys::signal::{Signal, kill};

use super::super::{Mysql, file};
use crate::{
    command::{self, Command},
    engine::mysql_family::{
        facts::Common,
        failure,
        session::{Login, Session},
    },
};

/// In the data directory, beside what is copied. Both names begin unlike any file of a server.
const HOME: &str = ".flytt-receiver";

const MAKE_LIMIT: Duration = Duration::from_secs(120);
const START_LIMIT: Duration = Duration::from_secs(60);
/// An orderly end tells the source that nobody will come back; by force it waits for that (see `admitted`).
const ORDERLY: Duration = Duration::from_secs(10);
/// A process that waits for its disk is not gone before that answers, and a slow one has much to take of what was written behind.
/// Below what an undo may take in all.
const FORCED: Duration = Duration::from_secs(80);

/// No logs, which would have the words of the source's administrators one day.
const SETUP: &[&str] = &["set session sql_mode = '', autocommit = 1, wait_timeout = 31536000"];

/// Ends when it is dropped, soon after.
#[derive(Debug)]
pub(super) struct Receiver {
    home: PathBuf,
}

impl Receiver {
    /// A new one for `engine`'s server program, in `into`.
    pub(super) async fn start(engine: &Mysql, into: &Path) -> Result<Self, Failure> {
        let home = into.join(HOME);
        for directory in [home.clone(), home.join("tmp")] {
            fs::DirBuilder::new().mode(0o700).create(&directory).map_err(|error| file(&directory, &error))?;
        }
        let options = options(engine, &home).await;
        let server = |more: &[&str]| Command::new(&engine.config.server).args(options.clone()).args(more.iter().copied());
        let receiver = Self { home };
        server(&["--initialize-insecure"]).run(MAKE_LIMIT).await.map_err(|error| receiver.no_start(&error.to_string()))?;
        // In a session of its own: it outlives us, so that it can be ended in order whoever dies.
        let quiet = ["--skip-networking", "--skip-log-bin", "--event-scheduler=OFF", "--plugin-load-add=mysql_clone.so"];
        let start = Command::new("/usr/bin/setsid").arg("--fork").arg(&engine.config.server);
        start.args(options).args(quiet).run(START_LIMIT).await.map_err(|error| receiver.no_start(&error.to_string()))?;
        let begun = Instant::now();
        while let Err(failure) = receiver.session().await {
            let is_gone = begun.elapsed() > Duration::from_secs(5) && receiver.processes().is_empty();
            if is_gone || begun.elapsed() > START_LIMIT {
                return Err(receiver.no_start(&failure.sentence));
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Ok(receiver)
    }

    /// As its only account: whoever reaches its socket is this user.
    pub(super) async fn session(&self) -> Result<Session, Failure> {
        let login = Login { socket: &self.home.join("s"), account: "root", password: None, setup: SETUP };
        login.open().await.map_err(|error| failure::login("root", &error))
    }

    /// Its end, and its own files'.
    pub(super) async fn remove(self) -> Result<(), Failure> {
        let home = self.home.clone();
        end(home.parent().expect("it lies in the data directory")).await?;
        fs::remove_dir_all(&home).map_err(|error| file(&home, &error))
    }

    fn processes(&self) -> Vec<nix::unistd::Pid> {
        processes(&self.home)
    }

    fn no_start(&self, why: &str) -> Failure {
        let log = fs::read_to_string(self.home.join("log.err")).unwrap_or_default();
        let said = log.lines().find(|line| line.contains("[ERROR]")).unwrap_or_default();
        Failure::unknown(
            "SEED_FAILED",
            format!("no server can be started to receive the copy: {why}{}{said}", if said.is_empty() { "" } else { "; " }),
            "see that `server` in the target's agent.toml runs with the target's option file, then start the copy again",
        )
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        for process in self.processes() {
            let _ = kill(process, Signal::SIGTERM);
        }
    }
}

/// Ends whatever receives a copy in `into`.
pub(super) async fn end(into: &Path) -> Result<(), Failure> {
    let home = into.join(HOME);
    let begun = Instant::now();
    loop {
        let left = processes(&home);
        if left.is_empty() {
            return Ok(());
        }
        if begun.elapsed() > ORDERLY {
            break;
        }
        for process in left {
            let _ = kill(process, Signal::SIGTERM);
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    if command::end_all(|line| is_of(line, &home), FORCED).await {
        return Ok(());
    }
    let sentence = "the server that receives the copy does not end";
    Err(Failure::unknown("SEED_STILL_RUNS", sentence, "look at the disk it waits for, then take the seed back"))
}

fn processes(home: &Path) -> Vec<nix::unistd::Pid> {
    command::processes(|line| is_of(line, home))
}

fn is_of(line: &[String], home: &Path) -> bool {
    let data = format!("--datadir={}", home.join("data").display());
    line.contains(&data)
}

/// CLONE wants pages and system tablespace as on the source: so the target's own options have them, which preflight compares.
async fn options(engine: &Mysql, home: &Path) -> Vec<OsString> {
    let at = |name: &str, part: &str| {
        let mut option = OsString::from(name);
        option.push(home.join(part));
        option
    };
    let mut options = vec![
        "--no-defaults".into(),
        at("--datadir=", "data"),
        at("--socket=", "s"),
        at("--tmpdir=", "tmp"),
        at("--pid-file=", "pid"),
        at("--log-error=", "log.err"),
        "--mysqlx=OFF".into(),
        "--secure-file-priv=NULL".into(),
        "--innodb-buffer-pool-size=32M".into(),
        "--innodb-redo-log-capacity=8M".into(),
    ];
    let mut target = Common::default();
    target.at_rest(&engine.config.server, &engine.config.config_file, Some(&engine.state)).await;
    for name in ["basedir", "plugin_dir", "lc_messages_dir", "character_sets_dir", "innodb_page_size", "innodb_data_file_path"] {
        if !target.setting(name).is_empty() {
            options.push(format!("--{}={}", name.replace('_', "-"), target.setting(name)).into());
        }
    }
    options
}
