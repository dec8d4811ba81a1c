//! migration.toml, read into checked types: whoever holds a [`Spec`] holds values that make sense alone and together.
//! What is done with them stands in the plan.

use std::{
    fs::File,
    io::Read as _,
    path::{Path, PathBuf},
    time::Duration,
};

use flytt_proto::{
    gate::Gate,
    name::{HostName, Migration},
};
use toml::de::DeTable;

mod bare;
mod engine;
mod key;
mod mistake;
mod name;
mod nearest;
mod part;
mod quantity;
mod read;
#[cfg(test)]
mod tests;

pub use engine::Engine;
pub use mistake::{Mistake, MistakeCode, Mistakes};
pub use name::{BadText, ServerName, SystemId};

use read::Reader;

/// A duration as migration.toml has it (`2h`), in milliseconds; for options of the command line.
///
/// # Errors
/// The units there are.
pub fn milliseconds(text: &str) -> Result<u64, String> {
    let unit = quantity::Unit::Duration;
    unit.parse(text).map_err(|_| format!("a number with its unit: {}", unit.units()))
}

/// No migration.toml comes near it; what is larger is another file.
const MOST_BYTES: u64 = 256 * 1024;

/// One migration as the operator wrote it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Spec {
    pub name: Migration,
    pub engine: Engine,
    pub transport: Transport,
    pub source: HostName,
    pub target: HostName,
    /// The server's data on the target that may be replaced, by system identifier.
    pub replace_system: Option<SystemId>,
    pub tuning: Tuning,
    pub seed: Seed,
    pub gates: Gates,
    pub probe: Probe,
    pub cutover: Cutover,
    /// At least one.
    pub routers: Vec<Router>,
    pub canary: Option<Canary>,
    /// What was read, so that it can be kept and read again.
    pub text: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// Through the agents' port.
    Tunnel,
    /// To the source's own port, with the server's TLS.
    Direct,
}

/// What a move may do to the database hosts' kernel settings. What each host allows stands in its own agent.toml.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tuning {
    pub kernel: Kernel,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kernel {
    /// What the hosts' memory and the path between them ask for.
    Auto,
    /// Left alone.
    Off,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seed {
    pub way: Way,
    pub jobs: Jobs,
    pub compress: Compress,
    /// Bytes a second; `None` is no limit.
    pub max_rate: Option<u64>,
    pub checkpoint: Checkpoint,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// As both hosts' facts say.
    Auto,
    /// The server's files.
    Physical,
    /// Schema and rows, into a server that runs.
    Dump,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Jobs {
    Auto,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compress {
    None,
}

/// How the source writes its buffers out before a base backup.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Checkpoint {
    /// Over the server's own `checkpoint_completion_target`: slow, and gentle with the source.
    Spread,
    /// At once.
    Fast,
}

/// What must hold of the machines before and while data is moved, and of the lag before the fence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gates {
    pub lag: Duration,
    pub lag_bytes: u64,
    /// The target's random-write IOPS over the source's peak, in thousandths.
    pub iops_headroom: u64,
    /// What a write may wait on a device that is busy all the time.
    pub await_limit: Duration,
    /// In thousandths of a percent.
    pub steal: u64,
    /// The others warn.
    pub block: Vec<Gate>,
}

/// How the storage is probed; `None` is as the agents usually do.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Probe {
    /// Of each job.
    pub seconds: Option<u32>,
    pub file_bytes: Option<u64>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cutover {
    pub max_outage: Duration,
    pub drain: Duration,
    /// Below `max_outage`.
    pub lease: Duration,
    pub fence: Fence,
    pub long_transaction: Duration,
    /// How old the last comparison that found both sides the same may be; `None`: none is asked for.
    pub verified: Option<Duration>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fence {
    InPlace,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Router {
    pub kind: RouterKind,
    pub host: HostName,
    pub backend: ServerName,
    pub source: ServerName,
    pub target: ServerName,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RouterKind {
    Haproxy,
}

/// A client of ours that writes through the real router and keeps account of what was acknowledged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Canary {
    /// The 0600 file with its connection string, on the controller's host.
    pub connection: PathBuf,
    pub clients: u16,
}

impl Spec {
    /// Reads a file; the error is every mistake in it.
    pub fn read(path: &Path) -> Result<Self, Mistakes> {
        let unreadable = |error: std::io::Error| {
            let sentence = format!("{} cannot be read: {error}", path.display());
            Mistakes::of_file(path, MistakeCode::SpecUnreadable, sentence, "name a migration.toml that you may read")
        };
        let mut bytes = Vec::new();
        let file = File::open(path).map_err(unreadable)?;
        file.take(MOST_BYTES + 1).read_to_end(&mut bytes).map_err(unreadable)?;
        if bytes.len() as u64 > MOST_BYTES {
            let sentence = format!("{} is larger than 256 KiB", path.display());
            return Err(Mistakes::of_file(path, MistakeCode::SpecTooLarge, sentence, "name the migration.toml itself"));
        }
        match String::from_utf8(bytes) {
            Ok(text) => Self::parse(path, &text),
            Err(error) => {
                let good = error.utf8_error().valid_up_to();
                let text = String::from_utf8_lossy(error.as_bytes());
                let mut mistakes = Mistakes::new(path, text);
                mistakes.push(MistakeCode::SpecEncoding, good..good + 1, "this is not UTF-8", "save the file as UTF-8");
                Err(mistakes)
            }
        }
    }

    /// Reads a text; `path` only names it in the mistakes.
    pub fn parse(path: &Path, text: &str) -> Result<Self, Mistakes> {
        let mut reader = Reader::new(Mistakes::new(path, text));
        if text.starts_with('\u{feff}') {
            let sentence = "the file begins with a byte-order mark";
            reader.push(MistakeCode::SpecEncoding, 0..0, sentence, "save the file as UTF-8 without a byte-order mark");
        }
        let (document, errors) = DeTable::parse_recoverable(text);
        reader.syntax(&errors);
        let spec = part::spec(&mut reader, &document, text);
        let mistakes = reader.finish();
        match spec {
            Some(spec) if mistakes.is_empty() => Ok(spec),
            Some(_) | None => Err(mistakes),
        }
    }

    /// The leg back: the roles exchanged, at both servers and in every router.
    #[must_use]
    pub fn turned(&self) -> Self {
        let turn = |router: &Router| Router { source: router.target.clone(), target: router.source.clone(), ..router.clone() };
        Self {
            name: self.name.back(),
            source: self.target.clone(),
            target: self.source.clone(),
            routers: self.routers.iter().map(turn).collect(),
            ..self.clone()
        }
    }

    /// Tells two texts apart: BLAKE3, in hexadecimal.
    pub fn digest(&self) -> String {
        blake3::hash(self.text.as_bytes()).to_hex().to_string()
    }
}
