//! A client, and the oracle of what it receives: which responses come, that each belongs to its request and is
//! whole exactly if its server sent it whole, and that a message that was cut looks cut.

use crate::frames::ANSWER;
use crate::message::{Event, Framing, Head, Reader, check_pad, pad_field, write_chunks};
use crate::plan::{Body, FirstEnd, Ledger, Manner, Reply, Request, Verb, request_key, response_key};
use crate::rng::{PAGE, body};
use crate::world::World;

pub struct Client {
    pub link: usize,
    requests: Vec<Request>,
    manner: Manner,
    /// Bytes of all requests; those of a tunnel stand behind its head.
    out: Vec<u8>,
    /// Where each request's head and where the whole of it ends in `out`.
    ends: Vec<(usize, usize)>,
    sent: usize,
    finished: bool,
    pub gone: bool,
    /// Does nothing before this time.
    pub wakes: u64,
    reader: Reader,
    /// Responses that came whole.
    whole: usize,
    /// The present response, once its head came.
    current: Option<Current>,
    /// What the present request waits for came.
    go_on: bool,
    /// A response said that it is the last one.
    last: bool,
    /// The connection may end behind the last response that came.
    may_end: bool,
    /// It has answered rsp's Close frame.
    answered_close: bool,
    /// Bytes that came, and how many of them rsp had sent when it learnt that nothing more comes from here.
    came: usize,
    left_at: Option<usize>,
}

/// A response whose head was read.
#[derive(Clone, Copy, Debug)]
struct Current {
    status: u16,
    /// From a server; otherwise rsp's own words.
    server: Option<(usize, Reply)>,
    close: bool,
}

impl Client {
    pub fn new(link: usize, requests: Vec<Request>, ledger: &mut Ledger, world: &mut World) -> Client {
        let (mut out, mut ends) = (Vec::new(), Vec::new());
        for request in &requests {
            ends.push(write_request(request, ledger.reply(request.id, 1).switch, &mut out));
        }
        if !ledger.honest && world.rng.one_in(12) {
            // Not a request.
            let at = world.rng.below(requests.len());
            out[if at == 0 { 0 } else { ends[at - 1].1 }] = 0;
        }
        Client {
            link,
            manner: Manner::any(&mut world.rng, ledger, out.len()),
            requests,
            out,
            ends,
            sent: 0,
            finished: false,
            gone: false,
            wakes: 0,
            reader: Reader::new(),
            whole: 0,
            current: None,
            go_on: false,
            last: false,
            may_end: false,
            answered_close: false,
            came: 0,
            left_at: None,
        }
    }

    /// One that rsp must serve whole and without waiting for any timeout.
    pub fn is_unserved(&self) -> bool {
        self.manner.is_honest() && !self.gone
    }

    pub fn state(&self) -> String {
        let Client { manner, whole, sent, current, .. } = self;
        let (at, next) = (self.reader.at, self.requests.get(*whole));
        format!(
            "{manner:?}: {whole} answered, {sent} of {} bytes sent, {next:?}: {current:?} at {at}",
            self.out.len()
        )
    }

    /// Answers that it has read whole.
    pub fn answered(&self) -> usize {
        self.whole
    }

    /// A step of its life. True if anything moved.
    pub fn step(&mut self, world: &mut World, ledger: &mut Ledger, now: u64) -> bool {
        if self.gone || now < self.wakes {
            return false;
        }
        if world.rng.one_in(60) {
            self.wakes = now + world.rng.pause();
        }
        let drips = matches!(self.manner, Manner::Dripping { after } if self.sent >= after);
        if drips {
            self.wakes = now + 1_000_000 + world.rng.below(3_000_000) as u64;
        }
        let mut moved = self.send(world, drips);
        match self.manner {
            Manner::Leaving { after, reset } if self.sent >= after => return self.leave(world, reset),
            Manner::Stopping { after } if self.sent >= after => {
                // Only rsp can end this.
                self.gone = world.links[self.link].closed;
                return self.gone;
            }
            Manner::Dripping { .. } if drips && world.links[self.link].closed => {
                self.gone = true;
                return true;
            }
            _ => {}
        }
        let most = if drips { 1 } else { world.rng.piece() };
        let bytes = world.peer_read(self.link, most);
        moved |= !bytes.is_empty();
        let whole = self.whole;
        self.came += bytes.len();
        self.left_at = world.links[self.link].left_at;
        self.read(&bytes, ledger);
        if self.reader.is_closed() && !std::mem::replace(&mut self.answered_close, true) {
            assert!(ledger.draining, "closed without need");
            self.answer_close();
        }
        let between = self.whole > whole && self.sent == self.ends[self.whole - 1].1;
        if between && world.rng.one_in(6) {
            self.wakes = now + world.rng.below(6_000_000) as u64;
        }
        if world.is_over(self.link) {
            return self.over(world, ledger) | moved;
        }
        moved
    }

