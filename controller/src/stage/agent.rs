//! The agent of one host of the stage: its configuration, its enrolment, and its life under supervision.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use flytt_proto::failure::Failure;
use tokio::io::{AsyncBufReadExt, BufReader};

use super::{
    loopback, not_up,
    place::Place,
    proxy::{self, Proxy},
    server::Server,
    spawn::Program,
    supervised::{Supervised, wait_until},
};

const ENROLMENT: Duration = Duration::from_secs(60);
const START: Duration = Duration::from_secs(30);

/// Whether a move may put its copy in the place of the host's data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Consent {
    Keep,
    MayReplaceData,
}

/// An agent that serves, restarted when it dies.
#[derive(Debug)]
pub struct Agent {
    pub name: String,
    pub address: SocketAddr,
    /// Its `agent.toml`.
    pub config: PathBuf,
    /// Faults are made through this.
    pub process: Supervised,
}

/// An agent that is configured and not started.
#[derive(Debug)]
pub(super) struct Waiting {
    name: String,
    address: SocketAddr,
    config: PathBuf,
    log: PathBuf,
    program: Program,
}

/// The `flytt-agent` that was built or installed with this program.
///
/// # Errors
/// `PROGRAM_MISSING`.
pub fn agent_beside_us() -> Result<PathBuf, Failure> {
    let us = std::env::current_exe().ok();
    // Tests of a Cargo workspace run from a folder below the one with the binaries.
    let near = us.iter().flat_map(|us| us.ancestors().skip(1).take(2)).map(|directory| directory.join("flytt-agent"));
    near.chain(["/usr/bin/flytt-agent".into()]).find(|path| path.is_file()).ok_or_else(|| {
        Failure::refused(
            "PROGRAM_MISSING",
            "there is no flytt-agent beside this program",
            "run `apt install flytt-agent`, or build the whole workspace",
        )
    })
}

impl Agent {
    pub(super) fn of_server(
        place: &Place,
        binary: &Path,
        name: &str,
        port: u16,
        status: SocketAddr,
        server: &Server,
        consent: Consent,
    ) -> Result<Waiting, Failure> {
        let mut text = format!("status = \"{status}\"\nmay_replace_data = {}\n", consent == Consent::MayReplaceData);
        text.push_str(&server.agent()?);
        Waiting::prepare(place, binary, name, port, &text)
    }

    pub(super) fn of_proxy(place: &Place, binary: &Path, name: &str, port: u16, proxy: &Proxy) -> Result<Waiting, Failure> {
        let text = format!(
            "\n[haproxy]\nsocket = \"{}\"\nentrance = \"{}\"\nfrontend = \"{}\"\nbinary = \"{}\"\n",
            proxy.socket().display(),
            proxy.entrance(),
            proxy::FRONTEND,
            proxy.binary().display(),
        );
        Waiting::prepare(place, binary, name, port, &text)
    }
}

impl Waiting {
    fn prepare(place: &Place, binary: &Path, name: &str, port: u16, rest: &str) -> Result<Self, Failure> {
        let account = place.account();
        let root = place.directory(&format!("{name}/agent"), 0o755, Some(account))?;
        let state = place.directory(&format!("{name}/agent/state"), 0o700, Some(account))?;
        let runtime = place.directory(&format!("{name}/agent/run"), 0o700, Some(account))?;
        let (address, config, log) = (loopback(port), root.join("agent.toml"), root.join("log"));
        let head = format!("listen = \"{address}\"\nstate = \"{}\"\nruntime = \"{}\"\n", state.display(), runtime.display());
        place.file(&config, &(head + rest), 0o640, Some(account))?;
        let program = Program {
            path: binary.to_owned(),
            arguments: vec!["--config".into(), config.clone().into()],
            account: account.clone(),
            stage: place.path().to_owned(),
        };
        Ok(Self { name: name.to_owned(), address, config, log, program })
    }

    fn verb(&self, verb: &str) -> Program {
        let mut program = self.program.clone();
        program.arguments.push(verb.into());
        program
    }

    /// Lets the agent wait for its enrolment, and `add_host` enrol it.
    pub(super) async fn join(
        &self,
        add_host: &mut impl AsyncFnMut(&str, SocketAddr, &str) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        let failed = |why: &str| not_up(&format!("the agent of {} {why}", self.name), &self.log);
        let mut process = self.verb("join").talk(&self.log).map_err(|error| failed(&format!("cannot be run: {error}")))?;
        let mut lines = BufReader::new(process.stdout.take().ok_or_else(|| failed("has no output"))?).lines();
        let code = async {
            while let Ok(Some(line)) = lines.next_line().await {
                if let Some(code) = line.trim().strip_prefix("code:") {
                    return Some(code.trim().to_owned());
                }
            }
            None
        };
        let code = tokio::time::timeout(START, code).await.ok().flatten().ok_or_else(|| failed("shows no one-time code"))?;
        add_host(&self.name, self.address, &code).await?;
        // Read on, so that whatever else it says cannot block it.
        let end = async {
            while let Ok(Some(_)) = lines.next_line().await {}
            process.wait().await
        };
        match tokio::time::timeout(ENROLMENT, end).await {
            Ok(Ok(status)) if status.success() => Ok(()),
            Ok(Ok(_) | Err(_)) => Err(failed("ends its enrolment with an error")),
            Err(_) => Err(failed("does not end its enrolment")),
        }
    }

    /// Starts it for good; returns when it listens.
    pub(super) async fn serve(self) -> Result<Agent, Failure> {
        let process = Supervised::start(self.verb("run"), self.log.clone());
        wait_until(self.address, START, || not_up(&format!("the agent of {} does not listen", self.name), &self.log)).await?;
        Ok(Agent { name: self.name, address: self.address, config: self.config, process })
    }
}
