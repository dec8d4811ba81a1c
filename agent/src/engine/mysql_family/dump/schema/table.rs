//! `CREATE TABLE`, as the server shows it, taken apart: what the rows need, indexes for later, foreign keys for last. What it does
//! not understand stays whole.

use std::collections::BTreeMap;

use super::text::{Kind, Token, phrase, tokens};

/// Head, definitions and rest, put together again, are the statement.
#[derive(Debug)]
struct Parts<'a> {
    head: &'a str,
    definitions: Vec<&'a str>,
    rest: &'a str,
}

#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Split {
    pub(super) create: String,
    pub(super) indexes: Vec<String>,
    pub(super) foreign_keys: Vec<String>,
}

/// What the server's catalog says of the table, for comparison.
#[derive(Debug, Default)]
pub(super) struct Known {
    pub(super) columns: usize,
    pub(super) indexes: usize,
    /// The key that the rows are stored by where there is no primary key.
    pub(super) key: Option<String>,
}

fn take_apart(create: &str) -> Option<Parts<'_>> {
    let tokens = tokens(create)?;
    let open = tokens.iter().find(|token| token.is(create, "("))?;
    let close = tokens.iter().find(|token| token.is(create, ")") && token.depth == 0 && token.at.start > open.at.start)?;
    let inside = |token: &&Token| token.at.start > open.at.start && token.at.end <= close.at.start;
    let commas = tokens.iter().filter(inside).filter(|token| token.depth == 1 && token.is(create, ","));
    let mut definitions = Vec::new();
    let mut start = open.at.end;
    for end in commas.map(|token| token.at.start).chain([close.at.start]) {
        definitions.push(create.get(start..end)?.trim());
        start = end + 1;
    }
    Some(Parts { head: &create[..open.at.start], definitions, rest: &create[close.at.start..] })
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sort {
    Column,
    Index,
    ForeignKey,
    /// CHECK, PERIOD.
    Other,
}

/// One definition, and the first name in its own parentheses: of an index its first column.
fn sort(definition: &str) -> Option<(Sort, Vec<Token>)> {
    let tokens = tokens(definition)?;
    let starts = |words: &[&str]| tokens.len() > words.len() && words.iter().zip(&tokens).all(|(word, t)| t.is(definition, word));
    let sort = if tokens.first()?.kind == Kind::Name {
        Sort::Column
    } else if starts(&["constraint"]) {
        let [_, name, kind, ..] = tokens.as_slice() else { return None };
        if name.kind != Kind::Name {
            return None;
        }
        if kind.is(definition, "foreign") {
            Sort::ForeignKey
        } else if kind.is(definition, "check") {
            Sort::Other
        } else {
            return None;
        }
    } else if starts(&["primary", "key"])
        || starts(&["key"])
        || ["unique", "fulltext", "spatial", "vector"].iter().any(|kind| starts(&[kind, "key"]))
    {
        Sort::Index
    } else if starts(&["period", "for"]) || starts(&["check"]) {
        Sort::Other
    } else {
        return None;
    };
    Some((sort, tokens))
}

/// `None`: the table is to stay whole.
pub(super) fn split(create: &str, known: &Known) -> Option<Split> {
    let parts = take_apart(create)?;
    let mut counter = None;
    let (mut kept, mut indexes, mut foreign_keys) = (Vec::new(), Vec::new(), Vec::new());
    let (mut columns, mut keys) = (0, 0);
    for definition in &parts.definitions {
        let (sort, tokens) = sort(definition)?;
        match sort {
            Sort::Column => {
                columns += 1;
                if phrase(definition, &tokens, &["auto_increment"]).is_some() {
                    counter = tokens.first()?.name(definition);
                }
                kept.push(*definition);
            }
            Sort::Index => {
                keys += 1;
                let name = tokens.iter().take_while(|t| t.depth == 0 && !t.is(definition, "(")).find_map(|t| t.name(definition));
                let first = tokens.iter().find(|token| token.depth == 1).and_then(|token| token.name(definition));
                let is_needed = tokens.first()?.is(definition, "primary")
                    || (name.is_some() && name == known.key)
                    || (counter.is_some() && first == counter)
                    || tokens.iter().any(|token| token.is(definition, "overlaps"));
                if is_needed { kept.push(*definition) } else { indexes.push((*definition).to_owned()) }
            }
            Sort::ForeignKey => foreign_keys.push((*definition).to_owned()),
            Sort::Other => kept.push(*definition),
        }
    }
    if columns != known.columns || keys != known.indexes {
        return None;
    }
    let create = format!("{}(\n  {}\n{}", parts.head, kept.join(",\n  "), parts.rest);
    Some(Split { create, indexes, foreign_keys })
}

