//! The known word that a misspelt one most likely stands for.

/// The nearest of `known`, when it is near enough to be meant: one edit in three letters.
pub(super) fn nearest<'k>(word: &str, known: &[&'k str]) -> Option<&'k str> {
    // Longer ones are no misspelling of ours, and would be slow to compare.
    if word.len() > 40 {
        return None;
    }
    let near = known.iter().map(|known| (distance(word, known), *known)).min_by_key(|(distance, _)| *distance)?;
    (near.0 <= (word.chars().count() / 3).max(1)).then_some(near.1)
}

/// Levenshtein's distance: insertions, deletions and replacements of one character.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut corner = i;
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let replace = corner + usize::from(x != *y);
            corner = row[j + 1];
            row[j + 1] = replace.min(corner + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances() {
        for (a, b, expected) in
            [("", "", 0), ("", "abc", 3), ("lease", "lease", 0), ("leese", "lease", 1), ("kitten", "sitting", 3)]
        {
            assert_eq!(distance(a, b), expected, "{a} {b}");
            assert_eq!(distance(b, a), expected, "{b} {a}");
        }
    }

    #[test]
    fn only_what_is_near_is_offered() {
        let known = ["max_outage", "drain", "lease"];
        assert_eq!(nearest("leese", &known), Some("lease"));
        assert_eq!(nearest("max-outage", &known), Some("max_outage"));
        assert_eq!(nearest("maxoutage", &known), Some("max_outage"));
        assert_eq!(nearest("fence", &known), None);
        assert_eq!(nearest("x", &[]), None);
        assert_eq!(nearest(&"l".repeat(100_000), &known), None);
    }
}
