//! TLS handshakes, of clients and with servers. Their cryptography takes up to milliseconds, so one iteration of the loop
//! spends a bounded time on it. Those of clients come after the turns of all requests and wait in the order in which they
//! came; those with servers, which requests wait for, have a time of their own.

use std::collections::{HashMap, VecDeque};
use std::io::{self, ErrorKind};
use std::rc::Rc;
use std::time::{SystemTime, UNIX_EPOCH};

use crate::base::counted::counted;
use crate::base::log_limit::LogLimit;
use crate::base::os_error::os_error;
use crate::exchange::counters::{ConnectionEnd, Handshake};
use crate::exchange::{Failure, ListenerContext};
use crate::http::Fault;
use crate::net::{Network, TlsInfo, Transport};
use crate::worker::accept::proxy_header::shown;
use crate::worker::conn::table::{BackendKey, ClientKey, ClientToken};
use crate::worker::core::{Core, Step};
use crate::worker::pair::table::PairKey;

/// What one iteration of the loop spends on handshakes of clients, and the same on those with servers, in microseconds. A
/// step that has begun is always finished.
const HANDSHAKE_BUDGET: u64 = 1_000;

/// Clients whose handshakes can go on, and limits for log lines about those that failed.
#[derive(Default)]
pub(crate) struct Handshakes {
    /// In order. Their `queued` is set, so each is there once.
    waiting: VecDeque<ClientToken>,
    /// Those that were answered: the signature is spent, and would be for nothing if they waited behind all others.
    answered: VecDeque<ClientToken>,
    clients: Spent,
    servers: Spent,
    of_clients: LogLimit,
    /// By pool and server.
    with_servers: HashMap<String, LogLimit>,
}

/// Servers for which lines are limited. Names come and go; beyond this number it begins anew.
const SERVERS: usize = 1024;

/// The time that was spent in one iteration of the loop.
#[derive(Default)]
struct Spent {
    /// The iteration, by its clock.
    iteration: u64,
    time: u64,
}

impl Spent {
    /// Returns false if this iteration has spent its time.
    fn may_go_on(&mut self, now: u64) -> bool {
        if self.iteration != now {
            (self.iteration, self.time) = (now, 0);
        }
        self.time < HANDSHAKE_BUDGET
    }
}

impl Handshakes {
    /// Some go on in the next iteration.
    pub(crate) fn wait(&self) -> bool {
        !self.waiting.is_empty() || !self.answered.is_empty()
    }

    fn next(&mut self) -> Option<ClientToken> {
        self.answered.pop_front().or_else(|| self.waiting.pop_front())
    }

    fn count_server(&mut self, name: &str, now: u64) -> Option<u64> {
        if self.with_servers.len() >= SERVERS {
            self.with_servers.clear();
        }
        self.with_servers.entry(name.to_owned()).or_default().count(now)
    }
}

impl<N: Network> Core<N> {
    /// This client's handshake can go on: it does when its turn comes.
    pub(crate) fn queue_handshake(&mut self, key: ClientKey) -> Step {
        let client = &mut self.clients[key];
        if !std::mem::replace(&mut client.queued, true) {
            let Handshakes { waiting, answered, .. } = &mut self.handshakes;
            let queue = if client.stream.has_answered() { answered } else { waiting };
            queue.push_back(self.clients.token(key));
        }
        Step::Wait
    }

    /// Continues handshakes of clients, for a bounded time.
    pub(crate) fn run_handshakes(&mut self) {
        while self.handshakes.wait() && self.handshakes.clients.may_go_on(self.tools.now) {
            let Some(token) = self.handshakes.next() else { return };
            if let Some(client) = self.clients.by_token(token) {
                client.queued = false;
                self.guarded_handshake(token.key);
            }
        }
    }

    /// Continues a client's handshake.
    pub(crate) fn continue_handshake(&mut self, key: ClientKey) {
        let began = self.stopwatch.read();
        let client = &mut self.clients[key];
        let established = client.is_established();
        self.handshakes.clients.time += self.stopwatch.read().saturating_sub(began);
        let step = match established {
            Ok(true) => self.begin_requests(key),
            Ok(false) if !client.hung_up => Step::Wait,
            Ok(false) => self.close_client(key),
            Err(error) => self.refuse_handshake(key, &error),
        };
        if matches!(step, Step::Again | Step::Further) {
            self.queue_client(key);
        }
    }

