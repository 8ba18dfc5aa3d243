//! What the loop asks of the core between turns: access records on their way, memory and descriptors given back,
//! counts for reports.

use std::sync::Arc;

use super::core::Core;
use super::sides::BackendState;
use crate::exchange::tally::Tally;
use crate::net::Network;

impl<N: Network> Core<N> {
    /// Access records wait to be sent.
    pub fn access_waits(&self) -> bool {
        self.access.as_ref().is_some_and(|a| !a.is_empty())
    }

    pub fn access_is_full(&self) -> bool {
        self.access.as_ref().is_some_and(|a| a.len() >= a.batch_size() / 2)
    }

    pub fn flush_access(&mut self) {
        if let Some(access) = &mut self.access {
            access.send_or_keep();
        }
    }

    /// Tells other workers what this one has to do.
    pub fn tell_counts(&self) {
        self.router.pools.tell_counts();
    }

    /// Gives descriptors back that are only kept to be fast.
    pub fn close_idle(&mut self) {
        self.pipes.close_spare();
        for key in self.backends.keys() {
            if self.backends[key].role.state == BackendState::Idle {
                self.close_backend(key);
            }
        }
    }

    /// How requests ended so far.
    pub fn tally(&self) -> &Arc<Tally> {
        &self.tally
    }

    pub fn has_surplus(&self) -> bool {
        self.blocks.has_surplus()
    }

    /// Frees what a burst left behind.
    pub fn trim(&mut self) {
        self.blocks.trim();
    }

    /// Bytes in blocks now, for tests and reports: (blocks lent, blocks spare).
    pub fn blocks(&self) -> (usize, usize) {
        (self.blocks.lent(), self.blocks.spare())
    }

    /// Pipes that are in somebody's hands now.
    pub fn pipes(&self) -> usize {
        self.pipes.out()
    }

    pub fn counts(&self) -> (usize, usize, usize) {
        (self.clients.len(), self.backends.len(), self.lanes.len())
    }
}
