//! The nearest of some names to a misspelt one. In: a word and what could have been meant. Out: the best guess, or none
//! when nothing is near. Cannot fail.

/// The candidate with the least edit distance to `word`, if that is at most a third of the word's length (at least 1).
/// Ties: the earlier candidate.
pub(super) fn nearest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let limit = (word.chars().count() / 3).max(1);
    candidates
        .into_iter()
        .map(|candidate| (distance(word, candidate), candidate))
        .filter(|&(distance, _)| distance <= limit)
        .min_by_key(|&(distance, _)| distance)
        .map(|(_, candidate)| candidate)
}

/// Optimal string alignment: insertions, deletions, replacements, and swaps of neighbours count one each.
fn distance(from: &str, to: &str) -> usize {
    let (from, to): (Vec<char>, Vec<char>) = (from.chars().collect(), to.chars().collect());
    let mut rows: Vec<Vec<usize>> = vec![(0..=to.len()).collect()];
    for i in 1..=from.len() {
        let mut row = vec![i];
        for j in 1..=to.len() {
            let replaced = rows[i - 1][j - 1] + usize::from(from[i - 1] != to[j - 1]);
            let mut least = replaced.min(rows[i - 1][j] + 1).min(row[j - 1] + 1);
            if i > 1 && j > 1 && from[i - 1] == to[j - 2] && from[i - 2] == to[j - 1] {
                least = least.min(rows[i - 2][j - 2] + 1);
            }
            row.push(least);
        }
        rows.push(row);
    }
    rows[from.len()][to.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_is_found_and_another_word_is_not() {
        let keys = ["priority", "expires", "name"];
        assert_eq!(nearest("prioriti", keys), Some("priority"));
        assert_eq!(nearest("pirority", keys), Some("priority"));
        assert_eq!(nearest("nmae", keys), Some("name"));
        assert_eq!(nearest("holdout", keys), None);
        assert_eq!(nearest("", keys), None);
    }
}
