//! Every connection's deadline and its reason, derived from the connection's state: state changes neither arm nor
//! cancel timers. The timer wheel is updated after each turn, and the deadline is derived again when a timer fires.

use std::time::Duration;

use crate::config::Timeouts;
use crate::exchange::counters::ConnectionEnd;
use crate::exchange::{Failure, RequestHalf, ResponseHalf};
use crate::net::{Network, Transport};
use crate::worker::conn::backend::{Backend, BackendState};
use crate::worker::conn::client::{Arrival, Client, ClientSide, NO_HEAD};
use crate::worker::conn::table::{BackendKey, ClientKey, ConnectionKey, Key};
use crate::worker::core::{Core, Step};
use crate::worker::pair::table::PairKey;
use crate::worker::pair::tunnel::CLOSE_TIMEOUT;
use crate::worker::pair::{Pair, Stage};
use crate::worker::time::min_rate::Direction;
use crate::worker::time::timeouts::{Deadline, Reason};

/// A connection that is opened before it is needed is given up after this time.
const OPEN_TIMEOUT: Duration = Duration::from_secs(3);

/// What a probe waits at least for its response.
const SHORTEST_PROBE: Duration = Duration::from_secs(1);

impl<N: Network> Core<N> {
    pub(crate) fn client_deadline(&self, key: ClientKey) -> Option<Deadline> {
        let client = self.clients.get(key)?;
        if let Some(lingering) = client.role.lingering() {
            return Some(Deadline::at_time(lingering.ends(client.read_at), Reason::Linger));
        }
        let limits = self.sites.current.timeouts();
        match client.role.pair.and_then(|pair| self.pairs.get(pair)) {
            Some(pair) => self.pair_deadline(client, pair),
            None if !client.stream.is_established() => {
                Some(Deadline::new(client.read_at, limits.handshake, Reason::Handshake))
            }
            None => Some(between_requests(&client.role, client.read_at, limits)),
        }
    }

    fn pair_deadline(&self, client: &Client<N::Stream>, pair: &Pair) -> Option<Deadline> {
        let (x, limits) = (&pair.exchange, pair.site.timeouts());
        match pair.stage {
            Stage::Challenge(ref wait) => return Some(Deadline::at_time(wait.deadline(), Reason::Challenge)),
            Stage::Queued(ref wait) => return Some(Deadline::at_time(wait.deadline(), Reason::Queue)),
            Stage::Tunnel(backend, ref tunnel) => match tunnel.closing_since() {
                None => {
                    let last = self.backends.get(backend).map_or(0, |b| b.read_at).max(client.read_at);
                    return Some(Deadline::new(last, limits.tunnel, Reason::Tunnel));
                }
                // Time in which the client reads what came before does not count.
                Some(since) if client.is_flushed() => {
                    return Some(Deadline::new(since.max(client.write_at), CLOSE_TIMEOUT, Reason::Closing));
                }
                Some(_) => {}
            },
            Stage::Routing | Stage::Buffering if pair.held.as_ref().is_some_and(|held| held.is_filling()) => {
                let since = client.read_at.max(x.times.start).max(x.continue_at.unwrap_or(0));
                return Some(Deadline::new(since, limits.body, Reason::Body));
            }
            Stage::Routing | Stage::Buffering | Stage::Forwarding(_) | Stage::Delivering(_) => {}
        }
        if !client.is_flushed() {
            return Some(Deadline::new(client.write_at, limits.write, Reason::Write));
        }
        if x.response == ResponseHalf::Cut {
            // If the framing shows the cut, the client's turn ends it without waiting for the kernel.
            let waits_for_kernel = !client.role.codec.shows_cut();
            return waits_for_kernel.then(|| Deadline::new(client.write_at, limits.write, Reason::Delivery));
        }
        self.body_deadline(client, pair)
    }

    /// The deadline for a client that has yet to send request body bytes.
    fn body_deadline(&self, client: &Client<N::Stream>, pair: &Pair) -> Option<Deadline> {
        let x = &pair.exchange;
        let goes_on = matches!(x.request, RequestHalf::BodyPending | RequestHalf::Body);
        // What is held has to go to the server first.
        let held_back = pair.held.is_some() || client.input.is_empty() && x.awaits_continue();
        (goes_on && !held_back && self.waits_for_body(pair.backend())).then(|| {
            let since = client.read_at.max(x.times.start).max(x.continue_at.unwrap_or(0));
            Deadline::new(since, pair.site.timeouts().body, Reason::Body)
        })
    }

