//! Texts and names as SQL. Every session of ours sets `sql_mode` to nothing, under which a backslash escapes.

/// A string literal.
pub(crate) fn literal(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('\'');
    for c in text.chars() {
        match c {
            '\'' => quoted.push_str("''"),
            '\\' => quoted.push_str("\\\\"),
            '\0' => quoted.push_str("\\0"),
            c => quoted.push(c),
        }
    }
    quoted.push('\'');
    quoted
}

/// A name in back-ticks.
pub(crate) fn identifier(name: &str) -> String {
    format!("`{}`", name.replace('`', "``"))
}

/// An account as `CREATE USER` takes it.
pub(crate) fn account(user: &str, host: &str) -> String {
    format!("{}@{}", literal(user), literal(host))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_leaves_its_literal() {
        assert_eq!(literal("o'clock"), "'o''clock'");
        assert_eq!(literal(r"a\' or 1 #"), r"'a\\'' or 1 #'");
        assert_eq!(literal("a\0b\n\u{1f600}`\""), "'a\\0b\n\u{1f600}`\"'");
        assert_eq!(identifier("a`b'c"), "`a``b'c`");
        assert_eq!(account("it's", "%"), "'it''s'@'%'");
    }
}
