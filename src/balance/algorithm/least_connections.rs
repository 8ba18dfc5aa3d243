//! `least_connections`: the server with the fewest requests in progress for its weight. Among equals they take turns
//! in proportion to their weights, so that the weights count in an idle pool too.
//!
//! A small pool is searched at every pick. In a large one an index knows the lowest load of which this worker was told:
//! levels where all weights are alike, else a tree. The loads that other workers change are found out by reading the
//! true load of a server before it is picked, and of a few others in rotation with every pick.

use super::identities::Identities;
use super::levels::Levels;
use super::tournament::{LAST, Tournament};
use super::{Algorithm, Candidate, Pick, weight_of};

/// Up to this number of servers, all are looked at.
const SMALL: usize = 8;
/// How many loads are read again with each pick.
const REFRESHED: usize = 2;
/// How many servers set aside are looked at again with each pick.
const RECONSIDERED: usize = 4;
/// How many wrong loads are corrected in one pick.
const CORRECTIONS: usize = 16;
/// A turn of a server with weight 1/256. Turns are counted from the last rebuild and do not reach 2^64 before 2^40
/// picks.
const TURN: u64 = 1 << 32;

#[derive(Default)]
pub struct LeastConnections {
    identities: Identities,
    servers: Vec<Share>,
    /// The highest turn that was taken: servers that were busy since come next, but once only.
    turn: u64,
    index: Index,
    /// The server picked last: its key in the tree is out of date. Not corrected at once, since its load is about to
    /// change too.
    picked: Option<usize>,
    /// Servers that were unusable when the tree had them first.
    aside: Vec<usize>,
    /// Other workers change loads too.
    is_shared: bool,
    next_refreshed: usize,
    next_reconsidered: usize,
}

/// The loads as this worker knows them; servers set aside are not in it.
#[derive(Default)]
enum Index {
    /// The pool is small.
    #[default]
    None,
    Levels(Levels),
    /// Those set aside are `LAST`.
    Tree(Tournament),
}

struct Share {
    weight: u32,
    /// Decides among equal loads: the lowest is next.
    turn: u64,
}

impl Share {
    fn step(&self) -> u64 {
        TURN / u64::from(self.weight)
    }

    /// The load, then the turn. Requests per weight in units of 2^-32: equal only if the exact quotients are equal,
    /// since weights are at most 2^16.
    fn key(&self, in_flight: u32) -> u128 {
        let load = (u64::from(in_flight) << 32) / u64::from(self.weight);
        u128::from(load) << 64 | u128::from(self.turn)
    }
}

impl LeastConnections {
    /// Up to so many servers it needs not be told of changes.
    pub const SCANNED: usize = SMALL;

    fn key<C: Candidate>(&self, servers: &[C], at: usize) -> u128 {
        self.servers[at].key(servers[at].in_flight())
    }

    fn is_small(&self) -> bool {
        matches!(self.index, Index::None)
    }

    fn take(&mut self, at: usize) {
        let share = &mut self.servers[at];
        self.turn = self.turn.max(share.turn);
        share.turn = self.turn.saturating_add(share.step());
        self.picked = Some(at);
    }

    fn scan<C: Candidate>(&self, servers: &[C], usable: impl Fn(usize) -> bool) -> Option<usize> {
        (0..servers.len()).filter(|at| usable(*at)).min_by_key(|at| self.key(servers, *at))
    }

    /// Corrects the place of the server picked last.
    fn settle<C: Candidate>(&mut self, servers: &[C]) {
        if let Some(at) = self.picked.take() {
            self.update(servers, at, true);
        }
    }

    /// Corrects a server's place, unless it is aside. `had_turn`: it goes behind its equals. Returns true if its place was
    /// wrong.
    fn update<C: Candidate>(&mut self, servers: &[C], at: usize, had_turn: bool) -> bool {
        match &mut self.index {
            Index::None => false,
            Index::Levels(levels) => {
                let Some(known) = levels.load(at) else { return false };
                let load = Levels::load_of(servers[at].in_flight());
                let wrong = had_turn || known != load;
                if wrong {
                    levels.set(at, load);
                }
                wrong
            }
            Index::Tree(tree) => {
                let known = tree.key(at);
                let key = self.servers[at].key(servers[at].in_flight());
                let wrong = known != key && known != LAST;
                if wrong {
                    tree.set(at, key);
                }
                wrong
            }
        }
    }

    fn lowest(&mut self) -> Option<usize> {
        match &mut self.index {
            Index::None => None,
            Index::Levels(levels) => levels.lowest(),
            Index::Tree(tree) => tree.lowest(),
        }
    }

