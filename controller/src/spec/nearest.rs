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

/// Optimal string alignment: insertions, deletions, replacements, and swaps of two neighbours.
fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let mut rows: Vec<Vec<usize>> = vec![(0..=b.len()).collect()];
    for i in 1..=a.len() {
        let mut row = vec![i];
        for j in 1..=b.len() {
            let replace = rows[i - 1][j - 1] + usize::from(a[i - 1] != b[j - 1]);
            let mut least = replace.min(rows[i - 1][j] + 1).min(row[j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                least = least.min(rows[i - 2][j - 2] + 1);
            }
            row.push(least);
        }
        rows.push(row);
    }
    rows[a.len()][b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances() {
        for (a, b, expected) in [
            ("", "", 0),
            ("", "abc", 3),
            ("lease", "lease", 0),
            ("leese", "lease", 1),
            ("kitten", "sitting", 3),
            ("nmae", "name", 1),
        ] {
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
