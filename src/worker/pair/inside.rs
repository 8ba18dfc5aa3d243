//! Requests that no client sent: health checks, requests that a script makes, copies of others. Each is a client's
//! connection that is no socket (`net::inside`), whose one request is given a route and takes the way of all others from
//! there on: dial, retries, timeouts, pump. It has no place among the clients that are counted, and no line in the access
//! log; its end goes to who asked for it.

use crate::exchange::end::End;
use crate::exchange::{Failure, Peer};
use crate::h1::{BackendCodec, HeadLimits};
use crate::http::{Codec, Event, Fields, Method, Persistence, RequestHead, ResponseHead};
use crate::net::{Collected, Either, Inside, Network};
use crate::worker::conn::client::{Arrival, ClientSide};
use crate::worker::conn::connection::Connection;
use crate::worker::conn::table::Token;
use crate::worker::core::Core;

/// A request to be made.
pub struct InsideRequest {
    /// The name of the pool that it goes to.
    pub pool: String,
    pub method: Method,
    /// Head and body as HTTP/1.1 writes them.
    pub bytes: Vec<u8>,
    /// The longest response that is of use, head and framing included, in bytes.
    pub most: usize,
    /// Called once, whatever becomes of it, in the middle of a turn: it may only take note.
    pub done: Box<dyn FnOnce(InsideEnd)>,
}

/// How such a request ended.
pub struct InsideEnd {
    pub end: End,
    pub failure: Option<Failure>,
    /// The response, if all of it came; without one, rsp has not answered in the server's place either.
    pub response: Option<Response>,
    /// The response was longer than was asked for.
    pub too_long: bool,
}

pub struct Response {
    pub head: ResponseHead,
    pub body: Vec<u8>,
}

/// What the connection of such a request holds of it.
pub struct InsideSide {
    pub pool: String,
    method: Method,
    done: Box<dyn FnOnce(InsideEnd)>,
    end: Option<(End, Option<Failure>)>,
}

impl InsideSide {
    pub fn ends(&mut self, end: End, failure: Option<Failure>) {
        self.end = Some((end, failure));
    }

    /// The connection is gone.
    pub fn finish(self, collected: Collected) {
        let (end, failure) = self.end.unwrap_or((End::Stopped, Some(Failure::Stopped)));
        let whole = end == End::Complete && !collected.too_long;
        let response = whole.then(|| decode(&collected.bytes, self.method)).flatten();
        (self.done)(InsideEnd { end, failure, response, too_long: collected.too_long });
    }
}

/// A whole response; `None` if it is none.
fn decode(mut bytes: &[u8], method: Method) -> Option<Response> {
    let (mut head, mut trailers) = (ResponseHead::default(), Fields::default());
    let (mut codec, mut body) = (BackendCodec::new(true), Vec::new());
    // It has to know what was asked.
    codec.encode_head(&RequestHead { method, ..RequestHead::default() }, Persistence::Close, &mut Vec::new());
    loop {
        let limits = HeadLimits { bytes: usize::MAX, fields: usize::MAX };
        let step = codec.decode(bytes, true, usize::MAX, &limits, &mut head, &mut trailers).ok()??;
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
    /// Makes a request. The number given cancels it; there is none where rsp is about to stop, and it has ended then.
    pub fn request_inside(&mut self, request: InsideRequest) -> Option<u64> {
        let InsideRequest { pool, method, bytes, most, done } = request;
        let side = InsideSide { pool, method, done, end: None };
        if self.tools.draining {
            side.finish(Collected::default());
            return None;
        }
        let stream = Either::Inside(Inside::new(bytes, most));
        let mut role = ClientSide::new(Peer::new(None, false), Arrival::Inside, false);
        role.set_inside(side);
        let token = self.clients.next_token();
        let mut connection = Connection::new(stream, role, true, self.tools.now);
        connection.readable = true;
        let key = self.clients.insert(connection);
        self.inside += 1;
        self.queue_client(key);
        self.watch_client(key);
        Some(token.to_bits())
    }

    /// Gives a request up, unless it has ended.
    pub fn cancel_inside(&mut self, number: u64) {
        let token = Token::from_bits(number);
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
