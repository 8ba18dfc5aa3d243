//! Every connection's deadline and its reason, derived from the state it is in: there is nothing to arm or to
//! forget when a state changes. The wheel is told after each turn, and asks here again when it fires.

use std::time::Duration;

use super::core::{Core, Step};
use super::pace::{Demand, LOOKS, Way};
use super::sides::{Arrival, BackendState, NO_HEAD};
use super::table::{Side, Token};
use crate::exchange::record::End;
use crate::exchange::tally::Parting;
use crate::exchange::{Failure, RequestHalf, ResponseHalf};
use crate::net::Network;

/// What a deadline is for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Reason {
    /// Ends the exchange with this failure.
    Fail(Failure),
    /// Part of a head came, the rest did not.
    Head,
    /// So did the PROXY header before it.
    ProxyHeader,
    /// Nobody waits for anything: close without a word.
    Silent,
    /// The same for one that never said anything.
    Nothing,
    /// It goes on sending after its last answer.
    Linger,
    /// Ask the servers again that had no room for a connection.
    Dial,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Deadline {
    since: u64,
    wait: u64,
    reason: Reason,
}

impl Deadline {
    fn new(since: u64, wait: Duration, reason: Reason) -> Deadline {
        let wait = wait.as_secs().saturating_mul(1_000_000).saturating_add(wait.subsec_micros().into());
        Deadline { since, wait, reason }
    }

    fn fail(since: u64, wait: Duration, failure: Failure) -> Deadline {
        Deadline::new(since, wait, Reason::Fail(failure))
    }

    fn at(&self) -> u64 {
        self.since.saturating_add(self.wait)
    }

    /// It is over when the peer has taken nothing, which only the kernel can tell.
    fn is_for_kernel(&self) -> bool {
        let Reason::Fail(failure) = self.reason else { return false };
        matches!(failure.end, End::ClientWriteTimeout | End::ServerResponseTimeout)
    }

    /// Whether a client is waited for that may be slow, but not too slow; and which way.
    fn way(&self) -> Option<Way> {
        let Reason::Fail(failure) = self.reason else { return None };
        match failure.end {
            End::ClientBodyTimeout => Some(Way::Sending),
            End::ClientWriteTimeout => Some(Way::Taking),
            _ => None,
        }
    }

    /// When to look next: at its end, or some times before where there may be progress that nobody reports, or too
    /// little of it.
    fn next_look(&self, now: u64, demand: Option<Demand>) -> u64 {
        let first = self.is_for_kernel().then_some(self.wait).into_iter().chain(demand.map(|d| d.window));
        first.min().map_or(self.at(), |often| self.at().min(now + often / LOOKS))
    }
}

