//! A dump goes into a server that runs, holds nothing, and takes no writes but the agent's. A copy of files wants none that runs.

use flytt_proto::v1::Finding;

use super::{Sides, block};
use crate::engine::Serving;

pub(super) fn look(sides: &Sides<'_>) -> Vec<Finding> {
    let live = &sides.target.live;
    // A target that replicates as an account of ours is a move in progress.
    if !sides.by_dump || live.replicates_as.starts_with("flytt_") {
        return Vec::new();
    }
    let mut found = match sides.to.serving {
        Serving::Down => {
            return vec![block(
                "TARGET_DOWN",
                "the copy is to be a dump, and the target's server does not run".into(),
                "start it with read_only = 1 set for that start alone; or empty its data directory for a physical copy",
            )];
        }
        Serving::Writable => vec![block(
            "TARGET_WRITABLE",
            "the target's server takes writes: a router could take it for the one that serves".into(),
            "SET GLOBAL read_only = 1 there (MySQL: super_read_only), and not in its option file: the move lifts it when the target opens",
        )],
        Serving::Standby => Vec::new(),
    };
    if !live.databases.is_empty() {
        found.push(block(
            "TARGET_NOT_EMPTY",
            format!("the target, which is to get a dump, has databases already: {}", live.databases.join(", ")),
            "drop them, if that data is to go; or set `way = \"physical\"` under [seed], with `replace` and the server stopped",
        ));
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::mysql_family::findings::sample::{codes, codes_of_dump};

    #[test]
    fn empty_is_looked_at() {
        let serving = |serving| {
            move |sides: &Sides<'_>| look(&Sides { to: &crate::engine::Facts { serving, ..sides.to.clone() }, ..*sides })
        };
        assert_eq!(codes(look, |_, target| target.live.databases = vec!["app".into()]), [""; 0], "of a copy of files");
        assert_eq!(codes_of_dump(serving(Serving::Standby), |_, _| {}), [""; 0]);
        let other = |from: &'static str| {
            codes_of_dump(serving(Serving::Standby), |_, target| {
                target.live.databases = vec!["app".into()];
                target.live.replicates_as = from.into();
            })
        };
        assert_eq!(other(""), ["TARGET_NOT_EMPTY"]);
        assert_eq!(other("flytt_shop_repl"), [""; 0], "a move in progress");
        assert_eq!(codes_of_dump(serving(Serving::Down), |_, _| {}), ["TARGET_DOWN"]);
        assert_eq!(codes_of_dump(serving(Serving::Writable), |_, _| {}), ["TARGET_WRITABLE"]);
    }
}
