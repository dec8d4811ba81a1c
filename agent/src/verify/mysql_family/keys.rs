//! Ranges of keys as conditions that the key's index answers, and keys as literals that are exactly what was read.
//!
//! A key is read as texts that every session shows alike: characters and bytes in hexadecimal. Conditions are written out column by
//! column: `(a, b) > (1, 2)` is a scan of the whole table on both engines.

use flytt_proto::failure::Failure;

use super::{
    super::Range,
    catalog::Layout,
    image::{Column, Kind},
};
use crate::engine::mysql_family::quote::identifier;

/// ` where …`; empty for all.
pub(super) fn condition(layout: &Layout, range: &Range) -> Result<String, Failure> {
    let (after, up_to) = match range {
        Range::Whole => return Ok(String::new()),
        Range::Keys { after, up_to } => (after, up_to),
        Range::Pages { .. } => return Err(no_range(layout, "is not read by pages")),
    };
    let key = key(layout)?;
    let mut both = Vec::new();
    if let Some(after) = after {
        both.push(beyond(layout, &key, after, [">", ">"])?);
    }
    if let Some(up_to) = up_to {
        both.push(beyond(layout, &key, up_to, ["<", "<="])?);
    }
    Ok(if both.is_empty() { String::new() } else { format!(" where {}", both.join(" and ")) })
}

/// The key of the row with this number in `within`.
pub(super) fn next(layout: &Layout, within: &Range, rows: u64) -> Result<String, Failure> {
    Ok(format!("{} limit 1 offset {}", select(layout, "", within)?, rows.saturating_sub(1)))
}

/// The key, and `beside` it (with a comma before), of the rows of `range` in the order of the key.
pub(super) fn select(layout: &Layout, beside: &str, range: &Range) -> Result<String, Failure> {
    let key = key(layout)?;
    let shown: Vec<_> = key.iter().map(|column| shown(column)).collect();
    let order: Vec<_> = key.iter().map(|column| identifier(&column.name)).collect();
    let condition = condition(layout, range)?;
    Ok(format!("select {}{beside} from {}{condition} order by {}", shown.join(", "), layout.from(), order.join(", ")))
}

/// That a row is the one of these values.
pub(super) fn equal(layout: &Layout, values: &[String]) -> Result<String, Failure> {
    let key = key(layout)?;
    Ok(format!("{} and {}", beyond(layout, &key, values, [">", ">="])?, beyond(layout, &key, values, ["<", "<="])?))
}

fn key(layout: &Layout) -> Result<Vec<&Column>, Failure> {
    let key: Vec<_> =
        layout.table.key.iter().filter_map(|name| layout.columns.iter().find(|column| column.name == *name)).collect();
    if key.is_empty() { Err(no_range(layout, "has no key")) } else { Ok(key) }
}

/// `a > 1 or (a = 1 and b > 2)`; the second operator is the last column's.
fn beyond(layout: &Layout, key: &[&Column], values: &[String], [inner, last]: [&str; 2]) -> Result<String, Failure> {
    if values.len() != key.len() {
        return Err(no_range(layout, "has a key of another number of columns"));
    }
    let mut equal = String::new();
    let mut either = Vec::new();
    for (at, (column, value)) in key.iter().zip(values).enumerate() {
        let name = identifier(&column.name);
        let literal =
            literal(&column.kind, value).ok_or_else(|| no_range(layout, &format!("has no such value in {}", column.name)))?;
        let operator = if at + 1 == key.len() { last } else { inner };
        either.push(format!("({equal}{name} {operator} {literal})"));
        equal.push_str(&format!("{name} = {literal} and "));
    }
    Ok(format!("({})", either.join(" or ")))
}

fn shown(column: &Column) -> String {
    let name = identifier(&column.name);
    match column.kind {
        Kind::Exact | Kind::Double | Kind::Plain | Kind::Member | Kind::Large => name,
        Kind::Float => format!("cast({name} as double)"),
        Kind::Bit => format!("{name} + 0"),
        Kind::Characters { .. } | Kind::Bytes => format!("hex({name})"),
    }
}

