//! `least_latency`: the server whose expected time to the first byte is lowest: the moving average of its latency
//! (peak EWMA) times the requests in progress with the new one, divided by the weight. As in Finagle and Linkerd, a
//! small pool is searched, and of a large one two servers drawn at random are compared: that needs no order among
//! averages that change by themselves, and workers do not all choose the same server.
//!
//! A server without a latency, or with one that decayed for want of requests, would look fastest and get everything
//! until its first response. So a server counts at best as twice as fast as the servers picked lately were, and one
//! without a latency as exactly that. It is tried first while idle, and has at most about twice the requests of others
//! in progress.

use super::alias::Alias;
use super::{Algorithm, Candidate, Pick, weight_of};

/// Up to this number of servers, all are looked at.
const SMALL: usize = 4;
/// The latency, in microseconds, of a pool of which none is known.
const UNKNOWN: f64 = 1000.0;
/// By how much one pick moves the typical latency.
const STEP: f64 = 1.0 / 32.0;
/// The same for a latency below half of the typical one, which may be merely old: many picks of that server before
/// its next response must not pass for knowledge.
const SMALL_STEP: f64 = STEP / 16.0;
/// At how many servers to look for the first latency, the lowest that is known.
const FIRST_LOOK: usize = 8;

#[derive(Default)]
pub struct LeastLatency {
    alias: Alias,
    /// The median latency of the servers picked lately, in microseconds, approached in small steps: a few servers with
    /// the latency of a timeout do not matter.
    typical: Option<f64>,
}

impl LeastLatency {
    fn score<C: Candidate>(&self, server: &C, now: u64) -> f64 {
        let fastest = self.typical.unwrap_or(UNKNOWN) / 2.0;
        let latency = server.latency(now).map_or(fastest, |latency| fastest.max(latency as f64));
        latency * (f64::from(server.in_flight()) + 1.0) / f64::from(weight_of(server))
    }

    /// Starts anywhere, so that equal servers are picked equally often.
    fn scan<C: Candidate>(
        &self,
        servers: &[C],
        pick: &mut Pick,
        usable: impl Fn(usize) -> bool,
    ) -> Option<usize> {
        let start = pick.random.below(servers.len());
        let order = (start..servers.len()).chain(0..start).filter(|at| usable(*at));
        let scores = order.map(|at| (at, self.score(&servers[at], pick.now)));
        scores.reduce(|best, other| if other.1 < best.1 { other } else { best }).map(|(at, _)| at)
    }

    fn choose<C: Candidate>(
        &self,
        servers: &[C],
        pick: &mut Pick,
        usable: impl Fn(usize) -> bool,
    ) -> Option<usize> {
        if servers.len() <= SMALL {
            return self.scan(servers, pick, usable);
        }
        match self.alias.draw_two(pick.random, &usable) {
            Some((first, Some(second))) => {
                let score = |at: usize| self.score(&servers[at], pick.now);
                Some(if score(second) < score(first) { second } else { first })
            }
            Some((only, None)) => Some(only),
            // Hardly any is usable.
            None => self.scan(servers, pick, usable),
        }
    }

    fn learn(&mut self, latency: Option<u64>) {
        let Some(latency) = latency.map(|latency| latency as f64) else { return };
        self.typical = Some(match self.typical {
            None => latency,
            Some(typical) if latency > typical => latency.min(typical * (1.0 + STEP)),
            Some(typical) if latency < typical / 2.0 => typical * (1.0 - SMALL_STEP),
            Some(typical) => latency.max(typical * (1.0 - STEP)),
        });
    }
}

impl Algorithm for LeastLatency {
    fn rebuild<C: Candidate>(&mut self, servers: &[C]) {
        self.alias.rebuild(servers);
    }

