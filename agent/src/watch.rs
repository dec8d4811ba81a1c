//! The gates that are watched while a copy or a catch-up is under way: every second this host and its source are looked at, what
//! becomes true is said once, and a gate that blocks ends the work. What counts as true stands in `gates`.

use std::time::{Duration, Instant};

use flytt_proto::{
    failure::Failure,
    name::Migration,
    v1::{self, Finding, finding::Level},
};

use crate::{
    action::At,
    gates::{CatchUp, Copy, Reading, Standing, Steal, Storage},
    guard,
    host::Host,
};

const EVERY: Duration = Duration::from_secs(1);

/// While the target is written to. Returns only to end the copy.
pub(crate) async fn copy(at: &At, gates: Option<&v1::Gates>) -> Failure {
    let _own = at.host.samples.own_work();
    watch(at, gates, Work::Copy(Copy::default())).await
}

/// While the target catches up. Returns only to end the wait.
pub(crate) async fn catch_up(at: &At, gates: Option<&v1::Gates>, enough: u64) -> Failure {
    watch(at, gates, Work::CatchUp { trend: CatchUp::default(), enough }).await
}

/// What is under way, and where it goes.
#[derive(Debug)]
enum Work {
    Copy(Copy),
    CatchUp { trend: CatchUp, enough: u64 },
}

impl Work {
    /// A side that does not answer is no verdict.
    async fn look(&mut self, at: &At, seconds: f64, machines: &Machines, source: Option<&v1::Vitals>) -> Option<Finding> {
        let source = source?;
        match self {
            Self::Copy(trend) => {
                let (copied, total) = (at.events.copied(), at.events.expected());
                let now = Standing { copied, total, held: source.held_bytes, room: source.room_bytes };
                trend.look(seconds, now, &machines.source, &machines.gates).filter(|_| source.room_known)
            }
            Self::CatchUp { trend, enough } => {
                let now = at.host.engine().ok()?.replication(&at.migration).await.ok()?;
                let applied = now.position.filter(|_| now.streaming)?;
                let hosts = (machines.source.as_str(), machines.target.as_str());
                trend.look(seconds, (source.written, applied.written(), *enough), applied.unit(), hosts, &machines.gates)
            }
        }
    }
}

async fn watch(at: &At, gates: Option<&v1::Gates>, mut work: Work) -> Failure {
    let Some(gates) = gates else { return std::future::pending().await };
    let source = at.host.upstream_of(&at.migration).map(|(name, _)| name.to_string()).unwrap_or_default();
    let readings = || at.host.recent().iter().map(|sample| Reading::from(&**sample)).collect::<Vec<_>>();
    let mut machines = Machines::new(source, at.host.name.to_string(), *gates, &readings());
    let began = Instant::now();
    loop {
        tokio::time::sleep(EVERY).await;
        let vitals = at.host.ask_vitals(&at.migration).await.ok();
        let mut found = machines.look(readings(), vitals.as_ref());
        found.extend(work.look(at, began.elapsed().as_secs_f64(), &machines, vitals.as_ref()).await);
        for finding in found {
            let end = (finding.level() == Level::Block)
                .then(|| Failure::refused(&finding.code, finding.sentence.clone(), finding.remedy.clone()));
            at.events.found(finding);
            if let Some(failure) = end {
                return failure;
            }
        }
    }
}

/// Both machines, as far as they are watched whatever is under way.
#[derive(Debug)]
struct Machines {
    source: String,
    target: String,
    gates: v1::Gates,
    storage: Storage,
    here: Steal,
    there: Steal,
    /// The end of the last reading before the watch began: what was before, as the probe, is not the work's doing.
    began_ms: i64,
}

impl Machines {
    fn new(source: String, target: String, gates: v1::Gates, before: &[Reading]) -> Self {
        let began_ms = before.last().map_or(i64::MIN, |reading| reading.at_ms);
        let (here, there) = (Steal::default(), Steal::default());
        Self { source, target, gates, storage: Storage::default(), here, there, began_ms }
    }

    fn look(&mut self, mut here: Vec<Reading>, source: Option<&v1::Vitals>) -> Vec<Finding> {
        // A clock that was set back must not make us blind: then nothing of before is left to be seen.
        if here.first().is_some_and(|oldest| oldest.at_ms > self.began_ms) || here.iter().all(|it| it.at_ms < self.began_ms) {
            self.began_ms = i64::MIN;
        }
        here.retain(|reading| reading.at_ms > self.began_ms);
        let there: Vec<Reading> = source.and_then(reading).into_iter().collect();
        [
            self.storage.look(&here, &self.target, &self.gates),
            self.here.look(&here, &self.target, &self.gates),
            self.there.look(&there, &self.source, &self.gates),
        ]
        .into_iter()
        .flatten()
        .collect()
    }
}

