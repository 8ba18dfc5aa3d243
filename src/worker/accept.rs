//! Taking new connections from the listeners: not more at a time than those that are there can bear, and not more
//! than there may be. Who has to wait does so in the kernel's queue, and those are let in even at the very end.

use std::io::{self, ErrorKind};

use super::event_loop::EventLoop;
use crate::base::reason::reason;
use crate::exchange::tally::Parting;
use crate::net::{Accepted, Listener};

/// Connections accepted before those that are there get their turn.
const ACCEPTS_A_TURN: usize = 64;
/// After a failed accept (no descriptors left, say) this long nobody tries.
const ACCEPT_PAUSE: u64 = 100_000;
/// Connections taken from the kernel's queue before the listeners close; no `backlog` is larger.
const LAST_ACCEPTS: usize = 65_535;

pub(super) struct Accepting {
    pub listener: Listener,
    /// Its clients come through proxies that say for whom.
    pub proxied: bool,
    /// Its clients have sent something before they are accepted.
    pub deferred: bool,
    pub ready: bool,
}

impl EventLoop {
    pub(super) fn can_accept(&self, now: u64) -> bool {
        now >= self.accept_after
            && self.listeners.iter().any(|l| l.ready)
            && self.core.client_count() < self.core.config().settings.max_connections
    }

    /// Takes new connections while there is room for them; those there is no room for wait in the kernel.
    pub(super) fn accept(&mut self, now: u64) {
        if !self.can_accept(now) {
            return;
        }
        self.accept_after = 0;
        if !self.core.network.refill() {
            // Whoever is let in now would take what those who are in need to be served.
            return self.pause_accepting(now, &io::Error::from_raw_os_error(libc::EMFILE));
        }
        let room = self.core.config().settings.max_connections - self.core.client_count();
        self.accept_some(room.min(ACCEPTS_A_TURN), now);
        self.note_full(now);
    }

    fn accept_some(&mut self, mut left: usize, now: u64) {
        let count = self.listeners.len();
        // Another one is first each time: where there is little room, no listener takes all of it for ever.
        self.first_listener = (self.first_listener + 1) % count.max(1);
        for step in 0..count {
            let at = (self.first_listener + step) % count;
            if left > 0 && self.listeners[at].ready && self.accept_after <= now {
                left -= self.accept_from(at, left, now);
            }
        }
    }

    /// As many as wait at one listener, without asking for one more in vain where their number is known. Gives how
    /// many tries that took.
    fn accept_from(&mut self, at: usize, most: usize, now: u64) -> usize {
        let waiting = self.listeners[at].listener.waiting();
        let wanted = waiting.map_or(most, |waiting| waiting.min(most));
        for tried in 1..=wanted {
            if !self.accept_one(at, now) {
                return tried;
            }
        }
        // Those that came meanwhile are a new event.
        if waiting == Some(wanted) {
            self.listeners[at].ready = false;
        }
        wanted
    }

    /// Closes the listeners. Connections that wait in the kernel were made, as far as their clients know, and would
    /// be reset: they are taken before, as many as there may be.
    pub(super) fn stop_accepting(&mut self, now: u64) {
        let most = self.core.config().settings.max_connections;
        if self.core.network.refill() {
            self.accept_after = 0;
            for accepting in &mut self.listeners {
                accepting.ready = true;
            }
            self.accept_some(most.saturating_sub(self.core.client_count()).min(LAST_ACCEPTS), now);
        }
        self.listeners.clear();
    }

    /// After there was room: is there still some?
    fn note_full(&mut self, now: u64) {
        let most = self.core.config().settings.max_connections;
        if self.core.client_count() < most {
            return;
        }
        if let Some(n) = self.full.count(now) {
            log::warn!("{most} connections (max_connections): new ones wait until others end ({n} times)");
        }
    }

    /// False if nobody came, for whatever reason.
    fn accept_one(&mut self, at: usize, now: u64) -> bool {
        match self.listeners[at].listener.accept() {
            Ok(accepted) => {
                self.take(at, accepted);
                return true;
            }
            Err(e) if e.kind() == ErrorKind::WouldBlock => self.listeners[at].ready = false,
            // The client left while it waited.
            Err(e) if matches!(e.kind(), ErrorKind::ConnectionAborted | ErrorKind::Interrupted) => {}
            Err(error) => self.pause_accepting(now, &error),
        }
        false
    }

    fn take(&mut self, at: usize, Accepted { stream, peer }: Accepted) {
        let Accepting { proxied, deferred, .. } = self.listeners[at];
        let client = match proxied {
            true => self.core.accepted_from_proxy(stream, peer),
            false => self.core.accepted(stream, peer),
        };
        if let Some(client) = client.filter(|_| deferred) {
            self.core.has_spoken(client);
        }
    }

    /// The listener stays ready and is tried again after the pause; meanwhile clients wait in the kernel.
    fn pause_accepting(&mut self, now: u64, error: &io::Error) {
        self.core.tally().parted(Parting::AcceptFailed);
        if let Some(n) = self.accept_failed.count(now) {
            log::error!(
                "cannot accept connections ({n} tries): {}; those that come wait in the kernel",
                reason(error)
            );
        }
        self.accept_after = now + ACCEPT_PAUSE;
        self.core.close_idle();
    }
}
