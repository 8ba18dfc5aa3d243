//! Every timeout of the data path and its default. None can be switched off: a peer that stops must not hold
//! resources for ever.

use std::time::Duration;

/// Timeouts of the client side, and those that apply to all pools: `rsp.settings { timeouts = { … } }`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Timeouts {
    /// The TLS handshake of a client (`handshake`).
    pub handshake: Duration,
    /// The whole request head, from its first byte (`head`).
    pub head: Duration,
    /// Between two reads of a request body (`body`).
    pub body: Duration,
    /// A client connection without a request (`idle`).
    pub idle: Duration,
    /// A client that does not read what we write (`write`).
    pub write: Duration,
    /// A tunnel without traffic (`tunnel`).
    pub tunnel: Duration,
    /// Period over which the minimum rates are averaged (`rate`).
    pub rate: Duration,
}

impl Default for Timeouts {
    fn default() -> Timeouts {
        Timeouts {
            handshake: Duration::from_secs(10),
            head: Duration::from_secs(10),
            body: Duration::from_secs(30),
            idle: Duration::from_secs(60),
            write: Duration::from_secs(60),
            tunnel: Duration::from_secs(3600),
            rate: Duration::from_secs(30),
        }
    }
}

/// Timeouts of the backend side: `rsp.pool { timeouts = { … } }`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PoolTimeouts {
    /// Until a connection is established (`connect`).
    pub connect: Duration,
    /// From the request's end (or the last byte the server took) to the first byte of its response (`response`).
    pub response: Duration,
    /// Between two reads of a response (`gap`).
    pub gap: Duration,
    /// An idle connection kept for the next request (`idle`).
    pub idle: Duration,
}

impl Default for PoolTimeouts {
    fn default() -> PoolTimeouts {
        PoolTimeouts {
            connect: Duration::from_secs(3),
            response: Duration::from_secs(60),
            gap: Duration::from_secs(60),
            idle: Duration::from_secs(4),
        }
    }
}
