//! The algorithm of one pool: which one is known only when the config is read, so they are variants of one type.

use super::{
    Algorithm, Candidate, First, Hash, LeastConnections, LeastLatency, Pick, RoundRobin, SourceHash,
    TwoChoices,
};

pub enum Balancer {
    RoundRobin(RoundRobin),
    LeastConnections(LeastConnections),
    LeastLatency(LeastLatency),
    Random(TwoChoices),
    First(First),
    SourceHash(SourceHash),
    Hash(Hash),
}

macro_rules! forward {
    ($balancer:expr, $algorithm:ident => $call:expr) => {
        match $balancer {
            Balancer::RoundRobin($algorithm) => $call,
            Balancer::LeastConnections($algorithm) => $call,
            Balancer::LeastLatency($algorithm) => $call,
            Balancer::Random($algorithm) => $call,
            Balancer::First($algorithm) => $call,
            Balancer::SourceHash($algorithm) => $call,
            Balancer::Hash($algorithm) => $call,
        }
    };
}

impl Balancer {
    /// Returns true if the algorithm reads [`Pick::key`].
    pub fn reads_key(&self) -> bool {
        matches!(self, Balancer::SourceHash(_) | Balancer::Hash(_))
    }
}

impl Algorithm for Balancer {
    fn rebuild<C: Candidate>(&mut self, servers: &[C]) {
        forward!(self, algorithm => algorithm.rebuild(servers));
    }

    fn load_changed<C: Candidate>(&mut self, servers: &[C], at: usize) {
        forward!(self, algorithm => algorithm.load_changed(servers, at));
    }

    fn pick<C: Candidate>(
        &mut self,
        servers: &[C],
        pick: &mut Pick,
        usable: impl Fn(usize) -> bool,
    ) -> Option<usize> {
        forward!(self, algorithm => algorithm.pick(servers, pick, usable))
    }
}