/// Which of these keys the rows are stored by: the primary key, or the first in the table's own order, which is InnoDB's choice
/// (MySQL manual, "Clustered and Secondary Indexes").
pub(super) fn row_key(create: &str, keys: &BTreeMap<String, Vec<String>>) -> Option<String> {
    let parts = take_apart(create)?;
    if let Some(primary) = keys.keys().find(|name| name.eq_ignore_ascii_case("primary")) {
        return Some(primary.clone());
    }
    let indexes = parts.definitions.iter().filter(|definition| sort(definition).is_some_and(|(sort, _)| sort == Sort::Index));
    indexes.filter_map(|index| name_of(index)).find(|name| keys.contains_key(name))
}

/// The name of an index or of a foreign key.
pub(super) fn name_of(definition: &str) -> Option<String> {
    tokens(definition)?.iter().find_map(|token| token.name(definition))
}

/// Whether the server adds this index alone, without others in the same statement.
pub(super) fn is_fulltext(definition: &str) -> bool {
    tokens(definition).is_some_and(|tokens| tokens.first().is_some_and(|first| first.is(definition, "fulltext")))
}

/// Without how far the counter has come: that differs between two looks at a table in use.
pub(super) fn without_counter(create: &str) -> String {
    let found = || {
        let tokens = tokens(create)?;
        let close = tokens.iter().position(|token| token.depth == 0 && token.is(create, ")"))?;
        let mut rest = tokens[close..].windows(3).filter(|window| window.iter().all(|token| token.depth == 0));
        let counter = rest.find(|window| window[0].is(create, "auto_increment") && window[1].is(create, "="))?;
        Some(format!("{}{}", &create[..counter[0].at.start - 1], &create[counter[2].at.end..]))
    };
    found().unwrap_or_else(|| create.to_owned())
}

/// MySQL names the character set of a column beside its collation once a statement has named either; the collation says it all.
pub(super) fn without_repetition(create: &str) -> String {
    let tokens = tokens(create).unwrap_or_default();
    let words = ["character", "set", "", "collate"];
    let repeats = |window: &&[Token]| window.iter().zip(words).all(|(token, word)| word.is_empty() || token.is(create, word));
    let mut plain = create.to_owned();
    for window in tokens.windows(4).filter(repeats).collect::<Vec<_>>().into_iter().rev() {
        plain.replace_range(window[0].at.start..window[3].at.start, "");
    }
    plain
}