    /// Returns true if the server could take more of the request's body, so that only the client is waited for.
    fn waits_for_body(&self, backend: Option<BackendKey>) -> bool {
        backend
            .and_then(|b| self.backends.get(b))
            .is_some_and(|b| b.role.state == BackendState::Busy && b.is_flushed() && !b.role.write_failed)
    }

    pub(crate) fn backend_deadline(&self, key: BackendKey) -> Option<Deadline> {
        let backend = self.backends.get(key)?;
        let role = &backend.role;
        if role.state == BackendState::Idle {
            return Some(Deadline::at_time(role.idle_until(), Reason::Idle));
        }
        if role.state == BackendState::Opening {
            return Some(Deadline::new(role.since, OPEN_TIMEOUT, Reason::Opening));
        }
        let pair = role.pair.and_then(|pair| self.pairs.get(pair))?;
        let limits = &pair.route.as_ref()?.pool.config.timeouts;
        if matches!(role.state, BackendState::Connecting | BackendState::Handshaking) {
            return Some(Deadline::new(role.since, limits.connect, Reason::Connect));
        }
        let x = &pair.exchange;
        match x.response {
            _ if pair.is_tunnel() => None,
            ResponseHalf::Waiting => {
                let sent = !x.request.is_open() || !backend.is_flushed();
                // While the request's body is incomplete, the client is waited for, not the server; except if the
                // client waits for a 100 (Continue).
                let sent = sent || backend.role.write_failed || x.awaits_continue();
                sent.then(|| {
                    let last = backend.write_at.max(backend.role.since).max(backend.read_at);
                    Deadline::new(last, response_wait(pair, limits.response), Reason::Response)
                })
            }
            ResponseHalf::Body => {
                let since = self.waits_for_more(backend, pair)?;
                Some(Deadline::new(since, limits.gap, Reason::Gap))
            }
            ResponseHalf::Done => upload_deadline(backend, pair),
            ResponseHalf::Cut | ResponseHalf::InHandler => None,
        }
    }

    /// Since when only the server is waited for, within its response.
    fn waits_for_more(&self, backend: &Backend<N::Stream>, pair: &Pair) -> Option<u64> {
        let client = self.clients.get(pair.client)?;
        match client.is_flushed() {
            true => Some(backend.read_at.max(client.write_at)),
            // Otherwise the server is not read, unless its response is read ahead.
            false => pair.waits_for_server(backend).then_some(backend.read_at),
        }
    }

    /// Arms the timer for the exact deadline.
    fn arm_client(&mut self, key: ClientKey) {
        if let Some(deadline) = self.client_deadline(key) {
            let pair = self.clients.get(key).and_then(|client| client.role.pair);
            let look = self.next_check(&deadline, pair);
            self.wheel.arm(key.timer(), look);
        }
    }

    pub(crate) fn arm_backend(&mut self, key: BackendKey) {
        if let Some(deadline) = self.backend_deadline(key) {
            let pair = self.backends.get(key).and_then(|backend| backend.role.pair);
            let look = self.next_check(&deadline, pair);
            self.wheel.arm(key.timer(), look);
        }
    }

    fn next_check(&self, deadline: &Deadline, pair: Option<PairKey>) -> u64 {
        let site = pair.and_then(|pair| self.pairs.get(pair)).map(|pair| &pair.site);
        let site = site.unwrap_or(&self.sites.current);
        deadline.next_check(self.tools.now, |direction| site.min_rate(direction))
    }

    /// Updates a client's timer after its state changed. Usually the armed timer fires before any deadline that begins
    /// now, so the deadline is not derived: the timer does that, once for all requests until then.
    pub(crate) fn watch_client(&mut self, key: ClientKey) {
        self.watch(ConnectionKey::Client(key));
    }

    pub(crate) fn watch_backend(&mut self, key: BackendKey) {
        self.watch(ConnectionKey::Backend(key));
    }