    fn set_aside(&mut self, at: usize) {
        match &mut self.index {
            Index::None => {}
            Index::Levels(levels) => levels.remove(at),
            Index::Tree(tree) => tree.set(at, LAST),
        }
        self.aside.push(at);
    }

    fn refresh<C: Candidate>(&mut self, servers: &[C]) {
        if !self.is_shared {
            return;
        }
        for _ in 0..REFRESHED {
            let at = self.next_refreshed;
            self.next_refreshed = if at + 1 < servers.len() { at + 1 } else { 0 };
            self.update(servers, at, false);
        }
    }

    /// All servers set aside if they are few, else some of them in rotation.
    fn reconsider<C: Candidate>(&mut self, servers: &[C], usable: &impl Fn(usize) -> bool) {
        for _ in 0..RECONSIDERED.min(self.aside.len()) {
            if self.next_reconsidered >= self.aside.len() {
                self.next_reconsidered = 0;
            }
            let at = self.aside[self.next_reconsidered];
            if usable(at) {
                self.put_back(servers, self.next_reconsidered);
            } else {
                self.next_reconsidered += 1;
            }
        }
    }

    fn put_back<C: Candidate>(&mut self, servers: &[C], place: usize) {
        let at = self.aside.swap_remove(place);
        match &mut self.index {
            Index::None => {}
            Index::Levels(levels) => levels.set(at, Levels::load_of(servers[at].in_flight())),
            Index::Tree(tree) => tree.set(at, self.servers[at].key(servers[at].in_flight())),
        }
    }

    fn search<C: Candidate>(&mut self, servers: &[C], usable: &impl Fn(usize) -> bool) -> Option<usize> {
        let mut corrections = 0;
        while let Some(at) = self.lowest() {
            // Of its own changes the worker was told.
            if self.is_shared && corrections < CORRECTIONS && self.update(servers, at, false) {
                corrections += 1;
            } else if usable(at) {
                return Some(at);
            } else {
                self.set_aside(at);
            }
        }
        let places = (0..self.aside.len()).filter(|place| usable(self.aside[*place]));
        let place = places.min_by_key(|place| self.key(servers, self.aside[*place]))?;
        let at = self.aside[place];
        self.put_back(servers, place);
        Some(at)
    }
}

impl LeastConnections {
    fn index_of<C: Candidate>(&self, servers: &[C]) -> Index {
        if servers.len() <= SMALL {
            return Index::None;
        }
        if self.servers.iter().any(|share| share.weight != self.servers[0].weight) {
            let mut tree = Tournament::default();
            tree.rebuild((0..servers.len()).map(|at| self.key(servers, at)).collect());
            return Index::Tree(tree);
        }
        let (mut levels, mut order) = (Levels::default(), (0..servers.len()).collect::<Vec<_>>());
        order.sort_by_key(|at| self.servers[*at].turn);
        levels.rebuild(servers.len(), order.into_iter().map(|at| (at, servers[at].in_flight())));
        Index::Levels(levels)
    }
}

impl Algorithm for LeastConnections {
    fn rebuild<C: Candidate>(&mut self, servers: &[C]) {
        let before = self.identities.renew(servers);
        let share = |(server, before): (&C, Option<usize>)| {
            let weight = weight_of(server);
            let step = TURN / u64::from(weight);
            // The part of a step that a server had left to wait. A new one waits for half a step.
            let left = before.map_or(0.5, |before| {
                let share = &self.servers[before];
                share.turn.saturating_sub(self.turn) as f64 / share.step() as f64
            });
            Share { weight, turn: (left.min(1.0) * step as f64) as u64 }
        };
        self.servers = servers.iter().zip(before).map(share).collect();
        self.turn = 0;
        self.picked = None;
        self.aside.clear();
        self.index = self.index_of(servers);
        self.is_shared = servers.iter().any(Candidate::is_shared);
        self.next_refreshed = 0;
    }

    fn load_changed<C: Candidate>(&mut self, servers: &[C], at: usize) {
        if self.is_small() || servers.len() != self.servers.len() || at >= servers.len() {
            return;
        }
        if self.picked != Some(at) {
            self.settle(servers);
        }
        let had_turn = self.picked.take().is_some();
        self.update(servers, at, had_turn);
    }

