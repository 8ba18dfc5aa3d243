//! Random choice of a server in proportion to its weight, in constant time: Walker's alias method as built by Vose.
//! Each slot is shared by at most two servers; a choice draws a slot, then one of the two.

use super::numbers::{Random, scale};
use super::{Candidate, weight_of};

#[derive(Default)]
pub struct Alias {
    len: usize,
    /// Empty if all weights are equal.
    slots: Vec<Slot>,
}

#[derive(Clone, Copy)]
struct Slot {
    /// The slot's own server has it below this share of 2^32, the other one above.
    own: u32,
    other: u32,
}

/// How many servers are drawn to find two usable ones.
const DRAWS: usize = 8;

impl Alias {
    pub fn rebuild<C: Candidate>(&mut self, servers: &[C]) {
        self.len = servers.len();
        self.slots.clear();
        let weights: Vec<u64> = servers.iter().map(|server| u64::from(weight_of(server))).collect();
        if weights.iter().any(|weight| *weight != weights[0]) {
            self.fill(weights);
        }
    }

    pub fn len(&self) -> usize {
        self.len
    }

    /// Weights are multiplied by the number of slots, so that a slot holds the total.
    fn fill(&mut self, mut rest: Vec<u64>) {
        let (count, room) = (rest.len() as u64, rest.iter().sum::<u64>());
        rest.iter_mut().for_each(|weight| *weight *= count);
        self.slots = (0..rest.len()).map(|at| Slot { own: u32::MAX, other: at as u32 }).collect();
        let (mut small, mut large): (Vec<usize>, Vec<usize>) =
            (0..rest.len()).partition(|at| rest[*at] < room);
        while let (Some(poor), Some(rich)) = (small.pop(), large.last().copied()) {
            let own = (u128::from(rest[poor]) << 32) / u128::from(room);
            self.slots[poor] = Slot { own: own as u32, other: rich as u32 };
            rest[rich] -= room - rest[poor];
            if rest[rich] < room {
                large.pop();
                small.push(rich);
            }
        }
    }

    fn draw(&self, random: &mut Random) -> usize {
        let bits = random.bits();
        let at = scale(bits, self.len);
        match self.slots.get(at) {
            // The lower half is independent of the slot, which the highest bits decide.
            Some(slot) if bits as u32 > slot.own => slot.other as usize,
            _ => at,
        }
    }

    /// Returns a server other than `first`. The last draw finds one for certain, by leaving the weights aside.
    fn draw_other(&self, first: usize, draw: usize, random: &mut Random) -> Option<usize> {
        if !self.slots.is_empty() && draw < DRAWS {
            return Some(self.draw(random)).filter(|at| *at != first);
        }
        let at = random.below(self.len - 1);
        Some(if at < first { at } else { at + 1 })
    }

    /// Draws a usable server and, if one is found soon enough, another one.
    pub fn draw_two(
        &self,
        random: &mut Random,
        usable: impl Fn(usize) -> bool,
    ) -> Option<(usize, Option<usize>)> {
        if self.len == 0 {
            return None;
        }
        let mut draws = 1..=DRAWS;
        let first = draws.by_ref().map(|_| self.draw(random)).find(|at| usable(*at))?;
        if self.len == 1 {
            return Some((first, None));
        }
        let second = draws.filter_map(|draw| self.draw_other(first, draw, random)).find(|at| usable(*at));
        Some((first, second))
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::server;
    use super::*;

    fn alias(weights: &[u32]) -> Alias {
        let servers: Vec<_> = weights.iter().enumerate().map(|(n, weight)| server(n, *weight)).collect();
        let mut alias = Alias::default();
        alias.rebuild(&servers);
        alias
    }

    #[test]
    fn servers_are_drawn_in_proportion_to_their_weights() {
        for weights in [&[256, 256, 256, 256][..], &[1, 2, 3, 4], &[65_536, 256, 256, 32_768], &[1, 0, 1, 7]]
        {
            let (alias, mut random) = (alias(weights), Random::new(3));
            let mut counts = vec![0_u32; weights.len()];
            (0..100_000).for_each(|_| counts[alias.draw(&mut random)] += 1);
            let total: u32 = weights.iter().map(|weight| (*weight).max(1)).sum();
            for (count, weight) in counts.iter().zip(weights) {
                let expected = f64::from((*weight).max(1)) / f64::from(total) * 100_000.0;
                let difference = (f64::from(*count) - expected).abs();
                assert!(difference < 5.0 * expected.sqrt(), "{weights:?}: {counts:?}");
            }
        }
    }

    #[test]
    fn two_servers_are_different_and_usable() {
        let mut random = Random::new(4);
        for weights in [&[256; 3][..], &[100, 200, 300]] {
            let alias = alias(weights);
            for _ in 0..1000 {
                let (first, second) = alias.draw_two(&mut random, |_| true).unwrap();
                assert!(first < 3 && second.is_none_or(|second| second < 3 && second != first));
                if let Some((first, second)) = alias.draw_two(&mut random, |at| at == 1) {
                    assert_eq!((first, second), (1, None));
                }
            }
            assert!(alias.draw_two(&mut random, |_| false).is_none());
        }
        assert!(alias(&[]).draw_two(&mut random, |_| true).is_none());
        assert_eq!(alias(&[5]).draw_two(&mut random, |_| true), Some((0, None)));
    }
}
