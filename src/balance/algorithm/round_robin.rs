//! `round_robin`: servers of equal weight in the order of the list, servers of different weights in proportion and
//! spread evenly.
//!
//! Servers of one weight form a class, whose members take turns. The classes share the requests by earliest deadline:
//! a class with a tenth of the total weight has its deadlines ten picks apart. So a pick costs one step in a heap of
//! as many entries as there are different weights, which is one entry in most pools.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::collections::binary_heap::PeekMut;

use super::identities::Identities;
use super::{Algorithm, Candidate, Pick, weight_of};

/// Virtual time per pick.
const TICK: u64 = 1 << 20;
/// The virtual time starts again from 0 before its sums could overflow.
const LATEST: u64 = 1 << 62;

#[derive(Default)]
pub struct RoundRobin {
    identities: Identities,
    classes: Vec<Class>,
    /// The indices of the servers, class by class, each in the order of the list.
    members: Vec<u32>,
    queue: BinaryHeap<Turn>,
    /// The deadline of the class picked last.
    now: u64,
    last: Option<usize>,
    /// The number of the current pick.
    number: u64,
    /// The class of the last server, held back in the current pick so that another one comes first.
    repeated: Option<Turn>,
    /// Classes whose members all turned out unusable in the current pick.
    aside: Vec<Turn>,
}

/// A deadline and the class that it belongs to; the earliest is the greatest.
type Turn = Reverse<(u64, u32)>;

struct Class {
    weight: u32,
    /// Its part of `members`.
    start: usize,
    len: usize,
    /// The next member, from `start`.
    next: usize,
    /// Virtual time between two turns.
    stride: u64,
    /// Members passed over in the pick with the number `skipped_in`.
    skipped: usize,
    skipped_in: u64,
    /// It has one member, with at most half of the total weight: others can always be picked in between.
    can_alternate: bool,
}

/// When a server had its next turn before a rebuild: as a part of the time between its turns, and with this weight.
type Phase = (u32, f64);

impl Class {
    /// Returns the member whose turn it is.
    fn advance(&mut self, members: &[u32]) -> usize {
        let at = members[self.start + self.next] as usize;
        self.next = if self.next + 1 == self.len { 0 } else { self.next + 1 };
        at
    }

    /// Returns how many members were passed over in this pick.
    fn skip(&mut self, pick: u64) -> usize {
        if self.skipped_in != pick {
            (self.skipped, self.skipped_in) = (0, pick);
        }
        self.skipped += 1;
        self.skipped
    }
}

impl RoundRobin {
    /// All servers have one weight, as in most pools: the next usable one.
    fn rotate(&mut self, usable: impl Fn(usize) -> bool) -> Option<usize> {
        let RoundRobin { classes, members, .. } = self;
        let class = classes.first_mut()?;
        (0..class.len).map(|_| class.advance(members)).find(|at| usable(*at))
    }

    /// Returns the usable server with the earliest turn; first another one than the last.
    fn search(&mut self, usable: impl Fn(usize) -> bool) -> Option<usize> {
        let other = self.next_turn(false, &usable);
        let Some(repeated) = self.repeated.take() else { return other };
        self.queue.push(repeated);
        other.or_else(|| self.next_turn(true, &usable))
    }

    fn next_turn(&mut self, may_repeat: bool, usable: &impl Fn(usize) -> bool) -> Option<usize> {
        loop {
            let mut top = self.queue.peek_mut()?;
            let Reverse((deadline, number)) = *top;
            let class = &mut self.classes[number as usize];
            // Not when it waits for a whole stride already: if others are unusable it has more than half.
            let may_wait = class.can_alternate && deadline + class.stride > self.now && !may_repeat;
            if may_wait && self.last == Some(self.members[class.start] as usize) {
                self.repeated = Some(PeekMut::pop(top));
                continue;
            }
            // A turn that an unusable server lets pass is the turn of its class: the other members do not get more.
            let at = class.advance(&self.members);
            *top = Reverse((deadline + class.stride, number));
            if usable(at) {
                self.now = self.now.max(deadline);
                return Some(at);
            }
            if class.skip(self.number) == class.len {
                self.aside.push(PeekMut::pop(top));
            }
        }
    }

    /// Puts the classes set aside back into the queue: for one turn, not for all that they missed.
    fn restore(&mut self) {
        while let Some(Reverse((deadline, number))) = self.aside.pop() {
            let latest = self.now + self.classes[number as usize].stride;
            self.queue.push(Reverse((deadline.clamp(self.now, latest), number)));
        }
    }

    fn restart_time(&mut self) {
        let now = std::mem::take(&mut self.now);
        let turns = std::mem::take(&mut self.queue).into_iter();
        self.queue =
            turns.map(|Reverse((deadline, class))| Reverse((deadline.saturating_sub(now), class))).collect();
    }

