//! One connection of a server, and the oracle of what it receives: that each request is one that was made, with
//! its own body, whole or visibly cut, and that nothing arrives on a connection that must not be used again.

use crate::balancing::CHECK;
use crate::copies::{COPY, SHADOW};
use crate::message::{Event, Framing, Head, Reader, check_pad, pad_field, write_chunks};
use crate::plan::{Body, Fault, FirstEnd, Ledger, Reply, Request, Shape, Verb, request_key, response_key};
use crate::rng::body;
use crate::world::World;

pub struct Server {
    pub link: usize,
    /// Which server it is.
    pub number: usize,
    reader: Reader,
    /// Bytes to be sent, and how many were.
    out: Vec<u8>,
    sent: usize,
    /// What of that has reached rsp.
    came: Came,
    /// The request that is being served.
    current: Option<Current>,
    /// It is a check.
    checks: bool,
    /// What is done once all of `out` was sent.
    then: Then,
    /// Nothing may arrive any more.
    spoilt: bool,
    deaf: bool,
    finished: bool,
    pub gone: bool,
    /// Nothing was read yet.
    untouched: bool,
    wakes: u64,
    /// Closes an idle connection at this time.
    leaves: Option<u64>,
}

struct Current {
    request: Request,
    attempt: usize,
    reply: Reply,
    /// The request came whole.
    read: bool,
    /// The whole response stands in `out`.
    answered: bool,
    /// And was sent.
    sent: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Then {
    /// TimeLimits for what comes.
    Nothing,
    /// The response is out.
    Next {
        close: bool,
    },
    End {
        reset: bool,
    },
    /// Stays silent for ever.
    Hang,
    /// The server's half of a tunnel is over.
    EndHalf,
}

impl Server {
    pub fn new((link, number): (usize, usize), world: &mut World, now: u64) -> Server {
        let leaves = (!world.honest).then(|| now + world.rng.below(8_000_000) as u64);
        Server {
            link,
            number,
            reader: Reader::new(),
            out: Vec::new(),
            sent: 0,
            came: Came::default(),
            current: None,
            checks: false,
            then: Then::Nothing,
            spoilt: false,
            deaf: false,
            finished: false,
            gone: false,
            untouched: true,
            wakes: 0,
            leaves,
        }
    }

    pub fn step(&mut self, world: &mut World, ledger: &mut Ledger, now: u64) -> bool {
        if self.gone || now < self.wakes {
            return false;
        }
        if world.rng.one_in(60) {
            self.wakes = now + world.rng.pause();
        }
        let mut moved = self.receive(world, ledger);
        moved |= self.send(world, ledger, now);
        if moved && !self.gone && world.rng.one_in(5) {
            world.peer_ticket(self.link);
        }
        let unread = self.deaf && world.links[self.link].closed;
        if !self.gone && (world.is_over(self.link) || unread) {
            moved |= self.over(world, ledger);
        }
        if self.current.is_none() && self.leaves.is_some_and(|at| now >= at) {
            self.leave(world, false);
        }
        moved
    }

    /// The server went down, or wants no more.
    pub fn leave(&mut self, world: &mut World, reset: bool) {
        if self.gone {
            return;
        }
        // A body that only the end of the connection ends is cut by a reset; a plain end would be its end.
        let mid_body = self.current.as_ref().is_some_and(|c| !c.sent && c.reply.ends_by_close());
        if reset || mid_body {
            world.peer_reset(self.link)
        } else {
            world.peer_close(self.link)
        }
        self.gone = true;
    }

    /// Nothing was read yet, and what there is begins a ClientHello.
    pub fn is_passed_to(&self, world: &mut World) -> bool {
        const HANDSHAKE: u8 = 22;
        !self.gone && self.untouched && world.peer_peek(self.link) == Some(HANDSHAKE)
    }

    /// When it may act again though nothing happens.
    pub fn wakes(&self) -> impl Iterator<Item = u64> {
        let leaves = self.leaves.filter(|_| self.current.is_none());
        let live = !self.gone;
        [Some(self.wakes), leaves].into_iter().flatten().filter(move |_| live)
    }

    /// rsp has ended its side.
    fn over(&mut self, world: &mut World, ledger: &Ledger) -> bool {
        let link = &world.links[self.link];
        if self.in_tunnel() && !link.cut && !link.closed {
            return false;
        }
        if let Some(current) = &self.current {
            // An early response may let rsp off the rest of the request.
            let early = current.answered && (self.deaf || current.reply.ends_request(&current.request));
            let ends_well = current.read || early || self.in_tunnel() || current.attempt == COPY;
            assert!(!ledger.honest || ends_well, "{:?} was cut on its way to the server", current.request);
            if self.in_tunnel() && !link.cut && ledger.honest {
                let whole = self.reader.at == current.request.body.len();
                let whole_frames = self.reader.is_between_frames() || self.finished;
                let closed = !current.request.is_websocket() || whole_frames;
                assert!(whole || ledger.draining && closed, "the tunnel lost bytes");
            }
        }
        world.peer_close(self.link);
        self.gone = true;
        true
    }

