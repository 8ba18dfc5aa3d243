//! What will happen in one seed: the requests of every client, and how the servers treat each of them. Everything
//! follows from the seed and the request's id, so that the oracle knows what to expect without asking anybody.

use rsp::exchange::record::{End, Record};

use crate::balancing::Balancing;
use crate::copies::COPY;
use crate::frames::{Frames, LEAST};
pub use crate::message::{Body, Verb};
use crate::rng::{Rng, body};

#[derive(Clone, Copy, Debug)]
pub struct Request {
    pub id: u64,
    pub verb: Verb,
    /// HTTP/1.0.
    pub old: bool,
    pub keep: bool,
    pub body: Body,
    /// Waits with what follows the head for a 100 (or, for a tunnel, the 101).
    pub waits: bool,
    pub trailers: bool,
    /// Bytes of a body that comes before the tunnel: a POST that asks for one, as docker does.
    pub ahead: usize,
    /// Bytes of an extra field.
    pub pad: usize,
    /// The script answers, with this one of `PAGES`.
    pub page: Option<usize>,
    /// No client sends it.
    pub inside: bool,
    /// rsp holds its body, and asks for that itself.
    pub held: bool,
    /// It may hold all of it, and can send that again.
    pub kept: bool,
}

/// The sizes of the script's pages.
pub const PAGES: [usize; 4] = [100, 16_400, 33_000, 150_000];

/// Which side of a tunnel ends first; the other one waits for that.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum FirstEnd {
    Any,
    Client,
    Server,
}

impl Request {
    pub fn first_end(&self) -> FirstEnd {
        [FirstEnd::Any, FirstEnd::Client, FirstEnd::Server][self.id as usize % 3]
    }

    pub fn is_tunnel(&self) -> bool {
        matches!(self.body, Body::Tunnel(_))
    }

    /// The protocol it asks for.
    pub fn upgrade(&self) -> Option<&'static str> {
        self.is_tunnel().then_some(if self.verb == Verb::Post { "tcp" } else { "websocket" })
    }

    pub fn is_websocket(&self) -> bool {
        self.upgrade() == Some("websocket")
    }

    /// What the client says in a WebSocket.
    pub fn frames(&self) -> Frames {
        Frames::new(request_key(self.id), self.body.len(), true)
    }

    /// What the client says behind the head.
    pub fn said(&self) -> Vec<u8> {
        if self.is_websocket() { self.frames().bytes } else { body(request_key(self.id), self.body.len()) }
    }

    pub fn expects_continue(&self) -> bool {
        self.waits && !self.is_tunnel()
    }

    /// Its server is asked for leave to send the body.
    pub fn asks_server(&self) -> bool {
        self.expects_continue() && !self.held
    }
}

/// How a server frames its response's body.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Shape {
    Length,
    Chunked,
    UntilClose,
    /// 204 or 304.
    Nothing,
}

/// What goes wrong on the server's side. Shares are of the response's bytes, in 1/16.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fault {
    None,
    /// Ends before a byte of the response.
    CloseFirst {
        reset: bool,
    },
    /// Ends in the middle.
    Cut {
        share: usize,
        reset: bool,
    },
    /// Sends no more after this share, and stays.
    Stall {
        share: usize,
    },
    /// Does not read the request.
    Deaf,
    Garbage,
    /// A byte after the response: the connection must not be used again.
    Extra,
}

#[derive(Clone, Copy, Debug)]
pub struct Reply {
    pub status: u16,
    pub shape: Shape,
    /// Bytes of the body; in a tunnel, of what the server says.
    pub len: usize,
    pub interim: usize,
    pub fault: Fault,
    /// Answers without waiting for the request's body.
    pub early: bool,
    pub keep: bool,
    pub trailers: bool,
    /// Speaks HTTP/1.0.
    pub old: bool,
    pub pad: usize,
    /// Accepts the upgrade.
    pub switch: bool,
}

impl Reply {
    /// What the server says in a WebSocket.
    pub fn frames(&self, id: u64, attempt: usize) -> Frames {
        Frames::new(response_key(id, attempt), self.len, false)
    }

    /// Only the end of the connection ends it.
    pub fn ends_by_close(&self) -> bool {
        self.shape == Shape::UntilClose || self.switch
    }