    /// The handshake is over.
    fn begin_requests(&mut self, key: ClientKey) -> Step {
        let client = &mut self.clients[key];
        client.read_at = self.tools.now;
        if client.stream.lacks_tls() {
            // The answer goes out in plain text.
            let _ = client.fill(&mut self.tools.blocks, self.tools.now);
            return self.refuse(key, Fault::LacksTls);
        }
        let (Some(info), Some(context)) = (client.stream.tls(), client.role.listener_context()) else {
            return Step::Again;
        };
        if has_expired(info) {
            return self.refuse_handshake(key, &io::Error::other("the client's certificate has expired"));
        }
        self.counters.handshake_ended(if info.resumed { Handshake::Resumed } else { Handshake::Full });
        let context = ListenerContext { tls: Some(info.clone()), ..ListenerContext::clone(context) };
        client.role.set_listener_context(Rc::new(context));
        Step::Again
    }

    pub(crate) fn refuse_handshake(&mut self, key: ClientKey, error: &io::Error) -> Step {
        self.counters.connection_ended(ConnectionEnd::Handshake);
        self.counters.handshake_ended(Handshake::Failed);
        // Whoever only connects and closes again is a port scan or a check of a balancer in front.
        if matches!(error.kind(), ErrorKind::UnexpectedEof | ErrorKind::ConnectionReset) {
            return self.close_client(key);
        }
        if let Some(n) = self.handshakes.of_clients.count(self.tools.now) {
            let from = shown(self.clients.get(key).and_then(|client| client.role.peer.address()));
            let handshakes = counted(n, "handshake");
            log::info!(
                "tls: {handshakes} with clients failed: {}; the last was with {from}",
                os_error(error)
            );
        }
        // With unread input, closing would reset the connection and destroy the alert that says why.
        self.begin_linger(key)
    }

    /// The handshake took too long.
    pub(crate) fn end_handshake(&mut self, key: ClientKey) -> Step {
        self.counters.connection_ended(ConnectionEnd::Handshake);
        self.counters.handshake_ended(Handshake::Failed);
        self.close_client(key)
    }

    /// Continues the handshake with a server, if there is one. `None`: in the next iteration.
    pub(crate) fn continue_server_handshake(&mut self, key: BackendKey) -> Option<io::Result<bool>> {
        let backend = &mut self.backends[key];
        if backend.stream.is_established() {
            return Some(Ok(true));
        }
        if !self.handshakes.servers.may_go_on(self.tools.now) {
            return None;
        }
        let began = self.stopwatch.read();
        let established = backend.is_established();
        self.handshakes.servers.time += self.stopwatch.read().saturating_sub(began);
        Some(established)
    }

    /// The handshake with a server failed: says why, since the client only learns that it did.
    pub(crate) fn note_failed_handshake(&mut self, pair_key: PairKey, error: &io::Error) -> Failure {
        let why = os_error(error);
        let pair = &self.pairs[pair_key];
        if let (Some(route), Some(server)) = (&pair.route, &pair.server) {
            let name = format!("pool {}: server {}", route.pool.config.name, server.name());
            if let Some(n) = self.handshakes.count_server(&name, self.tools.now) {
                log::error!("{name}: TLS failed: {why} ({})", counted(n, "time"));
            }
        }
        self.note_server_failure(pair_key, &format!("TLS failed: {why}"));
        Failure::of_handshake(error)
    }
}

/// A resumed session must not outlive the certificate by which it began. Its ticket is declined already, so that the
/// client begins a new one; this holds should the certificate expire in between.
fn has_expired(info: &TlsInfo) -> bool {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |now| now.as_secs());
    info.resumed && info.client_until.is_some_and(|until| until < now)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_iteration_spends_a_bounded_time_and_the_next_one_begins_anew() {
        let mut spent = Spent::default();
        assert!(spent.may_go_on(1));
        spent.time += HANDSHAKE_BUDGET - 1;
        assert!(spent.may_go_on(1), "one more, however long");
        spent.time += 5 * HANDSHAKE_BUDGET;
        assert!(!spent.may_go_on(1));
        assert!(spent.may_go_on(2));
    }

    #[test]
    fn a_resumed_session_ends_with_the_certificate_of_its_client() {
        let info = |resumed, client_until| TlsInfo { resumed, client_until, ..TlsInfo::default() };
        assert!(has_expired(&info(true, Some(1_000_000_000))));
        // A full handshake has verified it.
        assert!(!has_expired(&info(false, Some(1_000_000_000))));
        assert!(!has_expired(&info(true, Some(u64::MAX))) && !has_expired(&info(true, None)));
    }
}