    #[inline(always)]
    fn watch(&mut self, key: ConnectionKey) {
        if !self.wheel.comes_soon(key.timer()) {
            self.arm_soon(key);
        }
    }

    /// Arms the timer for its deadline, but no later than what a deadline that begins now may need.
    fn arm_soon(&mut self, key: ConnectionKey) {
        match key {
            ConnectionKey::Client(client) => self.arm_client(client),
            ConnectionKey::Backend(backend) => self.arm_backend(backend),
        }
        self.wheel.arm(key.timer(), self.soonest());
    }

    /// The time or the timeouts have changed.
    pub(crate) fn look_ahead(&mut self) {
        self.wheel.look_ahead(self.soonest());
    }

    /// When the shortest deadline that begins now would pass.
    fn soonest(&self) -> u64 {
        self.tools.now + self.sites.shortest
    }

    /// Updates the timers of both connections of a client's pair after a turn.
    pub(crate) fn watch_pair(&mut self, key: ClientKey) {
        self.watch_client(key);
        let Some(client) = self.clients.get(key) else { return };
        let Some(pair) = client.role.pair.and_then(|l| self.pairs.get(l)) else { return };
        match pair.backend() {
            Some(backend) if !pair.exchange.tries.probe => self.watch_backend(backend),
            other => self.arm_pair(key, other),
        }
    }

    /// The same for waits that may be shorter than all timeouts.
    fn arm_pair(&mut self, client: ClientKey, backend: Option<BackendKey>) {
        match backend {
            // A probe waits less long than other requests.
            Some(backend) => self.arm_backend(backend),
            // The client may only be waiting to retry servers with a full queue.
            None => self.arm_client(client),
        }
    }

    /// Returns when the next timer may fire, in microseconds.
    pub fn next_timer(&self) -> Option<u64> {
        let checks = Some(self.checks.next().min(self.sites.periodic.next())).filter(|at| *at != u64::MAX);
        let closing = self.closings.next().filter(|_| self.clients.len() > 0);
        let copies = self.tools.mirrored.next().filter(|_| self.inside > 0);
        let hedges = self.tools.hedges.next().filter(|_| !self.pairs.is_empty());
        let all = self.wheel.next().into_iter().chain(checks).chain(closing).chain(self.waits.next());
        all.chain(copies).chain(hedges).min()
    }

    /// Handles all deadlines that have passed.
    pub fn expire(&mut self) {
        while let Some(timer) = self.wheel.pop(self.tools.now) {
            self.guarded_timer(ConnectionKey::of_timer(timer));
        }
        self.run_checks();
        self.run_waits();
        self.run_hedges();
        self.run_mirrored();
        self.run_closings();
        self.run_periodic();
    }

    pub(crate) fn client_timer(&mut self, key: ClientKey) {
        let Some(mut deadline) = self.client_deadline(key) else { return };
        if deadline.reason.is_for_kernel() {
            self.clients[key].note_progress(self.tools.now);
            deadline = self.client_deadline(key).unwrap_or(deadline);
        }
        let mut failure = deadline.reason.failure();
        let delivered = deadline.reason == Reason::Delivery && self.clients[key].stream.unacknowledged() == 0;
        if deadline.at() > self.tools.now && !delivered {
            failure = self.too_slow(key, &deadline);
            if failure.is_none() {
                return self.arm_client(key);
            }
        }
        let step = self.deadline_passed(key, deadline.reason, failure);
        self.requeue_after(key, step);
    }

    fn deadline_passed(&mut self, key: ClientKey, reason: Reason, failure: Option<Failure>) -> Step {
        if let Some(failure) = failure {
            return self.fail_client(key, failure);
        }
        match reason {
            Reason::FirstByte => self.close_silent(key),
            Reason::Linger => self.end_linger(key),
            Reason::Head => self.refuse_late(key),
            Reason::Handshake => self.end_handshake(key),
            Reason::ProxyHeader => self.proxy_header_timeout(key),
            Reason::Queue => self.queue_timer(key),
            Reason::Challenge => self.challenge_timer(key),
            Reason::Delivery => self.end_cut_response(key),
            Reason::Closing => self.end_clients_tunnel(key),
            _ => self.close_client(key),
        }
    }

