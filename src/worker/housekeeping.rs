//! Work between turns: sending access records, freeing memory and descriptors, numbers for reports.

use std::fmt;
use std::sync::Arc;

use crate::base::buffer::BLOCK;
use crate::exchange::counters::Counters;
use crate::http::Fields;
use crate::net::Network;
use crate::worker::access::AccessSender;
use crate::worker::conn::backend::BackendState;
use crate::worker::core::Core;
use crate::worker::pair::Pair;

/// Bytes allocated by a worker.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Footprint {
    /// Both connection tables.
    pub slots: usize,
    pub timers: usize,
    /// Exchanges with their heads, in progress and spare.
    pub pairs: usize,
    pub blocks: usize,
}

impl fmt::Display for Footprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Footprint { slots, timers, pairs, blocks } = self;
        write!(f, "{slots} bytes of slots, {timers} of timers, {pairs} of exchanges, {blocks} of blocks")
    }
}

impl<N: Network> Core<N> {
    /// Returns true if access records are waiting to be sent.
    pub fn access_waits(&self) -> bool {
        self.access.as_ref().is_some_and(AccessSender::is_waiting)
    }

    pub fn access_is_full(&self) -> bool {
        self.access.as_ref().is_some_and(AccessSender::is_full)
    }

    pub fn flush_access(&mut self) {
        if let Some(access) = &mut self.access {
            access.records.send_or_keep();
        }
    }

    /// Sends access records elsewhere from now on.
    pub(crate) fn set_access(&mut self, access: Option<AccessSender>) {
        self.flush_access();
        self.access = access;
    }

    /// Closes idle server connections and spare pipes to free descriptors.
    pub fn close_idle(&mut self) {
        self.tools.pipes.close_spare();
        for key in self.backends.keys() {
            if self.backends[key].role.state == BackendState::Idle {
                self.close_backend(key);
            }
        }
    }

    /// Returns the counters of ended requests.
    pub fn counters(&self) -> &Arc<Counters> {
        &self.counters
    }

    pub fn has_surplus(&self) -> bool {
        self.tools.blocks.has_surplus() || self.clients.has_surplus() || self.backends.has_surplus()
    }

    /// Frees memory left over from a burst.
    pub fn trim(&mut self) {
        self.tools.blocks.trim();
        self.clients.trim();
        self.backends.trim();
        self.wheel.trim();
        log::debug!("memory kept: {}", self.footprint());
    }

    /// Returns the memory allocated now, in use or spare.
    pub fn footprint(&self) -> Footprint {
        let heads = [&self.tools.response.fields, &self.tools.trailers];
        let spare = self.spare.iter().map(Pair::footprint);
        let running = self.pairs.iter().map(Pair::footprint);
        Footprint {
            slots: self.clients.footprint() + self.backends.footprint(),
            timers: self.wheel.footprint(),
            pairs: spare.chain(running).sum::<usize>() + heads.map(Fields::footprint).iter().sum::<usize>(),
            blocks: (self.tools.blocks.lent() + self.tools.blocks.spare()) * BLOCK,
        }
    }

    /// Returns the numbers of blocks lent and spare, for tests and reports.
    pub fn blocks(&self) -> (usize, usize) {
        (self.tools.blocks.lent(), self.tools.blocks.spare())
    }

    /// Returns the memory that is reserved for bodies, of all workers.
    pub fn buffered(&self) -> usize {
        self.tools.buffers.used()
    }

    /// Returns true if no request waits for a second try, or has one.
    pub fn is_without_hedges(&self) -> bool {
        self.tools.hedges.is_empty()
    }

    /// Returns the number of pipes in use.
    pub fn pipes(&self) -> usize {
        self.tools.pipes.out()
    }

    /// Returns the number of large scripted bodies being sent to clients.
    pub fn answer_bodies(&self) -> usize {
        self.sites.handlers.borrow().answer_bodies()
    }

    pub fn counts(&self) -> (usize, usize, usize) {
        (self.clients.len(), self.backends.len(), self.pairs.len())
    }
}