    /// Returns the phases of all servers, by index.
    fn phases(&self) -> Vec<Phase> {
        let mut phases = vec![(0, 1.0); self.members.len()];
        for Reverse((deadline, number)) in &self.queue {
            let class = &self.classes[*number as usize];
            let first = deadline.saturating_sub(self.now) as f64 / class.stride as f64;
            for step in 0..class.len {
                let member = self.members[class.start + (class.next + step) % class.len];
                phases[member as usize] = (class.weight, (first + step as f64) / class.len as f64);
            }
        }
        phases
    }

    /// Adds the class whose members start here, and returns where they end. `phases`: of those that are not new.
    fn add_class(&mut self, start: usize, weights: &[u32], total: u64, phases: &[Option<Phase>]) -> usize {
        let weight = weights[self.members[start] as usize];
        let len = self.members[start..].partition_point(|at| weights[*at as usize] == weight);
        let of_class = u64::from(weight) * len as u64;
        let stride = TICK * total / of_class;
        // Those that had the weight before have turned in the order of the list. The one whose turn is next is where
        // the class continues; others join where the list has them.
        let known = self.members[start..start + len].iter().zip(0..).filter_map(|(at, place)| {
            let (weight_before, phase) = phases[*at as usize]?;
            Some((weight_before != weight, phase, place))
        });
        let order = |one: &(bool, f64, usize), other: &(bool, f64, usize)| {
            one.0.cmp(&other.0).then(one.1.total_cmp(&other.1))
        };
        // A class of new servers starts in the middle of its stride, else the heaviest would always come last.
        let (_, phase, next) = known.min_by(order).unwrap_or((false, 0.5 / len as f64, 0));
        let deadline = ((phase * len as f64).min(1.0) * stride as f64) as u64;
        self.queue.push(Reverse((deadline, self.classes.len() as u32)));
        let can_alternate = len == 1 && 2 * of_class <= total;
        self.classes.push(Class {
            weight,
            start,
            len,
            next,
            stride,
            skipped: 0,
            skipped_in: 0,
            can_alternate,
        });
        start + len
    }
}

impl Algorithm for RoundRobin {
    fn rebuild<C: Candidate>(&mut self, servers: &[C]) {
        let phases = self.phases();
        let before = self.identities.renew(servers);
        self.last = self.last.and_then(|last| before.iter().position(|before| *before == Some(last)));
        let phases: Vec<Option<Phase>> = before.into_iter().map(|before| Some(phases[before?])).collect();
        let weights: Vec<u32> = servers.iter().map(weight_of).collect();
        let total = weights.iter().map(|weight| u64::from(*weight)).sum();
        self.members = (0..servers.len() as u32).collect();
        self.members.sort_by_key(|at| weights[*at as usize]);
        self.classes.clear();
        self.queue.clear();
        self.now = 0;
        let mut start = 0;
        while start < servers.len() {
            start = self.add_class(start, &weights, total, &phases);
        }
    }

