//! Internal requests: health checks, requests made by scripts, mirrored requests. Each is a client connection without a
//! socket (`net::inside`) with one request and a given route, and uses the same dial, retries, timeouts and pump as any
//! other. It is neither counted as a client nor written to the access log; its result goes to the caller.

use std::rc::Rc;
use std::sync::Arc;

use crate::balance::Server;
use crate::exchange::end::End;
use crate::exchange::{Failure, Peer};
use crate::h1::{BackendCodec, HeadLimits};
use crate::http::{Codec, Event, Fields, Method, Persistence, RequestHead, ResponseHead};
use crate::net::{Collected, Either, Inside, Network};
use crate::route::Route;
use crate::worker::conn::client::{Arrival, ClientSide};
use crate::worker::conn::connection::Connection;
use crate::worker::conn::table::ClientToken;
use crate::worker::core::{Core, Step};
use crate::worker::pair::table::PairKey;
use crate::worker::site::{SharedHandlers, Site};

/// An internal request.
pub struct InsideRequest {
    /// The name of its pool.
    pub pool: String,
    pub target: InsideTarget,
    pub method: Method,
    /// Head and body, encoded as HTTP/1.1.
    pub bytes: Vec<u8>,
    /// The maximum length of the response with head and framing, in bytes.
    pub most: usize,
    /// Called exactly once, in the middle of a turn: it must only store the result.
    pub done: Box<dyn FnOnce(InsideEnd)>,
}

/// Where an internal request goes.
pub enum InsideTarget {
    /// To the server that its pool's balancing picks.
    Pool,
    /// A script's request, on the site of the handler that makes it.
    Fetch(Box<Fetching>),
    /// The copy of another request, whose response nobody reads.
    Copy,
    /// The second try of the request that this client's connection has.
    Hedge { of: u64 },
    /// To this one, whatever its state, on a connection of its own.
    Check {
        server: Arc<Server>,
        /// Instead of the port of its address.
        port: Option<u16>,
        /// The request ends, whole, when the connection is established.
        only_connects: bool,
    },
}

/// A script's request, which goes on as its handler does where a reload takes the place of its site.
pub struct Fetching {
    pub route: Route,
    pub site: Rc<Site>,
    pub handlers: Option<SharedHandlers>,
    pub own_host: bool,
}

/// The result of an internal request.
pub struct InsideEnd {
    pub end: End,
    pub failure: Option<Failure>,
    /// The response, if complete, or the first part of one that is too long. Never one made by rsp on a failure.
    pub response: Option<Response>,
    /// The response exceeded the requested maximum.
    pub too_long: bool,
}

pub struct Response {
    pub head: ResponseHead,
    pub body: Vec<u8>,
}

/// The state of an internal request, held by its connection.
pub struct InsideSide {
    pub pool: String,
    pub target: InsideTarget,
    method: Method,
    done: Box<dyn FnOnce(InsideEnd)>,
    end: Option<(End, Option<Failure>)>,
}

impl InsideSide {
    pub fn new(target: InsideTarget, method: Method, done: impl FnOnce(InsideEnd) + 'static) -> InsideSide {
        InsideSide { pool: String::new(), target, method, done: Box::new(done), end: None }
    }

    pub fn ends(&mut self, end: End, failure: Option<Failure>) {
        self.end = Some((end, failure));
    }

    /// Calls `done` when the connection is closed.
    pub fn finish(self, collected: Collected) {
        let (end, failure) = self.end.unwrap_or((End::Stopped, Some(Failure::Stopped)));
        let came = end == End::Complete || collected.too_long;
        let response = came.then(|| decode(&collected.bytes, self.method, !collected.too_long)).flatten();
        (self.done)(InsideEnd { end, failure, response, too_long: collected.too_long });
    }
}

/// Decodes a complete response, or as much as there is of one whose head is complete; `None` if it is not one.
fn decode(mut bytes: &[u8], method: Method, whole: bool) -> Option<Response> {
    let (mut head, mut trailers) = (ResponseHead::default(), Fields::default());
    let (mut codec, mut body) = (BackendCodec::new(true), Vec::new());
    // The codec must know the method to decode the response.
    codec.encode_head(&RequestHead { method, ..RequestHead::default() }, Persistence::Close, &mut Vec::new());
    loop {
        let limits = HeadLimits { bytes: usize::MAX, fields: usize::MAX };
        let step = codec.decode(bytes, whole, usize::MAX, &limits, &mut head, &mut trailers).ok()?;
        let Some(step) = step else {
            return (!whole && head.status != 0).then_some(Response { head, body });
        };
        if let Event::Body(range) = &step.event {
            body.extend_from_slice(&bytes[range.clone()]);
        }
        bytes = &bytes[step.consumed..];
        if step.end {
            return Some(Response { head, body });
        }
    }
}

impl<N: Network> Core<N> {
    /// Starts a request. Returns a number to cancel it with, or `None` if rsp is draining: then it has already ended,
    /// unless a script's request that still runs needs it.
    pub fn request_inside(&mut self, request: InsideRequest) -> Option<u64> {
        let InsideRequest { pool, target, method, bytes, most, done } = request;
        let side = InsideSide { pool, target, method, done, end: None };
        if self.tools.draining && !matches!(side.target, InsideTarget::Fetch(_)) {
            side.finish(Collected::default());
            return None;
        }
        let token = self.connect_inside(Inside::new(bytes, most), side);
        self.clients[token.key].readable = true;
        self.queue_client(token.key);
        Some(token.to_bits())
    }

    /// Makes the connection of a request.
    pub(crate) fn connect_inside(&mut self, stream: Inside, side: InsideSide) -> ClientToken {
        let mut role = ClientSide::new(Peer::new(None, false), Arrival::Inside, false);
        role.set_inside(side);
        let token = self.clients.next_token();
        let stream = Either::Inside(stream);
        let key = self.clients.insert(Connection::new(stream, role, true, self.tools.now));
        self.inside += 1;
        self.watch_client(key);
        token
    }

    /// The connection of a check that needs no more than that is established.
    #[cold]
    pub(crate) fn finish_connect_only(&mut self, pair_key: PairKey) -> Step {
        let client_key = self.pairs[pair_key].client;
        self.detach(pair_key);
        self.close_client(client_key)
    }

    /// Cancels a request, unless it has ended.
    pub fn cancel_inside(&mut self, number: u64) {
        let token = ClientToken::from_bits(number);
        let Some(client) = self.clients.by_token(token) else { return };
        match client.role.pair {
            Some(pair) => {
                let phase = self.phase(pair);
                self.cut(pair, Failure::ClientGone, phase);
            }
            None => _ = self.close_client(token.key),
        }
    }
}
