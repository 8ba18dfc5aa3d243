//! Requests that no client sends, and the oracle of what becomes of them: each ends once, and a response that is given
//! out is whole.

use std::cell::RefCell;
use std::rc::Rc;

use rsp::exchange::end::End;
use rsp::http::Method;
use rsp::worker::{InsideEnd, InsideRequest, InsideTarget};

use crate::client::write_request;
use crate::plan::{Body, Ledger, Request, Verb, response_key};
use crate::rng::{Rng, body};

#[derive(Default)]
pub struct Asked {
    /// When requests are made, the first one last, and whether each is soon given up.
    coming: Vec<(u64, bool)>,
    first_id: u64,
    made: u64,
    ended: Rc<RefCell<Vec<(Request, InsideEnd)>>>,
    seen: u64,
    /// Those to be cancelled, and when.
    pub cancels: Vec<(u64, u64)>,
}

impl Asked {
    pub fn new(rng: &mut Rng, first_id: u64, honest: bool) -> Asked {
        let mut coming = Vec::new();
        if rng.one_in(4) {
            coming.extend((0..rng.upto(3)).map(|_| (rng.below(300_000) as u64, !honest && rng.one_in(4))));
        }
        coming.sort_unstable_by(|a, b| b.cmp(a));
        Asked { coming, first_id, ..Asked::default() }
    }

    pub fn next_at(&self) -> Option<u64> {
        let cancels = self.cancels.iter().map(|(at, _)| *at);
        self.coming.last().map(|(at, _)| *at).into_iter().chain(cancels).min()
    }

    /// A request that is due, and whether it is to be given up.
    pub fn due(&mut self, now: u64, rng: &mut Rng, ledger: &mut Ledger) -> Option<(Request, bool)> {
        let (_, cancel) = self.coming.pop_if(|(at, _)| *at <= now)?;
        let verb = rng.pick(&[Verb::Get, Verb::Head, Verb::Put]);
        let body = if verb == Verb::Put { Body::Length(rng.size()) } else { Body::None };
        let request = Request {
            id: self.first_id + self.made,
            verb,
            old: false,
            keep: true,
            body,
            waits: false,
            trailers: false,
            ahead: 0,
            pad: 0,
            page: None,
            inside: true,
            held: false,
            kept: false,
        };
        ledger.add(&[request]);
        self.made += 1;
        Some((request, cancel))
    }

    pub fn make(&self, request: Request) -> InsideRequest {
        let mut bytes = Vec::new();
        write_request(&request, false, &mut bytes);
        let method = match request.verb {
            Verb::Get => Method::Get,
            Verb::Head => Method::Head,
            _ => Method::Put,
        };
        let ended = self.ended.clone();
        let done = Box::new(move |end| ended.borrow_mut().push((request, end)));
        InsideRequest { pool: "pool1".into(), target: InsideTarget::Pool, method, bytes, most: 1 << 20, done }
    }

    /// Looks at those that ended.
    pub fn check(&mut self, ledger: &mut Ledger) {
        for (request, end) in self.ended.borrow_mut().drain(..) {
            self.seen += 1;
            let served = end.response.is_some();
            assert_eq!(served, end.end == End::Complete, "{:?} of {request:?}", end.end);
            let Some(response) = end.response else {
                assert!(!ledger.honest || ledger.stopped || ledger.draining, "{:?} of {request:?}", end.end);
                continue;
            };
            let field = |name: &[u8]| {
                let value = response.head.fields.get_by_name(name).expect("a field of the server's");
                String::from_utf8_lossy(value).parse::<u64>().expect("a number")
            };
            let (id, attempt) = (field(b"x-id"), field(b"x-attempt") as usize);
            assert_eq!(id, request.id, "the response of another request");
            assert!(ledger.was_sent_whole(id, attempt), "a response that is not whole: {request:?}");
            let length = if request.verb == Verb::Head { 0 } else { ledger.reply(id, attempt).len };
            assert!(response.body == body(response_key(id, attempt), length), "{request:?}");
        }
    }

    /// Some have been made and not ended.
    pub fn is_waiting(&self) -> bool {
        self.seen < self.made
    }

    pub fn is_over(&self) -> bool {
        self.coming.is_empty() && self.seen == self.made
    }
}
