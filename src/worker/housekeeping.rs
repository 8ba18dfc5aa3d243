//! What the loop asks of the core between turns: access records on their way, memory and descriptors given back,
//! counts for reports.

use std::fmt;
use std::sync::Arc;

use crate::base::buffer::BLOCK;
use crate::exchange::counters::Counters;
use crate::http::Fields;
use crate::net::Network;
use crate::worker::conn::backend::BackendState;
use crate::worker::core::Core;
use crate::worker::pair::Pair;

/// Bytes a worker holds, for whatever number of connections it has or had.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Footprint {
    /// Of both tables of connections.
    pub slots: usize,
    pub timers: usize,
    /// Exchanges with their heads, under way and kept for the next ones.
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

    /// Gives descriptors back that are only kept to be fast.
    pub fn close_idle(&mut self) {
        self.tools.pipes.close_spare();
        for key in self.backends.keys() {
            if self.backends[key].role.state == BackendState::Idle {
                self.close_backend(key);
            }
        }
    }

    /// How requests ended so far.
    pub fn counters(&self) -> &Arc<Counters> {
        &self.counters
    }

    pub fn has_surplus(&self) -> bool {
        self.tools.blocks.has_surplus() || self.clients.has_surplus() || self.backends.has_surplus()
    }

    /// Frees what a burst left behind.
    pub fn trim(&mut self) {
        self.tools.blocks.trim();
        self.clients.trim();
        self.backends.trim();
        self.wheel.trim();
        log::debug!("memory kept: {}", self.footprint());
    }

    /// What is allocated now, in use or kept.
    pub fn footprint(&self) -> Footprint {
        let heads = [&self.tools.response.fields, &self.tools.trailers];
        let spare = self.spare.iter().map(Pair::footprint);
        let running = self.pairs.iter().map(|(_, pair)| pair.footprint());
        Footprint {
            slots: self.clients.footprint() + self.backends.footprint(),
            timers: self.wheel.footprint(),
            pairs: spare.chain(running).sum::<usize>() + heads.map(Fields::footprint).iter().sum::<usize>(),
            blocks: (self.tools.blocks.lent() + self.tools.blocks.spare()) * BLOCK,
        }
    }

    /// Bytes in blocks now, for tests and reports: (blocks lent, blocks spare).
    pub fn blocks(&self) -> (usize, usize) {
        (self.tools.blocks.lent(), self.tools.blocks.spare())
    }

    /// Pipes that are in somebody's hands now.
    pub fn pipes(&self) -> usize {
        self.tools.pipes.out()
    }

    /// Large bodies of scripted answers that clients are reading now.
    pub fn answer_bodies(&self) -> usize {
        self.sites.handlers.borrow().answer_bodies()
    }

    pub fn counts(&self) -> (usize, usize, usize) {
        (self.clients.len(), self.backends.len(), self.pairs.len())
    }
}
