//! The last report of a probe, in the agent's state directory, so that `check` can judge what was measured before.

use std::{
    fs,
    path::{Path, PathBuf},
};

use flytt_proto::{durable, failure::Failure, v1};
use serde::{Deserialize, Serialize};

use super::job::Job;

const VERSION: u32 = 1;

#[derive(Debug, Serialize, Deserialize)]
struct Kept {
    version: u32,
    report: v1::ProbeReport,
}

fn place(state: &Path) -> PathBuf {
    state.join("probe.json")
}

/// Keeps a report of the data directory's file system, if it measured one of the usual jobs.
pub(super) fn keep(state: &Path, report: &v1::ProbeReport) -> Result<(), Failure> {
    if !report.results.iter().any(|result| Job::is_usual(&result.job)) {
        return Ok(());
    }
    let text = serde_json::to_vec(&Kept { version: VERSION, report: report.clone() }).expect("plain data");
    durable::write(&place(state), &text, 0o600).map_err(|error| {
        Failure::refused("DISK", format!("the report of the probe cannot be kept: {error}"), "see `state` in agent.toml")
    })
}

/// The last report, if there is one that reads.
pub fn last(state: &Path) -> Option<v1::ProbeReport> {
    let kept: Kept = serde_json::from_slice(&fs::read(place(state)).ok()?).ok()?;
    (kept.version == VERSION).then_some(kept.report)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_report_of_a_usual_job_is_kept() {
        let state = tempfile::tempdir().unwrap();
        assert_eq!(last(state.path()), None);
        let report = |job: &str, at_ms| v1::ProbeReport {
            at_ms,
            results: vec![v1::ProbeResult { job: job.into(), iops: 5.5, ..Default::default() }],
            ..Default::default()
        };
        for (job, at_ms) in [("commit-8k", 1), ("randwrite-4k-qd32", 2), ("read-4k-qd1", 3)] {
            keep(state.path(), &report(job, at_ms)).unwrap();
        }
        assert_eq!(last(state.path()), Some(report("randwrite-4k-qd32", 2)));
        durable::write(&place(state.path()), b"{\"version\":2,\"report\":{}}", 0o600).unwrap();
        assert_eq!(last(state.path()), None, "of a later version");
        durable::write(&place(state.path()), b"half a repo", 0o600).unwrap();
        assert_eq!(last(state.path()), None);
    }

    #[test]
    fn a_report_of_the_first_version_reads() {
        let state = tempfile::tempdir().unwrap();
        let old = r#"{"version":1,"report":{"device":{"name":"vda"},"at_ms":7,"way":"io_uring","results":[{"job":"commit-8k","iops":900.5,"p99_us":2500}]}}"#;
        durable::write(&place(state.path()), old.as_bytes(), 0o600).unwrap();
        let report = last(state.path()).unwrap();
        assert_eq!((report.at_ms, report.results[0].p99_us, report.device.unwrap().name.as_str()), (7, 2500, "vda"));
    }
}
