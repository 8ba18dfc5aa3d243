//! What can be waited for and for how long, from the config: in microseconds, so that a deadline is one addition.

use std::time::Duration;

use crate::config::{Config, PoolTimeouts, Settings};
use crate::exchange::Failure;
use crate::worker::conn::linger;
use crate::worker::time::min_rate::{Direction, LOOKS, MinRate};

/// The client's side, and of every pool the backends'.
pub struct TimeLimits {
    pub head: u64,
    pub body: u64,
    pub idle: u64,
    pub write: u64,
    pub tunnel: u64,
    pub pools: Vec<PoolTimeLimits>,
    /// No deadline of a state that begins now comes up before this.
    pub shortest: u64,
    /// What a client has to move, if anything: of its request, and of its response.
    sending: Option<MinRate>,
    taking: Option<MinRate>,
}

pub struct PoolTimeLimits {
    pub connect: u64,
    pub response: u64,
    pub gap: u64,
    pub idle: u64,
}

impl TimeLimits {
    pub fn of(config: &Config) -> TimeLimits {
        let Settings { timeouts, min_request_rate, min_response_rate, .. } = &config.settings;
        // A pause that the write timeout allows must not be too slow already.
        let taking = timeouts.rate.max(timeouts.write);
        let demand = |rate, window| (rate > 0).then_some(MinRate { rate, window: micros(window) });
        let pools: Vec<PoolTimeLimits> =
            config.pools.iter().map(|pool| PoolTimeLimits::of(&pool.timeouts)).collect();
        let looked_at = timeouts.write.min(timeouts.rate).min(timeouts.body) / LOOKS as u32;
        let whole = [timeouts.head, timeouts.body, timeouts.idle, timeouts.tunnel, looked_at];
        let of_pools = pools.iter().map(PoolTimeLimits::shortest);
        TimeLimits {
            shortest: whole.map(micros).into_iter().chain(of_pools).chain([linger::GAP]).min().unwrap_or(0),
            head: micros(timeouts.head),
            body: micros(timeouts.body),
            idle: micros(timeouts.idle),
            write: micros(timeouts.write),
            tunnel: micros(timeouts.tunnel),
            pools,
            sending: demand(*min_request_rate, timeouts.rate),
            taking: demand(*min_response_rate, taking),
        }
    }

    pub fn demand(&self, way: Direction) -> Option<MinRate> {
        match way {
            Direction::Sending => self.sending,
            Direction::Taking => self.taking,
        }
    }
}

impl PoolTimeLimits {
    fn of(timeouts: &PoolTimeouts) -> PoolTimeLimits {
        PoolTimeLimits {
            connect: micros(timeouts.connect),
            response: micros(timeouts.response),
            gap: micros(timeouts.gap),
            idle: micros(timeouts.idle),
        }
    }

    fn shortest(&self) -> u64 {
        self.connect.min(self.response / LOOKS).min(self.gap).min(self.idle)
    }
}

fn micros(wait: Duration) -> u64 {
    wait.as_micros().try_into().unwrap_or(u64::MAX)
}

/// Between two looks at what the kernel still holds of a response that was cut, in microseconds.
const DELIVERY_LOOK: u64 = 10_000;

/// What a deadline is for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Reason {
    /// The client sends none of its request's body.
    Body,
    /// It takes nothing of its response.
    Write,
    /// Nothing passes a tunnel.
    Tunnel,
    /// The server does not accept the connection, does not begin to respond, stops within its response.
    Connect,
    Response,
    Gap,
    /// It responded, and takes nothing of the request's body.
    Upload,
    /// A response was cut in a way that only a reset shows, and the kernel holds some of it for the client: looked
    /// at often, since nothing reports that it has gone.
    Delivery,
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

impl Reason {
    /// What the exchange ends with, where that is all there is to do.
    pub fn failure(self) -> Option<Failure> {
        match self {
            Reason::Body => Some(Failure::BodyTimeout),
            Reason::Write => Some(Failure::WriteTimeout),
            Reason::Tunnel => Some(Failure::TunnelTimeout),
            Reason::Connect => Some(Failure::ConnectTimeout),
            Reason::Response => Some(Failure::ResponseTimeout),
            Reason::Gap => Some(Failure::GapTimeout),
            Reason::Upload => Some(Failure::UploadTimeout),
            Reason::Head
            | Reason::ProxyHeader
            | Reason::Silent
            | Reason::Nothing
            | Reason::Linger
            | Reason::Delivery
            | Reason::Dial => None,
        }
    }

    /// It is over when the peer has taken nothing, which only the kernel can tell.
    pub fn is_for_kernel(self) -> bool {
        matches!(self, Reason::Write | Reason::Response | Reason::Upload)
    }

    /// Whether a client is waited for that may be slow, but not too slow; and which way.
    pub fn way(self) -> Option<Direction> {
        match self {
            Reason::Body => Some(Direction::Sending),
            Reason::Write => Some(Direction::Taking),
            _ => None,
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Deadline {
    since: u64,
    wait: u64,
    pub reason: Reason,
}

impl Deadline {
    pub fn new(since: u64, wait: u64, reason: Reason) -> Deadline {
        Deadline { since, wait, reason }
    }

    pub fn at(&self) -> u64 {
        self.since.saturating_add(self.wait)
    }

    /// When to look next: at its end, or some times before where there may be progress that nobody reports, or too
    /// little of it.
    #[inline]
    pub fn next_look(&self, now: u64, limits: &TimeLimits) -> u64 {
        let mut often = match self.reason {
            Reason::Delivery => DELIVERY_LOOK * LOOKS,
            reason if reason.is_for_kernel() => self.wait,
            _ => u64::MAX,
        };
        if let Some(demand) = self.reason.way().and_then(|way| limits.demand(way)) {
            often = often.min(demand.window);
        }
        self.at().min(now.saturating_add(often / LOOKS))
    }
}
