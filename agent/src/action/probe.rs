//! What this host's storage sustains: within a move, and outside of one for an operator who asks. Changes nothing that stays.

use std::time::Duration;

use tokio::sync::OwnedMutexGuard;

use super::*;
use crate::{
    apply::{self, Feed},
    engine::Serving,
    probe::{self, Ask, Job, Place},
};

/// How often a probe outside of a move looks whether a move begins.
const LOOK: Duration = Duration::from_millis(100);
/// How long it may take to end then: what is under way on the disk is waited for.
const PATIENCE: Duration = Duration::from_secs(10);

#[tonic::async_trait]
impl Intent for v1::Probe {
    fn role(&self) -> v1::Role {
        v1::Probe::role(self)
    }

    /// Storage changes: what it sustained in an earlier try is no answer.
    fn stays(&self) -> bool {
        false
    }

    async fn survey(&self, at: &At) -> Result<Survey, Failure> {
        data_directory(&at.host)?;
        Ok(Survey::default())
    }

    async fn conclude(&self, at: &At) -> Result<v1::Outcome, Failure> {
        let is_source = self.role() == v1::Role::Source;
        let ask = Ask {
            place: data_directory(&at.host)?,
            file_bytes: self.file_bytes,
            seconds: self.seconds,
            jobs: if is_source { Vec::new() } else { GATES.map(str::parse).into_iter().collect::<Result<_, _>>()? },
            serving: serving(&at.host).await?,
            gently: is_source,
        };
        // One outside of a move gives way to us, and has ended soon.
        let hold = tokio::time::timeout(PATIENCE, at.host.probing.clone().lock_owned()).await.map_err(|_| running())?;
        match measure(&at.host, ask, hold, at.events.clone()).await {
            // Not every file system can be measured. The gates make of that what they are told to.
            Err(failure) if is_source || CANNOT.contains(&failure.code.as_str()) => {
                tracing::warn!(code = failure.code, "{failure}");
                let at_ms = jiff::Timestamp::now().as_millisecond();
                let report = v1::ProbeReport { at_ms, stopped: failure.sentence, ..v1::ProbeReport::default() };
                Ok(v1::Outcome { kind: Some(v1::outcome::Kind::Probed(Box::new(report))) })
            }
            result => result,
        }
    }
}

/// What the gates judge by. An operator's own probe tells more.
const GATES: [&str; 2] = [probe::RANDOM_WRITES, probe::COMMITS];
/// The file system is not one to be probed; of the disk below it that says nothing.
const CANNOT: [&str; 2] = ["NO_DIRECT_IO", "NO_UNNAMED_FILE"];

/// A probe outside of a move. It ends when nobody listens any more, and gives way to any operation of a move.
pub(crate) fn start(host: &Arc<Host>, request: v1::ProbeRequest) -> Result<Feed, Failure> {
    let place = match (request.device.is_empty(), request.again.is_empty()) {
        (true, true) => data_directory(host)?,
        _ => Place::Raw { device: request.device, again: request.again },
    };
    let jobs = request.jobs.iter().map(|name| name.parse()).collect::<Result<Vec<Job>, Failure>>()?;
    if host.turn.try_lock().is_err() {
        return Err(busy("is under way"));
    }
    let host = host.clone();
    Ok(apply::beside(&host.clone(), move |events| async move {
        let ask = Ask {
            place,
            file_bytes: request.file_bytes,
            seconds: request.seconds,
            jobs,
            serving: serving(&host).await?,
            gently: false,
        };
        let hold = host.probing.clone().try_lock_owned().map_err(|_| running())?;
        tokio::select! {
            result = measure(&host, ask, hold, events) => result,
            () = turn_taken(&host) => Err(busy("has begun")),
        }
    }))
}

/// `hold` is held until nothing is left of the probe, which may be after somebody has lost interest in it.
async fn measure(host: &Host, ask: Ask, hold: OwnedMutexGuard<()>, events: Events) -> Result<v1::Outcome, Failure> {
    let own = host.samples.own_work();
    let report = probe::run(ask, (hold, own), move |progress| events.say(progress)).await?;
    Ok(v1::Outcome { kind: Some(v1::outcome::Kind::Probed(Box::new(report))) })
}

fn running() -> Failure {
    Failure::refused("PROBE_RUNNING", "a probe is running on this host; two would measure each other", "wait for its end")
}

fn data_directory(host: &Host) -> Result<Place, Failure> {
    host.engine()?;
    let directory = host.config.data_directory().ok_or_else(|| {
        Failure::refused(
            "NO_ENGINE",
            "this host serves no database",
            "add a [postgres], [mariadb] or [mysql] section to its agent.toml",
        )
    })?;
    Ok(Place::Under { directory: directory.to_owned(), state: Some(host.config.state.clone()) })
}

/// What must stay free where a server is up; `None` where none is.
async fn serving(host: &Host) -> Result<Option<u8>, Failure> {
    let Some(engine) = &host.hands.engine else { return Ok(None) };
    Ok(match engine.serving().await? {
        Serving::Down => None,
        Serving::Standby | Serving::Writable => Some(host.config.guard_free_percent),
    })
}

async fn turn_taken(host: &Host) {
    while host.turn.try_lock().is_ok() {
        tokio::time::sleep(LOOK).await;
    }
}

fn busy(how: &str) -> Failure {
    Failure::refused(
        "PROBE_GIVES_WAY",
        format!("an operation of a move {how} on this host, and a probe would disturb it"),
        "probe before or after it; `flytt start` probes by itself",
    )
}
