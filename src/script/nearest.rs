//! "Did you mean …?": the known name nearest to an unknown one, by edit distance.

/// The hint after an unknown name: the nearest known one, or all known ones if none is near.
pub fn hint<'a>(name: &[u8], known: impl Iterator<Item = &'a str> + Clone) -> String {
    let near = known.clone().map(|k| (distance(name, k.as_bytes()), k)).min_by_key(|(distance, _)| *distance);
    match near {
        Some((distance, best)) if distance <= 1 + best.len() / 4 => format!("did you mean \"{best}\"?"),
        _ => format!("known are {}", list(known)),
    }
}

fn list<'a>(known: impl Iterator<Item = &'a str>) -> String {
    const SHOWN: usize = 20;
    let mut names: Vec<&str> = known.take(SHOWN + 1).collect();
    if names.len() > SHOWN {
        names[SHOWN] = "…";
    }
    if names.is_empty() { "none".to_string() } else { names.join(", ") }
}

/// Edit distance with swaps of neighbours, ignoring case.
fn distance(a: &[u8], b: &[u8]) -> usize {
    const LONGEST: usize = 64;
    if a.len() > LONGEST || b.len() > LONGEST {
        return usize::MAX;
    }
    let mut rows: Vec<Vec<usize>> = vec![(0..=b.len()).collect()];
    for i in 1..=a.len() {
        let mut row = vec![i];
        for j in 1..=b.len() {
            let same = |x: usize, y: usize| a[x - 1].eq_ignore_ascii_case(&b[y - 1]);
            let mut best = (rows[i - 1][j] + 1).min(row[j - 1] + 1);
            best = best.min(rows[i - 1][j - 1] + usize::from(!same(i, j)));
            if i > 1 && j > 1 && same(i, j - 1) && same(i - 1, j) {
                best = best.min(rows[i - 2][j - 2] + 1);
            }
            row.push(best);
        }
        rows.push(row);
    }
    rows[a.len()][b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_misspelt_name_finds_the_right_one_and_others_the_list() {
        let known = || ["host", "path", "headers", "client_ip"].into_iter();
        assert_eq!(hint(b"hots", known()), "did you mean \"host\"?");
        assert_eq!(hint(b"header", known()), "did you mean \"headers\"?");
        assert_eq!(hint(b"clientip", known()), "did you mean \"client_ip\"?");
        assert_eq!(hint(b"zebra", known()), "known are host, path, headers, client_ip");
        assert_eq!(hint(&[b'x'; 5000], known()), "known are host, path, headers, client_ip");
        assert_eq!(hint(b"x", std::iter::empty()), "known are none");
    }
}
