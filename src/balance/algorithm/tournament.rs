//! A tree that knows the lowest of many keys. A changed key is compared with one other on each level, and only as far
//! up as it makes a difference.

#[derive(Default)]
pub struct Tournament {
    keys: Vec<u128>,
    /// Node 1 is the root, the children of node n are 2n and 2n + 1, and the leaves (not stored) are the keys. Each
    /// node is the index of its lowest key.
    winners: Vec<u32>,
    /// The number of leaves, a power of two.
    leaves: usize,
}

/// Loses against all others.
pub const LAST: u128 = u128::MAX;

impl Tournament {
    pub fn rebuild(&mut self, keys: Vec<u128>) {
        self.leaves = keys.len().next_power_of_two();
        self.keys = keys;
        self.winners = vec![0; self.leaves];
        for node in (1..self.leaves).rev() {
            self.winners[node] = self.winner(node);
        }
    }

    pub fn len(&self) -> usize {
        self.keys.len()
    }

    /// Returns the index of the lowest key, of several equal ones the first; `None` if all are `LAST`.
    pub fn lowest(&self) -> Option<usize> {
        let at = if self.leaves > 1 { self.winners[1] as usize } else { 0 };
        (self.key(at) != LAST).then_some(at)
    }

    /// `LAST` for an index that is not in the tree.
    pub fn key(&self, at: usize) -> u128 {
        self.keys.get(at).copied().unwrap_or(LAST)
    }

    pub fn set(&mut self, at: usize, key: u128) {
        self.keys[at] = key;
        let mut node = (self.leaves + at) / 2;
        while node > 0 {
            let (before, now) = (self.winners[node], self.winner(node));
            self.winners[node] = now;
            if before == now && now != at as u32 {
                return;
            }
            node /= 2;
        }
    }

    fn winner(&self, node: usize) -> u32 {
        let (left, right) = (self.of_child(2 * node), self.of_child(2 * node + 1));
        if self.key(right as usize) < self.key(left as usize) { right } else { left }
    }

    fn of_child(&self, child: usize) -> u32 {
        if child < self.leaves { self.winners[child] } else { (child - self.leaves) as u32 }
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
