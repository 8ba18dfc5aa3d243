//! What is waited for, for how long, and what the end of a wait means. All in microseconds.

use std::time::Duration;

use crate::config::{Config, PoolTimeouts};
use crate::exchange::Failure;
use crate::worker::conn::linger;
use crate::worker::time::min_rate::{Direction, LOOKS, MinRate};

/// No deadline of a state that begins now comes up before this, whatever the state.
pub fn shortest(config: &Config) -> u64 {
    let timeouts = &config.settings.timeouts;
    let looked_at = timeouts.write.min(timeouts.rate).min(timeouts.body) / LOOKS as u32;
    let own = [timeouts.head, timeouts.body, timeouts.idle, timeouts.tunnel, looked_at].into_iter();
    let of_pools = config.pools.iter().map(|pool| shortest_of_pool(&pool.timeouts));
    own.chain(of_pools).map(micros).chain([linger::GAP]).min().unwrap_or(0)
}

fn shortest_of_pool(timeouts: &PoolTimeouts) -> Duration {
    timeouts.connect.min(timeouts.response / LOOKS as u32).min(timeouts.gap).min(timeouts.idle)
}

pub fn micros(wait: Duration) -> u64 {
    wait.as_secs().saturating_mul(1_000_000).saturating_add(wait.subsec_micros().into())
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
    pub fn new(since: u64, wait: Duration, reason: Reason) -> Deadline {
        Deadline { since, wait: micros(wait), reason }
    }

    /// One that ends at this time.
    pub fn at_time(at: u64, reason: Reason) -> Deadline {
        Deadline { since: at, wait: 0, reason }
    }

    pub fn at(&self) -> u64 {
        self.since.saturating_add(self.wait)
    }

    /// When to look next: at its end, or some times before where there may be progress that nobody reports, or too
    /// little of it.
    #[inline]
    pub fn next_look(&self, now: u64, min_rate: impl Fn(Direction) -> Option<MinRate>) -> u64 {
        let mut often = match self.reason {
            Reason::Delivery => DELIVERY_LOOK * LOOKS,
            reason if reason.is_for_kernel() => self.wait,
            _ => u64::MAX,
        };
        if let Some(demand) = self.reason.way().and_then(min_rate) {
            often = often.min(demand.window);
        }
        self.at().min(now.saturating_add(often / LOOKS))
    }
}
