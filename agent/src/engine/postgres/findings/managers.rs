//! Another tool that starts, stops or promotes the server would undo what the move does.

use flytt_proto::v1::Finding;

use super::{Sides, block, warn};

pub(super) fn look(sides: &Sides<'_>) -> Vec<Finding> {
    let mut found = Vec::new();
    for (side, facts) in [("source", sides.source), ("target", sides.target)] {
        let (running, files): (Vec<&String>, Vec<&String>) =
            facts.host.managers.iter().partition(|manager| manager.starts_with("process "));
        if !running.is_empty() {
            found.push(block(
                "OTHER_TOOL_RUNS",
                format!("another tool manages the {side}'s server: {}", join(&running)),
                "pause or stop it for the time of the move",
            ));
        } else if !files.is_empty() {
            found.push(warn(
                "OTHER_TOOL_CONFIGURED",
                format!("another tool is configured on the {side}, though not running: {}", join(&files)),
                "see that it stays off during the move",
            ));
        }
    }
    found
}

fn join(names: &[&String]) -> String {
    names.iter().map(|name| name.as_str()).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::postgres::findings::sample::codes;

    #[test]
    fn managers_is_looked_at() {
        assert_eq!(codes(look, |_, _| {}), [""; 0]);
        assert_eq!(codes(look, |source, _| source.host.managers = vec!["process patroni".into()]), ["OTHER_TOOL_RUNS"]);
        assert_eq!(codes(look, |_, target| target.host.managers = vec!["/etc/repmgr.conf".into()]), ["OTHER_TOOL_CONFIGURED"]);
    }
}
