//! A small strict reader of what rsp writes, the same for requests and responses: heads, framing, and every body
//! byte held against the byte that belongs there.

use crate::frames::Frames;
use crate::rng::first_wrong;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Verb {
    Get,
    Head,
    Post,
    Put,
}

impl Verb {
    pub fn text(self) -> &'static str {
        match self {
            Verb::Get => "GET",
            Verb::Head => "HEAD",
            Verb::Post => "POST",
            Verb::Put => "PUT",
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Body {
    None,
    Length(usize),
    Chunked(usize),
    /// `Upgrade`, then this many bytes if the server accepts.
    Tunnel(usize),
}

impl Body {
    pub fn len(self) -> usize {
        match self {
            Body::None => 0,
            Body::Length(n) | Body::Chunked(n) | Body::Tunnel(n) => n,
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Framing {
    None,
    Length(usize),
    Chunked,
    /// Until the connection ends.
    Rest,
}

#[derive(Debug)]
pub enum Event {
    /// A whole head; say `body` before anything else.
    Head(Head),
    /// The message is whole.
    End { trailers: bool },
}

#[derive(Debug)]
pub struct Head(pub String);

impl Head {
    pub fn first_line(&self) -> &str {
        self.0.split("\r\n").next().unwrap_or_default()
    }

    /// The value of a field that stands there at most once.
    pub fn field(&self, name: &str) -> Option<&str> {
        let lines = self.0.split("\r\n").skip(1).filter_map(|line| line.split_once(": "));
        let mut values = lines.filter(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, value)| value);
        let first = values.next();
        assert!(values.next().is_none(), "{name} twice in {}", self.0);
        first
    }

    pub fn number(&self, name: &str) -> Option<usize> {
        self.field(name).map(|value| value.parse().unwrap_or_else(|_| panic!("{name}: {value}")))
    }

    /// The framing its fields speak of.
    pub fn framing(&self) -> Option<Framing> {
        match (self.field("Transfer-Encoding"), self.number("Content-Length")) {
            (None, None) => None,
            (None, Some(n)) => Some(Framing::Length(n)),
            (Some("chunked"), None) => Some(Framing::Chunked),
            _ => panic!("two lengths in {}", self.0),
        }
    }
}

enum State {
    Head,
    /// A head was given out and nobody has said yet what follows.
    Asked,
    Length(usize),
    ChunkSize,
    ChunkData(usize),
    ChunkEnd,
    Trailers {
        seen: bool,
    },
    Rest,
    Ended,
}

pub struct Reader {
    state: State,
    /// Bytes of a head or line that is not whole yet.
    line: Vec<u8>,
    /// Whose bytes the body has; `None` leaves them unchecked.
    key: Option<u64>,
    /// Body bytes so far.
    pub at: usize,
    /// What is said, where that are frames, and what came of a Close frame that is none of them.
    frames: Option<Frames>,
    close: Vec<u8>,
}

impl Reader {
    pub fn new() -> Reader {
        Reader { state: State::Head, line: Vec::new(), key: None, at: 0, frames: None, close: Vec::new() }
    }

    /// What follows the head that was read last.
    pub fn body(&mut self, framing: Framing, key: Option<u64>) {
        (self.key, self.at) = (key, 0);
        self.state = match framing {
            Framing::None | Framing::Length(0) => State::Ended,
            Framing::Length(n) => State::Length(n),
            Framing::Chunked => State::ChunkSize,
            Framing::Rest => State::Rest,
        };
    }

    /// A WebSocket follows the head.
    pub fn websocket(&mut self, frames: Frames) {
        self.body(Framing::Rest, None);
        self.frames = Some(frames);
    }

    /// A Close frame came that is none of those said.
    pub fn is_closed(&self) -> bool {
        self.frames.as_ref().is_some_and(|frames| frames.is_close(&self.close))
    }

    /// No frame has begun and not ended.
    pub fn is_between_frames(&self) -> bool {
        self.frames.as_ref().is_some_and(|frames| frames.is_end(self.at))
    }

    /// An interim head: another one follows.
    pub fn next_head(&mut self) {
        self.state = State::Head;
    }

    /// Nothing of a message was read.
    pub fn is_fresh(&self) -> bool {
        matches!(self.state, State::Head) && self.line.is_empty()
    }

    pub fn reads_rest(&self) -> bool {
        matches!(self.state, State::Rest)
    }

    /// Reads up to the next event.
    pub fn feed(&mut self, bytes: &mut &[u8]) -> Option<Event> {
        loop {
            match &mut self.state {
                State::Head => {
                    let head = self.line(bytes, b"\r\n\r\n")?;
                    self.state = State::Asked;
                    return Some(Event::Head(Head(head)));
                }
                State::Asked => panic!("nobody said what follows the head"),
                State::Ended => {
                    self.state = State::Head;
                    return Some(Event::End { trailers: false });
                }
                _ if bytes.is_empty() => return None,
                State::Length(left) => {
                    let n = bytes.len().min(*left);
                    *left -= n;
                    if *left == 0 {
                        self.state = State::Ended;
                    }
                    self.check(bytes, n);
                }
                State::Rest => self.check(bytes, bytes.len()),
                State::ChunkSize => {
                    let line = self.line(bytes, b"\r\n")?;
                    let size = usize::from_str_radix(&line[..line.len() - 2], 16);
                    self.state = match size.unwrap_or_else(|_| panic!("chunk size {line:?}")) {
                        0 => State::Trailers { seen: false },
                        n => State::ChunkData(n),
                    };
                }
                State::ChunkData(left) => {
                    let n = bytes.len().min(*left);
                    *left -= n;
                    if *left == 0 {
                        self.state = State::ChunkEnd;
                    }
                    self.check(bytes, n);
                }
                State::ChunkEnd => {
                    let line = self.line(bytes, b"\r\n")?;
                    assert_eq!(line, "\r\n", "after a chunk");
                    self.state = State::ChunkSize;
                }
                State::Trailers { seen } => {
                    let seen = *seen;
                    let line = self.line(bytes, b"\r\n")?;
                    if line == "\r\n" {
                        self.state = State::Head;
                        return Some(Event::End { trailers: seen });
                    }
                    assert_eq!(line, "X-Sum: 1\r\n", "an unknown trailer");
                    self.state = State::Trailers { seen: true };
                }
            }
        }
    }

    fn check(&mut self, bytes: &mut &[u8], n: usize) {
        let (body, rest) = bytes.split_at(n);
        *bytes = rest;
        if let Some(frames) = &self.frames {
            return frames.check(&mut self.at, &mut self.close, body);
        }
        if let Some(key) = self.key
            && let Some(wrong) = first_wrong(key, self.at, body)
        {
            panic!("wrong byte {wrong} in the body of {} ({key:x})", key as u32);
        }
        self.at += n;
    }

    /// Bytes up to and with `end`.
    fn line(&mut self, bytes: &mut &[u8], end: &[u8]) -> Option<String> {
        while let Some((byte, rest)) = bytes.split_first() {
            self.line.push(*byte);
            *bytes = rest;
            if *byte == b'\n' && self.line.ends_with(end) {
                let line = std::mem::take(&mut self.line);
                return Some(String::from_utf8(line).expect("heads and lines are text"));
            }
        }
        None
    }
}

/// An extra field of `n` bytes.
pub fn pad_field(n: usize) -> String {
    if n == 0 { String::new() } else { format!("X-Pad: {}\r\n", "p".repeat(n)) }
}

pub fn check_pad(head: &Head, n: usize) {
    let pad = head.field("X-Pad").unwrap_or_default();
    assert!(pad.len() == n && pad.bytes().all(|b| b == b'p'), "X-Pad of {n} bytes in {}", head.0);
}

/// Chunks of sizes that follow from `turn`.
pub fn write_chunks(bytes: &[u8], mut turn: usize, trailers: bool, out: &mut Vec<u8>) {
    let mut rest = bytes;
    while !rest.is_empty() {
        turn += 1;
        let size = [1, 5_000, 17, 300, 40_000, 3, 4_096][turn % 7].min(rest.len());
        out.extend_from_slice(format!("{size:x}\r\n").as_bytes());
        out.extend_from_slice(&rest[..size]);
        out.extend_from_slice(b"\r\n");
        rest = &rest[size..];
    }
    out.extend_from_slice(if trailers { b"0\r\nX-Sum: 1\r\n\r\n" } else { b"0\r\n\r\n" });
}
