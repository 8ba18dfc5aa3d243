//! Reasons for deadlines, their lengths, and the failures they end in. All in microseconds.

use std::time::Duration;

use crate::config::{Config, PoolTimeouts};
use crate::exchange::Failure;
use crate::worker::conn::linger;
use crate::worker::time::min_rate::{CHECKS, Direction, MinRate};

/// Returns a lower bound of all deadlines of states that begin now.
pub fn shortest(config: &Config) -> u64 {
    let timeouts = &config.settings.timeouts;
    let looked_at = timeouts.write.min(timeouts.rate).min(timeouts.body) / CHECKS as u32;
    let own = [timeouts.handshake, timeouts.head, timeouts.body, timeouts.idle, timeouts.tunnel, looked_at]
        .into_iter();
    let of_pools = config.pools.iter().map(|pool| shortest_of_pool(&pool.timeouts));
    own.chain(of_pools).map(micros).chain([linger::GAP]).min().unwrap_or(0)
}

fn shortest_of_pool(timeouts: &PoolTimeouts) -> Duration {
    timeouts.connect.min(timeouts.response / CHECKS as u32).min(timeouts.gap).min(timeouts.idle)
}

pub fn micros(wait: Duration) -> u64 {
    wait.as_secs().saturating_mul(1_000_000).saturating_add(wait.subsec_micros().into())
}

/// Interval of checks of what the kernel still holds of a cut response, in microseconds.
const DELIVERY_LOOK: u64 = 10_000;

/// The reason for a deadline.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Reason {
    /// The client sends nothing of its request's body.
    Body,
    /// The client takes nothing of its response.
    Write,
    /// No bytes pass through a tunnel.
    Tunnel,
    /// A drain closes the tunnel, and the client has not answered its Close frame.
    Closing,
    /// The server does not accept the connection, does not begin to respond, or stalls within its response.
    Connect,
    Response,
    Gap,
    /// The server responded, and takes nothing of the request's body.
    Upload,
    /// A cut response that only a reset can mark is still partly in the kernel: polled often, since no event reports
    /// that it was delivered.
    Delivery,
    /// A head is incomplete.
    Head,
    /// A client's TLS handshake is incomplete.
    Handshake,
    /// A PROXY header is incomplete.
    ProxyHeader,
    /// An idle connection: closed without a response.
    Idle,
    /// A connection to a server that is opened before it is needed is not established.
    Opening,
    /// A connection that never sent anything.
    FirstByte,
    /// The client keeps sending after its last response.
    Linger,
    /// The request waits for a server.
    Queue,
    /// The request waits for the file that answers it.
    Challenge,
}

impl Reason {
    /// Returns the failure that ends the exchange, if that is all there is to do.
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
            | Reason::Handshake
            | Reason::ProxyHeader
            | Reason::Idle
            | Reason::Opening
            | Reason::FirstByte
            | Reason::Linger
            | Reason::Delivery
            | Reason::Closing
            | Reason::Queue
            | Reason::Challenge => None,
        }
    }

    /// Returns true if only the kernel knows whether the peer has made progress.
    pub fn is_for_kernel(self) -> bool {
        matches!(self, Reason::Write | Reason::Response | Reason::Upload)
    }

    /// Returns the direction in which a minimum rate applies, if one does.
    pub fn direction(self) -> Option<Direction> {
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
    pub fn new(since: u64, wait: Duration, reason: Reason) -> Deadline {
        Deadline { since, wait: micros(wait), reason }
    }

    /// Returns a deadline at this time.
    pub fn at_time(at: u64, reason: Reason) -> Deadline {
        Deadline { since: at, wait: 0, reason }
    }

    pub fn at(&self) -> u64 {
        self.since.saturating_add(self.wait)
    }

    /// Returns when the wait began, if that is known.
    pub fn since(&self) -> Option<u64> {
        (self.wait > 0).then_some(self.since)
    }

    /// Returns when to check next: at the deadline, or several times before it if progress has to be polled or a
    /// minimum rate applies.
    pub fn next_check(&self, now: u64, min_rate: impl Fn(Direction) -> Option<MinRate>) -> u64 {
        let mut often = match self.reason {
            Reason::Delivery => DELIVERY_LOOK * CHECKS,
            reason if reason.is_for_kernel() => self.wait,
            _ => u64::MAX,
        };
        if let Some(demand) = self.reason.direction().and_then(min_rate) {
            often = often.min(demand.window);
        }
        self.at().min(now.saturating_add(often / CHECKS))
    }
}
