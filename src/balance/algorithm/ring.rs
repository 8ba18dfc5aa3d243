//! A consistent hash ring: each server has points on a circle in proportion to its weight, and a key belongs to the
//! server of the next point. A server that comes or goes moves only the keys at its own points.

use std::collections::HashSet;

use super::numbers::{mix, scale};
use super::{Candidate, weight_of};

/// Points of the heaviest server. With 160 the shares of equal servers differ by 8 % (standard deviation).
const POINTS: u64 = 160;
/// Points of all servers, about: more take too much memory and too long to sort.
const MOST_POINTS: u64 = 400_000;
/// Points per server at least, on average: where few servers are much heavier than the others, all get more.
const FEWEST_POINTS: u64 = POINTS / 4;
/// How many points a walk looks at.
const WALK: usize = 256;
/// The lower bits of a point, which are the index of its server. The upper bits are its place on the circle.
const INDEX: u64 = (1 << 24) - 1;

#[derive(Default)]
pub struct Ring {
    identities: Vec<u64>,
    /// How many points each server has.
    counts: Vec<u32>,
    /// Sorted.
    points: Vec<u64>,
    /// For each of equal parts of the circle, the first point that is not before it. Places are random, so a search
    /// that starts there takes a few steps.
    parts: Vec<u32>,
}

impl Ring {
    pub fn rebuild<C: Candidate>(&mut self, servers: &[C]) {
        let same = self.identities.len() == servers.len()
            && self.identities.iter().zip(servers).all(|(identity, server)| *identity == server.identity());
        if !same {
            self.identities = servers.iter().map(Candidate::identity).collect();
            self.counts = vec![0; servers.len()];
            self.points.clear();
        }
        let counts = counts(&servers.iter().map(|server| u64::from(weight_of(server))).collect::<Vec<_>>());
        if !same || counts != self.counts {
            self.set_counts(counts);
            self.index();
        }
    }

    pub fn len(&self) -> usize {
        self.identities.len()
    }

    /// Adds and removes only points of servers whose number of points changed.
    fn set_counts(&mut self, counts: Vec<u32>) {
        let changed = self.counts.iter().zip(&counts).enumerate().filter(|(_, (before, now))| before != now);
        let (mut gone, mut new) = (HashSet::new(), Vec::new());
        for (at, (before, now)) in changed {
            let point = |number: u32| point(at, self.identities[at], number);
            gone.extend((*now..*before).map(point));
            new.extend((*before..*now).map(point));
        }
        if !gone.is_empty() {
            self.points.retain(|point| !gone.contains(point));
        }
        self.points.append(&mut new);
        // The stable sort is fast where most is in order already.
        self.points.sort();
        self.counts = counts;
    }

    /// A part has two to four points on average.
    fn index(&mut self) {
        let parts = (self.points.len() / 2).next_power_of_two() / 2;
        self.parts.clear();
        for (at, point) in self.points.iter().enumerate() {
            let part = scale(*point, parts.max(1));
            while self.parts.len() <= part {
                self.parts.push(at as u32);
            }
        }
        self.parts.resize(parts.max(1), self.points.len() as u32);
    }

    /// The first point that is not before the key's place.
    fn start(&self, key: u64) -> usize {
        let Some(start) = self.parts.get(scale(key, self.parts.len())) else { return 0 };
        let start = *start as usize;
        start + self.points[start..].iter().take_while(|point| **point < key).count()
    }

    /// The servers in the order in which the key falls to them. The list ends before it has all of a large pool, and
    /// may repeat a server.
    pub fn walk(&self, key: u64) -> impl Iterator<Item = usize> {
        let (before, after) = self.points.split_at(self.start(mix(key)));
        let servers = after.iter().chain(before).take(WALK).map(|point| (point & INDEX) as usize);
        let mut last = usize::MAX;
        servers.filter(move |at| std::mem::replace(&mut last, *at) != *at)
    }

    /// Returns one of the usable servers, the same for the same key, by looking at all: for when a walk found none.
    pub fn any(&self, key: u64, usable: impl Fn(usize) -> bool) -> Option<usize> {
        let rank = |at: &usize| mix(mix(key) ^ self.identities[*at]);
        (0..self.identities.len()).filter(|at| usable(*at)).max_by_key(rank)
    }
}

fn point(at: usize, identity: u64, number: u32) -> u64 {
    mix(mix(identity).wrapping_add(u64::from(number).wrapping_mul(0x9E37_79B9_7F4A_7C15))) & !INDEX
        | at as u64 & INDEX
}

/// The number of points for each weight. Relative to the heaviest, so that most stay the same while one server of
/// several raises its weight.
fn counts(weights: &[u64]) -> Vec<u32> {
    let (count, total) = (weights.len() as u64, weights.iter().sum::<u64>());
    let heaviest = weights.iter().copied().max().unwrap_or(1);
    let mut points = POINTS.min(MOST_POINTS / count.max(1)).max(1);
    let of_all = |points: u64| points * total / heaviest;
    while of_all(points) < FEWEST_POINTS * count && of_all(2 * points) <= MOST_POINTS {
        points *= 2;
    }
    let points = |weight: &u64| ((2 * points * weight + heaviest) / (2 * heaviest)).max(1) as u32;
    weights.iter().map(points).collect()
}

#[cfg(test)]
mod tests {
    use super::super::tests::server;
    use super::*;

    fn ring(servers: &[(usize, u32)]) -> Ring {
        let servers: Vec<_> = servers.iter().map(|(number, weight)| server(*number, *weight)).collect();
        let mut ring = Ring::default();
        ring.rebuild(&servers);
        ring
    }

    #[test]
    fn the_next_point_is_found_everywhere_on_the_circle() {
        for size in [1, 2, 3, 40] {
            let ring = ring(&(0..size).map(|n| (n, 256)).collect::<Vec<_>>());
            for key in (0..1000).map(mix).chain([0, u64::MAX]) {
                assert_eq!(ring.start(key), ring.points.partition_point(|point| *point < key));
            }
        }
        assert_eq!(Ring::default().walk(5).next(), None);
    }

    #[test]
    fn points_are_in_proportion_to_the_weights_and_bounded() {
        assert_eq!(counts(&[256; 3]), [160; 3]);
        assert_eq!(counts(&[256, 128, 1]), [160, 80, 1]);
        assert_eq!(counts(&[65_536, 1, 65_536]), [160, 1, 160]);
        assert_eq!(counts(&[256; 10_000]), [40; 10_000]);
        let mut weights = vec![1; 99];
        weights.push(256);
        assert_eq!(counts(&weights)[98..], [20, 5120], "where most are light, all get more");
        assert!(counts(&vec![65_536; 500_000]).iter().all(|count| *count == 1));
        assert!(counts(&[]).is_empty());
    }

    #[test]
    fn changing_a_weight_gives_the_same_ring_as_building_it_anew() {
        let servers: Vec<_> = (0..20).map(|number| server(number, 256)).collect();
        let mut changed = Ring::default();
        for weight in [1, 100, 256, 3, 256] {
            servers[7].weight.set(weight);
            changed.rebuild(&servers);
            let mut fresh = Ring::default();
            fresh.rebuild(&servers);
            assert!(changed.points == fresh.points && changed.parts == fresh.parts);
        }
    }

    #[test]
    fn a_walk_visits_every_server_of_a_small_pool() {
        let ring = ring(&[(0, 256), (1, 256), (2, 256), (3, 256)]);
        for key in 0..1000 {
            let seen: HashSet<usize> = ring.walk(key).collect();
            assert_eq!(seen.len(), 4);
        }
    }
}
