//! One request with its two connections: a client and, once dialed, a backend.
//!
//! ```text
//! request.rs             from a client's bytes to a pair, and the routing decision
//! pump.rs                moves the bytes of a pair: to_server.rs, to_client.rs, answer_body.rs
//! response_buffer.rs     responses that are read before their client takes them
//! splice.rs              moves large bodies in the kernel, through pipes.rs
//! pass_through.rs        connections whose TLS goes to the server as it comes
//! challenge.rs           requests that wait for the file of an ACME challenge
//! closed.rs              what a closed connection means for its exchange
//! request_body_buffer.rs request bodies that are held before they go to a server
//! waiting.rs             requests whose handler waits; wait_begin.rs: what for
//! tunnel.rs              upgraded connections, and how a drain closes them
//! inside.rs              internal requests: those of mirror.rs and hedge.rs have a head of another request's;
//!                        hedge_table.rs: which requests wait for a second try
//! finish.rs              ends of exchanges; access_record.rs: counter and access record
//! counted.rs             what metrics count of a request
//! phases.rs              the script's on_answer and on_log
//! script_errors.rs       logging of script failures
//! table.rs               the pairs of a worker by their keys
//! ```

pub(crate) mod access_record;
pub(crate) mod answer_body;
pub(crate) mod challenge;
pub(crate) mod closed;
pub(crate) mod counted;
pub(crate) mod finish;
pub(crate) mod hedge;
pub(crate) mod hedge_table;
pub(crate) mod inside;
pub(crate) mod mirror;
pub(crate) mod pass_through;
pub(crate) mod phases;
pub(crate) mod pipes;
pub(crate) mod pump;
pub(crate) mod request;
pub(crate) mod request_body_buffer;
pub(crate) mod response_buffer;
pub(crate) mod script_errors;
pub(crate) mod splice;
pub(crate) mod table;
pub(crate) mod to_client;
pub(crate) mod to_server;
pub(crate) mod tunnel;
pub(crate) mod wait_begin;
pub(crate) mod waiting;

use std::num::NonZeroU64;
use std::rc::Rc;
use std::sync::Arc;

use self::answer_body::AnswerBody;
use self::challenge::ChallengeWait;
use self::hedge_table::HedgeKey;
use self::request_body_buffer::HeldBody;
use self::tunnel::Tunnel;
use self::waiting::HandlerWait;
use super::backend::queue::QueueWait;
use super::site::{SharedHandlers, Site, Sites};
use super::time::min_rate::RateWindow;
use crate::balance::{Probe, Server, Slot, Tried, WorkerServer};
use crate::exchange::{Exchange, Failure};
use crate::http::{ResponseHead, StreamId};
use crate::route::Route;
use crate::worker::conn::table::{BackendKey, ClientKey};

/// One exchange with its two connections and the state of its tries.
pub struct Pair {
    pub exchange: Exchange,
    /// The site it began with.
    pub site: Rc<Site>,
    /// The script functions of its site; `None` once no more of them can be called for it.
    pub handlers: Option<SharedHandlers>,
    pub client: ClientKey,
    /// The stream on the client's connection, and the one on the backend's.
    pub source: StreamId,
    pub target: StreamId,
    pub origin: Origin,
    pub stage: Stage,
    /// Its handler waits.
    pub waiting: Option<Box<HandlerWait>>,
    /// The first part of its body, or all of it.
    pub held: Option<Box<HeldBody>>,
    pub route: Option<Route>,
    /// The server of the present try.
    pub server: Option<Rc<WorkerServer>>,
    pub tried: Tried,
    /// Servers tried, but for those that do not count (see `uncount_try`).
    pub counted_tries: u8,
    /// Why the last try failed.
    pub last_failure: Option<Failure>,
    /// The present server's, if it has a limit.
    pub slot: Option<Slot>,
    /// How long the present connection to a server was idle before, in microseconds.
    pub idle_for: u64,
    /// Its second try, in a pool with `hedge`.
    pub hedge: HedgeKey,
    /// Set while the request finds out whether an ejected server answers again, and taken once that is known
    /// (`Tries::probe` is about the whole try).
    pub probe: Option<Box<Probe>>,
    /// The next try replaces one on a reused connection that died: it is outside of the budget, and no longer so once it
    /// has begun (`Tries::fresh` stays set).
    pub is_fresh_try: bool,
    /// A lack of memory for reading its response ahead was counted.
    pub counted_shortage: bool,
    /// When it first waited for a server, until it has one.
    pub waits_since: Option<NonZeroU64>,
    /// The server in whose queue it waits.
    pub bound: Option<Arc<Server>>,
    pub rate: RateWindow,
    /// The head of the response as it went to the client, if the site has an `on_log`. Of an earlier request until then.
    pub sent_head: Option<Box<ResponseHead>>,
}

