//! Request and response heads: the parsed start line over a `Fields` storage.
//!
//! A head is reused from message to message: a codec overwrites all of it, so nothing is allocated in the steady
//! state.

use super::{Fields, Framing, Name, Span};

#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Version {
    Http10,
    #[default]
    Http11,
}

/// The methods whose semantics rsp needs; others pass unchanged.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Method {
    #[default]
    Get,
    Head,
    Post,
    Put,
    Delete,
    Options,
    Trace,
    Connect,
    Other,
}

impl Method {
    pub fn of(text: &[u8]) -> Method {
        match text {
            b"GET" => Method::Get,
            b"HEAD" => Method::Head,
            b"POST" => Method::Post,
            b"PUT" => Method::Put,
            b"DELETE" => Method::Delete,
            b"OPTIONS" => Method::Options,
            b"TRACE" => Method::Trace,
            b"CONNECT" => Method::Connect,
            _ => Method::Other,
        }
    }

    /// RFC 9110 section 9.2.2.
    pub fn is_idempotent(self) -> bool {
        !matches!(self, Method::Post | Method::Connect | Method::Other)
    }
}

/// Scheme of the request URI.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Scheme {
    #[default]
    Http,
    Https,
}

impl Scheme {
    pub fn text(self) -> &'static str {
        match self {
            Scheme::Http => "http",
            Scheme::Https => "https",
        }
    }
}

/// What the codec that read a head notes for the codec of the same protocol that writes it; nobody else reads it. It
/// holds as long as the fields are serialized.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct CodecNote {
    pub offsets: [u16; 2],
    pub number: u32,
}

impl CodecNote {
    /// Nothing is noted: no piece has such offsets.
    pub const NONE: CodecNote = CodecNote { offsets: [u16::MAX, 0], number: u32::MAX };
}

impl Default for CodecNote {
    fn default() -> CodecNote {
        CodecNote::NONE
    }
}

/// A request's start line, fields and body framing.
#[derive(Default, Clone, Debug)]
pub struct RequestHead {
    pub fields: Fields,
    pub method: Method,
    pub method_text: Span,
    /// As sent by the client; in origin form if it came in absolute form.
    pub target: Span,
    pub version: Version,
    pub framing: Framing,
    /// The client wants the connection kept after this message.
    pub keep_alive: bool,
    /// Exactly one protocol is requested with `Upgrade` and `Connection: upgrade`.
    pub upgrade: bool,
    /// Connection has an unusual option, which may name a hop-by-hop field.
    pub nominates: bool,
    pub note: CodecNote,
    /// The target or `Host` was replaced: directly before the target's text, the bytes of the fields have the spans of what
    /// came as four numbers, since hardly any head needs them.
    pub is_rewritten: bool,
}

/// Bytes of these numbers.
const ORIGINAL_SPANS: usize = 16;

impl RequestHead {
    /// Becomes the same as `other`. Allocations are kept.
    pub fn copy_from(&mut self, other: &RequestHead) {
        let mut fields = std::mem::take(&mut self.fields);
        fields.copy_from(&other.fields);
        *self = RequestHead { fields, ..*other };
    }

    pub fn method_text(&self) -> &[u8] {
        self.fields.text(self.method_text)
    }

    pub fn target(&self) -> &[u8] {
        self.fields.text(self.target)
    }

    /// The target and the `Host` as they came.
    pub fn original_target_and_host(&self) -> (&[u8], &[u8]) {
        match self.is_rewritten {
            false => (self.target(), self.fields.get(Name::Host).unwrap_or_default()),
            true => {
                let [target, host] = self.original_spans();
                (self.fields.text(target), self.fields.text(host))
            }
        }
    }