    /// Nothing more will come.
    fn over(&mut self, world: &mut World, ledger: &mut Ledger) -> bool {
        let cut = world.links[self.link].cut;
        // In a tunnel the other direction goes on.
        if self.reader.reads_rest() && self.in_tunnel() && !cut && !world.links[self.link].closed {
            return false;
        }
        self.ended(cut, ledger);
        world.peer_close(self.link);
        self.gone = true;
        true
    }

    /// Ends the frame that it has begun to send, and answers.
    fn answer_close(&mut self) {
        let (Some(request), Some((begin, _))) = (self.requests.last(), self.ends.last()) else { return };
        if self.finished || !self.manner.is_honest() {
            return;
        }
        let (end, closed) = request.frames().end_from(self.sent.saturating_sub(*begin));
        self.out.truncate(begin + end);
        if !closed {
            self.out.extend(ANSWER);
        }
        let length = self.out.len();
        self.ends.iter_mut().next_back().into_iter().for_each(|(_, end)| *end = length);
    }

    fn leave(&mut self, world: &mut World, reset: bool) -> bool {
        if reset {
            world.peer_reset(self.link);
        } else if !self.finished {
            world.peer_finish(self.link);
        }
        self.finished = true;
        self.gone = reset;
        // One that only ended its side stays to see what comes, but sends no more.
        self.manner = Manner::Leaving { after: usize::MAX, reset: false };
        self.out.truncate(self.sent);
        true
    }

    fn send(&mut self, world: &mut World, drips: bool) -> bool {
        if self.finished {
            return false;
        }
        let (mut moved, limit) = (false, self.limit());
        if self.sent < limit {
            let most = if drips { 1 } else { world.rng.piece() };
            let piece = most.min(limit - self.sent);
            let n = world.peer_write(self.link, &self.out[self.sent..self.sent + piece]);
            self.sent += n;
            moved = n > 0;
        }
        let all_sent = self.sent == self.out.len();
        let all_came = self.whole == self.requests.len();
        let server_first =
            self.requests.last().is_some_and(|r| r.is_tunnel() && r.first_end() == FirstEnd::Server);
        // RFC 6455 section 7.1.1: the server is the first to close the connection.
        let waits = (server_first && !all_came || self.answered_close) && !world.is_over(self.link);
        // What was answered early is still sent to its end, unless the answer says that nobody reads it.
        let all_done = all_came && (all_sent || self.may_end);
        if all_sent && !waits && (self.manner == Manner::HalfClosing || self.in_tunnel()) || all_done {
            world.peer_finish(self.link);
            self.finished = true;
            moved = true;
        }
        moved
    }

    /// How far it may send now.
    fn limit(&self) -> usize {
        let at = self.whole.min(self.requests.len() - 1);
        let own = match self.manner {
            Manner::Polite => self.ends[at].1,
            Manner::Leaving { after, .. } | Manner::Stopping { after } => after.min(self.out.len()),
            _ => self.out.len(),
        };
        // What was answered while its body was on its way was asked for it.
        let next = self.whole;
        let waiting =
            (next..self.requests.len()).find(|i| self.requests[*i].waits && (*i > next || !self.go_on));
        let gate = waiting.map_or(usize::MAX, |i| self.ends[i].0);
        own.min(gate).max(self.sent)
    }

    fn in_tunnel(&self) -> bool {
        self.current.is_some_and(|c| c.status == 101)
    }

    fn read(&mut self, mut bytes: &[u8], ledger: &mut Ledger) {
        loop {
            if self.whole == self.requests.len() || self.last {
                assert!(bytes.is_empty() || self.more_may_come(), "after the last response: {}", show(bytes));
                return;
            }
            match self.reader.feed(&mut bytes) {
                None => return,
                Some(Event::Head(head)) => {
                    let began = self.came - bytes.len() - head.0.len();
                    self.head(&head, began, ledger);
                }
                Some(Event::End { trailers }) => self.complete(trailers, ledger),
            }
        }
    }

