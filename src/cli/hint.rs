//! The nearest known word for a misspelt one, if it is near enough.

pub fn nearest<'a>(word: &str, known: &[&'a str]) -> Option<&'a str> {
    let word = word.to_lowercase();
    let (steps, best) = known.iter().map(|name| (distance(&word, name), *name)).min()?;
    (steps <= 1 + best.len() / 4).then_some(best)
}

/// Number of letters to insert, delete, replace or swap with their neighbour.
fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let mut rows = vec![vec![0; b.len() + 1]; a.len() + 1];
    for i in 0..=a.len() {
        for j in 0..=b.len() {
            rows[i][j] = match (i, j) {
                (0, _) | (_, 0) => i + j,
                _ => cheapest(&rows, &a, &b, i, j),
            };
        }
    }
    rows[a.len()][b.len()]
}

fn cheapest(rows: &[Vec<usize>], a: &[char], b: &[char], i: usize, j: usize) -> usize {
    let changed = rows[i - 1][j - 1] + usize::from(a[i - 1] != b[j - 1]);
    let steps = changed.min(rows[i - 1][j] + 1).min(rows[i][j - 1] + 1);
    let swapped = i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1];
    if swapped { steps.min(rows[i - 2][j - 2] + 1) } else { steps }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn misspelt_words_find_the_right_one_and_other_words_none() {
        let known = ["listen", "backend", "check", "run"];
        for (word, wanted) in [
            ("listne", Some("listen")),
            ("lsten", Some("listen")),
            ("Backends", Some("backend")),
            ("chek", Some("check")),
            ("rnu", Some("run")),
            ("site.lua", None),
            ("", None),
        ] {
            assert_eq!(nearest(word, &known), wanted, "{word}");
        }
    }
}
