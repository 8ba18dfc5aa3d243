//! `hash` and `source_hash`: requests with the same key go to the same server, by a consistent hash ring. `hash` bounds
//! the load ("Consistent Hashing with Bounded Loads", Mirrokni, Thorup and Zadimoghaddam 2016): a server with more than
//! 1.25 times its share of the requests in progress passes them on to the next on the ring, so that a popular key
//! cannot overload it. `source_hash` never passes on: a client stays where it is. Requests without a key take round
//! robin.

use super::ring::Ring;
use super::two_choices::is_busier;
use super::{Algorithm, Candidate, Pick, RoundRobin, weight_of};

/// The bound in quarters of a server's share. It is doubled while no server is below it: where servers are unusable,
/// the others have more than their share.
const BOUNDS: [u32; 3] = [5, 10, 20];

#[derive(Default)]
pub struct Hash {
    ring: Ring,
    round_robin: RoundRobin,
    /// The sum of the weights.
    total: u64,
}

#[derive(Default)]
pub struct SourceHash {
    ring: Ring,
    round_robin: RoundRobin,
}

impl Hash {
    /// Whether the server with one more request has at most `quarters` / 4 of its share, rounded up.
    fn has_room<C: Candidate>(&self, server: &C, pool_in_flight: u32, quarters: u32) -> bool {
        // n + 1 <= ceil(x) is n < x, for a whole n.
        let load = u128::from(server.in_flight()) * 4 * u128::from(self.total);
        load < u128::from(quarters) * (u128::from(pool_in_flight) + 1) * u128::from(weight_of(server))
    }

    fn choose<C: Candidate>(
        &self,
        servers: &[C],
        key: u64,
        in_flight: u32,
        usable: impl Fn(usize) -> bool,
    ) -> Option<usize> {
        let walk = || self.ring.walk(key).filter(|at| usable(*at));
        for quarters in BOUNDS {
            if let Some(at) = walk().find(|at| self.has_room(&servers[*at], in_flight, quarters)) {
                return Some(at);
            }
        }
        let less = |best: usize, at: usize| if is_busier(&servers[best], &servers[at]) { at } else { best };
        walk().reduce(less).or_else(|| self.ring.any(key, &usable))
    }
}

impl Algorithm for Hash {
    fn rebuild<C: Candidate>(&mut self, servers: &[C]) {
        self.ring.rebuild(servers);
        self.round_robin.rebuild(servers);
        self.total = servers.iter().map(|server| u64::from(weight_of(server))).sum();
    }

    fn pick<C: Candidate>(
        &mut self,
        servers: &[C],
        pick: &mut Pick,
        usable: impl Fn(usize) -> bool,
    ) -> Option<usize> {
        if self.ring.len() != servers.len() {
            self.rebuild(servers);
        }
        match pick.key {
            None => self.round_robin.pick(servers, pick, usable),
            Some(key) => self.choose(servers, key, pick.in_flight, usable),
        }
    }
}

impl Algorithm for SourceHash {
    fn rebuild<C: Candidate>(&mut self, servers: &[C]) {
        self.ring.rebuild(servers);
        self.round_robin.rebuild(servers);
    }

