//! Servers and a bench for the tests of the algorithms, and what holds for all of them.

mod every;
mod work;

use std::cell::Cell;
use std::rc::Rc;

use super::numbers::mix;
use super::{Algorithm, Candidate, Pick, Random};

pub struct TestServer {
    pub weight: Cell<u32>,
    pub in_flight: Cell<u32>,
    pub latency: Cell<Option<u64>>,
    identity: u64,
    /// How often an algorithm looked at the server.
    pub looks: Rc<Cell<usize>>,
}

impl Candidate for TestServer {
    fn weight(&self) -> u32 {
        self.weight.get()
    }

    fn in_flight(&self) -> u32 {
        self.looks.set(self.looks.get() + 1);
        self.in_flight.get()
    }

    fn is_shared(&self) -> bool {
        true
    }

    fn latency(&self, _: u64) -> Option<u64> {
        self.looks.set(self.looks.get() + 1);
        self.latency.get()
    }

    fn identity(&self) -> u64 {
        self.identity
    }
}

/// Returns the server with this number, which is its identity.
pub fn server(number: usize, weight: u32) -> Rc<TestServer> {
    Rc::new(TestServer {
        weight: Cell::new(weight),
        in_flight: Cell::new(0),
        latency: Cell::new(None),
        identity: mix(number as u64 + 1),
        looks: Rc::default(),
    })
}

/// An algorithm and its servers.
pub struct Bench<A> {
    pub algorithm: A,
    pub servers: Vec<Rc<TestServer>>,
    pub random: Random,
    pub key: Option<u64>,
}

impl<A: Algorithm> Bench<A> {
    pub fn new(algorithm: A, weights: &[u32]) -> Bench<A> {
        let servers = weights.iter().enumerate().map(|(number, weight)| server(number, *weight)).collect();
        let mut bench = Bench { algorithm, servers, random: Random::new(1), key: None };
        bench.rebuild();
        bench
    }

    pub fn rebuild(&mut self) {
        self.algorithm.rebuild(&self.servers);
    }

    pub fn loads(&self) -> Vec<u32> {
        self.servers.iter().map(|server| server.in_flight.get()).collect()
    }

    pub fn pick_if(&mut self, usable: impl Fn(usize) -> bool) -> Option<usize> {
        // Saturating: some tests set extreme loads.
        let in_flight =
            self.servers.iter().fold(0, |sum: u32, server| sum.saturating_add(server.in_flight.get()));
        let mut pick = Pick { now: 0, key: self.key, in_flight, random: &mut self.random };
        self.algorithm.pick(&self.servers, &mut pick, usable)
    }

    pub fn pick_for(&mut self, key: u64) -> usize {
        self.key = Some(key);
        self.pick_if(|_| true).expect("a server")
    }

    /// Requests one after the other.
    pub fn picks(&mut self, count: usize) -> Vec<usize> {
        (0..count).map(|_| self.pick_if(|_| true).expect("a server")).collect()
    }

    /// How many of so many requests, one after the other, each server gets.
    pub fn counts(&mut self, requests: usize) -> Vec<u32> {
        let mut counts = vec![0; self.servers.len()];
        self.picks(requests).into_iter().for_each(|at| counts[at] += 1);
        counts
    }

    pub fn load(&mut self, at: usize, change: i32) {
        let load = &self.servers[at].in_flight;
        load.set(load.get().saturating_add_signed(change));
        self.algorithm.load_changed(&self.servers, at);
    }

    /// Begins a request that does not end.
    pub fn begin(&mut self) {
        let at = self.pick_if(|_| true).expect("a server");
        self.load(at, 1);
    }

    /// The shares may differ by this part of themselves.
    pub fn assert_shares(&mut self, requests: usize, shares: &[f64], tolerance: f64) {
        let counts = self.counts(requests);
        for (count, share) in counts.iter().zip(shares) {
            let expected = share * requests as f64;
            assert!((f64::from(*count) - expected).abs() <= tolerance * expected, "{counts:?}");
        }
    }
}
