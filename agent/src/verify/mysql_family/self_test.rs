//! Before a server's digests are believed, they have to see what they are there to see, on that server, in that session: rows that
//! are made up on the spot, without a table.

use std::collections::BTreeMap;

use flytt_proto::failure::Failure;

use super::{
    expression,
    image::{self, Column, Kind},
};
use crate::{
    engine::mysql_family::{dump::schema::Vendor, session::Session},
    verify::Digest,
};

/// `i`, a number; `s` and `t`, characters, `t` nullable; `b`, something large, and `d`, a double.
const FIRST: &str = "1, 'x', 'y', x'00ff', 0.1e0";
const SECOND: &str = "2, 'ab', 'c', x'', 0e0";
const THIRD: &str = "3, '', null, null, null";

/// No two of these are the same rows, in whatever order.
const DIFFERENT: &[(&str, &[&str])] = &[
    ("rows as they are", &[FIRST, SECOND, THIRD]),
    ("no rows", &[]),
    ("another character", &["1, 'x', 'z', x'00ff', 0.1e0", SECOND, THIRD]),
    ("another case", &["1, 'X', 'y', x'00ff', 0.1e0", SECOND, THIRD]),
    ("an accent", &["1, 'x', 'ÿ', x'00ff', 0.1e0", SECOND, THIRD]),
    ("a blank at the end", &["1, 'x ', 'y', x'00ff', 0.1e0", SECOND, THIRD]),
    ("one bit", &["1, 'x', 'y', x'00fe', 0.1e0", SECOND, THIRD]),
    ("a zero byte at the end", &["1, 'x', 'y', x'00ff00', 0.1e0", SECOND, THIRD]),
    ("the last bit of a number", &["1, 'x', 'y', x'00ff', 0.10000000000000002e0", SECOND, THIRD]),
    ("empty for NULL", &[FIRST, SECOND, "3, '', '', null, null"]),
    ("empty bytes for NULL", &[FIRST, SECOND, "3, '', null, x'', null"]),
    ("zero for NULL", &[FIRST, SECOND, "3, '', null, null, 0e0"]),
    ("NULL for empty", &[FIRST, "2, 'ab', 'c', null, 0e0", THIRD]),
    ("NULL, and its sign", &[FIRST, SECOND, "3, '', '-', null, null"]),
    ("columns that change places", &["1, 'y', 'x', x'00ff', 0.1e0", SECOND, THIRD]),
    ("a character in another column", &[FIRST, "2, 'a', 'bc', x'', 0e0", THIRD]),
    ("a separator in the first value", &["1, 'x#1', 'y', x'00ff', 0.1e0", SECOND, THIRD]),
    ("a separator in the second value", &["1, 'x', '1#y', x'00ff', 0.1e0", SECOND, THIRD]),
    ("values that change places between rows", &["1, 'ab', 'c', x'00ff', 0.1e0", "2, 'x', 'y', x'', 0e0", THIRD]),
    ("a missing row", &[FIRST, SECOND]),
    ("a row twice", &[FIRST, FIRST, SECOND, THIRD]),
    ("another row twice", &[FIRST, SECOND, SECOND, THIRD]),
    ("a row three times", &[FIRST, FIRST, FIRST, SECOND, THIRD]),
    ("another row three times", &[FIRST, SECOND, SECOND, SECOND, THIRD]),
    ("rows whose values are equally long", &["1, 'alice', 'r', null, 1e0", "2, 'bobby', 'r', null, 1e0"]),
    ("equally long values that change places", &["1, 'bobby', 'r', null, 1e0", "2, 'alice', 'r', null, 1e0"]),
    ("a large value", &["1, '', '', repeat('x', 100000), null"]),
    ("the last byte of a large value", &["1, '', '', concat(repeat('x', 99999), 'y'), null"]),
];

/// Whether this server, in this session, computes the digests that every other does.
///
/// # Errors
///
/// `DIGEST_BLIND`, naming what is not seen.
pub async fn self_test(session: &Session, vendor: Vendor) -> Result<(), Failure> {
    let settings = "select @@session.time_zone = '+00:00' and @@session.sql_mode = '' \
                    and @@session.character_set_connection = 'utf8mb4' and @@session.sql_auto_is_null = 0";
    if !session.is_true(settings).await? {
        return Err(blind("the settings that it needs: the session is not prepared"));
    }
    let image = image::of(&columns());
    let digest = |rows: &str| expression::statement(vendor, &image, rows);
    distinguishes(session, digest).await?;
    if answer(session, &digest(&derived(&[FIRST, SECOND, THIRD]))).await? == known(vendor) {
        return Ok(());
    }
    Err(blind("values as other servers do: the known answer is another"))
}

/// The same for any digest: `statement` makes one, a row count and a number, of what it gets for its FROM, a table with the
/// columns `i`, `s`, `t`, `b` and `d`.
///
/// # Errors
///
/// `DIGEST_BLIND`, naming what is not seen.
pub async fn distinguishes(session: &Session, statement: impl Fn(&str) -> String) -> Result<(), Failure> {
    let mut seen = BTreeMap::new();
    for (case, rows) in DIFFERENT {
        let digest = answer(session, &statement(&derived(rows))).await?;
        let mut backwards = rows.to_vec();
        backwards.reverse();
        if answer(session, &statement(&derived(&backwards))).await? != digest {
            return Err(blind(&format!("that another order is no difference ({case})")));
        }
        if let Some(other) = seen.insert((digest.rows, digest.sums), case) {
            return Err(blind(&format!("{case} (against {other})")));
        }
    }
    Ok(())
}

async fn answer(session: &Session, sql: &str) -> Result<Digest, Failure> {
    expression::read(&session.rows(sql).await?)
}

fn columns() -> Vec<Column> {
    let characters = || Kind::Characters { charset: "utf8mb4".to_owned(), collation: "utf8mb4_bin".to_owned() };
    let column = |name: &str, kind, nullable| Column { name: name.to_owned(), kind, nullable };
    vec![
        column("i", Kind::Exact, false),
        column("s", characters(), false),
        column("t", characters(), true),
        column("b", Kind::Large, true),
        column("d", Kind::Double, true),
    ]
}

fn derived(rows: &[&str]) -> String {
    // The first gives the columns their names and types, and is none of the rows.
    let none = "select 0 i, '' s, '' t, x'' b, 0e0 d where 1 = 0".to_owned();
    let all: Vec<_> = std::iter::once(none).chain(rows.iter().map(|row| format!("select {row}"))).collect();
    format!("({}) v", all.join(" union all "))
}

/// Of the rows as they are. Computed outside of any server, from the definition of the image and of the two hashes.
fn known(vendor: Vendor) -> Digest {
    let sums = match vendor {
        Vendor::Mariadb => ["4507799015686370781", "23308016924206424610"],
        Vendor::Mysql => ["24738597835905039087", "35672035473715700777"],
    };
    Digest { rows: 3, sums: sums.map(str::to_owned) }
}

fn blind(case: &str) -> Failure {
    Failure::refused(
        "DIGEST_BLIND",
        format!("a digest on this server does not see {case}"),
        "do not rely on a comparison with this server; compare its version with one that flytt is tested with",
    )
}
