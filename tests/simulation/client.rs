//! A client and the oracle of what it receives: a small reader of responses of its own, which knows which bytes
//! belong to which request and how a message that was cut has to look.

use crate::plan::{Body, Fault, Manner, Reply, Request, Shape, Verb, reply};
use crate::rng::{body, body_byte};
use crate::world::World;

pub struct Client {
    pub link: usize,
    pub requests: Vec<Request>,
    manner: Manner,
    seed: u64,
    honest: bool,
    /// Bytes of each request; those of a tunnel follow its head at once.
    out: Vec<u8>,
    /// Where each request ends in `out`.
    ends: Vec<usize>,
    sent: usize,
    finished_sending: bool,
    pub gone: bool,
    reader: Reader,
    /// Responses that came whole, and the last one if it did not.
    pub whole: usize,
}

/// Where the reader stands in the response to `requests[whole]`.
enum State {
    Head(Vec<u8>),
    Length { at: usize, left: usize },
    ChunkSize { at: usize, line: Vec<u8> },
    ChunkData { at: usize, left: usize },
    ChunkEnd { at: usize, seen: usize },
    Trailers { line: Vec<u8> },
    UntilClose { at: usize },
    Tunnel { at: usize },
}

struct Reader {
    state: State,
    /// The response carries our server's mark; its body is checked.
    marked: bool,
    /// rsp's own words, not checked beyond their status.
    status: u16,
}

impl Client {
    pub fn new(link: usize, requests: Vec<Request>, manner: Manner, seed: u64, honest: bool) -> Client {
        let (mut out, mut ends) = (Vec::new(), Vec::new());
        for request in &requests {
            write_request(request, &mut out);
            ends.push(out.len());
        }
        Client {
            link,
            requests,
            manner,
            seed,
            honest,
            out,
            ends,
            sent: 0,
            finished_sending: false,
            gone: false,
            reader: Reader { state: State::Head(Vec::new()), marked: false, status: 0 },
            whole: 0,
        }
    }

    pub fn is_done(&self) -> bool {
        self.gone
    }

    /// A step of its life. True if anything moved.
    pub fn step(&mut self, world: &mut World) -> bool {
        if self.gone {
            return false;
        }
        let mut moved = self.send(world);
        if let Manner::Leaving { after, reset } = self.manner
            && self.sent >= after
        {
            return self.leave(world, reset);
        }
        if matches!(self.manner, Manner::Stopping { after } if self.sent >= after) {
            // Only rsp can end this.
            self.gone = world.is_over(self.link) || world.links[self.link].closed;
            return self.gone;
        }
        let most = [1, 7, 300, 5_000, 100_000][world.rng.below(5)];
        let bytes = world.peer_read(self.link, most);
        moved |= !bytes.is_empty();
        self.read(&bytes);
        if world.is_over(self.link) {
            self.ended(world.links[self.link].reset);
            if !self.finished_sending && !world.links[self.link].reset {
                world.peer_finish(self.link);
            }
            self.gone = true;
            return true;
        }
        if self.whole == self.requests.len() && !self.finished_sending {
            world.peer_finish(self.link);
            self.finished_sending = true;
            moved = true;
        }
        moved
    }

    fn leave(&mut self, world: &mut World, reset: bool) -> bool {
        if reset { world.peer_reset(self.link) } else { world.peer_finish(self.link) }
        self.finished_sending = true;
        self.manner = Manner::Polite;
        self.gone = reset;
        // One that only ended its side stays to see what comes, but sends no more.
        self.sent = self.out.len();
        true
    }

    fn send(&mut self, world: &mut World) -> bool {
        let limit = match self.manner {
            Manner::Polite => self.ends[self.whole.min(self.ends.len() - 1)],
            Manner::Leaving { after, .. } | Manner::Stopping { after } => after.min(self.out.len()),
            _ => self.out.len(),
        };
        let mut moved = false;
        if self.sent < limit {
            let piece = [1, 11, 400, 9_000, 200_000][world.rng.below(5)].min(limit - self.sent);
            let n = world.peer_write(self.link, &self.out[self.sent..self.sent + piece]);
            self.sent += n;
            moved = n > 0;
        }
        let tunnel_sent = self.sent == self.out.len() && self.ends_in_tunnel();
        let half_close = self.manner == Manner::HalfClosing || tunnel_sent && self.whole_but_tunnel();
        if self.sent == self.out.len() && half_close && !self.finished_sending {
            world.peer_finish(self.link);
            self.finished_sending = true;
            moved = true;
        }
        moved
    }

