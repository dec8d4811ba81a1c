//! Tries a digest on this very server before it is believed: small tables that differ in what a digest could overlook, written
//! down as data, without creating anything, so that a standby can do it, too.

use flytt_proto::failure::Failure;
use tokio_postgres::Client;

use super::{
    super::Digest,
    digest_of, failure,
    image::{self, SUMS, Scheme},
    literal, rows,
};

/// Name, type, and the three rows of the table that all cases are variants of.
const COLUMNS: [(&str, &str, [Option<&str>; 3]); 15] = [
    ("id", "int8", [Some("1"), Some("2"), Some("3")]),
    ("left", "text", [Some("x"), Some("x0"), None]),
    ("right", "text", [Some("y"), Some("y"), Some("")]),
    ("padded", "bpchar", [Some("p"), Some("q"), None]),
    ("whole", "int4", [Some("-1"), Some("0"), None]),
    ("amount", "numeric", [Some("1.0"), Some("2.0"), None]),
    ("ratio", "float8", [Some("0"), Some("1"), None]),
    ("at", "timestamptz", [Some("2024-01-01 00:00Z"), Some("infinity"), None]),
    ("span", "interval", [Some("1 day"), Some("1 month"), None]),
    ("raw", "bytea", [Some("\\x00ff"), Some("\\x"), None]),
    ("document", "jsonb", [Some("{\"n\": 1.0}"), Some("null"), None]),
    ("list", "int4[]", [Some("{1,2}"), Some("{}"), None]),
    ("span_of", "numrange", [Some("[1.0,2)"), Some("empty"), None]),
    // A composite type that every server has.
    ("whole_row", "pg_cast", [Some("(1,2,3,4,e,b)"), None, None]),
    ("address", "inet", [Some("10.0.0.1/8"), Some("::1"), None]),
];

/// A variant: which rows it has, and which values of theirs are others.
struct Case {
    name: &'static str,
    rows: &'static [usize],
    changes: &'static [(usize, &'static str, Option<&'static str>)],
}

const ALL: &[usize] = &[0, 1, 2];

const fn change(name: &'static str, changes: &'static [(usize, &'static str, Option<&'static str>)]) -> Case {
    Case { name, rows: ALL, changes }
}

const fn of_rows(name: &'static str, rows: &'static [usize]) -> Case {
    Case { name, rows, changes: &[] }
}

const DIFFERENT: [Case; 25] = [
    change("an empty text for NULL", &[(2, "left", Some(""))]),
    change("NULL for an empty text", &[(2, "right", None)]),
    change("another case", &[(0, "right", Some("Y"))]),
    change("a trailing blank", &[(0, "right", Some("y "))]),
    change("a trailing blank of char", &[(0, "padded", Some("p "))]),
    change("a sign", &[(0, "whole", Some("1"))]),
    change("a number of the same 32 bits when folded", &[(0, "id", Some("4294967296"))]),
    change("1.00 for 1.0", &[(0, "amount", Some("1.00"))]),
    change("NaN for a number", &[(1, "amount", Some("NaN"))]),
    change("-0 for 0", &[(0, "ratio", Some("-0"))]),
    change("a microsecond", &[(0, "at", Some("2024-01-01 00:00:00.000001Z"))]),
    change("a time of the same 32 bits when folded", &[(0, "at", Some("2023-12-31 22:48:25.032705Z"))]),
    change("24 hours for a day", &[(0, "span", Some("24:00"))]),
    change("one bit", &[(0, "raw", Some("\\x01ff"))]),
    change("a value cut short", &[(0, "raw", Some("\\x00"))]),
    change("1.00 for 1.0 in jsonb", &[(0, "document", Some("{\"n\": 1.00}"))]),
    change("other bounds of an array", &[(0, "list", Some("[0:1]={1,2}"))]),
    change("1.00 for 1.0 in a range", &[(0, "span_of", Some("[1.00,2)"))]),
    change("a composite of NULLs for NULL", &[(2, "whole_row", Some("(,,,,,)"))]),
    change("another netmask", &[(0, "address", Some("10.0.0.1/16"))]),
    change("a letter moved to the next column", &[(1, "left", Some("x")), (1, "right", Some("0y"))]),
    change("two columns exchanged", &[(0, "left", Some("y")), (0, "right", Some("x"))]),
    change("a value exchanged between two rows", &[(0, "left", Some("x0")), (1, "left", Some("x"))]),
    of_rows("a row gone", &[0, 1]),
    of_rows("two equal rows more", &[0, 0, 0, 1, 2]),
];

