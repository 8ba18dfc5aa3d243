//! Every connection's deadline and its reason, derived from the state it is in: there is nothing to arm or to
//! forget when a state changes. The wheel is told after each turn, and asks here again when it fires.

use crate::config::Timeouts;
use crate::exchange::counters::ConnectionEnd;
use crate::exchange::{Failure, RequestHalf, ResponseHalf};
use crate::net::{Network, Transport};
use crate::worker::conn::backend::{Backend, BackendState};
use crate::worker::conn::client::{Arrival, Client, ClientSide, NO_HEAD};
use crate::worker::conn::table::{Side, Token};
use crate::worker::core::{Core, Step};
use crate::worker::pair::Pair;
use crate::worker::time::min_rate::Direction;
use crate::worker::time::timeouts::{Deadline, Reason};

impl<N: Network> Core<N> {
    fn client_deadline(&self, key: u32) -> Option<Deadline> {
        let client = self.clients.get(key)?;
        if let Some(lingering) = client.role.lingering() {
            return Some(Deadline::at_time(lingering.ends(client.read_at), Reason::Linger));
        }
        match client.role.pair.and_then(|pair| self.pairs.get(pair as usize)) {
            Some(pair) => self.pair_deadline(client, pair),
            None => Some(between_requests(&client.role, client.read_at, self.sites.current.timeouts())),
        }
    }

    fn pair_deadline(&self, client: &Client<N::Stream>, pair: &Pair) -> Option<Deadline> {
        let (x, limits) = (&pair.exchange, pair.site.timeouts());
        if let (None, ResponseHalf::Waiting, Some(wait)) = (pair.backend, x.response, pair.queue_wait) {
            return Some(Deadline::at_time(wait.again, Reason::Dial));
        }
        if x.tunnel && x.response != ResponseHalf::Cut {
            let backend = pair.backend.and_then(|b| self.backends.get(b));
            let last = backend.map_or(0, |b| b.read_at).max(client.read_at);
            return Some(Deadline::new(last, limits.tunnel, Reason::Tunnel));
        }
        if !client.is_flushed() {
            return Some(Deadline::new(client.write_at, limits.write, Reason::Write));
        }
        if x.response == ResponseHalf::Cut {
            // Where its framing shows the cut, nobody waits for the kernel: its turn ends it.
            let waits_for_kernel = !client.role.codec.shows_cut();
            return waits_for_kernel.then(|| Deadline::new(client.write_at, limits.write, Reason::Delivery));
        }
        self.body_deadline(client, pair)
    }

    /// The client is waited for, which has yet to send some of its request's body.
    fn body_deadline(&self, client: &Client<N::Stream>, pair: &Pair) -> Option<Deadline> {
        let x = &pair.exchange;
        let goes_on = x.request == RequestHalf::Body && !x.is_answered_for_good();
        let held_back = client.input.is_empty() && x.awaits_leave();
        (goes_on && !held_back && self.waits_for_body(pair.backend)).then(|| {
            let since = client.read_at.max(x.times.start).max(x.asked_for_body.unwrap_or(0));
            Deadline::new(since, pair.site.timeouts().body, Reason::Body)
        })
    }

    /// The server could take more of the request's body: the client is the one everybody waits for.
    fn waits_for_body(&self, backend: Option<u32>) -> bool {
        backend
            .and_then(|b| self.backends.get(b))
            .is_some_and(|b| b.role.state == BackendState::Busy && b.is_flushed() && !b.role.write_failed)
    }

    fn backend_deadline(&self, key: u32) -> Option<Deadline> {
        let backend = self.backends.get(key)?;
        let role = &backend.role;
        if role.state == BackendState::Idle {
            return Some(Deadline::new(role.since, role.server.idle_timeout.get(), Reason::Silent));
        }
        let pair = role.pair.and_then(|pair| self.pairs.get(pair as usize))?;
        let limits = &pair.route.as_ref()?.pool.config.timeouts;
        if matches!(role.state, BackendState::Connecting | BackendState::Handshaking) {
            return Some(Deadline::new(role.since, limits.connect, Reason::Connect));
        }
        let x = &pair.exchange;
        match x.response {
            _ if x.tunnel => None,
            ResponseHalf::Waiting => {
                let sent = x.request == RequestHalf::Done || !backend.is_flushed();
                // A request whose body has yet to come waits for the client, not for the server; unless that waits
                // for the server's leave.
                let sent = sent || backend.role.write_failed || x.awaits_leave();
                sent.then(|| {
                    let last = backend.write_at.max(backend.role.since).max(backend.read_at);
                    Deadline::new(last, limits.response, Reason::Response)
                })
            }
            ResponseHalf::Body => {
                let client = self.clients.get(pair.client)?;
                // While the client does not take what there is, we are not reading.
                client.is_flushed().then(|| {
                    let last = backend.read_at.max(client.write_at);
                    Deadline::new(last, limits.gap, Reason::Gap)
                })
            }
            ResponseHalf::Done => upload_deadline(backend, pair),
            ResponseHalf::Cut => None,
        }
    }

    /// As exactly as its timer needs it.
    fn arm_client(&mut self, key: u32) {
        if let Some(deadline) = self.client_deadline(key) {
            let pair = self.clients.get(key).and_then(|client| client.role.pair);
            let look = self.next_look(&deadline, pair);
            self.wheel.arm(Token::timer_of(Side::Client, key), look);
        }
    }

    fn arm_backend(&mut self, key: u32) {
        if let Some(deadline) = self.backend_deadline(key) {
            let pair = self.backends.get(key).and_then(|backend| backend.role.pair);
            let look = self.next_look(&deadline, pair);
            self.wheel.arm(Token::timer_of(Side::Backend, key), look);
        }
    }

