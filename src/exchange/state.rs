//! The exchange: two halves apart, joined by what happens between them.
//!
//! ```text
//!   request:   BodyPending ─► Body ─► Done          (NoBody: a switch to a tunnel opens it again)
//!                └──────────────┴─► Ending          (the response ends it, whole or not)
//!   response:  Waiting ─► Body ─► Done           (InHandler: between the two, while a handler waits)
//!                 │         └───► Cut              (the rest will never come)
//!                 └ interim heads pass, the state stays
//! ```
//!
//! The worker moves the bytes and tells the exchange what came; the exchange says what that means: pass it on,
//! answer, try again, deliver what came and end, cut. It is over when the response is done and written, and the
//! request's body has gone on to the server: one that answers early still gets all of it (RFC 9112 section 9.3).

use std::rc::Rc;

use super::end::Phase;
use super::failure::Failure;
use super::id::Id;
use super::listener_context::ListenerContext;
use super::record::{End, NEVER, Times};
use super::retry::Tries;
use crate::base::ip_port::IpPort;
use crate::http::{Fault, Name, Persistence, RequestHead, ResponseHead, Scheme, Version};
use crate::store::Place;

#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum RequestHalf {
    /// Nothing follows the head.
    #[default]
    NoBody,
    /// A body follows, of which nothing was taken yet: the request can be sent again.
    BodyPending,
    /// Its body is on the way (or, in a tunnel, the client's bytes).
    Body,
    /// The body goes on only until the response is complete.
    Ending,
    /// All of its body was taken.
    Done,
}

impl RequestHalf {
    /// More of it may come.
    pub fn is_open(self) -> bool {
        matches!(self, RequestHalf::BodyPending | RequestHalf::Body | RequestHalf::Ending)
    }

