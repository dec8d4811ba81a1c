//! A throw-away database server of any engine: its directories, its files and its end. What differs between the engines is a
//! [`Database`], one file for each.

use std::{
    fmt::Debug,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use flytt_proto::failure::Failure;

use super::{
    place::Place,
    processes,
    programs::Programs,
    spawn::{Account, Program},
};

pub(super) const START: Duration = Duration::from_secs(90);
pub(super) const STATEMENT: Duration = Duration::from_secs(600);
/// Rows of 1 KiB, told apart by their number.
const ROWS_PER_MIB: u32 = 1024;

/// What an engine's servers have of their own.
#[tonic::async_trait]
pub(super) trait Database: Debug + Send + Sync {
    /// Directory of the engine's programs.
    fn bin(&self) -> &Path;
    /// Name of the configuration file, below `etc`.
    fn config(&self) -> &'static str;
    /// Directories of its own, beside those that every server has.
    fn directories(&self) -> &'static [&'static str] {
        &[]
    }
    /// What stands below `etc`: names and texts.
    fn files(&self, at: &Layout) -> Vec<(&'static str, String)>;
    /// Makes a new server's data, in a directory that is empty.
    async fn initialise(&self, at: &Layout) -> Result<(), Failure>;
    /// Starts it; returns when it accepts connections.
    async fn start(&self, at: &Layout) -> Result<(), Failure>;
    /// Runs statements as the administrator.
    async fn sql(&self, at: &Layout, database: &str, statements: &str) -> Result<String, Failure>;
    /// Statements for an account `app` with this password and a database `app`. They go in by standard input.
    fn application(&self, password: &str) -> String;
    /// Statements for a table `orders` of so many rows of 1 KiB.
    fn filling(&self, rows: u64) -> String;
    /// Where applications connect, as the canary reads it from a file.
    fn way_in(&self, port: u16, password: &str) -> String;
    /// The server's section of `agent.toml`.
    fn agent(&self, at: &Layout) -> Result<String, Failure>;
}

/// Where a server is, and as whom it runs.
#[derive(Debug)]
pub(super) struct Layout {
    pub(super) name: String,
    pub(super) root: PathBuf,
    pub(super) port: u16,
    /// For its agent's tunnel, where the engine's servers replicate over TCP only.
    pub(super) tunnel_port: u16,
    pub(super) account: Account,
    stage: PathBuf,
}

impl Layout {
    pub(super) fn data(&self) -> PathBuf {
        self.root.join("data")
    }

    /// Directory of the unix socket.
    pub(super) fn run(&self) -> PathBuf {
        self.root.join("run")
    }

    pub(super) fn etc(&self) -> PathBuf {
        self.root.join("etc")
    }

    /// The server's own, for what need not last.
    pub(super) fn tmp(&self) -> PathBuf {
        self.root.join("tmp")
    }

    /// With an ending: a name that has none gets another from some servers.
    pub(super) fn log(&self) -> PathBuf {
        self.root.join("server.log")
    }

    pub(super) fn program(&self, path: PathBuf, arguments: &[&str]) -> Program {
        Program {
            path,
            arguments: arguments.iter().map(Into::into).collect(),
            account: self.account.clone(),
            stage: self.stage.clone(),
        }
    }
}

/// A server and its directories. It ends with this value, whoever started it last.
#[derive(Debug)]
pub struct Server {
    pub(super) at: Layout,
    database: Arc<dyn Database>,
}

impl Server {
    /// Makes a new server, not started. `name` becomes the directory's.
    ///
    /// # Errors
    /// `STAGE_DIRECTORY`, or `STAGE_PROGRAM` with what the engine's own program says.
    pub async fn create(place: &Place, programs: &Programs, name: &str, port: u16) -> Result<Self, Failure> {
        let server = Self::vacant(place, programs, name, port)?;
        server.database.initialise(&server.at).await?;
        Ok(server)
    }

    /// Configuration for a server whose data directory is still empty: what a move fills.
    ///
    /// # Errors
    /// `STAGE_DIRECTORY`.
    pub fn vacant(place: &Place, programs: &Programs, name: &str, port: u16) -> Result<Self, Failure> {
        let account = place.account();
        let root = place.directory(name, 0o755, Some(account))?;
        for (directory, mode) in [("data", 0o700), ("etc", 0o755), ("run", 0o755), ("tmp", 0o700)] {
            place.directory(&format!("{name}/{directory}"), mode, Some(account))?;
        }
        for directory in programs.database.directories() {
            place.directory(&format!("{name}/{directory}"), 0o755, Some(account))?;
        }
        let ([tunnel_port], stage) = (place.ports()?, place.path().to_owned());
        let at = Layout { name: name.to_owned(), root, port, tunnel_port, account: account.clone(), stage };
        let server = Self { at, database: programs.database.clone() };
        for (file, text) in server.database.files(&server.at) {
            place.file(&server.at.etc().join(file), &text, 0o640, Some(account))?;
        }
        Ok(server)
    }

    pub fn name(&self) -> &str {
        &self.at.name
    }

    pub fn port(&self) -> u16 {
        self.at.port
    }

    pub fn data(&self) -> PathBuf {
        self.at.data()
    }

    /// Directory of the unix socket.
    pub fn socket(&self) -> PathBuf {
        self.at.run()
    }

    pub fn config_file(&self) -> PathBuf {
        self.at.etc().join(self.database.config())
    }

    pub fn log(&self) -> PathBuf {
        self.at.log()
    }

    /// Directory of the engine's programs.
    pub fn bin(&self) -> &Path {
        self.database.bin()
    }

    /// Starts it; returns when it accepts connections.
    ///
    /// # Errors
    /// `STAGE_PROGRAM`, or `STAGE_NOT_UP` with the end of the server's log.
    pub async fn start(&self) -> Result<(), Failure> {
        self.database.start(&self.at).await
    }

    /// SIGKILL to the server and all its sessions, as a power cut would do it.
    pub fn kill_hard(&self) {
        processes::kill_all(&self.data());
    }

    /// Whether any process of this server lives.
    pub fn is_running(&self) -> bool {
        processes::any(&self.data())
    }

    /// Runs statements as the administrator, over the socket; returns the rows, `|` between columns.
    ///
    /// # Errors
    /// `STAGE_PROGRAM` with the server's message.
    pub async fn sql(&self, database: &str, statements: &str) -> Result<String, Failure> {
        self.database.sql(&self.at, database, statements).await
    }

    /// Account and database `app`. The password goes in by standard input, and into no log.
    pub(super) async fn admit_application(&self, password: &str) -> Result<(), Failure> {
        self.sql("", &self.database.application(password)).await.map(drop)
    }

    /// A table `orders` of about this size.
    pub(super) async fn fill(&self, mib: u32) -> Result<(), Failure> {
        let rows = u64::from(mib) * u64::from(ROWS_PER_MIB);
        self.sql("app", &self.database.filling(rows)).await.map(drop)
    }

    pub(super) fn way_in(&self, port: u16, password: &str) -> String {
        self.database.way_in(port, password)
    }

    pub(super) fn agent(&self) -> Result<String, Failure> {
        self.database.agent(&self.at)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        processes::end_all(&self.data());
    }
}
