//! One request with its two connections: a client and, once dialed, a backend.
//!
//! ```text
//! request.rs      from a client's bytes to a pair, and the routing decision
//! pump.rs         moves the bytes of a pair: to_server.rs, to_client.rs, answer_body.rs
//! splice.rs       moves large bodies in the kernel, through pipes.rs
//! closed.rs       what a closed connection means for its exchange
//! inside.rs       internal requests
//! finish.rs       ends of exchanges; access_record.rs: counter and access record
//! script_errors.rs logging of script failures
//! ```

pub(crate) mod access_record;
pub(crate) mod answer_body;
pub(crate) mod closed;
pub(crate) mod finish;
pub(crate) mod inside;
pub(crate) mod pipes;
pub(crate) mod pump;
pub(crate) mod request;
pub(crate) mod script_errors;
pub(crate) mod splice;
pub(crate) mod to_client;
pub(crate) mod to_server;

use std::rc::Rc;

use self::answer_body::AnswerBody;
use super::backend::redial::QueueWait;
use super::site::{SharedHandlers, Site, Sites};
use super::time::min_rate::RateWindow;
use crate::balance::{Tried, WorkerServer};
use crate::exchange::{Exchange, Failure};
use crate::http::StreamId;
use crate::route::Route;

/// One exchange with its two connections and the state of its tries.
pub struct Pair {
    pub exchange: Exchange,
    /// The site it began with.
    pub site: Rc<Site>,
    /// The script functions of its site; `None` once no more of them can be called for it.
    pub handlers: Option<SharedHandlers>,
    pub client: u32,
    /// The stream on the client's connection, and the one on the backend's.
    pub source: StreamId,
    pub target: StreamId,
    /// The request is internal.
    pub inside: bool,
    pub backend: Option<u32>,
    pub route: Option<Route>,
    /// The server of the present try.
    pub server: Option<Rc<WorkerServer>>,
    pub tried: Tried,
    /// The number of connections tried.
    pub tries: u8,
    /// Why the last try failed.
    pub last_failure: Option<Failure>,
    /// Set when it first waits for a server's queue.
    pub queue_wait: Option<QueueWait>,
    pub rate: RateWindow,
    /// The unsent rest of a large scripted body.
    pub answer: Option<Box<AnswerBody>>,
}

impl Pair {
    fn new(sites: &Sites) -> Box<Pair> {
        Box::new(Pair {
            exchange: Exchange::default(),
            site: sites.current.clone(),
            handlers: Some(sites.handlers.clone()),
            client: 0,
            source: StreamId::ONLY,
            target: StreamId::ONLY,
            inside: false,
            backend: None,
            route: None,
            server: None,
            tried: Tried::default(),
            tries: 0,
            last_failure: None,
            queue_wait: None,
            rate: RateWindow::default(),
            answer: None,
        })
    }

    /// Returns the bytes it takes, including its head's storage.
    pub fn footprint(&self) -> usize {
        size_of::<Pair>() + self.exchange.head.fields.footprint()
    }

    /// Resets the pair for a new request, whose head is already in the exchange.
    pub fn begin(&mut self, client: u32, stream: StreamId, whole: bool, start: u64) {
        // Lists every field, so that one added later is not forgotten here.
        let Pair {
            exchange,
            site: _,
            handlers: _,
            client: of,
            source,
            target,
            inside,
            backend,
            route,
            server,
            tried,
            tries,
            last_failure,
            queue_wait,
            rate,
            answer,
        } = self;
        exchange.begin(whole, start);
        (*of, *source, *target, *inside) = (client, stream, StreamId::ONLY, false);
        (*backend, *route, *server) = (None, None, None);
        (*last_failure, *queue_wait) = (None, None);
        tried.clear();
        (*tries, *rate) = (0, RateWindow::default());
        debug_assert!(answer.is_none(), "left by the exchange before");
    }

    /// Marks the response as begun. No script function will be called for it any more, so a replaced script is not kept
    /// alive by a long response.
    pub fn response_begins(&mut self, current: u64) {
        self.exchange.begun = true;
        if self.site.generation != current {
            self.handlers = None;
        }
    }
}

/// Larger heads are not kept for reuse, in bytes.
const SPARE_HEAD_BYTES: usize = 8 * 1024;
const SPARE_PAIRS: usize = 64;

/// Spare pairs of the current site, boxed so that they are reused without being moved.
pub struct SparePairs {
    /// The pair for the next request: its head is read directly into it.
    pub next: Box<Pair>,
    #[expect(clippy::vec_box, reason = "the boxes go into the slab as they are: a pair is not moved")]
    spare: Vec<Box<Pair>>,
}

impl SparePairs {
    pub fn new(sites: &Sites) -> SparePairs {
        SparePairs { next: Pair::new(sites), spare: Vec::new() }
    }

    /// Takes the pair into which a head was read.
    pub fn take(&mut self, sites: &Sites) -> Box<Pair> {
        let following = self.spare.pop().unwrap_or_else(|| Pair::new(sites));
        std::mem::replace(&mut self.next, following)
    }

    /// Keeps a pair for reuse, unless it is of another site or its head grew large.
    pub fn put(&mut self, pair: Box<Pair>, sites: &Sites) {
        let grew = pair.exchange.head.fields.footprint() > SPARE_HEAD_BYTES;
        if !grew && self.spare.len() < SPARE_PAIRS && Rc::ptr_eq(&pair.site, &sites.current) {
            self.spare.push(pair);
        }
    }

    /// Discards all spare pairs after the site was replaced.
    pub fn renew(&mut self, sites: &Sites) {
        *self = SparePairs::new(sites);
    }

    pub fn iter(&self) -> impl Iterator<Item = &Pair> {
        self.spare.iter().chain([&self.next]).map(|pair| &**pair)
    }
}