    /// A response that comes before the request's body is whole ends that body.
    pub fn ends_request(&self, request: &Request) -> bool {
        let has_body = match request.body {
            Body::None => false,
            Body::Tunnel(_) => request.ahead > 0,
            Body::Length(_) | Body::Chunked(_) => true,
        };
        let closes = !self.keep || request.asks_server() || request.page.is_some();
        self.early && has_body && closes
    }
}

/// How the server treats the request the `attempt`th time it sees it.
pub fn reply(seed: u64, request: &Request, attempt: usize, honest: bool, long: bool) -> Reply {
    let fixed = &mut Rng::new(seed ^ request.id.wrapping_mul(0xA24B_AED4_963E_E407));
    let switch = request.is_tunnel() && !fixed.one_in(5);
    let mut rng = Rng::new(fixed.next() ^ (attempt as u64) << 32);
    use Shape::*;
    if let Some(page) = request.page {
        return Reply {
            status: 200,
            shape: Length,
            len: PAGES[page],
            interim: 0,
            fault: Fault::None,
            early: true,
            keep: true,
            trailers: false,
            old: false,
            pad: 0,
            switch: false,
        };
    }
    // A 101 before the request's body would be refused.
    let early = rng.one_in(if honest { 10 } else { 5 }) && !(switch && request.ahead > 0);
    let shape = rng.pick(&[Length, Length, Length, Chunked, Chunked, Chunked, UntilClose, Nothing]);
    // Where a cut is hardest to see.
    let shape = if early && !honest && rng.one_in(2) { UntilClose } else { shape };
    let old = !switch && shape != Chunked && rng.one_in(8);
    Reply {
        status: if shape == Nothing { rng.pick(&[204, 304]) } else { rng.pick(&[200, 200, 404, 500]) },
        shape,
        len: if switch {
            tunnel_size(&mut rng)
        } else if shape == Nothing {
            0
        } else {
            rng.size()
        },
        interim: if rng.one_in(5) { rng.upto(3) } else { 0 },
        fault: if honest { Fault::None } else { fault(&mut rng) },
        early,
        keep: !rng.one_in(5) && shape != UntilClose,
        trailers: shape == Chunked && rng.one_in(3),
        old,
        pad: pad(&mut rng, if long { 120_000 } else { 28_000 }),
        switch,
    }
}

fn fault(rng: &mut Rng) -> Fault {
    let reset = rng.one_in(2);
    match rng.below(16) {
        0 => Fault::CloseFirst { reset },
        1..=3 => Fault::Cut { share: rng.below(16), reset },
        4 => Fault::Stall { share: if reset { 0 } else { rng.below(16) } },
        5 => Fault::Deaf,
        6 => Fault::Garbage,
        7 | 8 => Fault::Extra,
        _ => Fault::None,
    }
}

/// At least a frame, if anything.
fn tunnel_size(rng: &mut Rng) -> usize {
    match rng.size() {
        0 => 0,
        size => size.max(LEAST),
    }
}

fn pad(rng: &mut Rng, most: usize) -> usize {
    match rng.below(40) {
        0 | 1 => rng.below(most),
        2..=6 => rng.below(600),
        _ => 0,
    }
}

/// How a client behaves.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Manner {
    /// Sends the next request when the last is answered.
    Polite,
    /// Sends all at once.
    Pipelining,
    /// Sends all, ends its side, and waits for the answers.
    HalfClosing,
    /// Leaves after so many bytes sent: ends its side and stays to listen, or resets.
    Leaving { after: usize, reset: bool },
    /// Stops sending after so many bytes, and reading.
    Stopping { after: usize },
    /// Sends and reads a byte every few seconds after so many bytes sent.
    Dripping { after: usize },
}

impl Manner {
    pub fn any(rng: &mut Rng, ledger: &Ledger, bytes: usize) -> Manner {
        let after = rng.below(bytes + 1);
        match rng.below(if ledger.honest { 6 } else { 12 }) {
            // It would be taken for one that leaves.
            5 if ledger.honest && (ledger.aborts || ledger.balancing.limit.is_some()) => Manner::Polite,
            0..=2 => Manner::Polite,
            3 | 4 => Manner::Pipelining,
            5 => Manner::HalfClosing,
            6 | 7 => Manner::Leaving { after, reset: rng.one_in(2) },
            8 | 9 => Manner::Stopping { after },
            _ => Manner::Dripping { after },
        }
    }