impl<N: Network> Core<N> {
    fn client_deadline(&self, key: u32) -> Option<Deadline> {
        let client = self.clients.get(key)?;
        let timeouts = &self.router.config.settings.timeouts;
        if let Some(lingering) = &client.role.lingering {
            return Some(Deadline::new(lingering.ends(client.read_at), Duration::ZERO, Reason::Linger));
        }
        let Some(lane) = client.role.lane.and_then(|l| self.lanes.get(l as usize)) else {
            return Some(match (client.role.head_since, client.role.served) {
                (since, _) if client.role.arrival == Arrival::Awaited => {
                    let since = if since == NO_HEAD { client.read_at } else { since };
                    Deadline::new(since, timeouts.head, Reason::ProxyHeader)
                }
                (NO_HEAD, false) => Deadline::new(client.read_at, timeouts.head, Reason::Nothing),
                (NO_HEAD, true) => Deadline::new(client.read_at, timeouts.idle, Reason::Silent),
                (since, _) => Deadline::new(since, timeouts.head, Reason::Head),
            });
        };
        let x = &lane.exchange;
        if let (None, ResponseHalf::Waiting, Some(wait)) = (lane.backend, x.response, lane.queue_wait) {
            return Some(Deadline::new(wait.again, Duration::ZERO, Reason::Dial));
        }
        if x.tunnel {
            let backend = lane.backend.and_then(|b| self.backends.get(b));
            let last = backend.map_or(0, |b| b.read_at).max(client.read_at);
            return Some(Deadline::fail(last, timeouts.tunnel, Failure::TUNNEL_TIMEOUT));
        }
        if !client.is_flushed() {
            return Some(Deadline::fail(client.write_at, timeouts.write, Failure::WRITE_TIMEOUT));
        }
        let held_back = client.input.is_empty() && x.awaits_leave();
        (x.request == RequestHalf::Body && !held_back && self.waits_for_body(lane.backend)).then(|| {
            let since = client.read_at.max(x.times.start).max(x.asked_for_body.unwrap_or(0));
            Deadline::fail(since, timeouts.body, Failure::BODY_TIMEOUT)
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
        let timeouts = &self.router.config.pools[backend.role.pool.0 as usize].timeouts;
        match backend.role.state {
            BackendState::Idle => {
                return Some(Deadline::new(backend.role.since, timeouts.idle, Reason::Silent));
            }
            BackendState::Connecting => {
                let since = backend.role.since;
                return Some(Deadline::fail(since, timeouts.connect, Failure::CONNECT_TIMEOUT));
            }
            BackendState::Busy => {}
        }
        let lane = backend.role.lane.and_then(|l| self.lanes.get(l as usize))?;
        let x = &lane.exchange;
        match x.response {
            _ if x.tunnel => None,
            ResponseHalf::Waiting => {
                let sent = x.request == RequestHalf::Done || !backend.is_flushed();
                // A request whose body has yet to come waits for the client, not for the server; unless that waits
                // for the server's leave.
                let sent = sent || backend.role.write_failed || x.awaits_leave();
                sent.then(|| {
                    let last = backend.write_at.max(backend.role.since).max(backend.read_at);
                    Deadline::fail(last, timeouts.response, Failure::RESPONSE_TIMEOUT)
                })
            }
            ResponseHalf::Body => {
                let client = self.clients.get(lane.client)?;
                // While the client does not take what there is, we are not reading.
                client.is_flushed().then(|| {
                    let last = backend.read_at.max(client.write_at);
                    Deadline::fail(last, timeouts.gap, Failure::GAP_TIMEOUT)
                })
            }
            ResponseHalf::Done => None,
        }
    }

    pub(super) fn arm_client(&mut self, key: u32) {
        if let Some(deadline) = self.client_deadline(key) {
            let demand = deadline.way().and_then(|way| self.demand(way));
            self.wheel.arm(Token::timer_of(Side::Client, key), deadline.next_look(self.now, demand));
        }
    }

    pub(super) fn arm_backend(&mut self, key: u32) {
        if let Some(deadline) = self.backend_deadline(key) {
            self.wheel.arm(Token::timer_of(Side::Backend, key), deadline.next_look(self.now, None));
        }
    }

    /// After a turn: both connections of a client's pair.
    pub(super) fn arm_pair(&mut self, key: u32) {
        self.arm_client(key);
        let lane = self.clients.get(key).and_then(|c| c.role.lane);
        if let Some(backend) = lane.and_then(|l| self.lanes.get(l as usize)).and_then(|l| l.backend) {
            self.arm_backend(backend);
        }
    }

    /// When the next timer may fire, in microseconds.
    pub fn next_timer(&self) -> Option<u64> {
        self.wheel.next()
    }

    /// Acts on every deadline that has passed.
    pub fn expire(&mut self) {
        while let Some(timer) = self.wheel.pop(self.now) {
            let (side, key) = Token::of_timer(timer);
            self.guarded_timer(side, key);
        }
    }

    pub(super) fn client_timer(&mut self, key: u32) {
        let Some(mut deadline) = self.client_deadline(key) else { return };
        if deadline.is_for_kernel() {
            self.clients[key].note_progress(self.now);
            deadline = self.client_deadline(key).unwrap_or(deadline);
        }
        if deadline.at() > self.now {
            match self.too_slow(key, &deadline) {
                Some(failure) => deadline = Deadline::fail(0, Duration::ZERO, failure),
                None => return self.arm_client(key),
            }
        }
        let step = match deadline.reason {
            Reason::Silent => self.close_client(key),
            Reason::Nothing => self.close_unheard(key),
            Reason::Linger => self.end_linger(key),
            Reason::Head => self.refuse_late(key),
            Reason::ProxyHeader => self.refuse_headless(key),
            Reason::Dial => self.dial_again(key),
            Reason::Fail(failure) => self.fail_client(key, failure),
        };
        self.go_on(key, step);
    }

    pub(super) fn backend_timer(&mut self, key: u32) {
        let Some(mut deadline) = self.backend_deadline(key) else { return };
        if deadline.is_for_kernel() {
            self.backends[key].note_progress(self.now);
            deadline = self.backend_deadline(key).unwrap_or(deadline);
        }
        if deadline.at() > self.now {
            return self.arm_backend(key);
        }
        let lane = self.backends.get(key).and_then(|b| b.role.lane);
        match (deadline.reason, lane, self.client_of(key)) {
            (Reason::Fail(failure), Some(lane), Some(client)) => {
                if failure.is_connect_failure() {
                    self.note_pause(lane, failure.text);
                }
                let step = self.fail(lane, failure);
                self.go_on(client, step);
            }
            _ => self.close_backend(key),
        }
    }

    /// What a client has to move, if anything.
    fn demand(&self, way: Way) -> Option<Demand> {
        let settings = &self.router.config.settings;
        let (rate, wait) = match way {
            Way::Sending => (settings.min_request_rate, settings.timeouts.rate),
            // A pause that the write timeout allows must not be too slow already.
            Way::Taking => (settings.min_response_rate, settings.timeouts.rate.max(settings.timeouts.write)),
        };
        (rate > 0).then_some(Demand { rate, window: wait.as_micros() as u64 })
    }

    /// The client is waited for: has it moved too little for a whole window?
    fn too_slow(&mut self, key: u32, deadline: &Deadline) -> Option<Failure> {
        let way = deadline.way()?;
        let demand = self.demand(way)?;
        let client = &self.clients[key];
        let lane = client.role.lane.and_then(|l| self.lanes.get_mut(l as usize))?;
        let (moved, failure) = match way {
            Way::Sending => (lane.exchange.received, Failure::BODY_RATE),
            // Framing makes no difference that counts.
            Way::Taking => (lane.exchange.sent.saturating_sub(client.untaken() as u64), Failure::WRITE_RATE),
        };
        lane.pace.is_too_slow(way, moved, demand, self.now).then_some(failure)
    }

    /// It connected and said nothing.
    fn close_unheard(&mut self, key: u32) -> Step {
        self.tally.parted(Parting::Silent);
        self.close_client(key)
    }

    fn fail_client(&mut self, key: u32, failure: Failure) -> Step {
        match self.clients.get(key).and_then(|c| c.role.lane) {
            Some(lane) => self.fail(lane, failure),
            None => self.close_client(key),
        }
    }

    /// What a timer began goes on in the client's turn.
    fn go_on(&mut self, key: u32, step: Step) {
        if !matches!(step, Step::Gone) {
            self.queue_client(key);
            self.arm_pair(key);
        }
    }
}
