//! A copy of files goes into a directory that holds nothing, or a server that somebody named as the one to be replaced.

use flytt_proto::v1::Finding;

use super::{Sides, block, warn};
use crate::engine::Serving;

pub(super) fn look(sides: &Sides<'_>) -> Vec<Finding> {
    let target = sides.target;
    // Its own copy may be there already, and follow.
    if sides.by_dump || target.empty || !sides.to.copied.is_empty() || target.live.replicates_as.starts_with("flytt_") {
        return Vec::new();
    }
    if sides.to.serving != Serving::Down {
        return vec![block("TARGET_RUNS", "a server runs in the target's data directory".into(), "stop it")];
    }
    let system = &sides.to.system;
    let what = if system.is_empty() { "files that are no server's".into() } else { format!("the data of server {system}") };
    if !system.is_empty() && system == sides.replaced {
        return vec![warn(
            "CLUSTER_REPLACED",
            format!("the target's data directory holds {what}, which was named as the one to be replaced"),
            "nothing to do: it is moved aside, and removed for good by `flytt finish`",
        )];
    }
    vec![block(
        "DIRECTORY_NOT_EMPTY",
        format!("the target's data directory holds {what}, which nobody named"),
        "empty it, or name its system identifier as `replace` in migration.toml",
    )]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::{
        Facts,
        mysql_family::findings::sample::{codes, codes_of_dump},
    };

    #[test]
    fn directory_is_looked_at() {
        let full = |_: &mut _, target: &mut crate::engine::mysql_family::facts::Common| target.empty = false;
        let with = |serving, copied: &str, replaced: &'static str| {
            let copied = copied.to_owned();
            move |sides: &Sides<'_>| {
                let to = Facts { serving, copied: copied.clone(), system: "77".into(), ..sides.to.clone() };
                look(&Sides { to: &to, replaced, ..*sides })
            }
        };
        assert_eq!(codes(look, |_, _| {}), [""; 0]);
        assert_eq!(codes(with(Serving::Down, "", ""), full), ["DIRECTORY_NOT_EMPTY"]);
        assert_eq!(codes(with(Serving::Down, "", "78"), full), ["DIRECTORY_NOT_EMPTY"]);
        assert_eq!(codes(with(Serving::Down, "", "77"), full), ["CLUSTER_REPLACED"]);
        assert_eq!(codes(with(Serving::Down, "physical", ""), full), [""; 0], "a copy of ours");
        assert_eq!(codes(with(Serving::Writable, "", "77"), full), ["TARGET_RUNS"]);
        assert_eq!(codes_of_dump(with(Serving::Standby, "", ""), full), [""; 0]);
    }
}
