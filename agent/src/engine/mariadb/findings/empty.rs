//! A dump goes into a server that runs, holds nothing, and takes no writes but the agent's. A copy of files wants none that runs.

use flytt_proto::v1::Finding;

use super::{Sides, block};
use crate::engine::Serving;

pub(super) fn look(sides: &Sides<'_>) -> Vec<Finding> {
    let live = &sides.target.common.live;
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
            "SET GLOBAL read_only = 1 there, and not in its option file: the move lifts it when the target opens",
        )],
        Serving::Standby => Vec::new(),
    };
    if !live.replicates_from.is_empty() {
        found.push(block(
            "REPLICATES_ALREADY",
            format!("the target replicates from {} already", live.replicates_from),
            "stop that with STOP SLAVE and RESET SLAVE ALL if this server is to be the target",
        ));
    }
    if !sides.target.own.databases.is_empty() {
        found.push(block(
            "TARGET_NOT_EMPTY",
            format!("the target, which is to get a dump, has databases already: {}", sides.target.own.databases.join(", ")),
            "drop them, if that data is to go; or set `way = \"physical\"` under [seed], with `replace` and the server stopped",
        ));
    }
    if !sides.target.own.all_privileges {
        found.push(block(
            "NOT_SUPERUSER",
            "the agent's account on the target has not all privileges".into(),
            "GRANT ALL PRIVILEGES ON *.* to it, WITH GRANT OPTION, in a session with SET sql_log_bin = 0",
        ));
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::mariadb::findings::sample::{codes, codes_of_dump};

    #[test]
    fn empty_is_looked_at() {
        assert_eq!(codes(look, |_, target| target.own.databases = vec!["app".into()]), [""; 0], "of a copy of files");
        assert_eq!(codes_of_dump(look, |_, _| {}), [""; 0]);
        assert_eq!(codes_of_dump(look, |_, target| target.own.databases = vec!["app".into()]), ["TARGET_NOT_EMPTY"]);
        assert_eq!(codes_of_dump(look, |_, target| target.own.all_privileges = false), ["NOT_SUPERUSER"]);
        let other = |from: &'static str| {
            codes_of_dump(look, |_, target| {
                target.own.databases = vec!["app".into()];
                target.common.live.replicates_from = "db:3306".into();
                target.common.live.replicates_as = from.into();
            })
        };
        assert_eq!(other("repl"), ["REPLICATES_ALREADY", "TARGET_NOT_EMPTY"]);
        assert_eq!(other("flytt_shop_repl"), [""; 0], "a move in progress");
        let serving = |serving| {
            move |sides: &Sides<'_>| look(&Sides { to: &crate::engine::Facts { serving, ..sides.to.clone() }, ..*sides })
        };
        assert_eq!(codes_of_dump(serving(Serving::Down), |_, _| {}), ["TARGET_DOWN"]);
        assert_eq!(codes_of_dump(serving(Serving::Writable), |_, _| {}), ["TARGET_WRITABLE"]);
    }
}