/// `None` for a text that cannot have been read from such a column: it came from elsewhere, and does not get into a statement.
fn literal(kind: &Kind, value: &str) -> Option<String> {
    let only = |allowed: &str| value.chars().all(|c| c.is_ascii_digit() || allowed.contains(c));
    let is_hex = value.len().is_multiple_of(2) && value.chars().all(|c| c.is_ascii_hexdigit());
    match kind {
        Kind::Exact | Kind::Bit => (value.parse::<f64>().is_ok() && only("-.")).then(|| value.to_owned()),
        // Without an exponent it would be a DECIMAL.
        Kind::Float | Kind::Double => (value.parse::<f64>().is_ok() && only("+-.e"))
            .then(|| if value.contains('e') { value.to_owned() } else { format!("{value}e0") }),
        Kind::Plain => only("abcdefABCDEF:.- ").then(|| format!("'{value}'")),
        // The column's own character set and collation: a bare x'…' may compare as bytes.
        Kind::Characters { charset, collation } => is_hex.then(|| format!("_{charset} x'{value}' collate {collation}")),
        Kind::Bytes => is_hex.then(|| format!("x'{value}'")),
        Kind::Member | Kind::Large => None,
    }
}

fn no_range(layout: &Layout, why: &str) -> Failure {
    let table = &layout.table;
    Failure::refused(
        "NO_SUCH_RANGE",
        format!("table {}.{} {why}", table.schema, table.name),
        "compare the table as a whole, or begin the comparison anew if it was altered",
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::verify::Table;

    fn layout() -> Layout {
        let characters = Kind::Characters { charset: "utf8mb4".to_owned(), collation: "utf8mb4_bin".to_owned() };
        let column = |name: &str, kind| Column { name: name.to_owned(), kind, nullable: false };
        Layout {
            table: Table {
                schema: "d".to_owned(),
                name: "t".to_owned(),
                rows: 0,
                bytes: 0,
                key: vec!["a".to_owned(), "k".to_owned()],
                columns: Vec::new(),
            },
            columns: vec![column("k", characters), column("a", Kind::Exact)],
            index: Some("PRIMARY".to_owned()),
            has_history: false,
        }
    }

    #[test]
    fn a_range_is_half_open() {
        let range =
            Range::Keys { after: Some(vec!["1".to_owned(), "4B".to_owned()]), up_to: Some(vec!["2".to_owned(), String::new()]) };
        assert_eq!(
            condition(&layout(), &range).unwrap(),
            " where ((`a` > 1) or (`a` = 1 and `k` > _utf8mb4 x'4B' collate utf8mb4_bin)) \
             and ((`a` < 2) or (`a` = 2 and `k` <= _utf8mb4 x'' collate utf8mb4_bin))"
        );
        assert_eq!(condition(&layout(), &Range::Keys { after: None, up_to: None }).unwrap(), "");
        assert_eq!(condition(&layout(), &Range::Pages { from: 0, before: None }).unwrap_err().code, "NO_SUCH_RANGE");
    }

    #[test]
    fn nothing_but_a_value_gets_into_a_literal() {
        assert_eq!(literal(&Kind::Double, "0.1").unwrap(), "0.1e0");
        assert_eq!(literal(&Kind::Double, "-1e-300").unwrap(), "-1e-300");
        assert_eq!(literal(&Kind::Plain, "2024-02-29 23:59:59.000001").unwrap(), "'2024-02-29 23:59:59.000001'");
        for (kind, value) in [
            (Kind::Exact, "1 or 1"),
            (Kind::Exact, "1--1"),
            (Kind::Double, "inf"),
            (Kind::Plain, "' or '"),
            (Kind::Bytes, "0' or"),
        ] {
            assert_eq!(literal(&kind, value), None, "{value}");
        }
    }
}
