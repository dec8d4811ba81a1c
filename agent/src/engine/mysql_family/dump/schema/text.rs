//! Takes a statement as the server shows it apart into words, names, texts and marks, so that nothing is looked for inside quotes.
//! Knows no SQL beyond that.
//!
//! Read under an empty `sql_mode`: names stand in back-ticks, a backslash escapes in texts. The contents of `/*!80023 … */` are
//! read like the rest, since the server does so.

use std::ops::Range;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// A keyword or number.
    Word,
    /// In back-ticks.
    Name,
    /// A text literal.
    Text,
    /// Any other character.
    Mark,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Token {
    pub(super) kind: Kind,
    /// Bytes.
    pub(super) at: Range<usize>,
    /// How many parentheses are open around it; a parenthesis itself counts as outside.
    pub(super) depth: usize,
}

impl Token {
    pub(super) fn is(&self, sql: &str, word: &str) -> bool {
        matches!(self.kind, Kind::Word | Kind::Mark) && sql[self.at.clone()].eq_ignore_ascii_case(word)
    }

    /// What stands in back-ticks.
    pub(super) fn name(&self, sql: &str) -> Option<String> {
        let inner = sql[self.at.clone()].strip_prefix('`')?.strip_suffix('`')?;
        (self.kind == Kind::Name).then(|| inner.replace("``", "`"))
    }
}

/// `None` when a quote or a parenthesis is not closed.
pub(super) fn tokens(sql: &str) -> Option<Vec<Token>> {
    let mut found = Vec::new();
    collect(sql, &mut found)?;
    Some(found)
}

/// As far as it can be read: of an object whose body follows quoting rules of its own.
pub(super) fn head(sql: &str) -> Vec<Token> {
    let mut found = Vec::new();
    collect(sql, &mut found);
    found
}

fn collect(sql: &str, found: &mut Vec<Token>) -> Option<()> {
    let bytes = sql.as_bytes();
    let (mut at, mut depth) = (0, 0_usize);
    while let Some(byte) = bytes.get(at) {
        let start = at;
        let kind = match byte {
            b if b.is_ascii_whitespace() => {
                at += 1;
                continue;
            }
            b'/' if bytes[at..].starts_with(b"/*!") => {
                at += 3;
                at += bytes[at..].iter().take_while(|byte| byte.is_ascii_digit()).count();
                continue;
            }
            b'*' if bytes[at..].starts_with(b"*/") => {
                at += 2;
                continue;
            }
            b'/' if bytes[at..].starts_with(b"/*") => {
                at += 2 + sql[at + 2..].find("*/")? + 2;
                continue;
            }
            b'`' | b'\'' | b'"' => {
                at = after_quote(bytes, at)?;
                if *byte == b'`' { Kind::Name } else { Kind::Text }
            }
            b if b.is_ascii_alphanumeric() || *b == b'_' || *b == b'$' || *b == b'@' || !b.is_ascii() => {
                let is_word = |b: &&u8| b.is_ascii_alphanumeric() || **b == b'_' || **b == b'$' || **b == b'@' || !b.is_ascii();
                at += bytes[at..].iter().take_while(is_word).count();
                Kind::Word
            }
            _ => {
                at += 1;
                Kind::Mark
            }
        };
        if *byte == b')' && kind == Kind::Mark {
            depth = depth.checked_sub(1)?;
        }
        found.push(Token { kind, at: start..at, depth });
        depth += usize::from(*byte == b'(' && kind == Kind::Mark);
    }
    (depth == 0).then_some(())
}

/// Where what follows the quoted text begins.
fn after_quote(bytes: &[u8], start: usize) -> Option<usize> {
    let quote = *bytes.get(start)?;
    let mut at = start + 1;
    loop {
        match bytes.get(at)? {
            b'\\' if quote != b'`' => at += 2,
            b if *b == quote && bytes.get(at + 1) == Some(&quote) => at += 2,
            b if *b == quote => return Some(at + 1),
            _ => at += 1,
        }
    }
}

/// The first place where these words follow one another outside parentheses: where the first begins and the last ends.
pub(super) fn phrase(sql: &str, tokens: &[Token], words: &[&str]) -> Option<Range<usize>> {
    let fits = |window: &&[Token]| window.iter().zip(words).all(|(token, word)| token.depth == 0 && token.is(sql, word));
    let window = tokens.windows(words.len()).find(fits)?;
    Some(window.first()?.at.start..window.last()?.at.end)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_found_inside_quotes() {
        let sql = "a `b`` (c` 'it''s \\' ( x' /*!50100 D (e, \"f)\") */ /* g ( */ é";
        let found: Vec<(Kind, &str, usize)> =
            tokens(sql).unwrap().into_iter().map(|token| (token.kind, &sql[token.at.clone()], token.depth)).collect();
        assert_eq!(
            found,
            [
                (Kind::Word, "a", 0),
                (Kind::Name, "`b`` (c`", 0),
                (Kind::Text, "'it''s \\' ( x'", 0),
                (Kind::Word, "D", 0),
                (Kind::Mark, "(", 0),
                (Kind::Word, "e", 1),
                (Kind::Mark, ",", 1),
                (Kind::Text, "\"f)\"", 1),
                (Kind::Mark, ")", 0),
                (Kind::Word, "é", 0),
            ]
        );
    }

    #[test]
    fn what_is_not_closed_is_not_understood() {
        for sql in ["(", ")", "'", "'\\'", "`a``", "/* x"] {
            assert_eq!(tokens(sql), None, "{sql}");
        }
    }

    #[test]
    fn a_phrase_stands_outside_parentheses() {
        let sql = "(on completion) 'on completion' on  completion";
        assert_eq!(phrase(sql, &tokens(sql).unwrap(), &["ON", "COMPLETION"]), Some(32..46));
    }
}