    fn in_tunnel(&self) -> bool {
        self.reader.reads_rest()
    }

    fn receive(&mut self, world: &mut World, ledger: &mut Ledger) -> bool {
        if self.deaf {
            return false;
        }
        let most = world.rng.piece();
        let bytes = world.peer_read(self.link, most);
        self.untouched &= bytes.is_empty();
        let known = self.spoilt && !world.links[self.link].raced;
        assert!(bytes.is_empty() || !known, "a connection was used that must not be used again");
        let mut rest = &bytes[..];
        while let Some(event) = self.reader.feed(&mut rest) {
            if self.deaf {
                break;
            }
            match event {
                Event::Head(head) => self.head(&head, world, ledger),
                Event::End { trailers } => self.whole(trailers, ledger.trailers),
            }
        }
        if let Some(current) = self.current.as_ref().filter(|_| self.reader.at > 0) {
            ledger.body_arrived(current.request.id);
        }
        let too_early = self.in_tunnel() && self.sent == 0 && self.reader.at > 0;
        assert!(!too_early, "bytes of a tunnel that is not there yet");
        !bytes.is_empty()
    }

    fn head(&mut self, head: &Head, world: &mut World, ledger: &mut Ledger) {
        assert!(self.current.is_none(), "a second request before the first was answered");
        let mut words = head.first_line().split(' ');
        let (verb, target) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
        assert_eq!(words.next(), Some("HTTP/1.1"));
        if target == CHECK {
            return self.check(verb, world);
        }
        let id: u64 = target[1..].parse().unwrap_or_else(|_| panic!("target {target}"));
        let request = ledger.request(id);
        assert_eq!(verb, request.verb.text());
        check_request(head, &request);
        let attempt = if self.number == SHADOW { ledger.copied(id) } else { ledger.arrived(id) };
        let reply = ledger.reply(id, attempt);
        let framing = match request.body {
            // Only after the 101, which is sent at once.
            Body::Tunnel(_) if reply.switch && request.ahead == 0 => Framing::Rest,
            _ => head.framing().unwrap_or(Framing::None),
        };
        match framing {
            Framing::Rest if request.is_websocket() => self.reader.websocket(request.frames()),
            _ => self.reader.body(framing, Some(request_key(id))),
        }
        self.current = Some(Current { request, attempt, reply, read: false, answered: false, sent: false });
        self.begin(&request, &reply);
        let says_close = reply.early && !reply.keep && !reply.ends_by_close();
        let refuses = self.deaf || says_close && request.body != Body::None;
        if refuses && !world.links[self.link].tcp && world.rng.one_in(2) {
            self.deaf = true;
            world.peer_refuse(self.link);
        }
    }

    /// Answers a health check, which closes the connection, in one way or another.
    fn check(&mut self, verb: &str, world: &mut World) {
        assert_eq!(verb, "GET");
        self.reader.body(Framing::None, None);
        self.checks = true;
        let answers: [&[u8]; 4] = [
            b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
            b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nok",
            b"HTTP/1.1 503 No\r\nContent-Length: 0\r\n\r\n",
            b"",
        ];
        let share = if world.rng.one_in(4) { world.rng.below(4) } else { world.rng.below(2) };
        self.out.extend_from_slice(answers[share]);
        self.then = if world.rng.one_in(8) { Then::Hang } else { Then::End { reset: false } };
    }

    /// What is sent before the request is whole.
    fn begin(&mut self, request: &Request, reply: &Reply) {
        for i in 0..reply.interim {
            let status = if i == 0 { "103 Early Hints" } else { "102 Processing" };
            let pad = pad_field(reply.pad);
            self.out.extend_from_slice(format!("HTTP/1.1 {status}\r\nLink: <x>\r\n{pad}\r\n").as_bytes());
        }
        self.deaf = reply.fault == Fault::Deaf;
        if request.asks_server() && !reply.early {
            self.out.extend_from_slice(b"HTTP/1.1 100 Continue\r\n\r\n");
        }
        if reply.early || reply.switch && request.ahead == 0 {
            self.answer();
        }
    }

