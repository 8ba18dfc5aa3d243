//! Stopping without dropping anybody: connections without a request close at once, requests that run are
//! finished and their connections closed behind them, and what is left when the time is up is cut.

use super::core::Core;
use crate::exchange::Failure;
use crate::net::Network;

impl<N: Network> Core<N> {
    /// No request begins after this but those whose head has begun to arrive, in the kernel at least.
    pub fn drain(&mut self) {
        self.tools.draining = true;
        for key in self.clients.keys() {
            let client = &mut self.clients[key];
            // A request that has come but was not reported yet is still one.
            client.readable |= client.role.lane.is_none();
            self.queue_client(key);
        }
    }

    /// Everybody is gone.
    pub fn is_drained(&self) -> bool {
        self.clients.is_empty()
    }

    /// Cuts what is left.
    pub fn stop(&mut self) {
        log::debug!("memory at the end: {}", self.footprint());
        for key in self.clients.keys() {
            match self.clients.get(key).and_then(|c| c.role.lane) {
                Some(lane) => {
                    let phase = self.phase(lane);
                    self.cut(lane, Failure::Stopped, phase);
                }
                None => _ = self.close_client(key),
            }
        }
    }
}
