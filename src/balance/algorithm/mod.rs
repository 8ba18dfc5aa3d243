//! The balancing algorithms, pure: no sockets, no clock, and what they know of a server comes through [`Candidate`].
//! Each worker has its own instance for each pool. A pick costs the same for two servers and for ten thousand as long
//! as none is excluded, so an algorithm looks at a few servers only and keeps compact arrays of what it needs of the
//! others.

mod alias;
mod balancer;
mod first;
mod hash;
mod identities;
mod least_connections;
mod least_latency;
mod levels;
mod numbers;
mod peak_ewma;
mod ring;
mod round_robin;
mod tournament;
mod two_choices;

#[cfg(test)]
mod tests;

use std::rc::Rc;

pub use balancer::Balancer;
pub use first::First;
pub use hash::{Hash, SourceHash};
pub use least_connections::LeastConnections;
pub use least_latency::LeastLatency;
pub use numbers::Random;
pub use peak_ewma::PeakEwma;
pub use round_robin::RoundRobin;
pub use two_choices::TwoChoices;

/// The largest weight: 256, in units of 1/256.
pub const MAX_WEIGHT: u32 = 256 * 256;

/// What an algorithm reads of a server.
pub trait Candidate {
    /// The configured weight in units of 1/256, so that slow start can raise it in small steps: 1 to [`MAX_WEIGHT`].
    fn weight(&self) -> u32;
    /// Requests in progress, of all workers.
    fn in_flight(&self) -> u32;
    /// Whether other workers have requests there too.
    fn is_shared(&self) -> bool;
    /// Moving average of the time to the first byte at `now`, in microseconds; `None` before the first response.
    fn latency(&self, now: u64) -> Option<u64>;
    /// A stable hash of the server's identity (pool and name).
    fn identity(&self) -> u64;
}

impl<T: Candidate> Candidate for Rc<T> {
    fn weight(&self) -> u32 {
        T::weight(self)
    }

    fn in_flight(&self) -> u32 {
        T::in_flight(self)
    }

    fn is_shared(&self) -> bool {
        T::is_shared(self)
    }

    fn latency(&self, now: u64) -> Option<u64> {
        T::latency(self, now)
    }

    fn identity(&self) -> u64 {
        T::identity(self)
    }
}

/// What an algorithm reads of the request and the pool.
pub struct Pick<'a> {
    /// Microseconds of the clock common to all workers.
    pub now: u64,
    /// The hash key of the request, if it has one.
    pub key: Option<u64>,
    /// Requests in progress in the whole pool.
    pub in_flight: u32,
    pub random: &'a mut Random,
}

/// Indices are those of `servers`, which is the same list for every call between two rebuilds.
pub trait Algorithm {
    /// The servers or their weights changed. A server is known again by its identity.
    fn rebuild<C: Candidate>(&mut self, servers: &[C]);

    /// The requests in progress of server `at` changed, by this worker.
    fn load_changed<C: Candidate>(&mut self, servers: &[C], at: usize) {
        let _ = (servers, at);
    }

    /// `usable` returns false for a server that failed for this request or takes no more. Returns `None` if none is
    /// usable. Servers that are down for long are better left out by a rebuild.
    fn pick<C: Candidate>(
        &mut self,
        servers: &[C],
        pick: &mut Pick,
        usable: impl Fn(usize) -> bool,
    ) -> Option<usize>;
}

/// The weight within its bounds, whatever the server says.
fn weight_of<C: Candidate>(server: &C) -> u32 {
    server.weight().clamp(1, MAX_WEIGHT)
}
