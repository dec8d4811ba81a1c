//! On a target that gets a dump the agent may do what the dump holds, and nobody replicates from it: its binary log begins anew.

use flytt_proto::v1::Finding;

use super::{Sides, block};
use crate::engine::Serving;

pub(super) fn look(sides: &Sides<'_>) -> Vec<Finding> {
    if !sides.by_dump || sides.to.serving == Serving::Down {
        return Vec::new();
    }
    let mut found = Vec::new();
    if !sides.target.own.lacks.is_empty() {
        found.push(block(
            "NOT_SUPERUSER",
            format!("the agent's account on the target lacks {}", sides.target.own.lacks.join(", ")),
            "GRANT ALL ON *.* to it, WITH GRANT OPTION",
        ));
    }
    let others: Vec<&str> =
        sides.target.common.live.replicas.iter().map(String::as_str).filter(|of| !of.starts_with("flytt_")).collect();
    if !others.is_empty() {
        found.push(block(
            "OTHER_REPLICAS",
            format!("other replicas read the target's binary log, which a dump begins anew, as {}", others.join(", ")),
            "stop them, and let them follow the target once it holds its copy",
        ));
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::mysql::findings::sample::{codes, codes_of_dump};

    #[test]
    fn target_role_is_looked_at() {
        assert_eq!(codes_of_dump(look, |_, _| {}), [""; 0]);
        assert_eq!(codes_of_dump(look, |_, target| target.own.lacks = vec!["RELOAD".into()]), ["NOT_SUPERUSER"]);
        let replicas = |of: &'static str| {
            move |_: &mut super::super::MyFacts, target: &mut super::super::MyFacts| {
                target.common.live.replicas = vec![of.into()];
            }
        };
        assert_eq!(codes_of_dump(look, replicas("repl")), ["OTHER_REPLICAS"]);
        assert_eq!(codes_of_dump(look, replicas("flytt_shop_back")), [""; 0]);
        assert_eq!(codes(look, replicas("repl")), [""; 0], "of a copy of files");
    }
}