    /// Body bytes were taken from the client: they cannot be sent a second time.
    pub fn is_taken(self) -> bool {
        matches!(self, RequestHalf::Body | RequestHalf::Ending | RequestHalf::Done)
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum ResponseHalf {
    /// No final response head yet.
    #[default]
    Waiting,
    /// The script's handler waits with the final head.
    InHandler,
    Body,
    /// All of it is in the client's output.
    Done,
    /// What came of it is in the client's output; the server will send no more.
    Cut,
}

impl ResponseHalf {
    /// More of it may be read from the server.
    pub fn takes_more(self) -> bool {
        !matches!(self, ResponseHalf::Done | ResponseHalf::InHandler)
    }
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

/// Interim responses one request may get: a server that sends more is faulty.
const MAX_INTERIM: u8 = 100;

#[derive(Default)]
pub struct Exchange {
    pub head: RequestHead,
    /// The head before the script ran, for a fallback pool.
    pub original: Option<Box<OriginalHead>>,
    pub id: Id,
    /// The client's address, from its connection or a trusted proxy; the port is 0 if unknown. `None` on a Unix socket.
    pub client: Option<IpPort>,
    /// Of the request's URI.
    pub scheme: Scheme,
    /// Its listener, if that speaks TLS or redirects to it.
    pub listener_context: Option<Rc<ListenerContext>>,
    /// The number of its listener in this worker.
    pub listener: u8,
    pub request: RequestHalf,
    pub response: ResponseHalf,
    /// The client sent no `Host`: the one in the head was added by rsp and names the server of the present try.
    pub own_host: bool,
    pub tries: Tries,
    /// When the client was told to send the body that it held back, with a 100 (Continue).
    pub continue_at: Option<u64>,
    /// The client's connection closes after this exchange.
    pub close_client: bool,
    interim: u8,
    pub status: u16,
    /// The response is rsp's own or the script's, and no server's.
    pub answered_here: bool,
    /// Why it ended; `Complete` until something else is known.
    pub end: End,
    /// The phase in which it ended, if abnormally.
    pub phase: Phase,
    /// The failure that ended it, if one did.
    pub failure: Option<Failure>,
    pub times: Times,
    /// The servers tried before the last one, each with why it was left: `app1:server-refused,app2:server-closed`.
    pub attempts: Vec<u8>,
    /// How many requests were before it in queues: of one server, and of its pool.
    pub waited_behind: [u16; 2],
    /// Bytes of heads that went to the client.
    pub sent_heads: u32,
    pub sent: u64,
    pub received: u64,
    /// Its places in `rsp.concurrency`, held until it ends.
    pub places: Vec<Place>,
}

/// A copy of a head, whose storage is used again.
#[derive(Default)]
pub struct OriginalHead {
    pub head: RequestHead,
    /// It is that of this request, and not of an earlier one.
    is_kept: bool,
}

impl Exchange {
    #[cfg(test)]
    fn new(head: RequestHead, whole: bool, start: u64) -> Exchange {
        let mut exchange = Exchange { head, ..Exchange::default() };
        exchange.begin(whole, start);
        exchange
    }

    /// A request head has arrived; `whole` if nothing follows it. Makes everything but the head new, so that the
    /// place of an exchange that ended can be used again. Every field by its name: one that is added later must be
    /// thought of here.
    #[inline(always)]
    pub fn begin(&mut self, whole: bool, start: u64) {
        let Exchange {
            head: _,
            original,
            id,
            client,
            scheme,
            listener_context,
            listener: _,
            request,
            response,
            own_host,
            tries,
            continue_at,
            close_client,
            interim,
            status,
            answered_here,
            end,
            phase,
            failure,
            times,
            attempts,
            waited_behind,
            sent_heads,
            sent,
            received,
            places,
        } = self;
        debug_assert!(places.is_empty(), "left by the exchange before");
        original.iter_mut().for_each(|original| original.is_kept = false);
        id.clear();
        attempts.clear();
        (*client, *scheme, *listener_context, *continue_at) = (None, Scheme::default(), None, None);
        *request = if whole { RequestHalf::NoBody } else { RequestHalf::BodyPending };
        (*response, *times) = (ResponseHalf::Waiting, Times { start, ..Times::default() });
        (*end, *phase, *failure, *tries) = (End::default(), Phase::default(), None, Tries::default());
        (*own_host, *close_client, *answered_here) = (false, false, false);
        (*interim, *status, *sent_heads, *sent, *received, *waited_behind) = (0, 0, 0, 0, 0, [0; 2]);
    }

    /// Saves the head as it is now, for `restore_head`.
    pub fn save_original_head(&mut self) {
        let original = self.original.get_or_insert_default();
        original.head.copy_from(&self.head);
        original.is_kept = true;
    }

    /// The head becomes what it was when it was saved, if it was. A body that was asked for since is not asked for again.
    pub fn restore_head(&mut self) {
        let Some(original) = self.original.as_ref().filter(|original| original.is_kept) else { return };
        let expects = self.head.fields.has(Name::Expect);
        self.head.copy_from(&original.head);
        if !expects {
            self.head.fields.remove_where(|tag, _| tag == Name::Expect);
        }
    }

    /// Says what a response head means for the exchange.
    pub fn response_head(&mut self, head: &ResponseHead) -> Result<ResponseStep, Failure> {
        if head.status == 101 {
            // RFC 9110 section 7.8: only to a protocol that was requested, and after the whole request.
            if self.request.is_open() || !self.head.accepts_upgrade(head) {
                return Err(Failure::of_response(Fault::Status));
            }
            return Ok(ResponseStep::Switch);
        }
        if head.is_interim() {
            self.interim += 1;
            if self.interim > MAX_INTERIM {
                return Err(Failure::TooManyInterim);
            }
            return Ok(ResponseStep::Interim { pass: self.head.version != Version::Http10 });
        }
        Ok(ResponseStep::Final)
    }

    /// The final head goes to the client: from here on a failure cannot be answered any more.
    pub fn begin_response(&mut self, head: &ResponseHead) {
        (self.response, self.status) = (ResponseHalf::Body, head.status);
        if self.request.is_open() && self.ends_request(head) {
            self.end_with_response();
        }
    }

    /// The 101 goes to the client: both directions are bytes until each side closes.
    pub fn begin_tunnel(&mut self) {
        (self.request, self.response, self.status) = (RequestHalf::Body, ResponseHalf::Body, 101);
        self.close_client = true;
    }

    /// It is a connection whose TLS goes to the server as it comes: there is no request.
    pub fn passes_through(&self) -> bool {
        self.listener_context.as_ref().is_some_and(|listener_context| listener_context.passes_through())
    }

    /// Bytes of a final response are in the client's output or further.
    pub fn has_begun(&self) -> bool {
        !matches!(self.response, ResponseHalf::Waiting | ResponseHalf::InHandler)
    }

    /// Part of the request's body was taken from the client, or its end.
    pub fn take_body(&mut self, end: bool) {
        self.request = match self.request {
            _ if end => RequestHalf::Done,
            RequestHalf::Ending => RequestHalf::Ending,
            _ => RequestHalf::Body,
        };
    }

    /// The body is held whole: it goes to the next server from its beginning.
    pub fn begin_body_again(&mut self) {
        (self.request, self.tries.keeps_body) = (RequestHalf::BodyPending, true);
    }

    /// Whether a response that comes before the request's body is whole ends that body too: the server will close,
    /// or the client holds the body back and would have to send it for nothing.
    fn ends_request(&self, head: &ResponseHead) -> bool {
        !head.keep_alive || self.continue_at.is_none() && self.expects_continue()
    }

    /// The request's body ends with the response, whole or not, so the client's connection cannot go on.
    pub fn end_with_response(&mut self) {
        if self.request.is_open() {
            self.request = RequestHalf::Ending;
        }
        self.close_client = true;
    }

    /// No byte of a response has come. Empty lines before it do not count.
    pub fn is_unanswered(&self) -> bool {
        self.response == ResponseHalf::Waiting && self.interim == 0
    }

    /// What the response tells the client about its connection.
    pub fn persistence(&self, draining: bool) -> Persistence {
        if self.close_client || draining || !self.head.keep_alive {
            Persistence::Close
        } else {
            Persistence::Keep
        }
    }

    /// The rest of the response will never come. What came goes to the client, whose connection then ends.
    pub fn cut_response(&mut self) {
        if self.response != ResponseHalf::Done {
            self.response = ResponseHalf::Cut;
        }
        self.end_with_response();
    }

    /// Gives the request the name of the server it goes to now, where the client named none.
    pub fn name_host(&mut self, server: &str) {
        self.own_host = true;
        self.head.fields.remove(b"Host");
        self.head.fields.prepend(b"Host", server.as_bytes());
    }

    /// The request's trailers end here, so nothing announces them to the server.
    pub fn remove_trailer_field(&mut self) {
        if self.head.fields.has(Name::Trailer) {
            self.head.fields.remove_where(|tag, _| tag == Name::Trailer);
        }
    }

    /// The client waits for a 100 (Continue) before it sends its body (RFC 9110 section 10.1.1). Until some of the body
    /// has come, the server is waited for and not the client.
    pub fn awaits_continue(&self) -> bool {
        self.request == RequestHalf::BodyPending
            && self.response == ResponseHalf::Waiting
            && self.continue_at.is_none()
            && self.expects_continue()
    }

    fn expects_continue(&self) -> bool {
        self.head.fields.get(Name::Expect).is_some_and(|e| e.eq_ignore_ascii_case(b"100-continue"))
    }

    /// Notes an abnormal end. The first reason stays: a later one, such as a client that does not wait for the error
    /// answer, is its consequence.
    pub fn ends(&mut self, failure: Failure, phase: Phase) {
        if self.end.is_normal() {
            (self.end, self.phase, self.failure) = (failure.end(), phase, Some(failure));
        }
    }

    /// The status for the log: that of the answer, or the one that stands for this end where there was none.
    pub fn logged_status(&self) -> u16 {
        if self.status == 0 { self.end.unanswered() } else { self.status }
    }

    /// Nothing more will be read from the server nor sent to it.
    pub fn is_over(&self) -> bool {
        match self.response {
            ResponseHalf::Done => !matches!(self.request, RequestHalf::BodyPending | RequestHalf::Body),
            ResponseHalf::Cut => true,
            ResponseHalf::Waiting | ResponseHalf::InHandler | ResponseHalf::Body => false,
        }
    }

    /// A server was tried and left.
    pub fn note_attempt(&mut self, server: &str, why: &str) {
        if !self.attempts.is_empty() {
            self.attempts.push(b',');
        }
        self.attempts.extend_from_slice(server.as_bytes());
        self.attempts.push(b':');
        self.attempts.extend_from_slice(why.as_bytes());
    }

    /// Another server is tried: forgets what was measured with the one before.
    pub fn forget_server(&mut self) {
        (self.times.connected, self.times.first_byte) = (NEVER, NEVER);
    }

    /// Microseconds from the start, as the record counts them.
    pub fn elapsed(&self, now: u64) -> u32 {
        now.saturating_sub(self.times.start).min(NEVER as u64 - 1) as u32
    }
}

#[cfg(test)]
mod tests {
    use super::super::retry::FailureAction;
    use super::*;
    use crate::http::Method;

    fn exchange(method: Method) -> Exchange {
        Exchange::new(RequestHead { method, keep_alive: true, ..RequestHead::default() }, true, 0)
    }

    #[test]
    fn a_connect_failure_goes_to_another_server_whatever_the_method() {
        let refused = Failure::of_connect(&std::io::ErrorKind::ConnectionRefused.into());
        for method in [Method::Get, Method::Post] {
            assert_eq!(exchange(method).decide_failure(refused, false), FailureAction::OtherServer);
            assert_eq!(
                exchange(method).decide_failure(Failure::ConnectTimeout, false),
                FailureAction::OtherServer
            );
        }
    }

    #[test]
    fn a_reused_connection_that_died_is_tried_once_on_a_fresh_one_if_that_is_safe() {
        let closed = Failure::ServerClosed;
        let reused = |method| {
            let mut x = exchange(method);
            x.tries.reused = true;
            x
        };
        let mut get = reused(Method::Get);
        assert_eq!(get.decide_failure(closed, true), FailureAction::NewConnection);
        assert_ne!(get.decide_failure(closed, true), FailureAction::NewConnection, "only once");
        assert_eq!(reused(Method::Post).decide_failure(closed, true), FailureAction::Answer);
        assert_eq!(
            reused(Method::Post).decide_failure(closed, false),
            FailureAction::NewConnection,
            "nothing was written"
        );
        let mut put = reused(Method::Put);
        put.request = RequestHalf::Body;
        assert_eq!(put.decide_failure(closed, true), FailureAction::Answer, "the body is gone");
        let mut late = reused(Method::Get);
        late.times.first_byte = 5;
        assert_eq!(late.decide_failure(closed, true), FailureAction::Answer, "it had begun to respond");
        assert_eq!(reused(Method::Get).decide_failure(Failure::ResponseTimeout, true), FailureAction::Answer);
    }

    #[test]
    fn a_head_that_was_kept_is_restored_and_never_that_of_an_earlier_request() {
        let with = |x: &mut Exchange, name: &[u8]| x.head.fields.append(name, b"1");
        let mut x = exchange(Method::Get);
        with(&mut x, b"A");
        x.save_original_head();
        with(&mut x, b"B");
        x.restore_head();
        assert!(x.head.fields.get_by_name(b"A").is_some() && x.head.fields.get_by_name(b"B").is_none());
        x.begin(true, 0);
        with(&mut x, b"C");
        x.restore_head();
        assert!(x.head.fields.get_by_name(b"C").is_some(), "nothing of this one was kept");
    }

    #[test]
    fn a_request_whose_body_is_kept_is_tried_again_like_one_without() {
        let closed = Failure::ServerClosed;
        let kept = |method| {
            let mut x = exchange(method);
            x.request = RequestHalf::Done;
            x.begin_body_again();
            x
        };
        assert_eq!(kept(Method::Put).decide_failure(closed, true), FailureAction::OtherServer);
        assert_eq!(kept(Method::Post).decide_failure(closed, true), FailureAction::Answer);
        let mut reused = kept(Method::Put);
        reused.tries.reused = true;
        assert_eq!(reused.decide_failure(closed, true), FailureAction::NewConnection);
        let mut held_back = exchange(Method::Put);
        held_back.request = RequestHalf::BodyPending;
        assert_eq!(held_back.decide_failure(closed, true), FailureAction::Answer, "nothing is kept of it");
    }

    #[test]
    fn a_new_connection_that_closed_is_followed_by_another_server_if_the_request_has_no_body() {
        let closed = Failure::ServerClosed;
        assert_eq!(exchange(Method::Get).decide_failure(closed, true), FailureAction::OtherServer);
        assert_eq!(exchange(Method::Post).decide_failure(closed, true), FailureAction::Answer);
        assert_eq!(
            exchange(Method::Get).decide_failure(Failure::ResponseTimeout, true),
            FailureAction::Answer
        );
        let mut probe = exchange(Method::Get);
        probe.tries.probe = true;
        assert_eq!(probe.decide_failure(Failure::ResponseTimeout, true), FailureAction::OtherServer);
        let head = RequestHead { method: Method::Put, ..RequestHead::default() };
        assert_eq!(
            Exchange::new(head, false, 0).decide_failure(closed, true),
            FailureAction::Answer,
            "its body is on the way"
        );
        let mut begun = exchange(Method::Get);
        begun.times.first_byte = 5;
        assert_eq!(begun.decide_failure(closed, true), FailureAction::Answer, "it had begun to respond");
    }

    #[test]
    fn once_a_response_began_what_came_of_it_is_delivered_and_before_that_a_failure_is_an_answer() {
        let mut x = exchange(Method::Get);
        assert_eq!(x.decide_failure(Failure::of_request(Fault::Chunk), true), FailureAction::Answer);
        assert_eq!(x.decide_failure(Failure::ClientGone, true), FailureAction::Cut);
        x.begin_response(&ResponseHead { status: 200, keep_alive: true, ..ResponseHead::default() });
        assert_eq!(x.decide_failure(Failure::ResponseCut, true), FailureAction::Deliver);
        assert_eq!(x.decide_failure(Failure::ClientGone, true), FailureAction::Cut);
    }

    #[test]
    fn a_response_before_the_requests_end_leaves_the_body_on_its_way_unless_the_connection_is_to_close() {
        let early = |keep_alive, expect: &[u8]| {
            let mut head = RequestHead { keep_alive: true, ..RequestHead::default() };
            head.fields.append(b"Expect", expect);
            let mut x = Exchange::new(head, false, 0);
            let response = ResponseHead { status: 200, keep_alive, ..ResponseHead::default() };
            assert_eq!(x.response_head(&response), Ok(ResponseStep::Final));
            x.begin_response(&response);
            x.response = ResponseHalf::Done;
            (x.is_over(), x.close_client)
        };
        assert_eq!(early(true, b""), (false, false));
        assert_eq!(early(false, b""), (true, true));
        assert_eq!(early(true, b"100-continue"), (true, true));
    }

    #[test]
    fn a_101_counts_only_for_what_was_asked_and_once_the_request_is_whole() {
        let asking = |protocol: &str, request| {
            let mut x = exchange(Method::Post);
            x.head.upgrade = true;
            x.head.fields.append(b"Upgrade", protocol.as_bytes());
            x.request = request;
            x
        };
        let switch = |protocol: &str| {
            let mut head = ResponseHead { status: 101, upgrade: true, ..ResponseHead::default() };
            head.fields.append(b"Upgrade", protocol.as_bytes());
            head
        };
        let refused = Err(Failure::of_response(Fault::Status));
        for (asked, given, request, step) in [
            ("tcp", "TCP", RequestHalf::NoBody, Ok(ResponseStep::Switch)),
            ("tcp", "tcp", RequestHalf::Body, refused),
            ("tcp", "websocket", RequestHalf::Done, refused),
            ("websocket", "tcp", RequestHalf::Done, refused),
        ] {
            let mut x = asking(asked, request);
            assert_eq!(x.response_head(&switch(given)), step, "{asked} {given} {request:?}");
        }
        let mut unasked = asking("tcp", RequestHalf::Done);
        unasked.head.upgrade = false;
        assert_eq!(unasked.response_head(&switch("tcp")), refused);
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
        assert_eq!(old.persistence(false), Persistence::Keep);
        assert_eq!(old.persistence(true), Persistence::Close);
    }
}