    /// What was meant for a tunnel that did not come to be is read as a request by rsp.
    fn more_may_come(&self) -> bool {
        self.requests.last().is_some_and(|r| r.is_tunnel())
    }

    /// A head that began at that place of all that came.
    fn head(&mut self, head: &Head, began: usize, ledger: &mut Ledger) {
        let request = self.requests[self.whole];
        let line = head.first_line();
        assert!(line.starts_with("HTTP/1.1 "), "{line}");
        let status: u16 = line[9..12].parse().expect("a status");
        if (100..200).contains(&status) && status != 101 {
            assert!(!request.old, "an interim response to an HTTP/1.0 client");
            assert!(head.framing().is_none(), "{}", head.0);
            self.go_on |= status == 100;
            return self.reader.next_head();
        }
        let id = head.number("X-Id");
        let server = id.map(|id| {
            assert_eq!(id as u64, request.id, "the response of another request");
            let attempt = head.number("X-Attempt").expect("an attempt");
            ledger.got(request.id, attempt);
            (attempt, ledger.reply(request.id, attempt))
        });
        match server {
            Some((_, reply)) => {
                assert_eq!(status, if reply.switch { 101 } else { reply.status });
                let served = ledger.aborts && request.page.is_none();
                assert!(!served || !self.had_left(began), "served though it had left: {request:?}");
                check_pad(head, reply.pad);
                assert!(head.field("Date").is_some(), "no Date");
            }
            None => {
                assert!(matches!(status, 400 | 408 | 502..=504), "not ours, not rsp's: {line}");
                assert!(!ledger.honest, "an honest request was refused: {line}, {request:?}");
                let queued = ledger.crowded && status == 503;
                assert!(!queued || !self.had_left(began), "queued though it had left: {request:?}");
            }
        }
        let connection = head.field("Connection").map(str::to_ascii_lowercase);
        let close = match connection.as_deref() {
            Some("close") => true,
            Some("upgrade") => status != 101,
            Some("keep-alive") => !request.old,
            None => request.old,
            Some(other) => panic!("Connection: {other}"),
        };
        let asked = !request.keep || request.old || ledger.draining;
        let early = server.is_none_or(|(_, reply)| reply.ends_request(&request));
        assert!(!close || asked || early || !ledger.honest, "closed without need: {}", head.0);
        self.current = Some(Current { status, server, close });
        self.go_on |= status == 101;
        let framing = self.framing(head, status, &request);
        assert!(framing != Framing::Rest || status == 101 || close, "no length, and no close: {}", head.0);
        if let (101, true, Some((attempt, reply))) = (status, request.is_websocket(), server) {
            return self.reader.websocket(reply.frames(request.id, attempt));
        }
        let key = |attempt| if request.page.is_some() { PAGE } else { response_key(request.id, attempt) };
        self.reader.body(framing, server.map(|(attempt, _)| key(attempt)));
    }

    /// rsp knew that it had ended its side when what began at that place came up.
    fn had_left(&self, began: usize) -> bool {
        self.left_at.is_some_and(|at| began >= at)
    }

    fn framing(&self, head: &Head, status: u16, request: &Request) -> Framing {
        let framing = head.framing();
        assert!(!(request.old && framing == Some(Framing::Chunked)), "chunked to an HTTP/1.0 client");
        match status {
            101 => Framing::Rest,
            204 | 304 => Framing::None,
            // Where rsp could not read the head, it does not know that either.
            _ if request.verb == Verb::Head && !matches!(status, 400 | 408) => Framing::None,
            _ => framing.unwrap_or(Framing::Rest),
        }
    }

    /// A response came whole, so its server must have sent all of it.
    fn complete(&mut self, trailers: bool, ledger: &mut Ledger) {
        let request = self.requests[self.whole];
        let Some(current) = self.current.take() else { panic!("an end without a head") };
        if let Some((attempt, reply)) = current.server.filter(|(_, reply)| !self.is_drained(reply, ledger)) {
            let bodiless = request.verb == Verb::Head && !reply.switch;
            let len = if bodiless { 0 } else { reply.len };
            assert_eq!(self.reader.at, len, "the length of the body of {request:?}");
            let sent = ledger.was_sent_whole(request.id, attempt);
            assert!(sent, "a cut response looks whole: {request:?}");
            let passed = reply.trailers && !bodiless && !request.old && !reply.switch;
            assert_eq!(trailers, passed, "trailers of {request:?}");
            // What was not read of the request cannot be told from the next one.
            self.may_end = reply.ends_request(&request);
        }
        self.last |= current.close || self.requests[self.whole].is_tunnel();
        self.whole += 1;
        self.go_on = false;
        self.reader.next_head();
    }