    fn pick<C: Candidate>(
        &mut self,
        servers: &[C],
        _: &mut Pick,
        usable: impl Fn(usize) -> bool,
    ) -> Option<usize> {
        if self.identities.len() != servers.len() {
            self.rebuild(servers);
        }
        if self.classes.len() == 1 {
            return self.rotate(usable);
        }
        self.number += 1;
        let found = self.search(usable);
        self.restore();
        if self.now > LATEST {
            self.restart_time();
        }
        self.last = found.or(self.last);
        found
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{Bench, server};
    use super::*;

    fn bench(weights: &[u32]) -> Bench<RoundRobin> {
        Bench::new(RoundRobin::default(), weights)
    }

    fn letters(picks: &[usize]) -> String {
        picks.iter().map(|at| char::from(b'a' + *at as u8)).collect()
    }

    #[test]
    fn equal_servers_alternate_strictly() {
        assert_eq!(letters(&bench(&[256; 3]).picks(7)), "abcabca");
        assert_eq!(letters(&bench(&[77; 1]).picks(3)), "aaa");
    }

    #[test]
    fn turns_of_different_weights_are_spread() {
        let picks = |weights: &[u32], count| letters(&bench(weights).picks(count));
        assert_eq!(picks(&[5, 1, 1], 14), "abaaacaabaaaca");
        assert_eq!(picks(&[2, 1], 6), "abaaba");
        assert_eq!(picks(&[1, 2, 1], 8), "abcbabcb");
        assert_eq!(picks(&[3, 2, 2], 14), "bacabacbacabac");
    }

    #[test]
    fn shares_are_exact_at_every_moment() {
        let sets: [&[u32]; 5] =
            [&[1, 2, 3, 4], &[256, 512, 256, 1280], &[65_536, 1], &[7, 7, 7, 100], &[3; 9]];
        for weights in sets {
            let (mut bench, mut counts) = (bench(weights), vec![0_u32; weights.len()]);
            let total: u32 = weights.iter().sum();
            for number in 1..=3 * total {
                counts[bench.picks(1)[0]] += 1;
                for (count, weight) in counts.iter().zip(weights) {
                    let expected = f64::from(*weight) * f64::from(number) / f64::from(total);
                    let difference = (f64::from(*count) - expected).abs();
                    assert!(difference < 1.6, "{weights:?} after {number}: {counts:?}");
                }
            }
        }
    }

    #[test]
    fn no_server_comes_twice_in_a_row_where_that_can_be_avoided() {
        let mut bench = bench(&[0; 6]);
        for _ in 0..300 {
            let weights: Vec<u32> = (0..6).map(|_| 1 + bench.random.below(20) as u32).collect();
            bench.servers.iter().zip(&weights).for_each(|(server, weight)| server.weight.set(*weight));
            bench.rebuild();
            let total: u32 = weights.iter().sum();
            let picks = bench.picks(200);
            let repeated = picks.windows(2).filter(|pair| pair[0] == pair[1]).map(|pair| pair[0]);
            let avoidable = repeated.filter(|at| 2 * weights[*at] <= total).count();
            assert_eq!(avoidable, 0, "{weights:?}: {}", letters(&picks));
        }
    }

    #[test]
    fn the_turns_of_an_unusable_server_are_shared_by_weight() {
        let mut bench = bench(&[256, 256, 512, 1024]);
        let mut counts = [0_u32; 4];
        for _ in 0..700 {
            counts[bench.pick_if(|at| at != 0).unwrap()] += 1;
        }
        assert_eq!(counts[0], 0);
        assert!(counts[1].abs_diff(100) <= 2 && counts[2].abs_diff(200) <= 2, "{counts:?}");
        let mut counts = [0_u32; 4];
        for _ in 0..400 {
            counts[bench.pick_if(|at| at != 3).unwrap()] += 1;
        }
        assert!(counts[1].abs_diff(100) <= 2 && counts[2].abs_diff(200) <= 2, "{counts:?}");
    }

    #[test]
    fn a_server_that_returns_gets_its_share_and_not_what_it_missed() {
        for weights in [[256, 256, 256], [256, 512, 1024], [1, 2, 4]] {
            let mut bench = bench(&weights);
            (0..1000).for_each(|_| assert_ne!(bench.pick_if(|at| at != 2), Some(2)));
            (0..1000).for_each(|_| assert_eq!(bench.pick_if(|_| false), None));
            let total: u32 = weights.iter().sum();
            let counts = bench.counts(total as usize);
            for (count, weight) in counts.iter().zip(weights) {
                assert!(count.abs_diff(weight) <= 2, "{counts:?} of {weights:?}");
            }
        }
    }

    #[test]
    fn the_rotation_continues_over_rebuilds() {
        let mut bench = bench(&[256; 4]);
        let mut picks = Vec::new();
        for _ in 0..6 {
            picks.extend(bench.picks(1));
            bench.rebuild();
        }
        assert_eq!(letters(&picks), "abcdab");
        bench.servers.remove(0);
        bench.servers.push(server(9, 256));
        bench.rebuild();
        assert_eq!(letters(&bench.picks(5)), "bcdab", "c, d, the new one, b, c");
        bench.servers.clear();
        bench.rebuild();
        assert_eq!(bench.pick_if(|_| true), None);
    }

    #[test]
    fn rebuilds_with_other_weights_favour_nobody() {
        let mut bench = bench(&[256, 256, 256, 512, 1]);
        let mut counts = vec![0_u32; 5];
        for second in 0..25_600 {
            // The weight of the last rises, as in a slow start.
            bench.servers[4].weight.set(1 + second / 100);
            bench.rebuild();
            bench.picks(1).into_iter().for_each(|at| counts[at] += 1);
        }
        let last: f64 = (1..=256).map(|weight| 100.0 * f64::from(weight) / f64::from(1280 + weight)).sum();
        let other = (25_600.0 - last) / 5.0;
        for (count, expected) in counts.iter().zip([other, other, other, 2.0 * other, last]) {
            assert!((f64::from(*count) - expected).abs() < 3.0 + 0.01 * expected, "{counts:?}: {expected}");
        }
    }

    #[test]
    fn virtual_time_starts_again_without_a_trace() {
        let (mut one, mut other) = (bench(&[1, 2, 3]), bench(&[1, 2, 3]));
        let turns = std::mem::take(&mut one.algorithm.queue).into_iter();
        one.algorithm.queue =
            turns.map(|Reverse((deadline, class))| Reverse((deadline + LATEST, class))).collect();
        one.algorithm.now = LATEST;
        assert_eq!(one.picks(100), other.picks(100));
        assert!(one.algorithm.now < LATEST);
    }
}
