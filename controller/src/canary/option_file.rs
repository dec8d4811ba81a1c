//! An option file of MySQL's and MariaDB's clients, as far as a way in needs it: the group `[client]`, without includes (MySQL
//! manual, "Using Option Files"). The same file serves `mysql --defaults-file`.

use std::collections::BTreeMap;

/// The options of the group `[client]`, the last of each; `_` in a name is `-`. `None` where a line cannot be understood, for
/// an unknown line may hide what matters.
pub(super) fn client(text: &str) -> Option<BTreeMap<String, String>> {
    let mut options = BTreeMap::new();
    let mut is_ours = false;
    for line in text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with(['#', ';'])) {
        if let Some(group) = line.strip_prefix('[') {
            is_ours = group.split_once(']')?.0.trim() == "client";
            continue;
        }
        if line.starts_with('!') {
            return None;
        }
        let (name, rest) = line.split_once('=').unwrap_or((line, ""));
        if is_ours {
            options.insert(name.trim().replace('_', "-"), value(rest.trim())?);
        }
    }
    (!options.is_empty()).then_some(options)
}

/// In quotation marks of either kind, or up to a comment; the manual's escapes mean the same in both.
fn value(text: &str) -> Option<String> {
    let quote = text.chars().next().filter(|first| ['"', '\''].contains(first));
    let mut value = String::new();
    let mut rest = text.chars();
    if quote.is_some() {
        rest.next();
    }
    loop {
        match rest.next() {
            None if quote.is_none() => return Some(value.trim_end().to_owned()),
            None => return None,
            end if end == quote => break,
            Some('#') if quote.is_none() => return Some(value.trim_end().to_owned()),
            Some('\\') => match rest.next()? {
                'b' => value.push('\u{8}'),
                't' => value.push('\t'),
                'n' => value.push('\n'),
                'r' => value.push('\r'),
                's' => value.push(' '),
                '\\' => value.push('\\'),
                other => value.extend(['\\', other]),
            },
            Some(other) => value.push(other),
        }
    }
    let after = rest.as_str().trim();
    (after.is_empty() || after.starts_with('#')).then_some(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str, name: &str) -> Option<String> {
        client(text)?.remove(name)
    }

    #[test]
    fn values_are_read_as_the_clients_of_the_server_read_them() {
        for (line, expected) in [
            ("password=plain", "plain"),
            ("password =  two words  ", "two words"),
            ("password = cut # short", "cut"),
            ("password = 'a # b' # c", "a # b"),
            ("password = \" spaces \"", " spaces "),
            (r"password = a\sb\\c\td\x", "a b\\c\td\\x"),
            ("password=a=b", "a=b"),
            ("password = it's", "it's"),
            ("password", ""),
        ] {
            assert_eq!(of(&format!("[client]\n{line}\n"), "password").as_deref(), Some(expected), "{line}");
        }
    }

    #[test]
    fn only_the_group_client_counts_and_the_last_of_it() {
        let text =
            "# x\n; y\n[mysqld]\nport = 1\n[client]\nport = 2\nssl_mode = DISABLED\n\n[client]\nport = 3\n[dump]\nport = 4\n";
        assert_eq!(of(text, "port").as_deref(), Some("3"));
        assert_eq!(of(text, "ssl-mode").as_deref(), Some("DISABLED"));
    }

    #[test]
    fn what_may_hide_something_is_not_understood() {
        for text in [
            "",
            "port = 1",
            "[client]",
            "[client\nport = 1",
            "[client]\nport = 1\n!include /x",
            "[client]\npassword = 'x",
            "[client]\npassword = 'x'y",
        ] {
            assert_eq!(client(text), None, "{text}");
        }
    }
}
