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
