//! What is counted of requests, besides their ends, where somebody may read it.

use super::Pair;
use crate::exchange::Exchange;
use crate::exchange::counters::ListenerCounters;
use crate::exchange::end::{End, Party};
use crate::exchange::record::{Times, known};
use crate::net::Network;
use crate::worker::core::Core;
use crate::worker::site::microseconds;

impl<N: Network> Core<N> {
    /// Counts from the start, if the first site says so.
    pub(crate) fn observing(mut self) -> Core<N> {
        self.observe();
        self
    }

    /// Counts from now on, or not, as the current site says. Counters that were there stay as they are.
    pub(crate) fn observe(&mut self) {
        let settings = self.sites.current.settings();
        self.observed = settings.is_observed();
        if let Some(most) = settings.hosts.filter(|_| self.observed) {
            self.counters.hosts_for(most);
        }
        let counters = self.observed.then(|| self.counters.clone());
        self.sites.handlers.borrow_mut().observe(counters, microseconds);
    }

    /// Counts a request that has ended: at the server whose response the client got, or else as an answer of rsp.
    #[inline(never)]
    pub(crate) fn count(&mut self, pair: &Pair) {
        let x = &pair.exchange;
        let status = x.logged_status();
        if !count_at_pool(pair, status, self.tools.now) {
            self.counters.own.add(status);
        }
        let number = self.clients.get(pair.client).map_or(0, |client| client.role.listener);
        let listener = self.counters.listener(number);
        listener.answers.add(status);
        listener.received.add(x.received);
        listener.sent.add(x.sent);
        if !x.end.is_normal() {
            count_abnormal(pair, listener);
        }
        if self.sites.current.settings().hosts.is_some()
            && let Some(hosts) = self.counters.hosts()
        {
            let is_ours = x.own_host && !x.head.is_rewritten;
            let host = if is_ours { b"" } else { x.head.original_host() };
            hosts.count(host, status);
        }
    }

    /// Counts the copy of a request, which is none of a client's.
    pub(crate) fn count_copy(&self, pair: &Pair) {
        count_at_pool(pair, pair.exchange.logged_status(), self.tools.now);
    }

    /// Shows the bytes that passed up to now.
    pub(crate) fn show_traffic(&self) {
        if self.observed {
            self.counters.set_traffic(self.tools.blocks.traffic);
        }
    }
}

/// Counts a request at its pool, and at its server if it got a response there; says whether it did.
fn count_at_pool(pair: &Pair, status: u16, now: u64) -> bool {
    let x = &pair.exchange;
    let server = pair.server.as_ref().filter(|_| has_response(x));
    if let Some(server) = server {
        let counters = &server.counters;
        counters.answers.add(status);
        counters.received.add(x.received);
        counters.sent.add(x.sent);
        if status != 101 {
            counters.phases.add(phases(&x.times, x.elapsed(now)));
        }
    }
    // A tunnel may be open for hours, which says nothing of the server.
    if let Some(route) = pair.route.as_ref().filter(|_| status != 101) {
        let bounds = &crate::balance::REQUEST_BOUNDS;
        route.pool.counters.seconds.observe(bounds, now.saturating_sub(x.times.start));
    }
    server.is_some()
}

/// In the queue, connecting, until the response began, and all together.
fn phases(times: &Times, total: u32) -> [u32; 4] {
    [known(times.queued), known(times.connecting()), known(times.responding()), total]
}

/// Counts who broke off what, as haproxy does: requests that no server got at their listener, the others at theirs.
fn count_abnormal(pair: &Pair, listener: &ListenerCounters) {
    let x = &pair.exchange;
    match (x.end.side(), &pair.server) {
        (Party::Client, None) => listener.request_errors.add(1),
        (Party::Client, Some(server)) if is_client_abort(x.end) => server.counters.client_aborts.add(1),
        (Party::Server, Some(server)) if has_response(x) => server.counters.server_aborts.add(1),
        _ => {}
    }
}

fn is_client_abort(end: End) -> bool {
    matches!(end, End::ClientCutRequest | End::ClientCutResponse)
}

/// A part of the server's response went to the client.
fn has_response(x: &Exchange) -> bool {
    !x.answered_here && x.status != 0
}
