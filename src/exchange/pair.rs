//! The exchange: two halves apart, joined by what happens between them.
//!
//! ```text
//!   request:   Body ──────────► Done                (a switch to a tunnel opens it again)
//!   response:  Waiting ─► Body ─► Done
//!                 └ interim heads pass, the state stays
//! ```
//!
//! The worker moves the bytes and tells the exchange what came; the exchange says what that means: pass it on,
//! answer, try again, cut. It is over when the response is done and written.

use std::net::SocketAddr;

use super::end::{Phase, Side};
use super::failure::Failure;
use super::id::Id;
use super::record::{End, NEVER, Times};
use crate::http::{Name, Persistence, RequestHead, ResponseHead, Scheme, Version};

#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum RequestHalf {
    /// Its body is on the way (or, in a tunnel, the client's bytes).
    Body,
    #[default]
    Done,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum ResponseHalf {
    /// No final response head yet.
    #[default]
    Waiting,
    Body,
    /// All of it is in the client's output.
    Done,
}

/// What a response head is to the exchange.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ResponseStep {
    /// A 1xx; another head follows. An HTTP/1.0 client must not see it.
    Interim {
        pass: bool,
    },
    /// 101: from here on it is a tunnel.
    Switch,
    Final,
}

/// What is to be done about a failure.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Next {
    /// Once more, to the same server, on a new connection.
    Fresh,
    /// To another server.
    Another,
    /// Tell the client.
    Answer,
    /// Something was sent already, or nobody is there: close so that it looks cut.
    Cut,
}

/// Interim responses one request may get; more look like a server gone wild.
const MAX_INTERIM: u8 = 100;

#[derive(Default)]
pub struct Exchange {
    pub head: RequestHead,
    pub id: Id,
    /// Who asks, as far as that is believed; the port is 0 where it is not known. `None` on a Unix socket.
    pub client: Option<SocketAddr>,
    /// Over which the client asks.
    pub scheme: Scheme,
    pub request: RequestHalf,
    pub response: ResponseHalf,
    /// Both directions are bytes until each side closes.
    pub tunnel: bool,
    /// The client sent no `Host`: the one that stands in the head is ours, and names the server of the present try.
    pub own_host: bool,
    /// The connection to the server had carried a request before.
    pub reused: bool,
    /// The try on a fresh connection was used up.
    retried: bool,
    /// Body bytes were taken from the client: they cannot be sent a second time.
    pub body_taken: bool,
    /// When the server asked for the body that the client holds back.
    pub asked_for_body: Option<u64>,
    /// Bytes of a final response are in the client's output or further.
    pub begun: bool,
    /// The client's connection closes after this.
    pub close_client: bool,
    interim: u8,
    pub status: u16,
    /// How it ends, once that is not simply complete.
    pub end: End,
    /// How far it had come by then.
    pub phase: Phase,
    pub times: Times,
    pub sent: u64,
    pub received: u64,
    pub retries: u8,
}

impl Exchange {
    #[cfg(test)]
    fn new(head: RequestHead, whole: bool, start: u64) -> Exchange {
        let mut exchange = Exchange { head, ..Exchange::default() };
        exchange.begin(whole, start);
        exchange
    }

    /// A request head has arrived; `whole` if nothing follows it. Makes everything but the head new, so that the
    /// place of an exchange that ended can be used again.
    pub fn begin(&mut self, whole: bool, start: u64) {
        // Every field by its name: one that is added later must be thought of here.
        let Exchange {
            head: _,
            id,
            client,
            scheme,
            request,
            response,
            tunnel,
            own_host,
            reused,
            retried,
            body_taken,
            asked_for_body,
            begun,
            close_client,
            interim,
            status,
            end,
            phase,
            times,
            sent,
            received,
            retries,
        } = self;
        id.clear();
        (*client, *scheme) = (None, Scheme::default());
        *request = if whole { RequestHalf::Done } else { RequestHalf::Body };
        *response = ResponseHalf::Waiting;
        *times = Times { start, ..Times::default() };
        (*end, *phase) = (End::default(), Phase::default());
        (*tunnel, *own_host, *reused, *retried, *body_taken) = (false, false, false, false, false);
        (*asked_for_body, *begun, *close_client) = (None, false, false);
        (*interim, *status, *retries) = (0, 0, 0);
        (*sent, *received) = (0, 0);
    }

    /// What to make of a response head that arrived.
    pub fn response_head(&mut self, head: &ResponseHead) -> Result<ResponseStep, Failure> {
        if head.status == 101 {
            // The codec lets it pass only where an upgrade was asked for.
            self.tunnel = true;
            self.request = RequestHalf::Body;
            self.response_begins(101);
            return Ok(ResponseStep::Switch);
        }
        if head.is_interim() {
            self.interim += 1;
            if self.interim > MAX_INTERIM {
                return Err(Failure::TooManyInterim);
            }
            return Ok(ResponseStep::Interim { pass: self.head.version != Version::Http10 });
        }
        self.response_begins(head.status);
        Ok(ResponseStep::Final)
    }

    fn response_begins(&mut self, status: u16) {
        self.response = ResponseHalf::Body;
        self.status = status;
    }

    /// What the response tells the client about its connection.
    pub fn persistence(&self, draining: bool) -> Persistence {
        if self.close_client || draining || !self.head.keep_alive {
            Persistence::Close
        } else if self.head.version == Version::Http10 {
            Persistence::KeepExplicit
        } else {
            Persistence::Keep
        }
    }