    /// rsp was told to drain and has closed the tunnel: a WebSocket with a Close frame, unless all was said.
    fn is_drained(&self, reply: &Reply, ledger: &Ledger) -> bool {
        let closed = match self.requests[self.whole].is_websocket() {
            true => self.reader.is_closed() || self.reader.at == reply.len,
            false => self.reader.at <= reply.len,
        };
        reply.switch && ledger.draining && closed
    }

    /// The connection ended.
    fn ended(&mut self, cut: bool, ledger: &mut Ledger) {
        if self.reader.reads_rest() && !cut {
            self.complete(false, ledger);
        }
        let left = ledger.aborts && self.finished;
        if self.is_unserved() && !left && !ledger.stopped {
            self.check_delivered(ledger);
        }
        if self.is_unserved() && ledger.honest {
            assert!(!cut, "an honest connection was reset after {} of {:?}", self.whole, self.requests);
            assert!(
                self.reader.is_fresh() && self.current.is_none(),
                "cut in {:?}",
                self.requests[self.whole]
            );
            let all = self.whole == self.requests.len() || self.last || self.may_end || ledger.draining;
            assert!(all, "only {} of {:?} were answered", self.whole, self.requests);
        }
    }
}

impl Client {
    /// Whatever reached rsp of a response whose whole head did is what the client gets, though it be cut.
    fn check_delivered(&self, ledger: &mut Ledger) {
        let Some(request) = self.requests.get(self.whole).filter(|_| !self.last) else { return };
        let Some((attempt, bytes)) = ledger.what_came(request.id) else { return };
        let Some(current) = self.current else {
            panic!("nothing was delivered of a response that came up to byte {bytes}: {request:?}");
        };
        let got = self.reader.at;
        let is_that_one = current.server.is_some_and(|(of, _)| of == attempt);
        let is_that_one = is_that_one && !(ledger.draining && request.is_tunnel() && current.status == 101);
        assert!(!is_that_one || got >= bytes, "{got} of {bytes} bytes were delivered: {request:?}");
    }
}

fn show(bytes: &[u8]) -> String {
    bytes[..bytes.len().min(300)].escape_ascii().to_string()
}

/// Gives where its head (with what must come before a tunnel) and where all of it ends.
pub fn write_request(request: &Request, switch: bool, out: &mut Vec<u8>) -> (usize, usize) {
    let (id, verb) = (request.id, request.verb.text());
    let version = if request.old { "1.0" } else { "1.1" };
    let mut head = format!("{verb} /{id} HTTP/{version}\r\nHost: h\r\n{}", pad_field(request.pad));
    if let Some(protocol) = request.upgrade() {
        head += &format!("Connection: upgrade\r\nUpgrade: {protocol}\r\n");
    }
    match (request.old, request.keep) {
        _ if request.is_tunnel() => {}
        (true, true) => head += "Connection: keep-alive\r\n",
        (false, false) => head += "Connection: close\r\n",
        _ => {}
    }
    match request.body {
        Body::Length(n) => head += &format!("Content-Length: {n}\r\n"),
        Body::Chunked(_) => head += "Transfer-Encoding: chunked\r\n",
        Body::Tunnel(_) if request.verb == Verb::Post => {
            head += &format!("Content-Length: {}\r\n", request.ahead);
        }
        _ => {}
    }
    if let Some(page) = request.page {
        head += &format!("X-Page: {}\r\n", page + 1);
    }
    if request.expects_continue() {
        head += "Expect: 100-continue\r\n";
    }
    out.extend_from_slice(head.as_bytes());
    out.extend_from_slice(b"\r\n");
    out.extend_from_slice(&body(request_key(id), request.ahead));
    let head_end = out.len();
    let bytes = request.said();
    match request.body {
        Body::Chunked(_) => write_chunks(&bytes, id as usize, request.trailers, out),
        // Nobody would read these.
        Body::Tunnel(_) if !switch => {}
        _ => out.extend_from_slice(&bytes),
    }
    (head_end, out.len())
}
