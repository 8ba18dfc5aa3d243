//! What became of a try: tells the server, for ejection and balancing, and the request's record.

use std::fmt;
use std::rc::Rc;

use crate::balance::{Picked, WorkerServer};
use crate::config::PoolConfig;
use crate::exchange::Failure;
use crate::net::Network;
use crate::route::{Binding, session_cookie};
use crate::worker::core::Core;
use crate::worker::pair::Pair;
use crate::worker::pair::table::PairKey;

impl<N: Network> Core<N> {
    /// A request failed for a reason that speaks against its server.
    pub(crate) fn note_server_failure(&mut self, pair_key: PairKey, why: &dyn fmt::Display) {
        let now = self.tools.now;
        self.pairs[pair_key].note_server_failure(why, now);
    }

    /// A try failed; what a refused connection says was noted when it was refused.
    pub(crate) fn note_failure(&mut self, pair_key: PairKey, failure: Failure) {
        if failure == Failure::Tls
            && let Some(error) = self.tools.refused_certificate.take()
        {
            self.note_failed_handshake(pair_key, &error);
        }
        let pair = &self.pairs[pair_key];
        let Some(backend) = pair.backend() else { return };
        let x = &pair.exchange;
        match failure {
            Failure::ServerClosed if x.tries.reused => {
                let server = &self.backends[backend].role.server;
                server.idle_limit.note_close(pair.idle_for, self.tools.now);
            }
            Failure::ServerClosed | Failure::ResponseTimeout if x.is_unanswered() => {
                self.note_server_failure(pair_key, &failure.text());
            }
            // An interim response is not the one that a probe waits for.
            Failure::ServerClosed | Failure::ResponseTimeout => {
                let now = self.tools.now;
                self.pairs[pair_key].fail_probe(&failure.text(), now);
            }
            Failure::Response(_) | Failure::TooManyInterim => {
                self.note_malformed_response(pair_key, backend, failure);
                let now = self.tools.now;
                self.pairs[pair_key].fail_probe(&failure.text(), now);
            }
            _ => {}
        }
    }

    /// Counts a failure of a server, whatever becomes of the request.
    pub(crate) fn count_failure(&self, pair_key: PairKey, failure: Failure) {
        let pair = &self.pairs[pair_key];
        let Some(server) = pair.server.as_ref().filter(|_| !pair.is_check()) else { return };
        match failure.is_connect_failure() {
            true => server.counters.connect_errors.add(1),
            false => server.counters.response_errors.add(1),
        }
    }

    /// The server of this try is left for another one, or for none.
    pub(crate) fn note_tried(&mut self, pair_key: PairKey, failure: Failure) {
        let pair = &mut self.pairs[pair_key];
        // A full accept queue is the milder failure: keep it.
        if pair.last_failure != Some(Failure::AcceptQueueFull) {
            pair.last_failure = Some(failure);
        }
        let Some(server) = &pair.server else { return };
        if failure != Failure::AcceptQueueFull {
            pair.exchange.note_attempt(server.name(), failure.end().text());
        }
        pair.tried.add(server.clone());
    }
}

impl Pair {
    /// Takes one more try from the pool's budget. Returns false if nothing is left of that; the first try, and those that
    /// replace a probe or one on a connection that died, are outside of it.
    pub(crate) fn take_retry(&mut self, now: u64) -> bool {
        let Some(route) = &self.route else { return false };
        self.counted_tries == 0
            || self.exchange.tries.probe
            || std::mem::take(&mut self.is_fresh_try)
            || route.pool.state.take_retry(route.pool.config.retry_budget, now)
    }

    /// The request goes from the server that it has to another one.
    fn note_retry(&self) {
        if let Some(server) = &self.server {
            server.counters.redispatched.add(1);
        }
        if let Some(route) = &self.route {
            route.pool.counters.retries.add(1);
        }
    }

    /// The server of the next try, with what the request holds of it.
    pub(crate) fn take_picked(&mut self, picked: Picked) {
        let Picked { server, slot, probe } = picked;
        // As the log has it: a try that does not count is none.
        if self.counted_tries > self.exchange.tries.retries {
            self.note_retry();
        }
        self.exchange.tries.probe = probe.is_some();
        (self.slot, self.probe) = (slot, probe);
        self.server = Some(server);
        self.exchange.tries.retries = self.counted_tries;
        self.counted_tries = self.counted_tries.saturating_add(1);
    }

    /// The `Set-Cookie` that ties the client to the server that responds, unless it has that already.
    pub(crate) fn session_cookie(&self) -> Option<String> {
        let (route, server) = (self.route.as_ref()?, self.server.as_ref()?);
        if route.pool.config.sticky.is_none() || self.is_inside() {
            return None;
        }
        let known = route.binding == Binding::Session
            && route.server.as_ref().is_some_and(|of_session| Rc::ptr_eq(of_session, server));
        if known { None } else { session_cookie(&route.pool, server, self.exchange.scheme) }
    }

    /// Returns true if the request was a probe.
    pub(crate) fn fail_probe(&mut self, why: &dyn fmt::Display, now: u64) -> bool {
        self.probe.take().map(|probe| probe.fail(why, now)).is_some()
    }

    /// It checks its server.
    pub(crate) fn is_check(&self) -> bool {
        self.route.as_ref().is_some_and(|route| route.binding == Binding::Check)
    }

    pub(crate) fn note_server_failure(&mut self, why: &dyn fmt::Display, now: u64) {
        if self.fail_probe(why, now) {
            return;
        }
        let (Some(server), Some(pool)) = (&self.server, self.pool_config()) else { return };
        if pool.reads_latency() {
            server.latency.observe(pool.timeouts.response.as_micros() as u64, now);
        }
        if let Some(eject) = &pool.eject
            && !self.is_check()
        {
            server.note_failure(eject, why, now);
        }
    }

    /// Whether `note_response` has anything to do, which in most pools is so only after a failure.
    pub(crate) fn tells_of_server(&self) -> bool {
        let failed = |server: &Rc<WorkerServer>| server.has_failed();
        self.route.as_ref().is_some_and(|route| route.pool.reads_responses)
            || self.probe.is_some()
            || self.server.as_ref().is_some_and(failed)
    }

    /// A final response has begun, `waited` microseconds after the request was sent.
    pub(crate) fn note_response(&mut self, status: u16, waited: u64, now: u64) {
        let probed = self.probe.is_some();
        let (Some(server), Some(pool)) = (&self.server, self.pool_config()) else { return };
        if pool.reads_latency() {
            note_latency(server, pool, status, waited, now);
        }
        let Some(eject) = pool.eject.as_ref().filter(|_| !self.is_check()) else { return };
        let failed = !eject.status.is_empty() && eject.status.has(status);
        match failed {
            true if probed => _ = self.fail_probe(&format_args!("it answered with {status}"), now),
            false if probed => self.probe.take().into_iter().for_each(|probe| probe.pass(now)),
            true => server.note_failure(eject, &format_args!("it answered with {status}"), now),
            false => server.note_success(eject, now),
        }
    }

    fn pool_config(&self) -> Option<&PoolConfig> {
        self.route.as_ref().map(|route| &*route.pool.config)
    }
}

/// A failure counts as the response timeout: otherwise a server that fails quickly would seem the best.
fn note_latency(server: &WorkerServer, pool: &PoolConfig, status: u16, waited: u64, now: u64) {
    let failed = status >= 500;
    let latency = if failed { pool.timeouts.response.as_micros() as u64 } else { waited };
    server.latency.observe(latency, now);
}