    fn pick<C: Candidate>(
        &mut self,
        servers: &[C],
        pick: &mut Pick,
        usable: impl Fn(usize) -> bool,
    ) -> Option<usize> {
        if self.alias.len() != servers.len() {
            self.rebuild(servers);
        }
        if self.typical.is_none() {
            self.learn(servers.iter().take(FIRST_LOOK).filter_map(|server| server.latency(pick.now)).min());
        }
        let at = self.choose(servers, pick, usable)?;
        self.learn(servers[at].latency(pick.now));
        Some(at)
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::Bench;
    use super::*;

    /// Servers with these latencies.
    fn bench(latencies: &[Option<u64>]) -> Bench<LeastLatency> {
        let bench = Bench::new(LeastLatency::default(), &vec![256; latencies.len()]);
        for (server, latency) in bench.servers.iter().zip(latencies) {
            server.latency.set(*latency);
        }
        bench
    }

    #[test]
    fn equal_servers_are_picked_equally_often() {
        for size in [2, SMALL, SMALL + 1, 50] {
            let shares = vec![1.0 / size as f64; size];
            bench(&vec![Some(1000); size]).assert_shares(2000 * size, &shares, 0.1);
            bench(&vec![None; size]).assert_shares(2000 * size, &shares, 0.1);
        }
    }

    #[test]
    fn the_fastest_of_a_small_pool_is_picked_until_it_is_busy() {
        let mut bench = bench(&[Some(10_000), Some(3000), Some(40_000)]);
        assert_eq!(bench.counts(100), [0, 100, 0]);
        (0..55).for_each(|_| bench.begin());
        let loads = bench.loads();
        assert!(loads[1] > 2 * loads[0] && loads[0] > 2 * loads[2] && loads[2] > 0, "{loads:?}");
    }

    #[test]
    fn twice_the_weight_is_twice_the_load() {
        for size in [SMALL, 100] {
            let weights: Vec<u32> = (0..size).map(|n| if n % 2 == 0 { 512 } else { 256 }).collect();
            let mut bench = Bench::new(LeastLatency::default(), &weights);
            bench.servers.iter().for_each(|server| server.latency.set(Some(1000)));
            (0..size * 15).for_each(|_| bench.begin());
            let heavy: u32 = bench.loads().iter().step_by(2).sum();
            assert!((0.62..0.70).contains(&(f64::from(heavy) / (size * 15) as f64)), "{heavy} of {size}");
        }
    }

    #[test]
    fn a_new_server_is_tried_first_and_not_flooded() {
        let mut bench = bench(&[Some(5000), Some(5000), Some(5000), None]);
        assert_eq!(bench.counts(10)[3], 10);
        (0..100).for_each(|_| bench.begin());
        let loads = bench.loads();
        assert!((35..=42).contains(&loads[3]), "about twice as many as the others: {loads:?}");
    }

    #[test]
    fn new_servers_of_a_large_pool_are_not_flooded() {
        let mut latencies = vec![Some(20_000); 50];
        latencies[7] = None;
        let mut bench = bench(&latencies);
        bench.counts(1000);
        (0..500).for_each(|_| bench.begin());
        assert!((10..=24).contains(&bench.loads()[7]), "{:?}", bench.loads());
    }

    #[test]
    fn a_server_that_had_no_requests_for_long_is_not_flooded_either() {
        let mut bench = bench(&[Some(5000), Some(5000), Some(1)]);
        bench.algorithm.typical = Some(5000.0);
        (0..100).for_each(|_| bench.begin());
        assert!(bench.loads()[2] < 60, "{:?}", bench.loads());
    }

    #[test]
    fn a_failing_server_gets_hardly_anything_in_a_large_pool() {
        let mut latencies = vec![Some(10_000); 100];
        latencies[3] = Some(60_000_000);
        let counts = bench(&latencies).counts(10_000);
        assert!(counts[3] <= 1, "{}", counts[3]);
    }

    #[test]
    fn the_only_usable_server_is_found() {
        for size in [SMALL, 1000] {
            let mut bench = bench(&vec![Some(1); size]);
            assert_eq!(bench.pick_if(|at| at == 2), Some(2));
            assert_eq!(bench.pick_if(|_| false), None);
        }
    }
}