    pub fn is_honest(self) -> bool {
        matches!(self, Manner::Polite | Manner::Pipelining | Manner::HalfClosing)
    }
}

/// What one client asks for.
pub fn requests(rng: &mut Rng, first_id: u64, long: bool) -> Vec<Request> {
    let count = rng.upto(4);
    let mut list: Vec<Request> = (0..count as u64).map(|i| request(rng, first_id + i, long)).collect();
    // The connection ends with whatever is not kept; nothing may follow it.
    if let Some(last) = list.iter().position(|r| !r.keep || r.is_tunnel()) {
        list.truncate(last + 1);
    }
    list
}

fn request(rng: &mut Rng, id: u64, long: bool) -> Request {
    let old = rng.one_in(6);
    let verb = rng.pick(&[Verb::Get, Verb::Get, Verb::Get, Verb::Head, Verb::Post, Verb::Post, Verb::Put]);
    let body = match verb {
        Verb::Get if !old && rng.one_in(6) => Body::Tunnel(tunnel_size(rng)),
        Verb::Post if !old && rng.one_in(8) => Body::Tunnel(tunnel_size(rng)),
        Verb::Get | Verb::Head => Body::None,
        _ if old || rng.one_in(2) => Body::Length(rng.size()),
        _ => Body::Chunked(rng.size()),
    };
    let waits = match body {
        Body::None => false,
        Body::Tunnel(_) => rng.one_in(2),
        _ => !old && rng.one_in(4),
    };
    let trailers = matches!(body, Body::Chunked(_)) && rng.one_in(3);
    let page = (!matches!(body, Body::Tunnel(_)) && rng.one_in(5)).then(|| rng.below(PAGES.len()));
    let ahead = if matches!((verb, body), (Verb::Post, Body::Tunnel(_))) { rng.size() } else { 0 };
    let pad = pad(rng, if long { 60_000 } else { 12_000 });
    let (keep, inside, held, kept) = (!rng.one_in(5), false, false, false);
    Request { id, verb, old, keep, body, waits, trailers, ahead, pad, page, inside, held, kept }
}

/// What the servers have seen and done, by request: the oracle's memory.
pub struct Ledger {
    pub seed: u64,
    pub honest: bool,
    /// The pool takes a client's end of sending for its leaving.
    pub aborts: bool,
    /// No server ever has room in its queue of new connections.
    pub crowded: bool,
    pub balancing: Balancing,
    /// rsp was told to drain.
    pub draining: bool,
    /// And not to wait any longer.
    pub stopped: bool,
    /// Trailers of requests go on to the servers.
    pub trailers: bool,
    /// Heads may be longer than a block.
    pub long: bool,
    entries: Vec<Entry>,
}

pub struct Entry {
    pub request: Request,
    /// Request heads that arrived at servers.
    seen: usize,
    /// Attempts whose response was sent whole.
    whole: Vec<usize>,
    /// A server got some of its body: rsp cannot have that a second time.
    body_seen: bool,
    /// How much of the body of a response reached rsp, of the attempt whose whole head did.
    came: Option<(usize, usize)>,
    /// It stands in the access log.
    logged: bool,
    /// Copies of it that arrived.
    pub copies: usize,
    /// The attempt whose response its client got.
    pub got: Option<usize>,
}

impl Ledger {
    pub fn new(seed: u64, honest: bool) -> Ledger {
        let (aborts, crowded, draining, stopped) = (false, false, false, false);
        let (trailers, long, entries) = (false, false, Vec::new());
        let balancing = Balancing::any(&mut Rng::new(seed), honest);
        Ledger { seed, honest, aborts, crowded, balancing, draining, stopped, trailers, long, entries }
    }

    pub fn add(&mut self, requests: &[Request]) {
        let entry = |request: &Request| Entry {
            request: *request,
            seen: 0,
            whole: Vec::new(),
            body_seen: false,
            came: None,
            logged: false,
            copies: 0,
            got: None,
        };
        self.entries.extend(requests.iter().map(entry));
    }

    pub fn entry(&mut self, id: u64) -> &mut Entry {
        self.entries.get_mut(id as usize - 1).expect("a request that nobody made")
    }

