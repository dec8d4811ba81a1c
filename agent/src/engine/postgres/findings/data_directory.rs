//! The target's data directory may be replaced, and nothing that matters is in it.

use flytt_proto::v1::Finding;

use super::{Sides, block, warn};
use crate::engine::Serving;

pub(super) fn look(sides: &Sides<'_>) -> Vec<Finding> {
    let (target, data) = (sides.target, &sides.target.data);
    let mut found = Vec::new();
    if !target.may_replace {
        found.push(block(
            "NO_CONSENT",
            "the target does not allow its data directory to be replaced".into(),
            "set `may_replace_data = true` in its agent.toml",
        ));
    }
    if data.path.trim_end_matches('/').is_empty() || !data.path.starts_with('/') || data.symlink {
        found.push(block(
            "BAD_DATA_DIRECTORY",
            format!("the target's data directory {:?} is not a plain absolute path", data.path),
            "name the directory itself in its agent.toml",
        ));
    }
    // A standby that follows the source is what a move in progress looks like.
    if data.running && !(data.ours && sides.to.serving == Serving::Standby) {
        found.push(block("TARGET_RUNS", "a server runs in the target's data directory".into(), "stop it"));
    }
    if data.exists && !data.empty && !data.ours {
        let what = if data.system.is_empty() { "files that are no cluster".into() } else { format!("cluster {}", data.system) };
        if !data.system.is_empty() && data.system == sides.check.replace_system {
            found.push(warn(
                "CLUSTER_REPLACED",
                format!("the target's data directory holds {what}, which was named as the one to be replaced"),
                "nothing to do: it is moved aside, and removed for good by `flytt finish`",
            ));
        } else {
            found.push(block(
                "DIRECTORY_NOT_EMPTY",
                format!("the target's data directory holds {what}, which nobody named"),
                "empty it, or name its system identifier as `replace` in migration.toml",
            ));
        }
        if data.mount_point {
            found.push(block(
                "MOUNT_POINT",
                "the target's data directory is a mount point with something in it".into(),
                "empty it, or put the data directory one level below",
            ));
        }
    }
    if sides.source.data.wal_elsewhere {
        found.push(warn(
            "WAL_ELSEWHERE",
            "the source keeps its WAL on a disk of its own; the target will not".into(),
            "measure whether the target's disk bears both",
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
    fn data_directory_is_looked_at() {
        assert_eq!(codes(look, |_, _| {}), [""; 0]);
        assert_eq!(codes(look, |_, target| target.may_replace = false), ["NO_CONSENT"]);
        assert_eq!(codes(look, |_, target| target.data.path = "/".into()), ["BAD_DATA_DIRECTORY"]);
        assert_eq!(codes(look, |_, target| target.data.symlink = true), ["BAD_DATA_DIRECTORY"]);
        assert_eq!(codes(look, |_, target| target.data.running = true), ["TARGET_RUNS"]);
        assert_eq!(codes(look, |_, target| target.data.empty = false), ["DIRECTORY_NOT_EMPTY"]);
        let mounted = |_: &mut PgFacts, target: &mut PgFacts| {
            (target.data.empty, target.data.mount_point) = (false, true);
        };
        assert_eq!(codes(look, mounted), ["DIRECTORY_NOT_EMPTY", "MOUNT_POINT"]);
    }
}
