//! Graceful shutdown: connections without a request close at once, running requests are finished and their connections
//! closed, and what is left after `drain_timeout` is cut.

use crate::exchange::Failure;
use crate::net::Network;
use crate::worker::core::Core;

/// After `drain_timeout`, extra time to deliver cut responses that only a reset can mark as cut, in microseconds.
pub(crate) const DELIVERY: u64 = 1_000_000;

/// The phase of a draining worker. Times in microseconds.
#[derive(Clone, Copy)]
pub(crate) enum Draining {
    /// Running requests are being finished.
    Finishing { until: u64 },
    /// Running requests were cut; what was received of their responses is being delivered.
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
    /// Starts draining. Only requests whose head has begun to arrive, in the kernel at least, are still served.
    pub fn drain(&mut self) {
        self.checks.look();
        self.tools.draining = true;
        for key in self.clients.keys() {
            let client = &mut self.clients[key];
            // A request may be in the kernel without having been reported.
            client.readable |= client.role.pair.is_none();
            self.queue_client(key);
        }
    }

    /// Returns true if no client connections are left.
    pub fn is_drained(&self) -> bool {
        self.client_count() == 0
    }

    /// Cuts the remaining requests. Returns their number. A client that can only see the cut as a reset stays connected
    /// while it reads what was sent; `stop` ends that.
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

    /// Closes all remaining connections at once.
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
