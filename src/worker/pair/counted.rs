//! What is counted of requests, besides their ends, where somebody may read it.

use super::Pair;
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
        let (status, now) = (x.logged_status(), self.tools.now);
        match &pair.server {
            Some(server) if !x.answered_here && x.status != 0 => {
                let counters = &server.counters;
                counters.answers.add(status);
                counters.received.add(x.received);
                counters.sent.add(x.sent);
            }
            _ => self.counters.own.add(status),
        }
        // A tunnel may be open for hours, which says nothing of the server.
        if let Some(route) = pair.route.as_ref().filter(|_| status != 101) {
            let bounds = &crate::balance::REQUEST_BOUNDS;
            route.pool.counters.seconds.observe(bounds, now.saturating_sub(x.times.start));
        }
        let number = self.clients.get(pair.client).map_or(0, |client| client.role.listener);
        let listener = self.counters.listener(number);
        listener.answers.add(status);
        listener.received.add(x.received);
        listener.sent.add(x.sent);
        if self.sites.current.settings().hosts.is_some()
            && let Some(hosts) = self.counters.hosts()
        {
            let is_ours = x.own_host && !x.head.is_rewritten;
            let host = if is_ours { b"" } else { x.head.asked_host() };
            hosts.count(host, status);
        }
    }

    /// Shows the bytes that passed up to now.
    pub(crate) fn show_traffic(&self) {
        if self.observed {
            self.counters.set_traffic(self.tools.blocks.traffic);
        }
    }
}
