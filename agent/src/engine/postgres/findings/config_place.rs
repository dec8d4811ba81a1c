//! Configuration inside the target's data directory is the source's after the copy.

use flytt_proto::v1::Finding;

use super::{Sides, block, warn};

pub(super) fn look(sides: &Sides<'_>) -> Vec<Finding> {
    let target = sides.target;
    let inside: Vec<&str> = [("postgresql.conf", &target.config_file), ("pg_hba.conf", &target.hba_file)]
        .into_iter()
        .filter(|(_, path)| super::is_inside(path, target))
        .map(|(name, _)| name)
        .collect();
    let mut found = Vec::new();
    if !inside.is_empty() {
        found.push(warn(
            "CONFIG_COMES_WITH_COPY",
            format!("{} lies in the target's data directory: the source's takes its place", inside.join(" and ")),
            "keep the target's configuration outside (config_file, hba_file, ident_file), or see that the source's fits it",
        ));
    }
    let coming = super::is_inside(&target.config_file, target);
    let port = if coming { sides.source.setting("port") } else { target.setting("port") };
    if !port.is_empty() && port != target.agent_port.to_string() {
        found.push(block(
            "PORT_DIFFERS",
            format!("the target's server will listen on port {port}, its agent looks for it on {}", target.agent_port),
            "let `port` in the target's agent.toml and in the configuration it starts with agree",
        ));
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::postgres::facts::PgFacts;
    use crate::engine::postgres::findings::sample::codes;

    #[test]
    fn config_place_is_looked_at() {
        assert_eq!(codes(look, |_, _| {}), [""; 0]);
        let inside = |_: &mut PgFacts, target: &mut PgFacts| {
            target.hba_file = format!("{}/pg_hba.conf", target.data.path);
        };
        assert_eq!(codes(look, inside), ["CONFIG_COMES_WITH_COPY"]);
        assert_eq!(codes(look, |_, target| target.agent_port = 1), ["PORT_DIFFERS"]);
    }
}