    pub fn request(&mut self, id: u64) -> Request {
        self.entry(id).request
    }

    pub fn reply(&mut self, id: u64, attempt: usize) -> Reply {
        let (seed, long) = (self.seed, self.long);
        let honest = self.honest && attempt != COPY;
        reply(seed, &self.entry(id).request, attempt, honest, long)
    }

    /// A server sees the head of a request. Gives the attempt's number, from 1.
    pub fn arrived(&mut self, id: u64) -> usize {
        let (honest, retries) = (self.honest, usize::from(self.balancing.retries));
        let hedges = self.balancing.hedge.is_some();
        let entry = self.entry(id);
        assert!(entry.request.page.is_none(), "request {id} is the script's to answer");
        entry.seen += 1;
        // A request that may be repeated goes out a second time when a connection that was kept died; one without
        // a body, or with one that rsp keeps, goes to two others when new connections close.
        let most = match (entry.request.verb, entry.request.body) {
            _ if honest => 1,
            (Verb::Post, _) => 1,
            (_, Body::None | Body::Tunnel(_) | Body::Length(0)) => 2 + retries,
            _ if entry.request.kept => 2 + retries,
            _ => 2,
        };
        let bodiless = entry.request.body == Body::None && !entry.request.inside;
        // A server that is slow, or that seems to be, and a connection that dies beside it.
        let most = if hedges && bodiless { most + if honest { 1 } else { 2 } } else { most };
        assert!(entry.seen <= most, "request {id} was sent {} times", entry.seen);
        let again = entry.seen == 1 || !entry.body_seen || entry.request.kept;
        assert!(again, "request {id} was sent again without its body");
        entry.seen
    }

    pub fn body_arrived(&mut self, id: u64) {
        self.entry(id).body_seen = true;
    }

    /// What the access log says of a request. It has a status, whatever its end.
    pub fn recorded(&mut self, record: &Record) {
        assert!((101..1000).contains(&record.status), "{record:?}");
        let Some(id) = std::str::from_utf8(record.target).ok().and_then(|t| t.strip_prefix('/')) else {
            return assert!(!self.honest && record.method.is_empty(), "{record:?}");
        };
        let id = id.parse().expect("a target of ours");
        let got = self.entry(id).got.unwrap_or(1);
        let (honest, draining, reply) = (self.honest, self.draining, self.reply(id, got));
        let entry = self.entry(id);
        assert!(!std::mem::replace(&mut entry.logged, true), "a second record: {record:?}");
        if !honest {
            return;
        }
        if record.end == End::Drained {
            assert!(draining && reply.switch && record.sent <= reply.len as u64, "{record:?}");
            return;
        }
        let answered = entry.request.page.is_some();
        assert_eq!(record.end, if answered { End::Answered } else { End::Complete }, "{record:?}");
        let (request, times) = (entry.request, record.times);
        let has_body = request.verb != Verb::Head || reply.switch;
        assert_eq!(record.status, if reply.switch { 101 } else { reply.status });
        assert_eq!(record.sent, if has_body { reply.len as u64 } else { 0 }, "{record:?}");
        let whole = !reply.ends_request(&request) && (reply.switch || !request.is_tunnel());
        assert!(
            !whole || record.received == (request.ahead + request.body.len()) as u64,
            "{record:?} of {request:?}"
        );
        assert!(
            answered || times.connected <= times.first_byte && times.first_byte <= times.end,
            "{times:?}"
        );
    }

    /// So much of the body of a response has reached rsp.
    pub fn came(&mut self, id: u64, attempt: usize, bytes: usize) {
        self.entry(id).came = Some((attempt, bytes));
    }

    pub fn what_came(&mut self, id: u64) -> Option<(usize, usize)> {
        self.entry(id).came
    }

    pub fn sent_whole(&mut self, id: u64, attempt: usize) {
        self.entry(id).whole.push(attempt);
    }

    pub fn was_sent_whole(&mut self, id: u64, attempt: usize) -> bool {
        let entry = self.entry(id);
        entry.request.page.is_some() || entry.whole.contains(&attempt)
    }
}

/// Which bytes belong to a request's body and to its response's.
pub fn request_key(id: u64) -> u64 {
    !id
}

pub fn response_key(id: u64, attempt: usize) -> u64 {
    id | (attempt as u64) << 32
}
