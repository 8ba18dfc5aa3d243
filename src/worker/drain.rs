//! Stopping without dropping anybody: connections without a request close at once, requests that run are
//! finished and their connections closed behind them, and what is left when the time is up is cut.

use crate::exchange::Failure;
use crate::net::Network;
use crate::worker::core::Core;

/// After `drain_timeout`, the time for what the kernel holds of responses whose cut only a reset shows.
pub(crate) const DELIVERY: u64 = 1_000_000;

/// What a worker that ends does. Times in microseconds.
#[derive(Clone, Copy)]
pub(crate) enum Draining {
    /// Requests that run are finished.
    Finishing { until: u64 },
    /// They were cut; what came of their responses is delivered.
    Delivering { until: u64 },
}

impl Draining {
    pub(crate) fn until(self) -> u64 {
        match self {
            Draining::Finishing { until } | Draining::Delivering { until } => until,
        }
    }
}

impl<N: Network> Core<N> {
    /// No request begins after this but those whose head has begun to arrive, in the kernel at least.
    pub fn drain(&mut self) {
        self.tools.draining = true;
        for key in self.clients.keys() {
            let client = &mut self.clients[key];
            // A request that has come but was not reported yet is still one.
            client.readable |= client.role.pair.is_none();
            self.queue_client(key);
        }
    }

    /// Everybody is gone.
    pub fn is_drained(&self) -> bool {
        self.client_count() == 0
    }

    /// The time is up: what is left is cut. Gives how many requests that were. A client to which only a reset shows
    /// the cut stays for as long as it takes what it was sent; `stop` ends that.
    pub fn cut_all(&mut self) -> usize {
        let mut cut = 0;
        for key in self.clients.keys() {
            match self.clients.get(key).and_then(|c| c.role.pair) {
                Some(pair) => (cut, _) = (cut + 1, self.cut_short(pair)),
                None => _ = self.close_client(key),
            }
        }
        cut
    }

    /// Ends whatever is left at once.
    pub fn stop(&mut self) {
        log::debug!("memory at the end: {}", self.footprint());
        for key in self.clients.keys() {
            match self.clients.get(key).and_then(|c| c.role.pair) {
                Some(pair) => {
                    let phase = self.phase(pair);
                    self.cut(pair, Failure::Stopped, phase);
                }
                None => _ = self.close_client(key),
            }
        }
    }
}
