//! Indexes on text are ordered by the C library (or ICU) of the host that built them; another version orders otherwise,
//! and gives wrong answers without an error.

use flytt_proto::v1::Finding;

use super::{Sides, block, warn};
use crate::engine::postgres::facts::Database;

pub(super) fn look(sides: &Sides<'_>) -> Vec<Finding> {
    let (here, there) = (&sides.source.host.glibc, &sides.target.host.glibc);
    let mut found = Vec::new();
    let databases = &sides.source.live.databases;
    let named = |of: &dyn Fn(&Database) -> bool| {
        databases.iter().filter(|database| of(database)).map(|database| database.name.as_str()).collect::<Vec<_>>().join(", ")
    };
    let libc = named(&|database| {
        !matches!(database.provider.as_str(), "i" | "b") && !matches!(database.collate.as_str(), "C" | "POSIX")
    });
    let icu = named(&|database| database.provider == "i");
    if here != there && !libc.is_empty() {
        found.push(block(
            "COLLATION_DIFFERS",
            format!("the C library is {here:?} on the source and {there:?} on the target; {libc} sorts by it"),
            "choose a target with the source's C library, or move by dump and restore",
        ));
    }
    if here != there && !icu.is_empty() {
        found.push(warn(
            "ICU_MAY_DIFFER",
            format!("{icu} sorts by ICU, whose version on the target cannot be seen before the copy runs"),
            "compare the packages' ICU versions on both hosts",
        ));
    }
    let stale = named(&|database| {
        database.actual_version.is_some()
            && database.collation_version.is_some()
            && database.actual_version != database.collation_version
    });
    if !stale.is_empty() {
        found.push(warn(
            "COLLATION_STALE",
            format!("indexes of {stale} were built with another collation version than the source has now"),
            "rebuild them, then ALTER DATABASE … REFRESH COLLATION VERSION",
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
    fn collation_is_looked_at() {
        assert_eq!(codes(look, |_, _| {}), [""; 0]);
        assert_eq!(codes(look, |_, target| target.host.glibc = "glibc 2.41".into()), ["COLLATION_DIFFERS"]);
        let c = |source: &mut PgFacts, target: &mut PgFacts| {
            source.live.databases[0].collate = "C".into();
            target.host.glibc = "glibc 2.41".into();
        };
        assert_eq!(codes(look, c), [""; 0], "byte order is the same everywhere");
        let stale = |source: &mut PgFacts, _: &mut PgFacts| {
            source.live.databases[0].collation_version = Some("2.31".into());
            source.live.databases[0].actual_version = Some("2.36".into());
        };
        assert_eq!(codes(look, stale), ["COLLATION_STALE"]);
    }
}
