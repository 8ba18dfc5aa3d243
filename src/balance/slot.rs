//! What a request holds of its server: a slot of the server's limit, and the right to be its probe. Both are given back
//! when dropped, whatever becomes of the request.

use std::sync::Arc;

use super::server::Server;
use super::state::Pauses;

/// A server's permission for one request, free again when dropped.
pub struct Slot {
    server: Arc<Server>,
    /// The server has a limit.
    counted: bool,
}

impl Slot {
    pub fn reserve(server: &Arc<Server>) -> Option<Slot> {
        server.take_slot().map(|counted| Slot { server: server.clone(), counted })
    }

    pub fn server(&self) -> &Arc<Server> {
        &self.server
    }

    /// Frees it without giving it to a request that waits: the server does not accept connections now.
    pub fn give_up(mut self) {
        if std::mem::take(&mut self.counted) {
            self.server.free_slot();
        }
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        if self.counted {
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
    result: Option<bool>,
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

    pub fn end(mut self, passed: bool, now: u64) {
        (self.result, self.now) = (Some(passed), now);
    }
}

impl Drop for Probe {
    fn drop(&mut self) {
        self.server.end_probe(self.result, self.pauses, self.now);
    }
}
