//! The gates: are the machines fit for the move? One small file for each, from numbers to findings; no engine, no host, no
//! clock. Two are judged before a byte is moved, by what was measured; three are watched while it moves (`watch.rs`).

use flytt_proto::{gate::Gate, v1};

mod commit;
mod converge;
mod iops;
mod missing;
#[cfg(test)]
mod sample;
mod steal;
mod storage;
mod sustained;
mod trend;
mod words;

pub(crate) use converge::{CatchUp, Copy, Standing};
pub(crate) use steal::Steal;
pub(crate) use storage::Storage;
pub(crate) use sustained::Reading;

/// Both sides as measured, and what is asked of them.
#[derive(Debug)]
struct Sides<'a> {
    source: &'a v1::Measured,
    target: &'a v1::Measured,
    gates: &'a v1::Gates,
}

type Look = fn(&Sides<'_>) -> Vec<v1::Finding>;
const ALL: &[Look] = &[missing::look, iops::look, commit::look];

/// What the measurements come to, before anything is moved.
pub(crate) fn judge(judge: &v1::Judge) -> Vec<v1::Finding> {
    let (source, target) = (judge.source.clone().unwrap_or_default(), judge.target.clone().unwrap_or_default());
    let gates = judge.gates.unwrap_or_default();
    let sides = Sides { source: &source, target: &target, gates: &gates };
    ALL.iter().flat_map(|look| look(&sides)).collect()
}

/// The gate does not hold; what becomes of it is configured.
fn fails(gates: &v1::Gates, gate: Gate, host: &str, sentence: String, remedy: impl Into<String>) -> v1::Finding {
    finding(gates.level(gate), gate.code(), host, sentence, remedy)
}

fn holds(gate: Gate, host: &str, sentence: String) -> v1::Finding {
    finding(v1::finding::Level::Ok, gate.code(), host, sentence, "")
}

fn warn(code: &str, host: &str, sentence: String, remedy: impl Into<String>) -> v1::Finding {
    finding(v1::finding::Level::Warn, code, host, sentence, remedy)
}

fn finding(level: v1::finding::Level, code: &str, host: &str, sentence: String, remedy: impl Into<String>) -> v1::Finding {
    v1::Finding { level: level.into(), code: code.into(), host: host.into(), sentence, remedy: remedy.into() }
}

/// The result of one of the probe's jobs.
fn result<'r>(measured: &'r v1::Measured, job: &str) -> Option<&'r v1::ProbeResult> {
    measured.probe.as_ref()?.results.iter().find(|result| result.job == job)
}

/// Where and how a probe was made, for a sentence that stands alone.
fn method(probe: &v1::ProbeReport) -> String {
    format!("O_DIRECT by {} in a file of {}, {}", probe.way, words::bytes(probe.file_bytes as f64), words::time(probe.at_ms))
}

/// A device as its provider knows it: name, model, file system, directory.
fn device(device: &v1::Device) -> String {
    let mut about: Vec<String> = Vec::new();
    if !device.model.is_empty() {
        about.push(device.model.clone());
    }
    if !device.transport.is_empty() {
        about.push(device.transport.clone());
    }
    if !device.file_system.is_empty() {
        about.push(device.file_system.clone());
    }
    if !device.path.is_empty() {
        about.push(format!("under {}", device.path));
    }
    let name = if device.name.is_empty() { "its disk" } else { &device.name };
    if about.is_empty() { name.to_owned() } else { format!("{name} ({})", about.join(", ")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_machines_that_fit_have_nothing_but_good_findings() {
        let found = judge(&sample::judge());
        assert_eq!(sample::codes(&found), [("GATE_IOPS", v1::finding::Level::Ok), ("GATE_COMMIT", v1::finding::Level::Ok)]);
        for finding in &found {
            assert!(!finding.sentence.is_empty() && !finding.host.is_empty(), "{finding:?}");
        }
    }

    #[test]
    fn nothing_known_is_said_and_is_no_verdict() {
        let found = judge(&v1::Judge::default());
        assert!(found.iter().all(|finding| finding.level() == v1::finding::Level::Warn), "{found:?}");
        assert!(found.iter().any(|finding| finding.code == "NO_PROBE"), "{found:?}");
    }
}