    fn pick<C: Candidate>(
        &mut self,
        servers: &[C],
        pick: &mut Pick,
        usable: impl Fn(usize) -> bool,
    ) -> Option<usize> {
        if self.ring.len() != servers.len() {
            self.rebuild(servers);
        }
        match pick.key {
            None => self.round_robin.pick(servers, pick, usable),
            Some(key) => self.ring.walk(key).find(|at| usable(*at)).or_else(|| self.ring.any(key, &usable)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::Bench;
    use super::*;

    const KEYS: u64 = 100_000;

    fn hash(weights: &[u32]) -> Bench<Hash> {
        Bench::new(Hash::default(), weights)
    }

    fn source_hash(weights: &[u32]) -> Bench<SourceHash> {
        Bench::new(SourceHash::default(), weights)
    }

    /// The servers of all keys.
    fn homes<A: Algorithm>(bench: &mut Bench<A>) -> Vec<usize> {
        (0..KEYS).map(|key| bench.pick_for(key)).collect()
    }

    fn counts(homes: &[usize], servers: usize) -> Vec<f64> {
        let mut counts = vec![0.0; servers];
        homes.iter().for_each(|at| counts[*at] += 1.0);
        counts
    }

    #[test]
    fn keys_are_spread_in_proportion_to_the_weights() {
        for (weights, tolerance) in [(vec![256; 10], 0.2), (vec![256; 100], 0.3), (vec![256, 512, 768], 0.2)]
        {
            let total: u32 = weights.iter().sum();
            for (count, weight) in counts(&homes(&mut hash(&weights)), weights.len()).iter().zip(&weights) {
                let expected = KEYS as f64 * f64::from(*weight) / f64::from(total);
                assert!((count - expected).abs() < tolerance * expected, "{count} instead of {expected}");
            }
        }
    }

    #[test]
    fn a_key_always_has_the_same_server() {
        let (mut one, mut other) = (hash(&[256; 7]), source_hash(&[256; 7]));
        other.rebuild();
        assert_eq!(homes(&mut one), homes(&mut other));
        let before = homes(&mut one);
        one.servers.reverse();
        one.rebuild();
        assert!(homes(&mut one).iter().zip(before).all(|(now, before)| 6 - now == before));
    }

    #[test]
    fn removing_one_of_a_hundred_servers_moves_one_key_of_a_hundred() {
        let mut bench = hash(&[256; 100]);
        let before = homes(&mut bench);
        bench.servers.remove(40);
        bench.rebuild();
        let index = |before: usize| if before > 40 { before - 1 } else { before };
        let now = homes(&mut bench);
        let moved: Vec<usize> = before
            .iter()
            .zip(&now)
            .filter(|(before, now)| index(**before) != **now)
            .map(|(b, _)| *b)
            .collect();
        assert!(moved.iter().all(|before| *before == 40), "only its own keys");
        assert!(moved.len() as u64 <= KEYS * 15 / 1000, "{} of {KEYS}", moved.len());
    }

    #[test]
    fn a_server_in_slow_start_takes_keys_and_moves_no_others() {
        let mut bench = hash(&[256, 256, 256, 256, 1]);
        let mut before = homes(&mut bench);
        for weight in [10, 100, 256] {
            bench.servers[4].weight.set(weight);
            bench.rebuild();
            let now = homes(&mut bench);
            assert!(before.iter().zip(&now).all(|(before, now)| before == now || *now == 4));
            before = now;
        }
    }

    #[test]
    fn the_keys_of_an_unusable_server_are_spread_over_the_others() {
        let mut bench = source_hash(&[256; 10]);
        let before = homes(&mut bench);
        let mut taken = [0; 10];
        for key in (0..KEYS).filter(|key| before[*key as usize] == 3) {
            bench.key = Some(key);
            taken[bench.pick_if(|at| at != 3).unwrap()] += 1;
        }
        let all: i32 = taken.iter().sum();
        assert!(taken.iter().enumerate().all(|(at, count)| (at == 3) == (*count == 0)), "{taken:?}");
        assert!(taken.iter().all(|count| *count < all / 4), "{taken:?}");
    }

    #[test]
    fn a_key_with_half_of_all_traffic_does_not_overload_its_server() {
        for servers in 3..=10 {
            let mut bench = hash(&vec![256; servers]);
            let mut running = std::collections::VecDeque::new();
            let average = 100.0 / servers as f64;
            for number in 0..5000 {
                if running.len() == 100 {
                    let ended = running.remove(bench.random.below(100)).unwrap();
                    bench.load(ended, -1);
                }
                let key = if number % 2 == 0 { 7 } else { bench.random.bits() };
                let at = bench.pick_for(key);
                bench.load(at, 1);
                running.push_back(at);
                let most = bench.loads().into_iter().max().unwrap();
                assert!(f64::from(most) <= 1.35 * average, "{:?}", bench.loads());
            }
        }
    }

    #[test]
    fn source_hash_is_not_bounded() {
        let mut bench = source_hash(&[256; 5]);
        bench.key = Some(7);
        (0..100).for_each(|_| bench.begin());
        assert_eq!(bench.loads().into_iter().max(), Some(100));
    }

    #[test]
    fn keys_stay_where_they_are_when_half_of_the_servers_are_unusable() {
        let mut bench = hash(&[256; 4]);
        for key in 0..100 {
            bench.key = Some(key % 10);
            let at = bench.pick_if(|at| at < 2).unwrap();
            bench.load(at, 1);
        }
        let mut unbounded = source_hash(&[256; 4]);
        let kept = (0..10).filter(|key| {
            (bench.key, unbounded.key) = (Some(*key), Some(*key));
            bench.pick_if(|at| at < 2) == unbounded.pick_if(|at| at < 2)
        });
        assert!(kept.count() >= 8);
    }

    #[test]
    fn requests_without_a_key_take_turns() {
        assert_eq!(hash(&[256; 3]).picks(4), [0, 1, 2, 0]);
        assert_eq!(source_hash(&[256; 3]).picks(4), [0, 1, 2, 0]);
    }

    #[test]
    fn the_only_usable_server_of_thousands_is_found() {
        let (mut one, mut other) = (hash(&[256; 2000]), source_hash(&[256; 2000]));
        (one.key, other.key) = (Some(1), Some(1));
        assert_eq!((one.pick_if(|at| at == 999), other.pick_if(|at| at == 999)), (Some(999), Some(999)));
        assert_eq!((one.pick_if(|_| false), other.pick_if(|_| false)), (None, None));
    }
}
