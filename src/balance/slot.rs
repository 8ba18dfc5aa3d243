//! What a request holds of its server: a slot of the server's limit, and the right to be its probe. Both are given back
//! when dropped, whatever becomes of the request.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::Ordering::{Relaxed, SeqCst};

use super::server::Server;
use super::state::Pauses;

/// The slots of a server, which are those of its limit.
impl Server {
    /// Whether its requests in flight are limited, so that each needs a slot.
    pub fn is_limited(&self) -> bool {
        self.limit.load(Relaxed) != u32::MAX
    }

    /// The most requests that it takes at a time; `u32::MAX` without a limit.
    pub fn limit(&self) -> u32 {
        self.limit.load(Relaxed)
    }

    /// Whether it takes one more request.
    pub fn has_room(&self) -> bool {
        let limit = self.limit.load(SeqCst);
        limit == u32::MAX || self.taken.load(SeqCst) < self.slots(limit)
    }

    /// The slots of a limit: requests that began before there was one hold none, and count all the same.
    fn slots(&self, limit: u32) -> u32 {
        limit.saturating_sub(self.in_flight().saturating_sub(self.taken.load(SeqCst)))
    }

    /// The slots that are taken.
    pub fn taken(&self) -> u32 {
        self.taken.load(Relaxed)
    }

    /// `None` if no slot is free; else whether one was taken.
    pub(super) fn take_slot(&self) -> Option<bool> {
        let limit = self.limit.load(SeqCst);
        if limit == u32::MAX {
            return Some(false);
        }
        let slots = self.slots(limit);
        let more = |taken: u32| (taken < slots).then(|| taken + 1);
        self.taken.fetch_update(SeqCst, SeqCst, more).is_ok().then_some(true)
    }

    pub(super) fn free_slot(&self) {
        // Those that began before there was a limit hold none.
        let _ = self.taken.fetch_update(SeqCst, SeqCst, |taken| taken.checked_sub(1));
    }
}

/// One slot of a server's limit, free again when dropped.
pub struct Slot {
    server: Arc<Server>,
    /// The server had a limit, so that one of its slots is taken.
    takes_slot: bool,
}

impl Slot {
    pub fn reserve(server: &Arc<Server>) -> Option<Slot> {
        server.take_slot().map(|takes_slot| Slot { server: server.clone(), takes_slot })
    }

    pub fn server(&self) -> &Arc<Server> {
        &self.server
    }

    /// Frees it without giving it to a request that waits: the server does not accept connections now.
    pub fn give_up(mut self) {
        if std::mem::take(&mut self.takes_slot) {
            self.server.free_slot();
        }
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        if self.takes_slot {
            self.server.free_slot();
            if let Some(pool) = self.server.pool() {
                pool.freed(&self.server);
            }
        }
    }
}

/// The one request that finds out whether an ejected server answers again. Without a result it tells nothing.
pub struct Probe {
    server: Arc<Server>,
    pauses: Pauses,
    pause: u64,
    result: Option<Result<(), String>>,
    now: u64,
}

impl Probe {
    pub(super) fn new(server: Arc<Server>, pauses: Pauses, pause: u64, now: u64) -> Probe {
        Probe { server, pauses, pause, result: None, now }
    }

    /// For how long the server was left alone before it, in microseconds.
    pub fn pause(&self) -> u64 {
        self.pause
    }

    /// The server answered.
    pub fn pass(mut self, now: u64) {
        (self.result, self.now) = (Some(Ok(())), now);
    }

    pub fn fail(mut self, why: &dyn fmt::Display, now: u64) {
        (self.result, self.now) = (Some(Err(why.to_string())), now);
    }
}

impl Drop for Probe {
    fn drop(&mut self) {
        self.server.end_probe(self.result.take(), self.pauses, self.now);
    }
}