    /// Decides about a failure. `wrote`: bytes of this request went to the server's socket.
    pub fn failed(&mut self, failure: Failure, wrote: bool) -> Next {
        if self.begun || failure.status() == 0 {
            return Next::Cut;
        }
        if failure.side() == Side::Server && !self.body_taken {
            if failure.is_connect_failure() {
                return Next::Another;
            }
            if self.may_retry(failure, wrote) {
                self.retried = true;
                return Next::Fresh;
            }
        }
        Next::Answer
    }

    /// A connection that was kept for reuse may die as the request arrives. Once, and only if the server cannot
    /// have acted on the request or doing so twice makes no difference, it is tried again.
    fn may_retry(&self, failure: Failure, wrote: bool) -> bool {
        failure.end() == End::ServerClosed
            && self.reused
            && !self.retried
            && self.times.first_byte == NEVER
            && (!wrote || self.head.method.is_idempotent())
    }

    /// Gives the request the name of the server it goes to now, where the client named none.
    pub fn name_host(&mut self, server: &str) {
        self.own_host = true;
        self.head.fields.remove(b"Host");
        self.head.fields.prepend(b"Host", server.as_bytes());
    }

    /// The client waits for the server's word before it sends its body (RFC 9110 section 10.1.1): as long as nothing
    /// of that has come, the server is the one everybody waits for.
    pub fn awaits_leave(&self) -> bool {
        self.request == RequestHalf::Body
            && self.response == ResponseHalf::Waiting
            && self.asked_for_body.is_none()
            && !self.body_taken
            && self.head.fields.get(Name::Expect).is_some_and(|e| e.eq_ignore_ascii_case(b"100-continue"))
    }

    /// It ends otherwise than well. What comes after the first reason (a client that does not wait for the answer
    /// that tells it) is a consequence and does not replace it.
    pub fn ends(&mut self, end: End, phase: Phase) {
        if self.end.is_normal() {
            (self.end, self.phase) = (end, phase);
        }
    }

    /// Nothing more will be read from the server nor sent to it.
    pub fn is_response_done(&self) -> bool {
        self.response == ResponseHalf::Done && (!self.tunnel || self.request == RequestHalf::Done)
    }

    /// Microseconds from the start, as the record counts them.
    pub fn elapsed(&self, now: u64) -> u32 {
        now.saturating_sub(self.times.start).min(NEVER as u64 - 1) as u32
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::{Fault, Method};

    fn exchange(method: Method) -> Exchange {
        Exchange::new(RequestHead { method, keep_alive: true, ..RequestHead::default() }, true, 0)
    }

    #[test]
    fn a_connect_failure_goes_to_another_server_whatever_the_method() {
        let refused = Failure::of_connect(&std::io::ErrorKind::ConnectionRefused.into());
        for method in [Method::Get, Method::Post] {
            assert_eq!(exchange(method).failed(refused, false), Next::Another);
            assert_eq!(exchange(method).failed(Failure::ConnectTimeout, false), Next::Another);
        }
    }

    #[test]
    fn a_reused_connection_that_died_is_tried_once_on_a_fresh_one_if_that_is_safe() {
        let closed = Failure::ServerClosed;
        let reused = |method| Exchange { reused: true, ..exchange(method) };
        let mut get = reused(Method::Get);
        assert_eq!(get.failed(closed, true), Next::Fresh);
        assert_eq!(get.failed(closed, true), Next::Answer, "only once");
        assert_eq!(exchange(Method::Get).failed(closed, true), Next::Answer, "not a reused one");
        assert_eq!(reused(Method::Post).failed(closed, true), Next::Answer);
        assert_eq!(reused(Method::Post).failed(closed, false), Next::Fresh, "nothing was written");
        let mut put = reused(Method::Put);
        put.body_taken = true;
        assert_eq!(put.failed(closed, true), Next::Answer, "the body is gone");
        let mut late = reused(Method::Get);
        late.times.first_byte = 5;
        assert_eq!(late.failed(closed, true), Next::Answer, "it had begun to respond");
        assert_eq!(reused(Method::Get).failed(Failure::ResponseTimeout, true), Next::Answer);
    }

    #[test]
    fn after_the_first_byte_a_failure_is_a_cut_and_before_it_an_answer() {
        let mut x = exchange(Method::Get);
        assert_eq!(x.failed(Failure::of_request(Fault::Chunk), true), Next::Answer);
        assert_eq!(x.failed(Failure::ClientGone, true), Next::Cut);
        x.begun = true;
        assert_eq!(x.failed(Failure::ResponseCut, true), Next::Cut);
    }

    #[test]
    fn interim_heads_pass_but_not_to_http_10_and_not_without_bound() {
        let head = ResponseHead { status: 103, ..ResponseHead::default() };
        let mut x = exchange(Method::Get);
        for _ in 0..MAX_INTERIM {
            assert_eq!(x.response_head(&head), Ok(ResponseStep::Interim { pass: true }));
        }
        assert_eq!(x.response_head(&head), Err(Failure::TooManyInterim));
        let mut old = exchange(Method::Get);
        old.head.version = Version::Http10;
        assert_eq!(old.response_head(&head), Ok(ResponseStep::Interim { pass: false }));
        assert_eq!(old.persistence(false), Persistence::KeepExplicit);
        assert_eq!(old.persistence(true), Persistence::Close);
    }
}
