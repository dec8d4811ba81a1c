//! Every library that the server or a function loads exists on the target: without a preload one it does not even start.

use std::collections::BTreeSet;

use flytt_proto::v1::Finding;

use super::{Sides, block};

const PRELOADS: [&str; 3] = ["shared_preload_libraries", "session_preload_libraries", "local_preload_libraries"];

pub(super) fn look(sides: &Sides<'_>) -> Vec<Finding> {
    let source = sides.source;
    let preloaded = PRELOADS.iter().flat_map(|name| source.list(name)).chain(source.list("archive_library"));
    let used = source.live.databases.iter().flat_map(|database| database.libraries.iter().cloned());
    let missing: BTreeSet<String> =
        preloaded.chain(used).filter(|library| !sides.target.libraries.contains(stem(library))).collect();
    if missing.is_empty() {
        return Vec::new();
    }
    vec![block(
        "LIBRARY_MISSING",
        format!("the target lacks the libraries {}", Vec::from_iter(missing).join(", ")),
        "install the packages that bring them",
    )]
}

/// `$libdir/plpgsql`, `plpgsql.so` → `plpgsql`. One by absolute path is looked for by its name.
fn stem(library: &str) -> &str {
    let name = library.rsplit('/').next().unwrap_or(library);
    name.strip_suffix(".so").unwrap_or(name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::postgres::facts::PgFacts;
    use crate::engine::postgres::findings::sample::codes;

    #[test]
    fn libraries_is_looked_at() {
        assert_eq!(codes(look, |_, _| {}), [""; 0]);
        let preload = |source: &mut PgFacts, _: &mut PgFacts| {
            source.settings.insert("shared_preload_libraries".into(), "pg_stat_statements, timescaledb".into());
        };
        assert_eq!(codes(look, preload), ["LIBRARY_MISSING"]);
        let function =
            |source: &mut PgFacts, _: &mut PgFacts| source.live.databases[0].libraries = vec!["$libdir/postgis-3".into()];
        assert_eq!(codes(look, function), ["LIBRARY_MISSING"]);
        assert_eq!(stem("/opt/x/hook.so"), "hook");
    }
}