    pub(crate) fn backend_timer(&mut self, key: BackendKey) {
        let Some(mut deadline) = self.backend_deadline(key) else { return };
        if deadline.reason.is_for_kernel() {
            self.backends[key].note_progress(self.tools.now);
            deadline = self.backend_deadline(key).unwrap_or(deadline);
        }
        if deadline.at() > self.tools.now {
            return self.arm_backend(key);
        }
        let pair = self.backends.get(key).and_then(|b| b.role.pair);
        match (deadline.reason.failure(), pair, self.client_of(key)) {
            (Some(failure), Some(pair), Some(client)) => {
                if failure.is_connect_failure() {
                    self.note_server_failure(pair, &failure.text());
                }
                let step = self.fail(pair, failure);
                self.requeue_after(client, step);
            }
            _ => self.end_idle(key),
        }
    }

    /// Returns the failure if the client has moved too few bytes in a whole window.
    fn too_slow(&mut self, key: ClientKey, deadline: &Deadline) -> Option<Failure> {
        let direction = deadline.reason.direction()?;
        let client = &self.clients[key];
        let pair = client.role.pair.and_then(|l| self.pairs.get_mut(l))?;
        let demand = pair.site.min_rate(direction)?;
        let (moved, failure) = match direction {
            Direction::Sending => (pair.exchange.received, Failure::BodyRate),
            // `untaken` includes framing; the difference is negligible.
            Direction::Taking => {
                (pair.exchange.sent.saturating_sub(client.untaken() as u64), Failure::WriteRate)
            }
        };
        pair.rate.is_too_slow(direction, moved, demand, self.tools.now).then_some(failure)
    }

    /// Closes a client that sent nothing.
    fn close_silent(&mut self, key: ClientKey) -> Step {
        self.counters.connection_ended(ConnectionEnd::Silent);
        self.close_client(key)
    }

    /// The tunnel was not closed in time.
    fn end_clients_tunnel(&mut self, key: ClientKey) -> Step {
        match self.clients.get(key).and_then(|c| c.role.pair) {
            Some(pair) => self.end_tunnel(pair),
            None => self.close_client(key),
        }
    }

    fn fail_client(&mut self, key: ClientKey, failure: Failure) -> Step {
        match self.clients.get(key).and_then(|c| c.role.pair) {
            Some(pair) => self.fail(pair, failure),
            None => self.close_client(key),
        }
    }
}

/// The deadline of a client without a complete request head.
fn between_requests(role: &ClientSide, read_at: u64, limits: &Timeouts) -> Deadline {
    match (role.head_since, role.served) {
        (NO_HEAD, _) if role.arrival == Arrival::ExpectsProxyHeader => {
            Deadline::new(read_at, limits.head, Reason::ProxyHeader)
        }
        (since, _) if role.arrival == Arrival::ExpectsProxyHeader => {
            Deadline::new(since, limits.head, Reason::ProxyHeader)
        }
        (since, _) if role.arrival == Arrival::Hello => {
            let since = if since == NO_HEAD { read_at } else { since };
            Deadline::new(since, limits.handshake, Reason::Handshake)
        }
        (NO_HEAD, false) => Deadline::new(read_at, limits.head, Reason::FirstByte),
        (NO_HEAD, true) => Deadline::new(read_at, limits.idle, Reason::Idle),
        (since, _) => Deadline::new(since, limits.head, Reason::Head),
    }
}

/// A probe gives up sooner, as another server can take the request; not as soon after a longer pause, so that a server
/// that is always slow comes back as well.
fn response_wait(pair: &Pair, configured: Duration) -> Duration {
    let Some(probe) = &pair.probe else { return configured };
    configured.min(SHORTEST_PROBE.max(configured / 10).max(Duration::from_micros(probe.pause())))
}

/// The deadline for a server that responded early and has yet to take the request's body.
fn upload_deadline<S: Transport>(backend: &Backend<S>, pair: &Pair) -> Option<Deadline> {
    (!backend.is_flushed()).then(|| {
        let last = backend.write_at.max(backend.read_at);
        Deadline::new(last, pair.site.timeouts().body, Reason::Upload)
    })
}
