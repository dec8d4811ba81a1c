//! What the hosts are asked for before anything is moved: to measure themselves, and to judge by it. The order stands in the plan.

use flytt_proto::{
    gate::Gate,
    name::{HostName, StepId},
    v1::{self, action::Kind, finding::Level},
};

use super::{Known, Step};
use crate::spec::Spec;

pub(super) fn probe(spec: &Spec, _: &Known, step: &Step) -> Option<Kind> {
    let (role, file_bytes) = (step.role.into(), spec.probe.file_bytes.unwrap_or(0));
    Some(Kind::Probe(v1::Probe { role, file_bytes, seconds: spec.probe.seconds.unwrap_or(0) }))
}

pub(super) fn judge(spec: &Spec, known: &Known, _: &Step) -> Option<Kind> {
    Some(Kind::Judge(Box::new(v1::Judge {
        gates: Some(gates(spec, known)),
        source: Some(measured(known, &spec.source, "probe-source")?),
        target: Some(measured(known, &spec.target, "probe-target")?),
    })))
}

/// The thresholds, and what becomes of each gate. What the operator accepted does not block any more, and is shown as accepted.
pub(super) fn gates(spec: &Spec, known: &Known) -> v1::Gates {
    let level = |gate: Gate| match (spec.gates.block.contains(&gate), known.accepted.contains(&gate)) {
        (true, true) => Level::Accepted,
        (true, false) => Level::Block,
        (false, _) => Level::Warn,
    };
    v1::Gates {
        iops_headroom: spec.gates.iops_headroom as f64 / 1e3,
        await_ms: spec.gates.await_limit.as_secs_f64() * 1e3,
        steal_percent: spec.gates.steal as f64 / 1e3,
        iops: level(Gate::Iops).into(),
        commit: level(Gate::Commit).into(),
        storage: level(Gate::Storage).into(),
        steal: level(Gate::Steal).into(),
        converge: level(Gate::Converge).into(),
    }
}

/// By the probe of this move where there is one, else by the last on record.
fn measured(known: &Known, host: &HostName, step: &str) -> Option<v1::Measured> {
    let facts = known.facts.get(host)?;
    let made = known.outcomes.get(&step.parse::<StepId>().ok()?).and_then(|outcome| outcome.kind.clone());
    let probe = if let Some(v1::outcome::Kind::Probed(report)) = made { Some(*report) } else { facts.probe.clone() };
    Some(v1::Measured { host: host.to_string(), peak: facts.peak.clone(), storage: facts.storage.clone(), probe })
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn spec() -> Spec {
        let text = "name = \"shop\"\nengine = \"postgres\"\n[source]\nhost = \"a\"\n[target]\nhost = \"b\"\n\
                    [gates]\niops_headroom = 1.5\nawait = \"20ms\"\nsteal = \"2.5%\"\nblock = [\"iops\", \"steal\"]\n\
                    [[router]]\nkind = \"haproxy\"\nhost = \"c\"\nbackend = \"d\"\nsource = \"e\"\ntarget = \"f\"\n";
        Spec::parse(Path::new("shop.toml"), text).expect("a good file")
    }

    #[test]
    fn what_is_accepted_is_no_block_and_what_warns_needs_no_acceptance() {
        let known = Known { accepted: [Gate::Iops, Gate::Storage].into(), ..Known::default() };
        let gates = gates(&spec(), &known);
        assert_eq!((gates.iops_headroom, gates.await_ms, gates.steal_percent), (1.5, 20.0, 2.5));
        let levels = Gate::OF_MACHINES.map(|gate| gates.level(gate));
        assert_eq!(levels, [Level::Accepted, Level::Warn, Level::Warn, Level::Block, Level::Warn]);
    }

    #[test]
    fn the_probe_of_this_move_goes_before_the_last_on_record() {
        let report = |at_ms| v1::ProbeReport { at_ms, ..v1::ProbeReport::default() };
        let host: HostName = "b".parse().expect("a name");
        let facts = v1::FactsReply { probe: Some(report(1)), ..v1::FactsReply::default() };
        let mut known = Known { facts: [(host.clone(), facts)].into(), ..Known::default() };
        let at = |known: &Known| measured(known, &host, "probe-target").expect("known").probe.map(|probe| probe.at_ms);
        assert_eq!(at(&known), Some(1));
        let outcome = v1::Outcome { kind: Some(v1::outcome::Kind::Probed(Box::new(report(2)))) };
        known.outcomes.insert("probe-target".parse().expect("a step"), outcome);
        assert_eq!(at(&known), Some(2));
        assert!(measured(&Known::default(), &host, "probe-target").is_none());
    }
}