fn reading(source: &v1::Vitals) -> Option<Reading> {
    let cpu = source.cpu?;
    Some(Reading { at_ms: source.cpu_at_ms, seconds: source.cpu_seconds, steal: cpu.steal, disk: None })
}

/// How this source does, for the target that it admitted.
pub(crate) async fn vitals(host: &Host, migration: &Migration) -> Result<v1::Vitals, Failure> {
    let engine = host.engine()?;
    let (written, now) = (engine.position().await?, engine.replication(migration).await?);
    let (room, newest) = (guard::room(host), host.recent().pop());
    Ok(v1::Vitals {
        written: written.written(),
        position: written.to_string(),
        beat_us: now.beat_us,
        held_bytes: now.held_bytes,
        room_bytes: room.unwrap_or(0),
        room_known: room.is_some(),
        cpu: newest.as_ref().and_then(|sample| sample.cpu),
        cpu_at_ms: newest.as_ref().map_or(0, |sample| sample.at_ms),
        cpu_seconds: newest.as_ref().map_or(0.0, |sample| sample.seconds),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gates() -> v1::Gates {
        let mut gates = v1::Gates { await_ms: 10.0, steal_percent: 5.0, ..v1::Gates::default() };
        gates.set_storage(Level::Block);
        gates.set_steal(Level::Warn);
        gates
    }

    fn here(second: i64, util: f64, steal: f64) -> Reading {
        let disk = v1::sample::Disk { name: "vdb".into(), util, w_await: 50.0, data: true, ..v1::sample::Disk::default() };
        Reading { at_ms: second * 1_000, seconds: 1.0, steal, disk: Some(disk) }
    }

    fn there(second: i64, steal: f64) -> v1::Vitals {
        let cpu = Some(v1::sample::Cpu { steal, ..v1::sample::Cpu::default() });
        v1::Vitals { cpu, cpu_at_ms: second * 1_000, cpu_seconds: 1.0, ..v1::Vitals::default() }
    }

    /// Host, code and level of all that is said, with the second at which it is.
    fn said(here: impl Fn(i64) -> Reading, there: impl Fn(i64) -> Option<v1::Vitals>) -> Vec<(i64, String, String, Level)> {
        let mut machines = Machines::new("db-old".into(), "db-new".into(), gates(), &[]);
        let look = |second| machines.look(vec![here(second - 1), here(second)], there(second).as_ref());
        let all = (1..120).flat_map({
            let mut look = look;
            move |second| look(second).into_iter().map(move |finding| (second, finding)).collect::<Vec<_>>()
        });
        all.map(|(second, finding)| (second, finding.host.clone(), finding.code.clone(), finding.level())).collect()
    }

    #[test]
    fn each_side_is_watched_for_itself_and_each_thing_said_once() {
        let quiet = |second| here(second, 10.0, 0.0);
        assert_eq!(said(quiet, |second| Some(there(second, 0.0))), []);
        let storage = said(|second| here(second, 100.0, 0.0), |_| None);
        assert_eq!(storage, [(9, "db-new".into(), "GATE_STORAGE".into(), Level::Block)]);
        let target = said(|second| here(second, 10.0, 30.0), |_| None);
        assert_eq!(target, [(9, "db-new".into(), "GATE_STEAL".into(), Level::Warn)]);
        let source = said(quiet, |second| Some(there(second, 30.0)));
        assert_eq!(source, [(10, "db-old".into(), "GATE_STEAL".into(), Level::Warn)]);
    }

    #[test]
    fn what_was_before_the_work_is_not_its_doing() {
        // The probe has just kept the disk busy for half a minute.
        let before: Vec<Reading> = (0..30).map(|second| here(second, 100.0, 0.0)).collect();
        let mut machines = Machines::new("db-old".into(), "db-new".into(), gates(), &before);
        let mut ring = before;
        for second in 30..60 {
            ring.push(here(second, 10.0, 0.0));
            assert_eq!(machines.look(ring.clone(), None), [], "at {second}");
        }
        let said = (60..90).find(|second| {
            ring.push(here(*second, 100.0, 0.0));
            !machines.look(ring.clone(), None).is_empty()
        });
        assert_eq!(said, Some(69));
    }

    #[test]
    fn a_source_that_is_silent_is_no_verdict() {
        let quiet = |second| here(second, 10.0, 0.0);
        assert_eq!(said(quiet, |second| (second % 2 == 0).then(|| there(second, 0.0))), []);
        assert_eq!(said(quiet, |second| Some(v1::Vitals { cpu: None, ..there(second, 90.0) })), []);
        assert_eq!(said(quiet, |_| Some(there(1, 90.0))), [], "one sample, shown again and again");
    }
}
