//! Per-connection state of a server connection, besides the socket and its buffers.

use std::rc::Rc;

use super::connection::{Connection, CountsTraffic};
use crate::balance::WorkerServer;
use crate::base::buffer::Traffic;
use crate::h1;
use crate::net::Either;
use crate::worker::backend::dedicated::Dedicated;
use crate::worker::pair::table::PairKey;
use crate::worker::time::timeouts::micros;

pub type Backend<S> = Connection<Either<S>, BackendSide>;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum BackendState {
    Connecting,
    /// The same without a request: it is to be idle.
    Opening,
    /// Connected; the transport's handshake is not finished.
    Handshaking,
    Busy,
    /// Passes the bytes of a connection through, whose TLS is the client's.
    Passing,
    /// Kept for its next request.
    Idle,
}

pub struct BackendSide {
    pub codec: h1::BackendCodec,
    pub server: Rc<WorkerServer>,
    /// `Server::endpoint_version` when the connection was opened.
    pub endpoint_version: u32,
    pub state: BackendState,
    pub pair: Option<PairKey>,
    /// Set if a PROXY header bound the connection to one client.
    pub dedicated: Option<Box<Dedicated>>,
    /// When the present state began, in microseconds.
    pub since: u64,
    /// Bytes of the present request were written to the socket.
    pub wrote: bool,
    /// The server keeps the connection open after the present response.
    pub keep_alive: bool,
    /// A write failed; the response may still be readable.
    pub write_failed: bool,
}

impl CountsTraffic for BackendSide {
    fn received(&self, bytes: usize, traffic: &mut Traffic) {
        traffic.server_in += bytes as u64;
    }

    fn sent(&mut self, bytes: usize, traffic: &mut Traffic) {
        self.wrote |= bytes > 0;
        traffic.server_out += bytes as u64;
    }
}

/// How long idle connections beyond `max_idle` are kept, in microseconds: with many requests in flight, responses arrive
/// together and the next requests follow shortly after.
pub const SURPLUS: u64 = 100_000;

impl BackendSide {
    /// For how long the connection may be idle, in microseconds.
    pub fn idle_limit(&self) -> u64 {
        micros(self.server.idle_timeout.get()).min(self.server.idle_limit.get())
    }

    /// Until when it may be.
    pub fn idle_until(&self) -> u64 {
        let limit = self.idle_limit();
        self.since.saturating_add(if self.is_surplus() { limit.min(SURPLUS) } else { limit })
    }

    /// It or another idle connection to the server is to be closed.
    pub fn is_surplus(&self) -> bool {
        self.state == BackendState::Idle && self.dedicated.is_none() && self.server.has_surplus()
    }

    /// Returns true if the connection may serve a further request, as far as its server goes.
    pub fn may_be_kept(&self) -> bool {
        self.server.may_keep(self.endpoint_version)
    }
}