    fn whole(&mut self, trailers: bool, wanted: bool) {
        if self.checks {
            return;
        }
        let Some(current) = &mut self.current else { panic!("the end of no request") };
        let request = &current.request;
        let len = if request.is_tunnel() { request.ahead } else { request.body.len() };
        assert_eq!(self.reader.at, len, "{request:?}");
        // The shadow pool takes none.
        let wanted = wanted && current.attempt != COPY;
        assert_eq!(trailers, request.trailers && wanted, "trailers of {request:?}");
        if current.reply.switch && !current.answered {
            self.reader.body(Framing::Rest, Some(request_key(request.id)));
            return self.answer();
        }
        current.read = true;
        if current.answered { self.settle() } else { self.answer() }
    }

    /// Puts the response into `out` and says what follows it.
    fn answer(&mut self) {
        let Some(current) = &mut self.current else { return };
        current.answered = true;
        let (request, reply) = (&current.request, current.reply);
        let mut bytes = response(request, &reply, current.attempt);
        let share = |share: usize| bytes.len() * share / 16;
        let until_close = reply.ends_by_close();
        let (len, then) = match reply.fault {
            Fault::None | Fault::Deaf => (bytes.len(), Then::Next { close: !reply.keep }),
            Fault::CloseFirst { reset } => (0, Then::End { reset }),
            Fault::Cut { share: s, reset } => (share(s), Then::End { reset: reset || until_close }),
            Fault::Stall { share: s } => (share(s), Then::Hang),
            Fault::Garbage => {
                bytes = b"Welcome to the machine\r\n\r\n".to_vec();
                (bytes.len(), Then::Hang)
            }
            Fault::Extra if !until_close => {
                bytes.push(b'H');
                (bytes.len(), Then::Next { close: false })
            }
            Fault::Extra => (bytes.len(), Then::Next { close: true }),
        };
        self.spoilt = reply.fault == Fault::Extra || !reply.keep && !reply.switch;
        self.spoilt &= current.read;
        self.out.extend_from_slice(&bytes[..len]);
        if reply.fault == (Fault::CloseFirst { reset: true }) {
            self.out.truncate(self.sent);
        }
        self.then = if reply.switch && matches!(then, Then::Next { .. }) { Then::EndHalf } else { then };
    }

    fn send(&mut self, world: &mut World, ledger: &mut Ledger, now: u64) -> bool {
        if self.finished {
            return false;
        }
        let mut moved = false;
        if self.sent < self.out.len() {
            let left = self.out.len() - self.sent;
            let free = world.links[self.link].to_rsp.free();
            let mut piece = world.rng.piece().min(left).min(free);
            // The byte too many comes along with the last one, so that rsp can see it in time.
            let extra = self.current.as_ref().is_some_and(|c| c.reply.fault == Fault::Extra);
            if extra && piece + 1 == left {
                piece = if free >= left { left } else { piece - 1 };
            }
            let n = world.peer_write(self.link, &self.out[self.sent..self.sent + piece]);
            if !world.links[self.link].closed
                && let Some(current) = &self.current
            {
                self.came.more(&self.out[self.sent..self.sent + n], current, ledger);
                let is_extra = self.then == (Then::Next { close: false }) && extra;
                if is_extra && self.sent + n + 1 == self.out.len() {
                    // What is left is the byte too many.
                    ledger.sent_whole(current.request.id, current.attempt);
                }
            }
            self.sent += n;
            moved = n > 0;
        }
        if self.sent == self.out.len() && self.then != Then::Nothing {
            moved |= self.all_sent(world, ledger, now);
        }
        moved
    }

    fn all_sent(&mut self, world: &mut World, ledger: &mut Ledger, now: u64) -> bool {
        match std::mem::replace(&mut self.then, Then::Nothing) {
            Then::Nothing => return false,
            Then::Hang => (self.then, self.deaf) = (Then::Hang, true),
            Then::End { reset } => self.leave(world, reset),
            Then::EndHalf if self.ends_second() && !world.links[self.link].from_rsp.fin => {
                self.then = Then::EndHalf;
                return false;
            }
            Then::EndHalf => {
                self.note_whole(ledger);
                world.peer_finish(self.link);
                self.finished = true;
            }
            Then::Next { close } => {
                self.note_whole(ledger);
                let read = self.current.as_ref().is_some_and(|c| c.read);
                if close && read && world.rng.one_in(2) {
                    self.leave(world, false);
                } else if close && read {
                    // A little later: nothing may come in between.
                    self.then = Then::End { reset: false };
                    self.wakes = now + world.rng.pause();
                    return true;
                } else if close {
                    // Says that it is over, and hears the client out.
                    world.peer_finish(self.link);
                    self.finished = true;
                }
                self.settle();
            }
        }
        self.then != Then::Hang
    }