/// The columns in which the rows of a system-versioned table begin and end.
pub(super) fn versions(create: &str) -> Option<(String, String)> {
    let parts = take_apart(create)?;
    let rest = tokens(parts.rest.strip_prefix(')')?)?;
    phrase(&parts.rest[1..], &rest, &["with", "system", "versioning"])?;
    let period = parts.definitions.iter().find_map(|definition| {
        let tokens = tokens(definition)?;
        phrase(definition, &tokens, &["period", "for", "system_time"])?;
        let mut names = tokens.iter().filter_map(|token| token.name(definition));
        Some((names.next()?, names.next()?))
    });
    Some(period.unwrap_or_else(|| ("row_start".into(), "row_end".into())))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: &str = "CREATE TABLE `a` (\n  `id` int(11) NOT NULL AUTO_INCREMENT,\n  \
        `s` varchar(20) DEFAULT 'o''c\\\\k,\\n\"`' COMMENT 'x\\ny, KEY `z` (',\n  \
        `n` int(11) DEFAULT NULL CHECK (`n` > 1 and `s` <> 'a),\\'\\n'),\n  \
        PRIMARY KEY (`n`),\n  UNIQUE KEY `u``x` (`s`(3)),\n  KEY `k,\n  KEY` (`n` DESC) COMMENT 'a,b' IGNORED,\n  \
        KEY `i` (`id`),\n  FULLTEXT KEY `f` (`s`),\n  CONSTRAINT `c,h` CHECK (`s` <> '\\\\'),\n  \
        CONSTRAINT `f``k` FOREIGN KEY (`n`) REFERENCES `b` (`id`) ON DELETE CASCADE\n\
        ) ENGINE=InnoDB AUTO_INCREMENT=12 DEFAULT CHARSET=utf8mb4 COMMENT=' AUTO_INCREMENT=7 '' ) '";

    fn known() -> Known {
        Known { columns: 3, indexes: 5, key: None }
    }

    #[test]
    fn what_the_rows_need_stays_and_the_rest_comes_later() {
        let split = split(TABLE, &known()).unwrap();
        assert_eq!(
            split.indexes,
            ["UNIQUE KEY `u``x` (`s`(3))", "KEY `k,\n  KEY` (`n` DESC) COMMENT 'a,b' IGNORED", "FULLTEXT KEY `f` (`s`)"]
        );
        assert_eq!(split.foreign_keys, ["CONSTRAINT `f``k` FOREIGN KEY (`n`) REFERENCES `b` (`id`) ON DELETE CASCADE"]);
        assert!(split.create.contains("KEY `i` (`id`),\n  CONSTRAINT `c,h` CHECK (`s` <> '\\\\')\n) ENGINE"), "{}", split.create);
        assert_eq!(name_of(&split.indexes[1]).unwrap(), "k,\n  KEY");
        assert_eq!(name_of(&split.foreign_keys[0]).unwrap(), "f`k");
        assert!(is_fulltext(&split.indexes[2]) && !is_fulltext(&split.indexes[0]));
    }

    #[test]
    fn nothing_is_lost_when_a_table_is_taken_apart() {
        let parts = take_apart(TABLE).unwrap();
        assert_eq!(format!("{}(\n  {}\n{}", parts.head, parts.definitions.join(",\n  "), parts.rest), TABLE);
    }

    #[test]
    fn the_key_that_orders_the_rows_stays() {
        let key = Known { key: Some("u`x".into()), ..known() };
        assert!(split(TABLE, &key).unwrap().create.contains("UNIQUE KEY `u``x`"));
    }

    #[test]
    fn what_is_not_understood_stays_whole() {
        let more = TABLE.replace("FULLTEXT KEY `f`", "CLUSTERING KEY `f`");
        assert_eq!(split(&more, &known()), None);
        assert_eq!(split(TABLE, &Known { columns: 4, ..known() }), None);
        assert_eq!(split(TABLE, &Known { indexes: 4, ..known() }), None);
        assert_eq!(split("CREATE TABLE `a` (`b` int, 'x", &known()), None);
    }

    #[test]
    fn the_counter_goes_and_nothing_that_looks_like_it() {
        let without = without_counter(TABLE);
        assert_eq!(without, TABLE.replace(" AUTO_INCREMENT=12", ""));
        assert_eq!(without_counter(&without), without);
    }

    #[test]
    fn a_collation_needs_no_character_set() {
        let shown = "CREATE TABLE `t` (\n  `a` char(3) CHARACTER SET latin1 COLLATE latin1_bin COMMENT 'CHARACTER SET a COLLATE b',\n  \
                     `b` char(3) CHARACTER SET latin1\n) DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin";
        assert_eq!(without_repetition(shown), shown.replace("CHARACTER SET latin1 COLLATE", "COLLATE"));
    }

    #[test]
    fn versions_have_their_columns() {
        assert_eq!(versions(TABLE), None);
        let implicit = "CREATE TABLE `t` (\n  `x` int\n) ENGINE=InnoDB WITH SYSTEM VERSIONING";
        assert_eq!(versions(implicit), Some(("row_start".into(), "row_end".into())));
        let explicit =
            "CREATE TABLE `t` (\n  `x` int,\n  PERIOD FOR SYSTEM_TIME (`a b`, `c`)\n) ENGINE=InnoDB WITH SYSTEM VERSIONING";
        assert_eq!(versions(explicit), Some(("a b".into(), "c".into())));
    }
}
