//! Feeds one case to a codec in every way its bytes can arrive: whole, at every two-way split, byte by byte, with
//! little room for body bytes and with none at first, and cut short after every byte. The events are written as one
//! line of text, so that a case's expectation is one line too. (`tests/corpus` uses this file as well.)

use crate::h1::{BackendCodec, ClientCodec, HeadLimits};
use crate::http::*;
use crate::http::{Codec as _, StreamId};

/// A codec with storage for its heads.
pub enum Codec {
    Server(ClientCodec, RequestHead),
    Client(BackendCodec, ResponseHead),
}

impl Codec {
    pub fn server() -> Codec {
        Codec::Server(ClientCodec::default(), RequestHead::default())
    }

    /// A backend codec that has sent a request: `GET`, `HEAD`, or `UPGRADE` for a GET that asks for a WebSocket.
    pub fn client(asked: &str) -> Codec {
        Codec::asking(asked, false)
    }

    /// The same without leniency.
    pub fn strict_client(asked: &str) -> Codec {
        Codec::asking(asked, true)
    }

    fn asking(asked: &str, strict: bool) -> Codec {
        let persistence = if asked == "UPGRADE" { Persistence::Upgrade } else { Persistence::Keep };
        let method = if asked == "HEAD" { Method::Head } else { Method::Get };
        let mut client = BackendCodec::new(strict);
        client.encode_head(&RequestHead { method, ..Default::default() }, persistence, &mut Vec::new());
        Codec::Client(client, ResponseHead::default())
    }

    fn decode(
        &mut self,
        input: &[u8],
        eof: bool,
        limit: usize,
        trailers: &mut Fields,
    ) -> Result<Option<Decoded>, Fault> {
        match self {
            Codec::Server(codec, head) => {
                codec.decode(input, eof, limit, &HeadLimits::REQUEST, head, trailers)
            }
            Codec::Client(codec, head) => {
                let decoded = codec.decode(input, eof, limit, &HeadLimits::RESPONSE, head, trailers)?;
                // The exchange knows which protocol was requested.
                let is_switch =
                    decoded.as_ref().is_some_and(|d| d.event == Event::Head) && head.status == 101;
                if is_switch && !asked_websocket().accepts_upgrade(head) {
                    Err(Fault::Status)
                } else {
                    Ok(decoded)
                }
            }
        }
    }

    fn head_line(&self) -> String {
        match self {
            Codec::Server(_, head) => request_line(head),
            Codec::Client(_, head) => response_line(head),
        }
    }

    /// What the caller does after a step: allow the next request, make a tunnel of a 101.
    fn follow(&mut self, decoded: &Decoded) {
        match self {
            Codec::Server(codec, _) if decoded.end => codec.next_message(StreamId::ONLY),
            Codec::Client(codec, head) if decoded.event == Event::Head && head.status == 101 => {
                codec.switch()
            }
            _ => {}
        }
    }
}

fn asked_websocket() -> RequestHead {
    let mut head = RequestHead { upgrade: true, ..RequestHead::default() };
    head.fields.append(b"Upgrade", b"websocket");
    head
}

pub fn request_line(head: &RequestHead) -> String {
    let upgrade = if head.upgrade { " upgrade" } else { "" };
    format!(
        "{} {} {:?} {:?} {}{upgrade} [{}]",
        text(head.method_text()),
        text(head.target()),
        head.version,
        head.framing,
        if head.keep_alive { "keep" } else { "close" },
        field_lines(&head.fields)
    )
}

pub fn response_line(head: &ResponseHead) -> String {
    format!(
        "{} {:?} {:?} {:?} {} [{}]",
        head.status,
        text(head.reason()),
        head.version,
        head.framing,
        if head.keep_alive { "keep" } else { "close" },
        field_lines(&head.fields)
    )
}

pub fn field_lines(fields: &Fields) -> String {
    let lines: Vec<String> = fields.iter().map(|(_, n, v)| format!("{}: {}", text(n), text(v))).collect();
    lines.join("; ")
}

pub fn text(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| char::from(*byte)).collect()
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Seen {
    Head(String),
    Body(Vec<u8>),
    Trailers(String),
    End,
    Fault(Fault),
    /// Bytes that were not consumed.
    Left(usize),
}