    fn ends_in_tunnel(&self) -> bool {
        self.requests.last().is_some_and(|r| matches!(r.body, Body::Tunnel(_)))
    }

    fn whole_but_tunnel(&self) -> bool {
        self.whole + 1 == self.requests.len() && matches!(self.reader.state, State::Tunnel { .. })
    }

    fn read(&mut self, bytes: &[u8]) {
        for byte in bytes {
            assert!(self.whole < self.requests.len(), "bytes after the last response: {:?}", bytes.escape_ascii());
            self.take(*byte);
        }
    }

    fn take(&mut self, byte: u8) {
        let id = self.requests[self.whole].id;
        let (marked, state) = (self.reader.marked, &mut self.reader.state);
        let check = |at: usize| {
            assert!(!marked || byte == body_byte(id, at), "wrong byte {at} of the body of {id}");
        };
        match state {
            State::Head(head) => {
                head.push(byte);
                if head.ends_with(b"\r\n\r\n") {
                    let head = String::from_utf8(std::mem::take(head)).expect("a head is text");
                    self.head(&head);
                }
            }
            State::Length { at, left } => {
                check(*at);
                (*at, *left) = (*at + 1, *left - 1);
                if *left == 0 {
                    let len = *at;
                    self.complete(Some(len));
                }
            }
            State::ChunkSize { at, line } => {
                line.push(byte);
                if line.ends_with(b"\r\n") {
                    let text = std::str::from_utf8(&line[..line.len() - 2]).expect("text");
                    let left = usize::from_str_radix(text, 16).expect("a chunk size");
                    let at = *at;
                    *state = if left > 0 {
                        State::ChunkData { at, left }
                    } else {
                        self.length_is(at);
                        State::Trailers { line: Vec::new() }
                    };
                    if left == 0 {
                        self.reader.state = State::Trailers { line: Vec::new() };
                    }
                }
            }
            State::ChunkData { at, left } => {
                check(*at);
                (*at, *left) = (*at + 1, *left - 1);
                if *left == 0 {
                    *state = State::ChunkEnd { at: *at, seen: 0 };
                }
            }
            State::ChunkEnd { at, seen } => {
                assert_eq!(byte, b"\r\n"[*seen], "after a chunk");
                *seen += 1;
                if *seen == 2 {
                    *state = State::ChunkSize { at: *at, line: Vec::new() };
                }
            }
            State::Trailers { line } => {
                line.push(byte);
                if line == b"\r\n" {
                    self.complete(None);
                } else if line.ends_with(b"\r\n") {
                    assert!(line.starts_with(b"X-Sum: "), "an unknown trailer");
                    line.clear();
                }
            }
            State::UntilClose { at } | State::Tunnel { at } => {
                check(*at);
                *at += 1;
            }
        }
    }

    fn expected(&self) -> Reply {
        reply(self.seed, self.requests[self.whole].id, self.honest)
    }

