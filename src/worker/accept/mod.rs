//! Taking new connections from the listeners: not more at a time than those that are there can bear, and not more
//! than there may be. Who has to wait does so in the kernel's queue, and those are let in even at the very end.

pub(crate) mod admission;
pub(crate) mod proxy_header;

use std::io::{self, ErrorKind};

use crate::base::counted::counted;
use crate::base::os_error::reason;
use crate::exchange::counters::ConnectionEnd;
use crate::net::{Accepted, Listener};
use crate::worker::event_loop::EventLoop;

/// Connections accepted before those that are there get their turn.
const ACCEPTS_A_TURN: usize = 64;
/// After a failed accept (no descriptors left, say) this long nobody tries.
const ACCEPT_PAUSE: u64 = 100_000;
/// Connections taken from the kernel's queue before the listeners close; no `backlog` is larger.
const LAST_ACCEPTS: usize = 65_535;

pub(crate) struct Accepting {
    pub listener: Listener,
    /// Its clients come through proxies that say for whom.
    pub proxied: bool,
    /// Its clients have sent something before they are accepted.
    pub deferred: bool,
    pub ready: bool,
}

impl EventLoop {
    /// Whether anybody waits whom this worker may take, now or after a pause that may be on.
    pub(crate) fn can_accept(&self) -> bool {
        self.somebody_waits() && (!self.in_line || self.seat.was_handed_a_place())
    }

    fn somebody_waits(&self) -> bool {
        self.listeners.iter().any(|l| l.ready)
    }

    /// Takes new connections while there is room for them; those there is no room for wait in the kernel.
    pub(crate) fn accept(&mut self, now: u64) {
        if !self.can_accept() || self.seat.accept_after() > now {
            return;
        }
        if !self.core.network.refill() {
            // Whoever is let in now would take what those who are in need to be served.
            return self.pause_accepting(now, &io::Error::from_raw_os_error(libc::EMFILE));
        }
        self.accept_some(ACCEPTS_A_TURN, now);
        self.give_places_back();
        if self.in_line && !self.somebody_waits() {
            // They left while this worker waited for a place.
            self.leave_line();
        }
        self.note_full(now);
    }

    /// Gives how many came.
    fn accept_some(&mut self, most: usize, now: u64) -> usize {
        let (count, mut accepted) = (self.listeners.len(), 0);
        // Another one is first each time: where there is little room, no listener takes all of it for ever.
        self.first_listener = (self.first_listener + 1) % count.max(1);
        for step in 0..count {
            let at = (self.first_listener + step) % count;
            if accepted < most && self.listeners[at].ready {
                match self.accept_from(at, most - accepted) {
                    Ok(more) => accepted += more,
                    Err(error) => {
                        self.pause_accepting(now, &error);
                        break;
                    }
                }
            }
        }
        accepted
    }

    /// As many as wait at one listener and find a place, without asking for one more in vain where their number is
    /// known. Gives how many came.
    fn accept_from(&mut self, at: usize, most: usize) -> io::Result<usize> {
        let waiting = self.listeners[at].listener.waiting();
        // Asked once even where nobody is said to wait: should a kernel always say so, clients come in all the same.
        let wanted = waiting.map_or(most, |waiting| waiting.clamp(1, most));
        for accepted in 0..wanted {
            if !self.find_place() || !self.accept_one(at)? {
                return Ok(accepted);
            }
        }
        // Those that came meanwhile are a new event.
        if waiting == Some(wanted) {
            self.listeners[at].ready = false;
        }
        Ok(wanted)
    }

    /// A place for the next client, whom there may not be: then it serves for the one after.
    fn find_place(&mut self) -> bool {
        if self.places > self.core.client_count() {
            return true;
        }
        self.in_line = !self.seat.take_place();
        self.places += usize::from(!self.in_line);
        !self.in_line
    }

    /// Gives places back that nobody has: of clients that went, or did not come.
    pub(crate) fn give_places_back(&mut self) {
        let clients = self.core.client_count();
        if self.places > clients {
            self.seat.give_back(self.places - clients);
            self.places = clients;
        }
    }

    fn leave_line(&mut self) {
        self.in_line = false;
        self.seat.leave_line();
    }

    /// Closes the listeners. Connections that wait in the kernel were made, as far as their clients know, and would
    /// be reset: they are taken before, as many as there may be.
    pub(crate) fn stop_accepting(&mut self, now: u64) {
        if self.core.network.refill() {
            self.accept_last(now);
        }
        self.listeners.clear();
        self.leave_line();
        self.give_places_back();
    }

    /// Others come while these are taken: until nobody more does.
    fn accept_last(&mut self, now: u64) {
        let mut left = LAST_ACCEPTS;
        while left > 0 {
            for accepting in &mut self.listeners {
                accepting.ready = true;
            }
            match self.accept_some(left, now) {
                0 => return,
                accepted => left -= accepted.min(left),
            }
        }
    }

    /// After there was room: is there still some?
    fn note_full(&mut self, now: u64) {
        if let Some(n) = self.seat.count_full(now) {
            let most = self.core.config().settings.max_connections;
            let (most, times) = (counted(most as u64, "connection"), counted(n, "time"));
            log::warn!("{most} (max_connections): new ones wait until others end ({times})");
        }
    }

    /// False if nobody came.
    fn accept_one(&mut self, at: usize) -> io::Result<bool> {
        match self.listeners[at].listener.accept() {
            Ok(accepted) => self.take(at, accepted),
            Err(e) => match e.kind() {
                ErrorKind::WouldBlock => {
                    self.listeners[at].ready = false;
                    return Ok(false);
                }
                ErrorKind::Interrupted => return Ok(false),
                // The client came, and left while it waited.
                ErrorKind::ConnectionAborted => {}
                _ => return Err(e),
            },
        }
        Ok(true)
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
        self.core.counters().connection_ended(ConnectionEnd::AcceptFailed);
        if let Some(n) = self.seat.pause_accepting(now + ACCEPT_PAUSE, now) {
            log::error!(
                "cannot accept connections ({}): {}; those that come wait in the kernel",
                if n == 1 { "1 try".into() } else { format!("{n} tries") },
                reason(error)
            );
        }
        self.heed_shortage();
    }

    /// A worker could not accept, and woke the others: all give back what they only keep to be fast.
    pub(crate) fn heed_shortage(&mut self) {
        let pause = self.seat.accept_after();
        if pause != self.shortage_seen {
            self.shortage_seen = pause;
            self.core.close_idle();
        }
    }
}