/// Room for body bytes in each call.
#[derive(Clone, Copy, Debug)]
pub struct Appetite {
    limit: usize,
    /// Every call is first tried without any room.
    starved: bool,
}

pub const EVERY_APPETITE: [Appetite; 5] = [
    Appetite::of_room(usize::MAX),
    Appetite::of_room(1),
    Appetite { limit: 2, starved: true },
    Appetite::of_room(7),
    Appetite { limit: usize::MAX, starved: true },
];

impl Appetite {
    pub const fn of_room(limit: usize) -> Appetite {
        Appetite { limit, starved: false }
    }
}

pub struct Feed {
    codec: Codec,
    trailers: Fields,
    input: Vec<u8>,
    appetite: Appetite,
    pub seen: Vec<Seen>,
    /// Bytes consumed at the end of each message.
    pub ends: Vec<usize>,
    used: usize,
}

impl Feed {
    pub fn new(codec: Codec, appetite: Appetite) -> Feed {
        Feed {
            codec,
            trailers: Fields::default(),
            input: Vec::new(),
            appetite,
            seen: Vec::new(),
            ends: Vec::new(),
            used: 0,
        }
    }

    fn has_failed(&self) -> bool {
        matches!(self.seen.last(), Some(Seen::Fault(_)))
    }

    fn next(&mut self, eof: bool) -> Result<Option<Decoded>, Fault> {
        if self.appetite.starved {
            let decoded = self.codec.decode(&self.input, eof, 0, &mut self.trailers)?;
            if let Some(decoded) = decoded {
                assert!(!matches!(decoded.event, Event::Body(_)), "body bytes without room");
                return Ok(Some(decoded));
            }
        }
        self.codec.decode(&self.input, eof, self.appetite.limit, &mut self.trailers)
    }

    pub fn push(&mut self, bytes: &[u8], eof: bool) {
        self.input.extend_from_slice(bytes);
        while !self.has_failed() {
            match self.next(eof) {
                Ok(Some(decoded)) => self.take(decoded),
                Ok(None) => break,
                Err(fault) => self.seen.push(Seen::Fault(fault)),
            }
        }
        if eof && !self.has_failed() && !self.input.is_empty() {
            self.seen.push(Seen::Left(self.input.len()));
        }
    }

    fn take(&mut self, decoded: Decoded) {
        assert!(decoded.consumed > 0 || decoded.end, "a step without progress");
        match &decoded.event {
            Event::Reset => panic!("HTTP/1 has none"),
            Event::Nothing => {}
            Event::Head => self.seen.push(Seen::Head(self.codec.head_line())),
            Event::Trailers => self.seen.push(Seen::Trailers(field_lines(&self.trailers))),
            Event::Body(range) => {
                assert!(
                    !range.is_empty() && range.len() <= self.appetite.limit && range.end <= decoded.consumed
                );
                let bytes = &self.input[range.clone()];
                match self.seen.last_mut() {
                    Some(Seen::Body(body)) => body.extend_from_slice(bytes),
                    _ => self.seen.push(Seen::Body(bytes.to_vec())),
                }
            }
        }
        self.used += decoded.consumed;
        self.input.drain(..decoded.consumed);
        if decoded.end {
            self.seen.push(Seen::End);
            self.ends.push(self.used);
        }
        self.codec.follow(&decoded);
    }

    pub fn line(&self) -> String {
        line(&self.seen)
    }
}

fn line(seen: &[Seen]) -> String {
    seen.iter().map(Seen::words).collect::<Vec<_>>().join(" | ")
}

impl Seen {
    pub fn words(&self) -> String {
        match self {
            Seen::Head(head) => head.clone(),
            Seen::Body(bytes) => format!("body {:?}", text(bytes)),
            Seen::Trailers(fields) => format!("trailers [{fields}]"),
            Seen::End => "end".to_string(),
            Seen::Fault(fault) => format!("{fault:?}"),
            Seen::Left(bytes) => format!("{bytes} left"),
        }
    }
}