/// Who made a request.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Origin {
    Client,
    /// rsp itself: a health check, or a script's request.
    Inside,
    /// It is the copy of a client's request.
    Copy,
    /// It is the second try of a client's request.
    Hedge,
}

impl Origin {
    /// No client needs it: it gets nothing that another request would have to give up.
    pub fn is_extra(self) -> bool {
        matches!(self, Origin::Copy | Origin::Hedge)
    }
}

/// What a pair is doing.
pub enum Stage {
    /// Between a head and a server's connection, within one turn or while `on_request` waits.
    Routing,
    /// The file that answers it is looked for.
    Challenge(Box<ChallengeWait>),
    /// Its body is held before a server is looked for (`HeldBody::route`).
    Buffering,
    /// No server takes it now.
    Queued(QueueWait),
    /// Has a connection to a server, whose state says whether it is established.
    Forwarding(BackendKey),
    /// Both directions are bytes, after a 101.
    Tunnel(BackendKey, Box<Tunnel>),
    /// No server is needed any more: the rest of the response goes to the client. Holds what is left of a scripted
    /// body that is too large for the client's output.
    Delivering(Option<Box<AnswerBody>>),
}

impl Pair {
    fn new(sites: &Sites) -> Box<Pair> {
        Box::new(Pair {
            exchange: Exchange::default(),
            site: sites.current.clone(),
            handlers: Some(sites.handlers.clone()),
            client: ClientKey::default(),
            source: StreamId::ONLY,
            target: StreamId::ONLY,
            origin: Origin::Client,
            stage: Stage::Routing,
            waiting: None,
            held: None,
            route: None,
            server: None,
            tried: Tried::default(),
            counted_tries: 0,
            slot: None,
            idle_for: 0,
            hedge: HedgeKey::NONE,
            probe: None,
            is_fresh_try: false,
            counted_shortage: false,
            waits_since: None,
            bound: None,
            last_failure: None,
            rate: RateWindow::default(),
            sent_head: None,
        })
    }

    /// Returns the bytes it takes, including its head's storage.
    pub fn footprint(&self) -> usize {
        size_of::<Pair>() + self.heads().iter().sum::<usize>()
    }

    /// The request waits for a server. Returns since when: now, if it has not waited before.
    pub(crate) fn begins_to_wait(&mut self, now: u64) -> u64 {
        let since = *self.waits_since.get_or_insert(NonZeroU64::new(now).unwrap_or(NonZeroU64::MIN));
        since.get().min(now)
    }

    /// Returns the bytes that each of its heads takes.
    fn heads(&self) -> [usize; 3] {
        let sent = self.sent_head.as_ref().map_or(0, |head| head.fields.footprint());
        let original = self.exchange.original.as_ref().map_or(0, |original| original.head.fields.footprint());
        [self.exchange.head.fields.footprint(), sent, original]
    }

    /// Gives back what the pair holds of servers at an early end: it may lie unused for long.
    pub(crate) fn release_servers(&mut self) {
        (self.probe, self.slot, self.bound) = (None, None, None);
        self.held = None;
    }