const EQUAL: Case = of_rows("another order", &[2, 0, 1]);

/// Sees whether digests of this scheme and seed tell the tables of all cases apart on this server, and gives the digest of
/// the table itself, which must be the same on both servers.
///
/// # Errors
/// `DIGEST_BLIND` names the cases that are not told apart; else as [`super::digest`].
pub async fn self_test(client: &Client, scheme: Scheme, seed: i64) -> Result<Digest, Failure> {
    let column = |(number, (name, kind, _)): (usize, &(&str, &str, _))| {
        // 100 is the database's default collation.
        format!("select {number}, '{name}', '{kind}'::regtype::oid, 100::oid")
    };
    let source: Vec<String> = COLUMNS.iter().enumerate().map(column).collect();
    let columns = image::columns(client, &source.join(" union all ")).await?;
    trial(client, &image::hash(&columns, scheme, seed)).await
}

/// The same for any SQL expression of a row `t`'s hash as `bigint`.
///
/// # Errors
/// As [`self_test`].
pub async fn trial(client: &Client, hash: &str) -> Result<Digest, Failure> {
    let base = of_rows("", ALL);
    let cases: Vec<&Case> = std::iter::once(&base).chain(&DIFFERENT).chain([&EQUAL]).collect();
    let values: Vec<String> = cases.iter().enumerate().flat_map(|(number, case)| tuples(number, case)).collect();
    let typed: Vec<String> = COLUMNS.iter().map(|(name, kind, _)| format!("v.\"{name}\"::{kind}")).collect();
    let names: Vec<String> = COLUMNS.iter().map(|(name, ..)| format!("\"{name}\"")).collect();
    let (values, typed, names) = (values.join(", "), typed.join(", "), names.join(", "));
    // Without the case's number in the row, for an expression may take the whole of it.
    let sql = format!(
        "select {SUMS} from (select v.number, (select {hash} from (select {typed}) t({names})) h \
         from (values {values}) v(number, {names}) offset 0) hashes group by number order by number"
    );
    let digests = rows(client, &sql).await?.into_iter().map(digest_of).collect::<Result<Vec<Digest>, Failure>>()?;
    let Some(own) = digests.first().filter(|_| digests.len() == cases.len()).cloned() else {
        return Err(failure::unreadable("digests of the trial are missing"));
    };
    let wrong = cases.iter().zip(&digests).skip(1).filter(|(case, digest)| (**digest == own) != (case.name == EQUAL.name));
    let unseen: Vec<&str> = wrong.map(|(case, _)| case.name).collect();
    if unseen.is_empty() {
        return Ok(own);
    }
    let sentence = format!("digests of this server do not tell apart: {}", unseen.join("; "));
    Err(Failure::refused("DIGEST_BLIND", sentence, "compare nothing by digests of this server, and report this"))
}

fn tuples(number: usize, case: &Case) -> Vec<String> {
    let value = |row: usize, name: &str, own: Option<&str>| {
        let changed = case.changes.iter().find(|(at, column, _)| *at == row && *column == name);
        changed.map_or(own, |(_, _, value)| *value).map_or("null".to_owned(), literal)
    };
    let tuple = |row: &usize| {
        let values: Vec<String> = COLUMNS.iter().map(|(name, _, own)| value(*row, name, own[*row])).collect();
        format!("({number}, {})", values.join(", "))
    };
    case.rows.iter().map(tuple).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_change_is_one_of_a_column_that_there_is() {
        for case in &DIFFERENT {
            for (row, name, value) in case.changes {
                let column = COLUMNS.iter().find(|(column, ..)| column == name);
                assert!(column.is_some_and(|(.., own)| own[*row] != *value), "{}", case.name);
            }
            assert!(case.rows != ALL || !case.changes.is_empty(), "{}", case.name);
        }
    }
}
