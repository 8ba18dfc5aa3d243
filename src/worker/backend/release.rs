//! Releases a server connection after its exchange: keeps it idle if it can be reused, else closes it.

use crate::balance::{Idle, WorkerServer};
use crate::net::{Network, Transport};
use crate::route::Binding;
use crate::worker::conn::backend::{BackendState, SURPLUS};
use crate::worker::conn::table::{BackendKey, Key};
use crate::worker::core::Core;
use crate::worker::pair::Pair;
use crate::worker::pair::hedge_table::HedgeKey;
use crate::worker::pair::table::PairKey;

impl<N: Network> Core<N> {
    /// The server's response is complete: keeps the connection for the next request if it can be reused.
    pub(crate) fn release_backend(&mut self, pair_key: PairKey) {
        let pair = &mut self.pairs[pair_key];
        let tunnel = pair.is_tunnel();
        let Some(key) = pair.leave_backend() else { return };
        let backend = &mut self.backends[key];
        request_ends(&backend.role.server, pair);
        backend.role.pair = None;
        // The last read may have filled its buffer exactly: check whether more bytes follow.
        let look = backend.readable && !backend.read_closed;
        let silent = !look || backend.is_still_idle();
        self.tools.pipes.give_back(backend.pipe.take_if(|held| held.bytes == 0));
        let flushed = backend.is_flushed();
        let role = &mut backend.role;
        let clean = !pair.exchange.request.is_open()
            && role.keep_alive
            && !pair.is_check()
            && role.may_be_kept()
            && !role.codec.was_lenient()
            && !(tunnel || self.tools.draining || role.write_failed)
            && silent
            && !(backend.eof || backend.read_closed || backend.readable || backend.hung_up)
            && backend.input.is_empty()
            && flushed;
        if !clean {
            return self.close_backend(key);
        }
        match role.dedicated.as_ref().map(|dedicated| dedicated.owner) {
            Some(owner) => {
                (role.state, role.since) = (BackendState::Idle, self.tools.now);
                role.server.counters.idle.add(1);
                self.keep(key, owner);
                self.watch_backend(key);
            }
            None => self.keep_idle(key),
        }
    }

    /// Keeps a connection for any client.
    pub(crate) fn keep_idle(&mut self, key: BackendKey) {
        let role = &mut self.backends[key].role;
        (role.state, role.since) = (BackendState::Idle, self.tools.now);
        let idle = Idle { connection: key.slot(), since: role.since };
        let server = &role.server;
        server.counters.idle.add(1);
        let count = server.idle.borrow_mut().put(idle);
        // A learnt limit may be shorter than all timeouts.
        if count > server.max_idle.get() as usize || server.idle_limit.get() != u64::MAX {
            return self.limit_idle(key);
        }
        self.watch_backend(key);
    }

    /// Closes the connection if the server's are not to be kept, or arms its timer.
    #[cold]
    fn limit_idle(&mut self, key: BackendKey) {
        match self.backends[key].role.server.max_idle.get() {
            0 => self.close_backend(key),
            _ => self.arm_backend(key),
        }
    }

    /// An idle connection's time is over: closes it; if the server merely has more idle connections than `max_idle`, closes
    /// the oldest of them instead.
    pub(crate) fn end_idle(&mut self, key: BackendKey) {
        let role = &self.backends[key].role;
        let until = role.since.saturating_add(role.idle_limit());
        let is_surplus = role.is_surplus() && until > self.tools.now;
        let oldest = role.server.idle.borrow().oldest().map(BackendKey::of);
        let oldest = oldest.filter(|oldest| is_surplus && *oldest != key);
        self.close_backend(oldest.unwrap_or(key));
        if oldest.is_some() {
            // Closing the oldest also dropped its timer, so this one checks again while there are still too many.
            let role = &self.backends[key].role;
            let again = if role.is_surplus() { until.min(self.tools.now + SURPLUS) } else { until };
            self.wheel.arm(key.timer(), again);
        }
    }

    /// The server closed an idle connection.
    pub(crate) fn note_idle_close(&mut self, key: BackendKey) {
        let role = &self.backends[key].role;
        let now = self.tools.now;
        role.server.idle_limit.note_close(now.saturating_sub(role.since), now);
    }

    /// Detaches the connection from a failed pair and closes it. Returns true if request bytes were written on it.
    pub(crate) fn drop_backend(&mut self, pair_key: PairKey) -> bool {
        if self.pairs[pair_key].hedge != HedgeKey::NONE {
            self.end_hedge(pair_key);
        }
        self.pairs[pair_key].leave_queue(self.tools.now);
        let Some(key) = self.pairs[pair_key].leave_backend() else { return false };
        let role = &mut self.backends[key].role;
        role.pair = None;
        let wrote = role.wrote;
        let server = role.server.clone();
        request_ends(&server, &mut self.pairs[pair_key]);
        self.close_backend(key);
        wrote
    }

    #[cold]
    pub(crate) fn close_backend(&mut self, key: BackendKey) {
        let Some(mut backend) = self.backends.remove(key) else { return };
        let exchanged = matches!(backend.role.state, BackendState::Idle | BackendState::Busy);
        if exchanged && !backend.eof && backend.stream.is_established() {
            // An unread TLS ticket would make the close a reset, and the server may still be reading the end of an earlier
            // request that it has answered. It may have come since the last events.
            backend.readable = true;
            backend.is_still_idle();
        }
        backend.send_close_notify();
        backend.discard(&mut self.tools.blocks);
        self.wheel.disarm(key.timer());
        let counters = &backend.role.server.counters;
        counters.connections.subtract(1);
        if backend.role.state == BackendState::Idle {
            counters.idle.subtract(1);
        }
        match (backend.role.state, &backend.role.dedicated) {
            (BackendState::Opening, _) => {
                let opening = &backend.role.server.opening;
                opening.set(opening.get().saturating_sub(1));
            }
            (BackendState::Idle, Some(dedicated)) => self.forget_kept(key, dedicated.owner),
            (BackendState::Idle, None) => {
                backend.role.server.idle.borrow_mut().forget(key.slot());
            }
            _ => {}
        }
    }
}

/// Frees the server for the next request, which may wait.
fn request_ends(server: &WorkerServer, pair: &mut Pair) {
    let Some(route) = pair.route.as_ref().filter(|route| route.binding != Binding::Check) else { return };
    server.request_ends();
    route.pool.requests.ends();
    if pair.slot.is_some() || route.pool.state.queue.count() > 0 {
        wake_queued(server, pair);
    }
}

/// The next request may have waited for this one's end.
#[cold]
fn wake_queued(server: &WorkerServer, pair: &mut Pair) {
    match (pair.slot.take(), &pair.route) {
        (Some(slot), _) => drop(slot),
        (None, Some(route)) => route.pool.state.freed(server.shared()),
        (None, None) => {}
    }
}