    fn pick<C: Candidate>(
        &mut self,
        servers: &[C],
        _: &mut Pick,
        usable: impl Fn(usize) -> bool,
    ) -> Option<usize> {
        if servers.len() != self.servers.len() {
            self.rebuild(servers);
        }
        let at = if self.is_small() {
            self.scan(servers, usable)?
        } else {
            self.settle(servers);
            self.reconsider(servers, &usable);
            self.refresh(servers);
            self.search(servers, &usable)?
        };
        self.take(at);
        Some(at)
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::Bench;
    use super::*;

    const SIZES: [usize; 5] = [2, SMALL, SMALL + 1, 17, 100];

    fn bench(weights: &[u32]) -> Bench<LeastConnections> {
        Bench::new(LeastConnections::default(), weights)
    }

    #[test]
    fn idle_servers_take_turns_in_the_order_of_the_list() {
        for size in SIZES {
            let expected: Vec<usize> = (0..size).chain(0..size).collect();
            assert_eq!(bench(&vec![256; size]).picks(2 * size), expected);
        }
    }

    #[test]
    fn idle_servers_take_turns_in_proportion_to_their_weights() {
        for size in SIZES {
            let weights: Vec<u32> = (0..size).map(|n| if n % 2 == 0 { 512 } else { 256 }).collect();
            let total: u32 = weights.iter().sum();
            let counts = bench(&weights).counts(total as usize / 256 * 100);
            for (count, weight) in counts.iter().zip(&weights) {
                assert!(count.abs_diff(weight / 256 * 100) <= 1, "{counts:?}");
            }
        }
    }

    #[test]
    fn the_picked_server_has_the_lowest_load_whatever_happened_before() {
        for size in SIZES {
            let weights: Vec<u32> = (0..size as u32).map(|n| 256 * (1 + n % 3)).collect();
            let mut bench = bench(&weights);
            let mut running = Vec::new();
            for step in 0..5000 {
                let load =
                    |at: usize, bench: &Bench<_>| bench.loads()[at] as u64 * 6 * 256 / weights[at] as u64;
                if running.len() < 2 * size && bench.random.below(3) > 0 {
                    let lowest = (0..size).map(|at| load(at, &bench)).min();
                    let at = bench.pick_if(|_| true).unwrap();
                    assert_eq!(Some(load(at, &bench)), lowest, "size {size}, step {step}");
                    bench.load(at, 1);
                    running.push(at);
                } else if !running.is_empty() {
                    let at = running.swap_remove(bench.random.below(running.len()));
                    bench.load(at, -1);
                }
            }
        }
    }

    #[test]
    fn loads_are_in_proportion_to_the_weights() {
        for size in SIZES {
            let weights: Vec<u32> = (0..size as u32).map(|n| 256 * (1 + n % 4)).collect();
            let mut bench = bench(&weights);
            let total: u32 = weights.iter().sum();
            (0..total / 256 * 10).for_each(|_| bench.begin());
            let expected: Vec<u32> = weights.iter().map(|weight| weight / 256 * 10).collect();
            assert_eq!(bench.loads(), expected);
        }
    }

    #[test]
    fn a_server_that_was_busy_gets_one_turn_and_not_all_that_it_missed() {
        for size in SIZES {
            let mut bench = bench(&vec![256; size]);
            bench.load(0, 1);
            assert_eq!(bench.counts(100 * (size - 1))[0], 0);
            bench.load(0, -1);
            assert!((1..=2).contains(&bench.counts(size)[0]));
        }
    }

    #[test]
    fn loads_changed_by_other_workers_are_found_out() {
        let mut bench = bench(&[256; 100]);
        bench.servers.iter().for_each(|server| server.in_flight.set(5));
        bench.servers[70].in_flight.set(3);
        let picks = bench.picks(100 / REFRESHED + CORRECTIONS);
        assert_eq!(picks.last(), Some(&70));
        bench.servers[70].in_flight.set(6);
        assert_ne!(bench.picks(1), [70], "a load that went up is noticed at once");
    }

    #[test]
    fn unusable_servers_are_passed_over_and_return() {
        for size in SIZES {
            let mut bench = bench(&vec![256; size]);
            (1..size).for_each(|at| bench.load(at, 1));
            assert_eq!(bench.pick_if(|_| true), Some(0));
            assert_ne!(bench.pick_if(|at| at != 0), Some(0));
            assert_eq!(bench.pick_if(|_| true), Some(0), "it was one request only");
            assert_eq!(bench.pick_if(|at| at == size - 1), Some(size - 1));
            assert_eq!(bench.pick_if(|_| false), None);
            let half: Vec<usize> = (0..size).map_while(|_| bench.pick_if(|at| at < size / 2)).collect();
            assert!(half.len() == size && half.iter().all(|at| *at < size / 2));
            bench.picks(size / RECONSIDERED + 1);
            assert_eq!(bench.picks(1), [0]);
        }
    }

    #[test]
    fn turns_continue_after_a_rebuild() {
        for size in SIZES {
            let mut bench = bench(&vec![256; size]);
            let mut picks = Vec::new();
            for _ in 0..2 * size {
                picks.extend(bench.picks(1));
                bench.rebuild();
            }
            assert_eq!(picks, (0..size).chain(0..size).collect::<Vec<_>>());
        }
    }
}
