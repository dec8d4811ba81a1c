//! Unlogged tables arrive empty.

use flytt_proto::v1::Finding;

use super::{Sides, warn};

pub(super) fn look(sides: &Sides<'_>) -> Vec<Finding> {
    let tables: Vec<String> = sides
        .source
        .live
        .databases
        .iter()
        .flat_map(|database| database.unlogged.iter().map(|table| format!("{}.{table}", database.name)))
        .collect();
    if tables.is_empty() {
        return Vec::new();
    }
    vec![warn(
        "UNLOGGED_TABLES",
        format!("{} unlogged tables will be empty on the target: {}", tables.len(), tables[..tables.len().min(10)].join(", ")),
        "ALTER TABLE … SET LOGGED those whose contents must come along",
    )]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::postgres::findings::sample::codes;

    #[test]
    fn unlogged_is_looked_at() {
        assert_eq!(codes(look, |_, _| {}), [""; 0]);
        assert_eq!(codes(look, |source, _| source.live.databases[0].unlogged = vec!["cache".into()]), ["UNLOGGED_TABLES"]);
    }
}
