//! One request with its two sides: a client and, once one was dialed, a backend.
//!
//! ```text
//! request.rs      from a client's bytes to a pair, and the decision what becomes of it
//! pump.rs         moves the bytes of a pair: to_server.rs, to_client.rs, answer_body.rs
//! splice.rs       large bodies past this process, through pipes.rs
//! closed.rs       what the end of a connection means to its pair
//! inside.rs       requests that no client sent
//! finish.rs       every end; access_record.rs: what it leaves behind
//! script_errors.rs the script's failures in the log
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

/// One exchange with its two connections and what was tried for it.
pub struct Pair {
    pub exchange: Exchange,
    /// What it began with.
    pub site: Rc<Site>,
    /// The functions of its site, until none of them can be called for it any more.
    pub handlers: Option<SharedHandlers>,
    pub client: u32,
    /// Which of the client's streams, and which of the backend's.
    pub source: StreamId,
    pub target: StreamId,
    /// No client sent the request.
    pub inside: bool,
    pub backend: Option<u32>,
    pub route: Option<Route>,
    /// Chosen for the present try.
    pub server: Option<Rc<WorkerServer>>,
    pub tried: Tried,
    /// Connections that were tried.
    pub tries: u8,
    /// Why the last try failed.
    pub last_failure: Option<Failure>,
    /// Set while it waits for a server with room, and kept after that.
    pub queue_wait: Option<QueueWait>,
    pub rate: RateWindow,
    /// What the client has yet to get of a large answer of the script's.
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

    /// Bytes it takes, its head's storage included.
    pub fn footprint(&self) -> usize {
        size_of::<Pair>() + self.exchange.head.fields.footprint()
    }

    /// Begins with a new request, whose head stands in the exchange already.
    pub fn begin(&mut self, client: u32, stream: StreamId, whole: bool, start: u64) {
        // Every field by its name: one that is added later must be thought of here.
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

    /// A response is on its way, so no function of the script will be called for it: a script that another one has
    /// replaced is not kept by a long response.
    pub fn response_begins(&mut self, current: u64) {
        self.exchange.begun = true;
        if self.site.generation != current {
            self.handlers = None;
        }
    }
}

/// A head whose storage grew beyond this is not kept for the next request.
const SPARE_HEAD_BYTES: usize = 8 * 1024;
const SPARE_PAIRS: usize = 64;

/// Pairs that wait for their request, of the current site: in boxes, so that a pair is not moved about but used again
/// where it is.
pub struct SparePairs {
    /// The pair of the next request that comes, whoever sends it: its head is read into its place.
    pub next: Box<Pair>,
    #[expect(clippy::vec_box, reason = "the boxes go into the slab as they are: a pair is not moved")]
    spare: Vec<Box<Pair>>,
}

impl SparePairs {
    pub fn new(sites: &Sites) -> SparePairs {
        SparePairs { next: Pair::new(sites), spare: Vec::new() }
    }

    /// The pair into which a head was read.
    pub fn take(&mut self, sites: &Sites) -> Box<Pair> {
        let following = self.spare.pop().unwrap_or_else(|| Pair::new(sites));
        std::mem::replace(&mut self.next, following)
    }

    /// Keeps a pair for a later request, unless it is of another site or its head grew large.
    pub fn put(&mut self, pair: Box<Pair>, sites: &Sites) {
        let grew = pair.exchange.head.fields.footprint() > SPARE_HEAD_BYTES;
        if !grew && self.spare.len() < SPARE_PAIRS && Rc::ptr_eq(&pair.site, &sites.current) {
            self.spare.push(pair);
        }
    }

    /// Another site is the current one.
    pub fn renew(&mut self, sites: &Sites) {
        *self = SparePairs::new(sites);
    }

    pub fn iter(&self) -> impl Iterator<Item = &Pair> {
        self.spare.iter().chain([&self.next]).map(|pair| &**pair)
    }
}