    fn next_look(&self, deadline: &Deadline, pair: Option<u32>) -> u64 {
        let site = pair.and_then(|pair| self.pairs.get(pair as usize)).map(|pair| &pair.site);
        let site = site.unwrap_or(&self.sites.current);
        deadline.next_look(self.tools.now, |direction| site.min_rate(direction))
    }

    /// After its state changed. Nearly always it comes up before anything can be over that began in this turn, and
    /// then its deadline need not even be derived: the timer will do that, once for all the requests until then.
    #[inline]
    pub(crate) fn watch_client(&mut self, key: u32) {
        self.watch(Side::Client, key);
    }

    #[inline]
    pub(crate) fn watch_backend(&mut self, key: u32) {
        self.watch(Side::Backend, key);
    }

    #[inline(always)]
    fn watch(&mut self, side: Side, key: u32) {
        let soon = self.tools.now + self.sites.shortest;
        if !self.wheel.comes_up_by(Token::timer_of(side, key), soon) {
            self.arm_by(side, key, soon);
        }
    }

    /// As its deadline needs it, and not later than `soon`.
    #[cold]
    fn arm_by(&mut self, side: Side, key: u32, soon: u64) {
        match side {
            Side::Client => self.arm_client(key),
            Side::Backend => self.arm_backend(key),
        }
        self.wheel.arm(Token::timer_of(side, key), soon);
    }

    /// After a turn: both connections of a client's pair.
    pub(crate) fn watch_pair(&mut self, key: u32) {
        self.watch_client(key);
        let Some(client) = self.clients.get(key) else { return };
        let Some(pair) = client.role.pair.and_then(|l| self.pairs.get(l as usize)) else { return };
        match pair.backend {
            Some(backend) => self.watch_backend(backend),
            // It may wait for a moment only, until servers are asked again.
            None => self.arm_client(key),
        }
    }

    /// When the next timer may fire, in microseconds.
    pub fn next_timer(&self) -> Option<u64> {
        self.wheel.next()
    }

    /// Acts on every deadline that has passed.
    pub fn expire(&mut self) {
        while let Some(timer) = self.wheel.pop(self.tools.now) {
            let (side, key) = Token::of_timer(timer);
            self.guarded_timer(side, key);
        }
    }

    pub(crate) fn client_timer(&mut self, key: u32) {
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
        self.go_on(key, step);
    }

    fn deadline_passed(&mut self, key: u32, reason: Reason, failure: Option<Failure>) -> Step {
        if let Some(failure) = failure {
            return self.fail_client(key, failure);
        }
        match reason {
            Reason::Nothing => self.close_unheard(key),
            Reason::Linger => self.end_linger(key),
            Reason::Head => self.refuse_late(key),
            Reason::ProxyHeader => self.refuse_headless(key),
            Reason::Dial => self.dial_again(key),
            Reason::Delivery => self.end_cut_response(key),
            _ => self.close_client(key),
        }
    }

    pub(crate) fn backend_timer(&mut self, key: u32) {
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
                    self.note_pause(pair, failure.text());
                }
                let step = self.fail(pair, failure);
                self.go_on(client, step);
            }
            _ => self.close_backend(key),
        }
    }

    /// The client is waited for: has it moved too little for a whole window?
    fn too_slow(&mut self, key: u32, deadline: &Deadline) -> Option<Failure> {
        let way = deadline.reason.way()?;
        let client = &self.clients[key];
        let pair = client.role.pair.and_then(|l| self.pairs.get_mut(l as usize))?;
        let demand = pair.site.min_rate(way)?;
        let (moved, failure) = match way {
            Direction::Sending => (pair.exchange.received, Failure::BodyRate),
            // Framing makes no difference that counts.
            Direction::Taking => {
                (pair.exchange.sent.saturating_sub(client.untaken() as u64), Failure::WriteRate)
            }
        };
        pair.rate.is_too_slow(way, moved, demand, self.tools.now).then_some(failure)
    }

    /// It connected and said nothing.
    fn close_unheard(&mut self, key: u32) -> Step {
        self.counters.connection_ended(ConnectionEnd::Silent);
        self.close_client(key)
    }

    fn fail_client(&mut self, key: u32, failure: Failure) -> Step {
        match self.clients.get(key).and_then(|c| c.role.pair) {
            Some(pair) => self.fail(pair, failure),
            None => self.close_client(key),
        }
    }

    /// What a timer began goes on in the client's turn.
    fn go_on(&mut self, key: u32, step: Step) {
        if !matches!(step, Step::Gone) {
            self.queue_client(key);
            self.watch_pair(key);
        }
    }
}

/// A client without a request, or with less than a head of one.
fn between_requests(role: &ClientSide, read_at: u64, limits: &Timeouts) -> Deadline {
    match (role.head_since, role.served) {
        (NO_HEAD, _) if role.arrival == Arrival::Awaited => {
            Deadline::new(read_at, limits.head, Reason::ProxyHeader)
        }
        (since, _) if role.arrival == Arrival::Awaited => {
            Deadline::new(since, limits.head, Reason::ProxyHeader)
        }
        (NO_HEAD, false) => Deadline::new(read_at, limits.head, Reason::Nothing),
        (NO_HEAD, true) => Deadline::new(read_at, limits.idle, Reason::Silent),
        (since, _) => Deadline::new(since, limits.head, Reason::Head),
    }
}

/// A server that answered early is still to take the request's body.
fn upload_deadline<S: Transport>(backend: &Backend<S>, pair: &Pair) -> Option<Deadline> {
    (!backend.is_flushed()).then(|| {
        let last = backend.write_at.max(backend.read_at);
        Deadline::new(last, pair.site.timeouts().body, Reason::Upload)
    })
}