    /// In a tunnel: the client's side ends first.
    fn ends_second(&self) -> bool {
        self.current.as_ref().is_some_and(|c| c.request.first_end() == FirstEnd::Client)
    }

    fn note_whole(&mut self, ledger: &mut Ledger) {
        if let Some(current) = &mut self.current {
            current.sent = true;
            ledger.sent_whole(current.request.id, current.attempt);
        }
    }

    /// Both the request and its response are through.
    fn settle(&mut self) {
        let is_sent = self.sent == self.out.len() && self.then == Then::Nothing;
        if is_sent && self.current.as_ref().is_some_and(|c| c.read) {
            self.current = None;
            self.out.clear();
            self.sent = 0;
            self.came = Came::default();
        }
    }
}

/// Reads along what rsp was sent, to know how much of a response's body it has.
#[derive(Default)]
struct Came {
    reader: Option<Reader>,
    over: bool,
    /// The final head came whole.
    head: bool,
}

impl Came {
    fn more(&mut self, mut bytes: &[u8], current: &Current, ledger: &mut Ledger) {
        if self.over || current.attempt == COPY || current.reply.fault == Fault::Garbage {
            return;
        }
        let reader = self.reader.get_or_insert_with(Reader::new);
        loop {
            match reader.feed(&mut bytes) {
                Some(Event::Head(head)) => {
                    let status = &head.first_line()[9..12];
                    if status.starts_with('1') && status != "101" {
                        reader.next_head();
                        continue;
                    }
                    let framing = match (status, head.framing()) {
                        ("101", _) => Framing::Rest,
                        ("204" | "304", _) => Framing::None,
                        _ if current.request.verb == Verb::Head => Framing::None,
                        (_, framing) => framing.unwrap_or(Framing::Rest),
                    };
                    reader.body(framing, None);
                    self.head = true;
                }
                Some(Event::End { .. }) => self.over = true,
                None => {}
            }
            if self.over || bytes.is_empty() {
                break;
            }
        }
        if self.head {
            ledger.came(current.request.id, current.attempt, reader.at);
        }
    }
}

fn check_request(head: &Head, request: &Request) {
    check_pad(head, request.pad);
    assert_eq!(head.field("Host"), Some("h"));
    assert_eq!(head.field("X-Forwarded-For").is_none(), request.inside, "{}", head.0);
    let expected = match request.body {
        Body::Length(n) => Some(Framing::Length(n)),
        Body::Chunked(_) => Some(Framing::Chunked),
        Body::Tunnel(_) if request.verb == Verb::Post => Some(Framing::Length(request.ahead)),
        Body::None | Body::Tunnel(_) => None,
    };
    assert_eq!(head.framing(), expected, "{}", head.0);
    assert_eq!(head.field("Upgrade"), request.upgrade());
    assert_eq!(head.field("Connection"), request.is_tunnel().then_some("upgrade"));
    assert_eq!(head.field("Expect"), request.asks_server().then_some("100-continue"));
}

fn response(request: &Request, reply: &Reply, attempt: usize) -> Vec<u8> {
    let (id, pad) = (request.id, pad_field(reply.pad));
    let marks = format!("X-Id: {id}\r\nX-Attempt: {attempt}\r\n{pad}");
    let bytes = match reply.switch && request.is_websocket() {
        true => reply.frames(id, attempt).bytes,
        false => body(response_key(id, attempt), reply.len),
    };
    if reply.switch {
        let protocol = request.upgrade().unwrap_or_default();
        let head =
            format!("HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: {protocol}\r\n");
        return [head.as_bytes(), marks.as_bytes(), b"\r\n", &bytes].concat();
    }
    let (status, version) = (reply.status, if reply.old { "1.0" } else { "1.1" });
    let mut head = format!("HTTP/{version} {status} Whatever\r\n{marks}");
    match (reply.old, reply.keep) {
        (false, false) => head += "Connection: close\r\n",
        (true, true) => head += "Connection: keep-alive\r\n",
        _ => {}
    }
    match reply.shape {
        Shape::Length => head += &format!("Content-Length: {}\r\n", reply.len),
        Shape::Chunked => head += "Transfer-Encoding: chunked\r\n",
        Shape::UntilClose | Shape::Nothing => {}
    }
    let mut out = (head + "\r\n").into_bytes();
    match reply.shape {
        _ if request.verb == Verb::Head => {}
        Shape::Nothing => {}
        Shape::Chunked => write_chunks(&bytes, id as usize, reply.trailers, &mut out),
        Shape::Length | Shape::UntilClose => out.extend_from_slice(&bytes),
    }
    out
}