    /// An empty one stands for a `Host` that did not come.
    fn original_spans(&self) -> [Span; 2] {
        if !self.is_rewritten {
            let host = self.fields.list().iter().find(|field| field.tag == Name::Host);
            return [self.target, host.map_or(Span::default(), |field| field.value)];
        }
        let numbers = self.fields.bytes()[..self.target.start as usize].last_chunk::<ORIGINAL_SPANS>();
        let (numbers, _) = numbers.map_or(&[0; ORIGINAL_SPANS][..], |numbers| numbers).as_chunks::<4>();
        let number = |at: usize| numbers.get(at).map_or(0, |bytes| u32::from_le_bytes(*bytes));
        [0, 2].map(|at| Span { start: number(at), end: number(at + 1) })
    }

    /// The target or `Host` will be replaced: what came can be read further on.
    pub fn keep_asked(&mut self) {
        if !self.is_rewritten {
            self.set_target(self.target, &[], Span::default());
        }
    }

    /// Replaces the target up to `?`. Callers check the path.
    pub fn set_path(&mut self, path: &[u8]) {
        let Span { start, end } = self.target;
        let query = Span { start: start + self.path().len() as u32, end };
        self.set_target(Span::default(), &[path], query);
    }

    /// Replaces what follows the first `?`, or removes it with the mark. Callers check the query.
    pub fn set_query(&mut self, query: Option<&[u8]>) {
        let start = self.target.start;
        let path = Span { start, end: start + self.path().len() as u32 };
        match query {
            None => self.set_target(path, &[], Span::default()),
            Some(query) => self.set_target(path, &[b"?", query], Span::default()),
        }
    }

    /// Makes these texts the target, behind the spans of what came.
    fn set_target(&mut self, before: Span, pieces: &[&[u8]], after: Span) {
        let [target, host] = self.original_spans();
        let numbers = [target.start, target.end, host.start, host.end];
        self.fields.store(numbers.map(u32::to_le_bytes).as_flattened());
        self.target = self.fields.store_between(before, pieces, after);
        self.is_rewritten = true;
    }

    /// The target up to `?`.
    pub fn path(&self) -> &[u8] {
        let target = self.target();
        query_mark(target).map_or(target, |at| &target[..at])
    }

    /// What follows the first `?` of the target.
    pub fn query(&self) -> Option<&[u8]> {
        let target = self.target();
        query_mark(target).map(|at| &target[at + 1..])
    }

    /// Whether a 101 switches to the protocol that was requested.
    pub fn accepts_upgrade(&self, switch: &ResponseHead) -> bool {
        match (self.fields.get(Name::Upgrade), switch.fields.get(Name::Upgrade)) {
            (Some(asked), Some(given)) => self.upgrade && switch.upgrade && asked.eq_ignore_ascii_case(given),
            _ => false,
        }
    }

    /// The request's host without port, in its original case. Trailing dots (RFC 1034 section 3.1: the root) are
    /// removed, so that a dot cannot bypass a rule for a host.
    pub fn host(&self) -> &[u8] {
        named(self.fields.get(Name::Host).unwrap_or_default())
    }

    /// The same of the `Host` as it came.
    pub fn original_host(&self) -> &[u8] {
        named(self.original_target_and_host().1)
    }
}

fn named(authority: &[u8]) -> &[u8] {
    let mut host = host_of(authority);
    while let Some(shorter) = host.strip_suffix(b".") {
        host = shorter;
    }
    host
}

/// Position of the first `?`, eight bytes at a time: most targets are too short for memchr to pay.
fn query_mark(target: &[u8]) -> Option<usize> {
    const ONES: u64 = 0x0101_0101_0101_0101;
    let (words, rest) = target.as_chunks::<8>();
    for (word, at) in words.iter().zip((0..).step_by(8)) {
        // A byte equal to the mark becomes zero; the lowest zero byte is the first with its top bit set here.
        let other = u64::from_le_bytes(*word) ^ (ONES * b'?' as u64);
        let found = other.wrapping_sub(ONES) & !other & ONES << 7;
        if found != 0 {
            return Some(at + found.trailing_zeros() as usize / 8);
        }
    }
    rest.iter().position(|byte| *byte == b'?').map(|at| target.len() - rest.len() + at)
}

