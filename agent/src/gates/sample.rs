//! Two machines that fit each other, for the gates' tests: each test spoils one thing.

use flytt_proto::v1::{self, finding::Level};

use super::{Look, Sides};

/// 2026-07-01 23:00:05 UTC
const NOW: i64 = 1_782_946_805_000;

pub(super) fn gates() -> v1::Gates {
    let mut gates = v1::Gates { iops_headroom: 1.3, await_ms: 10.0, steal_percent: 5.0, ..v1::Gates::default() };
    gates.set_iops(Level::Block);
    gates.set_storage(Level::Block);
    gates.set_converge(Level::Block);
    gates.set_commit(Level::Warn);
    gates.set_steal(Level::Warn);
    gates
}

fn result(job: &str, iops: f64, p50_us: u64, p99_us: u64) -> v1::ProbeResult {
    v1::ProbeResult { job: job.into(), iops, p50_us, p99_us, ..v1::ProbeResult::default() }
}

fn device(name: &str) -> v1::Device {
    v1::Device {
        name: name.into(),
        path: "/var/lib/postgresql/15/main".into(),
        model: "Cheap Disk".into(),
        transport: "virtio".into(),
        file_system: "xfs".into(),
        ..v1::Device::default()
    }
}

fn measured(host: &str, disk: &str, results: Vec<v1::ProbeResult>) -> v1::Measured {
    v1::Measured {
        host: host.into(),
        peak: Some(v1::Peak {
            device: disk.into(),
            write_iops: 1_223.0,
            at_ms: NOW - 3_600_000,
            observed_s: 273_700.0,
            since_ms: NOW - 273_700_000,
            commit_await_ms: 0.8,
            ..v1::Peak::default()
        }),
        storage: Some(device(disk)),
        probe: Some(v1::ProbeReport {
            device: Some(device(disk)),
            at_ms: NOW,
            way: "io_uring".into(),
            file_bytes: 1 << 30,
            results,
            stopped: String::new(),
        }),
    }
}

pub(super) fn judge() -> v1::Judge {
    let commit = || result("commit-8k", 1_100.0, 850, 4_000);
    let random = |depth: &str, iops| result(&format!("randwrite-4k-qd{depth}"), iops, 400, 2_000);
    v1::Judge {
        gates: Some(gates()),
        source: Some(measured("db-old", "vda", vec![commit()])),
        target: Some(measured(
            "db-new",
            "vdb",
            vec![random("1", 2_500.0), random("8", 9_000.0), random("32", 20_000.0), commit()],
        )),
    }
}

/// What `look` finds once `spoil` has had its way. Whatever does not hold says what to do about it.
pub(super) fn found(look: Look, spoil: impl FnOnce(&mut v1::Measured, &mut v1::Measured)) -> Vec<v1::Finding> {
    let judge = judge();
    let (mut source, mut target) = (judge.source.unwrap(), judge.target.unwrap());
    spoil(&mut source, &mut target);
    let found = look(&Sides { source: &source, target: &target, gates: &gates() });
    for finding in &found {
        assert!(!finding.sentence.is_empty(), "{finding:?}");
        assert!(finding.level() == Level::Ok || !finding.remedy.is_empty(), "{finding:?}");
    }
    found
}

pub(super) fn codes(found: &[v1::Finding]) -> Vec<(&str, Level)> {
    found.iter().map(|finding| (finding.code.as_str(), finding.level())).collect()
}