    fn head(&mut self, head: &str) {
        let request = self.requests[self.whole];
        let status: u16 = head[9..12].parse().expect("a status");
        assert!(head.starts_with("HTTP/1.1 "), "{head}");
        let field = |name: &str| {
            let mut lines = head.split("\r\n").skip(1).filter_map(|l| l.split_once(": "));
            lines.find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, v)| v.to_string())
        };
        self.reader.status = status;
        self.reader.marked = field("X-Id").is_some();
        if let Some(id) = field("X-Id") {
            assert_eq!(id, request.id.to_string(), "the response of another request");
        } else {
            assert!(matches!(status, 100..=199 | 400 | 408 | 500..=504), "not ours, not rsp's: {head}");
            assert!(!self.honest || status < 200, "an honest request was refused: {head}");
        }
        if (100..200).contains(&status) && status != 101 {
            assert!(!request.old, "an interim response to an HTTP/1.0 client");
            self.reader.state = State::Head(Vec::new());
            return;
        }
        let chunked = field("Transfer-Encoding").is_some();
        assert!(!(chunked && request.old), "chunked to an HTTP/1.0 client");
        let length = field("Content-Length").map(|l| l.parse::<usize>().expect("a length"));
        assert!(!(chunked && length.is_some()), "two lengths");
        self.reader.state = match (status, length) {
            (101, _) => State::Tunnel { at: 0 },
            _ if request.verb == Verb::Head || status == 204 => return self.complete(None),
            (_, Some(0)) => return self.complete(Some(0)),
            (_, Some(left)) => State::Length { at: 0, left },
            _ if chunked => State::ChunkSize { at: 0, line: Vec::new() },
            _ => State::UntilClose { at: 0 },
        };
    }

    fn length_is(&self, len: usize) {
        let expected = self.expected();
        if self.reader.marked && !matches!(self.requests[self.whole].body, Body::Tunnel(_)) {
            assert_eq!(len, expected.len, "length of the body of {}", self.requests[self.whole].id);
        }
    }

    /// A response came whole, so its server must have sent all of it.
    fn complete(&mut self, len: Option<usize>) {
        if let Some(len) = len {
            self.length_is(len);
        }
        let (request, expected) = (self.requests[self.whole], self.expected());
        let bodiless = request.verb == Verb::Head || self.reader.status == 204 || expected.len == 0;
        if self.reader.marked && !bodiless && !matches!(request.body, Body::Tunnel(_)) {
            let cut = matches!(expected.fault, Fault::Cut(_));
            assert!(!cut, "a cut response of {} looks whole", request.id);
        }
        self.whole += 1;
        self.reader.marked = false;
        self.reader.state = State::Head(Vec::new());
    }

    /// The connection ended.
    fn ended(&mut self, reset: bool) {
        if self.whole < self.requests.len() {
            match self.reader.state {
                State::UntilClose { at } if !reset => {
                    self.length_is(at);
                    self.complete(Some(at));
                }
                State::Tunnel { at } if !reset => {
                    let sent_all = self.sent == self.out.len();
                    if self.honest && sent_all {
                        assert_eq!(at, self.requests[self.whole].body.len(), "the tunnel lost bytes");
                    }
                    self.complete(None);
                }
                _ => {}
            }
        }
        if self.honest && !matches!(self.manner, Manner::Leaving { .. } | Manner::Stopping { .. }) {
            assert!(!reset, "an honest connection was reset");
            assert!(
                self.whole == self.requests.len() || self.may_end_early(),
                "only {} of {:?} were answered",
                self.whole,
                self.requests
            );
        }
    }

    /// An HTTP/1.0 response that only the close ends takes the connection with it.
    fn may_end_early(&self) -> bool {
        self.whole > 0 && self.requests[self.whole - 1].old && {
            let last = reply(self.seed, self.requests[self.whole - 1].id, self.honest);
            matches!(last.shape, Shape::Chunked | Shape::UntilClose)
        }
    }
}

fn write_request(request: &Request, out: &mut Vec<u8>) {
    let (id, verb) = (request.id, request.verb.text());
    let version = if request.old { "1.0" } else { "1.1" };
    let mut head = format!("{verb} /{id} HTTP/{version}\r\nHost: h\r\n");
    match (request.old, request.keep, request.body) {
        (_, _, Body::Tunnel(_)) => head += "Connection: upgrade\r\nUpgrade: websocket\r\n",
        (true, true, _) => head += "Connection: keep-alive\r\n",
        (false, false, _) => head += "Connection: close\r\n",
        _ => {}
    }
    match request.body {
        Body::Length(n) => head += &format!("Content-Length: {n}\r\n"),
        Body::Chunked(_) => head += "Transfer-Encoding: chunked\r\n",
        _ => {}
    }
    out.extend_from_slice(head.as_bytes());
    out.extend_from_slice(b"\r\n");
    let bytes = body(!id, request.body.len());
    match request.body {
        Body::None => {}
        Body::Length(_) => out.extend_from_slice(&bytes),
        Body::Tunnel(n) => out.extend_from_slice(&body(id, n)),
        Body::Chunked(_) => write_chunks(&bytes, id, out),
    }
}

/// Chunks of sizes that follow from the id.
pub fn write_chunks(bytes: &[u8], id: u64, out: &mut Vec<u8>) {
    let mut rest = bytes;
    let mut turn = id as usize;
    while !rest.is_empty() {
        turn += 1;
        let size = [1, 5_000, 17, 300, 40_000, 3][turn % 6].min(rest.len());
        out.extend_from_slice(format!("{size:x}\r\n").as_bytes());
        out.extend_from_slice(&rest[..size]);
        out.extend_from_slice(b"\r\n");
        rest = &rest[size..];
    }
    out.extend_from_slice(b"0\r\n");
    if id % 3 == 0 {
        out.extend_from_slice(b"X-Sum: 1\r\n");
    }
    out.extend_from_slice(b"\r\n");
}
