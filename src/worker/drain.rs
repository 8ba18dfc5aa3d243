//! Graceful shutdown. Running requests are finished, and their connections closed after them. Connections without a
//! request, and tunnels, are closed one after the other, so that their clients do not all connect to another instance at
//! once. What is left after the drain's timeout is cut.

use std::collections::VecDeque;
use std::time::Duration;

use crate::exchange::Failure;
use crate::net::{Network, Transport};
use crate::worker::conn::client::{Arrival, REMOVED_LISTENER};
use crate::worker::conn::table::{ClientKey, ClientToken};
use crate::worker::core::Core;
use crate::worker::time::timeouts::micros;

/// After the drain's timeout, extra time to deliver cut responses that only a reset can mark as cut, in microseconds.
pub(crate) const DELIVERY: u64 = 1_000_000;

/// Idle connections are closed within this time, or within `SHARE` of the drain's timeout where that is shorter.
const IDLE: u64 = 5_000_000;
/// Tunnels are closed within this share of the drain's timeout: the last one needs some time too.
const SHARE: (u64, u64) = (4, 5);
/// A client that was served is not closed sooner than this after it: its next request is probably on its way, and the
/// response to that says `Connection: close`.
const RECENT: u64 = 1_000_000;
/// Reads for a request that was not reported.
const LOOKS: usize = 8;
/// When to look again at a client whose next request has only begun to arrive. (Its head may be an empty line.)
const LOOK_AGAIN: u64 = 1_000_000;

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

/// When each client without a running request is closed.
#[derive(Default)]
pub(crate) struct Closings {
    /// Earliest first.
    moments: VecDeque<(u64, ClientToken)>,
    /// When the last tunnel is closed.
    last: u64,
}

impl Closings {
    /// Spreads these clients evenly over `window`, beginning at once: a few do not delay the stop much, and one not at
    /// all. Each has an earliest moment; what is left of the window after the last of these is for all.
    fn spread(&mut self, clients: Vec<(u64, ClientToken)>, now: u64, window: u64) {
        let latest = clients.iter().map(|(earliest, _)| earliest.saturating_sub(now)).max().unwrap_or(0);
        let gap = window.saturating_sub(latest) / clients.len().max(1) as u64;
        let moments = clients.into_iter().enumerate();
        self.moments
            .extend(moments.map(|(i, (earliest, client))| (earliest.max(now) + gap * i as u64, client)));
        self.moments.make_contiguous().sort_by_key(|(at, _)| *at);
    }

    fn add(&mut self, at: u64, client: ClientToken) {
        let place = self.moments.partition_point(|(other, _)| *other <= at);
        self.moments.insert(place, (at, client));
    }

    /// Closes a tunnel that only begins now together with the last of the others.
    pub(crate) fn add_last(&mut self, now: u64, client: ClientToken) {
        self.add(self.last.max(now), client);
    }

    /// Returns when the next client is closed, in microseconds.
    pub(crate) fn next(&self) -> Option<u64> {
        self.moments.front().map(|(at, _)| *at)
    }

    fn due(&mut self, now: u64) -> Option<ClientToken> {
        let is_due = self.next().is_some_and(|at| at <= now);
        if is_due { self.moments.pop_front().map(|(_, client)| client) } else { None }
    }
}

impl<N: Network> Core<N> {
    /// Starts draining. Only requests that come before their connection's moment are still served. Returns when what is
    /// left is to be cut, in microseconds.
    pub fn drain(&mut self, within: Duration) -> u64 {
        self.checks.look();
        self.tools.draining = true;
        let (now, within) = (self.tools.now, micros(within));
        let (mut idle, mut tunnels) = (Vec::new(), Vec::new());
        for key in self.clients.keys() {
            let token = self.clients.token(key);
            let role = &self.clients[key].role;
            match role.pair.map(|pair| self.pairs[pair].is_tunnel()) {
                Some(true) => tunnels.push((0, token)),
                None if role.lingering().is_none() && role.arrival != Arrival::Inside => {
                    idle.push((self.earliest(key, within), token));
                }
                Some(false) | None => {}
            }
        }
        let window = within / SHARE.1 * SHARE.0;
        self.closings.spread(idle, now, window.min(IDLE));
        self.closings.spread(tunnels, now, window);
        self.closings.last = now.saturating_add(window);
        now.saturating_add(within)
    }

    /// When an idle client may be closed at the earliest, in microseconds.
    fn earliest(&self, key: ClientKey, within: u64) -> u64 {
        let client = &self.clients[key];
        let recent = RECENT.min(within / SHARE.1 * SHARE.0);
        // The first request comes after the handshake.
        let is_awaited = client.role.served || client.role.listener_context().is_some();
        if is_awaited { client.read_at + recent } else { 0 }
    }

    /// The config does not have this listener any more: its clients are drained. Tunnels stay.
    pub(crate) fn drain_listener(&mut self, number: u8, within: Duration) {
        let mut idle = Vec::new();
        for key in self.clients.keys() {
            let token = self.clients.token(key);
            let role = &mut self.clients[key].role;
            if role.listener == number && role.arrival != Arrival::Inside {
                self.connections.moves(number, REMOVED_LISTENER);
                role.listener = REMOVED_LISTENER;
                if role.pair.is_none() && role.lingering().is_none() {
                    idle.push((self.earliest(key, micros(within)), token));
                }
            }
        }
        let window = micros(within) / SHARE.1 * SHARE.0;
        self.closings.spread(idle, self.tools.now, window.min(IDLE));
    }

    /// Closes the clients whose moment has come.
    pub(crate) fn run_closings(&mut self) {
        while let Some(client) = self.closings.due(self.tools.now) {
            if self.clients.by_token(client).is_some() {
                self.guarded_closing(client.key);
            }
        }
    }

    /// Closes a client that is idle or has a tunnel. A request that is in the kernel without having been reported is
    /// served.
    pub(crate) fn close_unless_busy(&mut self, key: ClientKey) {
        let client = &mut self.clients[key];
        if let Some(pair) = client.role.pair {
            return if self.pairs[pair].is_tunnel() {
                self.close_tunnel(pair)
            };
        }
        if client.role.lingering().is_some() {
            return;
        }
        client.readable = true;
        let again = match client.stream.is_established() {
            // Until the handshake's own timeout.
            false => !client.hung_up,
            true => {
                self.look_for_a_request(key);
                let client = &self.clients[key];
                !client.hung_up && (!client.input.is_empty() || self.has_just_begun(key))
            }
        };
        if !again {
            self.close_client(key);
            return;
        }
        let token = self.clients.token(key);
        self.closings.add(self.tools.now + LOOK_AGAIN, token);
        self.queue_client(key);
    }

    /// The handshake is just over, and the first request on its way.
    fn has_just_begun(&self, key: ClientKey) -> bool {
        let client = &self.clients[key];
        let begins = client.role.listener_context().is_some() && !client.role.served && !client.eof;
        begins && self.tools.now < client.read_at + RECENT
    }

    /// Reads what is in the kernel; a filter may find no data in it.
    fn look_for_a_request(&mut self, key: ClientKey) {
        let client = &mut self.clients[key];
        for _ in 0..LOOKS {
            if !client.input.is_empty() || client.eof {
                return;
            }
            match client.fill(&mut self.tools.blocks, self.tools.now) {
                Ok(true) => {}
                Ok(false) | Err(_) => return,
            }
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
