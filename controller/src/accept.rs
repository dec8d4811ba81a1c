//! What an operator goes on with against a gate: `--accept CODE`. Only gates can be accepted; what would lose data cannot.

use std::collections::BTreeSet;

use flytt_proto::{failure::Failure, gate::Gate, v1};

use crate::halt::{Exit, Halt};

/// The gates behind the codes of a command line. Any other code is refused, and nothing is done.
pub fn parse(codes: &[String]) -> Result<BTreeSet<Gate>, Halt> {
    let (mut gates, mut failures) = (BTreeSet::new(), Vec::new());
    let list = Gate::ALL.map(Gate::code).join(", ");
    for code in codes {
        match code.parse() {
            Ok(gate) => drop(gates.insert(gate)),
            Err(_) => failures.push(Failure::refused(
                "NOT_ACCEPTABLE",
                format!("{code} cannot be accepted"),
                format!("only gates can be: {list}; of anything else see to the cause"),
            )),
        }
    }
    if failures.is_empty() { Ok(gates) } else { Err(Halt::new(Exit::Usage, failures)) }
}

/// What of it no finding needed.
pub fn unneeded(accepted: &BTreeSet<Gate>, findings: &[v1::Finding]) -> Option<String> {
    let needed = |gate: &Gate| {
        findings.iter().any(|finding| finding.level() == v1::finding::Level::Accepted && finding.code == gate.code())
    };
    let not: Vec<&str> = accepted.iter().filter(|gate| !needed(gate)).map(|gate| gate.code()).collect();
    (!not.is_empty()).then(|| format!("nothing needed --accept {}", not.join(", ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn codes(codes: &[&str]) -> Vec<String> {
        codes.iter().map(|code| (*code).to_owned()).collect()
    }

    #[test]
    fn gates_are_accepted_and_nothing_else_is() {
        assert_eq!(parse(&codes(&["GATE_IOPS", "GATE_STEAL", "GATE_IOPS"])).expect("gates"), [Gate::Iops, Gate::Steal].into());
        let halt = parse(&codes(&["SAME_SERVER", "GATE_IOPS", "gate_steal"])).expect_err("no gates");
        assert_eq!(halt.exit(), Exit::Usage);
        let text = halt.to_string();
        assert!(text.contains("SAME_SERVER cannot be accepted") && text.contains("gate_steal cannot"), "{text}");
        assert!(text.contains("GATE_IOPS, GATE_COMMIT, GATE_STORAGE, GATE_STEAL, GATE_CONVERGE"), "{text}");
    }

    #[test]
    fn what_was_not_needed_is_said() {
        let finding = |code: &str, level: v1::finding::Level| v1::Finding {
            code: code.into(),
            level: level.into(),
            ..v1::Finding::default()
        };
        let accepted = [Gate::Iops, Gate::Steal].into();
        let found = [finding("GATE_IOPS", v1::finding::Level::Accepted), finding("GATE_STEAL", v1::finding::Level::Warn)];
        assert_eq!(unneeded(&accepted, &found).as_deref(), Some("nothing needed --accept GATE_STEAL"));
        assert_eq!(unneeded(&[Gate::Iops].into(), &found), None);
        assert_eq!(unneeded(&BTreeSet::new(), &[]), None);
    }
}