/// `host[:port]` without the port; an IPv6 literal keeps its brackets.
fn host_of(authority: &[u8]) -> &[u8] {
    if authority.first() == Some(&b'[') {
        return memchr::memchr(b']', authority).map_or(authority, |at| &authority[..=at]);
    }
    memchr::memchr(b':', authority).map_or(authority, |at| &authority[..at])
}

/// A response's status line, fields and body framing.
#[derive(Default, Clone, Debug)]
pub struct ResponseHead {
    pub fields: Fields,
    pub status: u16,
    pub reason: Span,
    pub version: Version,
    pub framing: Framing,
    /// The server keeps the connection after this message.
    pub keep_alive: bool,
    /// Exactly one protocol is named in `Upgrade` with `Connection: upgrade`, as a 101 must.
    pub upgrade: bool,
    /// As in `RequestHead`.
    pub nominates: bool,
    pub note: CodecNote,
}

impl ResponseHead {
    pub fn reason(&self) -> &[u8] {
        self.fields.text(self.reason)
    }

    /// Becomes the same as `other`. Allocations are kept.
    pub fn copy_from(&mut self, other: &ResponseHead) {
        let mut fields = std::mem::take(&mut self.fields);
        fields.copy_from(&other.fields);
        *self = ResponseHead { fields, ..*other };
    }

    /// 100 to 199 but not 101: another head follows.
    pub fn is_interim(&self) -> bool {
        (100..200).contains(&self.status) && self.status != 101
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_host_loses_its_port_and_an_ipv6_literal_keeps_its_brackets() {
        for (authority, host) in [
            ("example.com:8080", "example.com"),
            ("example.com", "example.com"),
            ("[::1]:80", "[::1]"),
            ("[::1]", "[::1]"),
            ("", ""),
        ] {
            assert_eq!(host_of(authority.as_bytes()), host.as_bytes());
        }
    }

    #[test]
    fn path_and_query_split_at_the_first_question_mark() {
        let mut head = RequestHead::default();
        for (target, path, query) in
            [("/a?b?c", "/a", Some("b?c")), ("/a", "/a", None), ("/?", "/", Some("")), ("*", "*", None)]
        {
            head.target = head.fields.store(target.as_bytes());
            assert_eq!(head.path(), path.as_bytes());
            assert_eq!(head.query(), query.map(str::as_bytes));
        }
    }

    #[test]
    fn path_and_query_can_be_replaced_and_what_came_stays_readable() {
        let mut head = RequestHead::default();
        head.target = head.fields.store(b"/a?b=c?d");
        head.fields.append(b"Host", b"One.:80");
        assert_eq!(head.original_target_and_host(), (&b"/a?b=c?d"[..], &b"One.:80"[..]));
        for (path, target) in [("/longer/path", "/longer/path?b=c?d"), ("/", "/?b=c?d")] {
            head.set_path(path.as_bytes());
            assert_eq!(head.target(), target.as_bytes());
        }
        for (query, target) in [(Some(""), "/?"), (Some("x?y"), "/?x?y"), (None, "/"), (Some("z"), "/?z")] {
            head.set_query(query.map(str::as_bytes));
            assert_eq!((head.target(), head.query()), (target.as_bytes(), query.map(str::as_bytes)));
        }
        head.set_query(None);
        head.set_path(b"/b");
        assert_eq!(head.target(), b"/b");
        head.fields.set(b"Host", b"two");
        assert_eq!(head.original_target_and_host(), (&b"/a?b=c?d"[..], &b"One.:80"[..]));
        assert_eq!((head.host(), head.original_host()), (&b"two"[..], &b"One"[..]));
    }

    #[test]
    fn the_first_question_mark_is_found_wherever_it_is() {
        for len in 0..40 {
            let mut target = vec![b'>'; len];
            assert_eq!(query_mark(&target), None);
            for at in (0..len).rev() {
                target[at] = b'?';
                assert_eq!(query_mark(&target), Some(at));
                target[at] = b'@';
                assert_eq!(query_mark(&target), (at + 1 < len).then_some(at + 1));
                target[at] = b'?';
            }
        }
    }
}