/// Feeds `bytes` in these parts, then the end of the connection: with the last part, or after it.
pub fn in_parts(codec: Codec, appetite: Appetite, parts: &[&[u8]], late_eof: bool) -> Feed {
    let mut feed = Feed::new(codec, appetite);
    for (at, part) in parts.iter().enumerate() {
        feed.push(part, !late_eof && at + 1 == parts.len());
    }
    if late_eof {
        feed.push(b"", true);
    }
    feed
}

fn byte_by_byte(codec: Codec, appetite: Appetite, bytes: &[u8]) -> Feed {
    let parts: Vec<&[u8]> = bytes.chunks(1).collect();
    in_parts(codec, appetite, &parts, true)
}

/// Feeds one case in every way. `codec` makes a fresh codec.
pub fn check(codec: impl Fn() -> Codec, bytes: &[u8], expected: &str) {
    let shown = text(bytes);
    for appetite in EVERY_APPETITE {
        for late_eof in [false, true] {
            let whole = in_parts(codec(), appetite, &[bytes], late_eof);
            assert_eq!(whole.line(), expected, "whole, {appetite:?}: {shown:?}");
            for split in 0..=bytes.len() {
                let (first, second) = bytes.split_at(split);
                let feed = in_parts(codec(), appetite, &[first, second], late_eof);
                assert_eq!(feed.line(), expected, "split at {split}, {appetite:?}: {shown:?}");
            }
        }
        let feed = byte_by_byte(codec(), appetite, bytes);
        assert_eq!(feed.line(), expected, "byte by byte, {appetite:?}: {shown:?}");
    }
    cut_everywhere(codec, bytes);
}

/// Ends the connection after every byte: earlier events must be the same, and only a complete message ends.
fn cut_everywhere(codec: impl Fn() -> Codec, bytes: &[u8]) {
    let whole = in_parts(codec(), EVERY_APPETITE[0], &[bytes], false);
    for cut in 0..bytes.len() {
        let short = in_parts(codec(), EVERY_APPETITE[0], &[&bytes[..cut]], false);
        for appetite in EVERY_APPETITE {
            let slow = byte_by_byte(codec(), appetite, &bytes[..cut]);
            assert_eq!(slow.line(), short.line(), "cut after {cut}, {appetite:?}: {:?}", text(bytes));
        }
        let verdict = judge_cut(&whole, &short, &bytes[..cut]);
        assert!(verdict, "cut after {cut}: {} of {}: {:?}", short.line(), whole.line(), text(bytes));
    }
}

/// Whether a cut is reported exactly if something was cut, after a prefix of the whole's events.
fn judge_cut(whole: &Feed, short: &Feed, bytes: &[u8]) -> bool {
    if ends_with_connection(&short.seen) || matches!(short.seen.last(), Some(Seen::Left(_))) {
        return !short.has_failed();
    }
    let ends: Vec<usize> = whole.ends.iter().copied().filter(|end| *end <= bytes.len()).collect();
    let since_end = &bytes[ends.last().copied().unwrap_or(0)..];
    let is_between = matches!(since_end, b"" | b"\n" | b"\r\n");
    let events = &short.seen[..short.seen.len() - usize::from(short.has_failed())];
    let good_end = match short.seen.last() {
        Some(Seen::Fault(Fault::CutHead | Fault::CutBody)) => !is_between,
        Some(Seen::Fault(fault)) => whole.seen.last() == Some(&Seen::Fault(*fault)),
        _ => is_between,
    };
    good_end && short.ends == ends && is_beginning(events, &whole.seen)
}

/// Whether the last head's body is delimited by close.
fn ends_with_connection(seen: &[Seen]) -> bool {
    let head = seen.iter().rev().find_map(|seen| match seen {
        Seen::Head(line) => Some(line),
        _ => None,
    });
    head.is_some_and(|line| line.contains(" UntilClose ") || line.starts_with("101 "))
}

fn is_beginning(short: &[Seen], whole: &[Seen]) -> bool {
    short.len() <= whole.len()
        && short.iter().zip(whole).enumerate().all(|(at, pair)| match pair {
            (Seen::Body(part), Seen::Body(all)) if at + 1 == short.len() => all.starts_with(part),
            (part, all) => part == all,
        })
}