    /// What a request may hold to its end.
    #[cold]
    fn release_rest(&mut self) {
        self.held = None;
        self.exchange.places.clear();
    }

    /// Resets the pair for a new request, whose head is already in the exchange.
    pub fn begin(&mut self, client: ClientKey, stream: StreamId, whole: bool, start: u64) {
        // Lists every field, so that one added later is not forgotten here.
        let Pair {
            exchange,
            site: _,
            handlers: _,
            client: of,
            source,
            target,
            origin,
            stage,
            waiting,
            held,
            route,
            server,
            tried,
            counted_tries,
            slot,
            idle_for,
            hedge,
            probe,
            is_fresh_try,
            counted_shortage,
            waits_since,
            bound,
            last_failure,
            rate,
            sent_head: _,
        } = self;
        exchange.begin(whole, start);
        (*of, *source, *target, *origin) = (client, stream, StreamId::ONLY, Origin::Client);
        (*stage, *route, *server, *last_failure) = (Stage::Routing, None, None, None);
        tried.clear();
        (*counted_tries, *rate) = (0, RateWindow::default());
        (*idle_for, *waits_since, *is_fresh_try, *counted_shortage) = (0, None, false, false);
        debug_assert!(waiting.is_none() && held.is_none(), "left by the exchange before");
        debug_assert!(*hedge == HedgeKey::NONE, "left by the exchange before");
        debug_assert!(probe.is_none() && slot.is_none() && bound.is_none(), "left by the exchange before");
    }

    /// The request goes to another pool, where no server has been tried. What it waited in queues counts in all.
    pub(crate) fn forget_tries(&mut self) {
        self.tried.clear();
        (self.counted_tries, self.last_failure, self.is_fresh_try) = (0, None, false);
        (self.route, self.server, self.exchange.tries.fresh) = (None, None, false);
        self.probe = None;
    }

    /// The request is internal: no client of ours waits for its response.
    pub fn is_inside(&self) -> bool {
        self.origin != Origin::Client
    }

    /// The connection to the server, once there is one.
    pub fn backend(&self) -> Option<BackendKey> {
        match self.stage {
            Stage::Forwarding(backend) | Stage::Tunnel(backend, _) => Some(backend),
            Stage::Routing
            | Stage::Challenge(_)
            | Stage::Buffering
            | Stage::Queued(_)
            | Stage::Delivering(_) => None,
        }
    }

    pub fn is_tunnel(&self) -> bool {
        matches!(self.stage, Stage::Tunnel(..))
    }

    /// Lets go of the connection to the server, after the response or to try another one.
    pub fn leave_backend(&mut self) -> Option<BackendKey> {
        let backend = self.backend()?;
        self.stage = Stage::Routing;
        if self.exchange.has_begun() {
            self.stage = Stage::Delivering(None);
            // Nobody will take it.
            self.held = None;
        }
        Some(backend)
    }

    /// The response has begun. No script function will be called for it any more, so a replaced script is not kept
    /// alive by a long response.
    pub fn response_begins(&mut self) {
        debug_assert!(self.exchange.has_begun());
        if !self.site.is_current() {
            self.handlers = None;
        }
        if self.held.is_some() {
            self.release_sent_body();
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
    #[inline(always)]
    pub fn put(&mut self, mut pair: Box<Pair>, sites: &Sites) {
        // A response may come before all of a body has gone to the server.
        if pair.held.is_some() || !pair.exchange.places.is_empty() {
            pair.release_rest();
        }
        let grew = pair.heads().iter().any(|bytes| *bytes > SPARE_HEAD_BYTES);
        // Its VM may have been replaced.
        let is_current = pair.handlers.as_ref().is_some_and(|own| Rc::ptr_eq(own, &sites.handlers));
        if !grew && self.spare.len() < SPARE_PAIRS && is_current && Rc::ptr_eq(&pair.site, &sites.current) {
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
