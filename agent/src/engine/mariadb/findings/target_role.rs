//! On a target that gets a dump the agent may do what the dump holds: make every object, and give every privilege.

use flytt_proto::v1::Finding;

use super::{Sides, block};
use crate::engine::Serving;

pub(super) fn look(sides: &Sides<'_>) -> Vec<Finding> {
    if !sides.by_dump || sides.to.serving == Serving::Down || sides.target.own.all_privileges {
        return Vec::new();
    }
    vec![block(
        "NOT_SUPERUSER",
        "the agent's account on the target has not all privileges".into(),
        "GRANT ALL PRIVILEGES ON *.* to it, WITH GRANT OPTION, in a session with SET sql_log_bin = 0",
    )]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::mariadb::findings::sample::{codes, codes_of_dump};

    #[test]
    fn target_role_is_looked_at() {
        assert_eq!(codes_of_dump(look, |_, _| {}), [""; 0]);
        assert_eq!(codes(look, |_, target| target.own.all_privileges = false), [""; 0], "of a copy of files");
        assert_eq!(codes_of_dump(look, |_, target| target.own.all_privileges = false), ["NOT_SUPERUSER"]);
    }
}
