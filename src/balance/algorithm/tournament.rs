//! A tree that knows the lowest of many keys. A changed key is compared with one other on each level, and only as far
//! up as it makes a difference.

#[derive(Default)]
pub struct Tournament {
    /// One for each leaf, a power of two; those beyond the keys are `LAST`.
    keys: Vec<u128>,
    /// Node 1 is the root, the children of node n are 2n and 2n + 1, and the second half are the leaves. Each node is
    /// the index of its lowest key.
    winners: Vec<u32>,
}

/// Loses against all others.
pub const LAST: u128 = u128::MAX;

impl Tournament {
    pub fn rebuild(&mut self, mut keys: Vec<u128>) {
        let leaves = keys.len().next_power_of_two();
        keys.resize(leaves, LAST);
        self.keys = keys;
        self.winners = (0..leaves as u32).map(|_| 0).chain(0..leaves as u32).collect();
        for node in (1..leaves).rev() {
            let (left, right) = (self.winners[2 * node], self.winners[2 * node + 1]);
            let right_wins = self.keys[right as usize] < self.keys[left as usize];
            self.winners[node] = if right_wins { right } else { left };
        }
    }

    /// Returns the index of the lowest key, of several equal ones the first; `None` if all are `LAST`.
    pub fn lowest(&self) -> Option<usize> {
        let at = *self.winners.get(1)? as usize;
        (self.key(at) != LAST).then_some(at)
    }

    /// `LAST` for an index that is not in the tree.
    pub fn key(&self, at: usize) -> u128 {
        self.keys.get(at).copied().unwrap_or(LAST)
    }

    pub fn set(&mut self, at: usize, key: u128) {
        self.keys[at] = key;
        let (mut node, mut winner, mut lowest) = (self.keys.len() + at, at as u32, key);
        while node > 1 {
            let other = self.winners[node ^ 1];
            let other_key = self.keys[other as usize];
            // Of equal ones the left one wins: the nodes on the left are even.
            if other_key < lowest || (other_key == lowest && node % 2 == 1) {
                (winner, lowest) = (other, other_key);
            }
            node /= 2;
            if self.winners[node] == winner && winner != at as u32 {
                return;
            }
            self.winners[node] = winner;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::numbers::Random;
    use super::*;

    #[test]
    fn the_lowest_key_is_known_after_every_change() {
        let mut random = Random::new(5);
        for len in [0, 1, 2, 3, 7, 8, 9, 100] {
            let mut tree = Tournament::default();
            let mut keys = vec![5; len];
            tree.rebuild(keys.clone());
            for _ in 0..1000 {
                let lowest = (0..len).filter(|at| keys[*at] != LAST).min_by_key(|at| keys[*at]);
                assert_eq!(tree.lowest(), lowest);
                if len > 0 {
                    let (at, key) = (random.below(len), random.below(20) as u128);
                    keys[at] = if key == 0 { LAST } else { key };
                    tree.set(at, keys[at]);
                }
            }
        }
    }

    #[test]
    fn a_tree_of_keys_that_lose_has_no_lowest_one() {
        let mut tree = Tournament::default();
        tree.rebuild(vec![LAST; 5]);
        assert_eq!((tree.lowest(), tree.key(9)), (None, LAST));
    }
}
