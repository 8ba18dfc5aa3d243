//! Serializes heads, frames and trailers.
//!
//! Fields are written in order and byte for byte, except for framing and connection fields: rsp writes these itself.
//! Most fields are stored serialized, so runs of them are copied in one piece.

use super::frame::Frame;
use super::{encode_fast, framing, trailers};
use crate::http::{After, Field, Fields, Framing, Name, Persistence, RequestHead, ResponseHead, Sink, Span};

/// The framing of the message being written. `Exact` counts down.
pub(super) enum Writing {
    Framed(Framing),
    /// Chunked, and trailers are dropped: the other side did not ask for them, or the head's Connection nominates
    /// fields, which may be among them (RFC 9110 section 7.6.1).
    WithoutTrailers,
}

impl Default for Writing {
    fn default() -> Writing {
        Writing::Framed(Framing::None)
    }
}

impl Writing {
    /// `drops_trailers`: they are not forwarded.
    pub(super) fn start(framing: Framing, drops_trailers: bool) -> Writing {
        match framing {
            Framing::Chunked if drops_trailers => Writing::WithoutTrailers,
            framing => Writing::Framed(framing),
        }
    }

    pub(super) fn frame(&mut self, len: usize) -> Frame {
        match self {
            // An empty chunk would be the last one.
            Writing::Framed(Framing::Chunked) | Writing::WithoutTrailers if len > 0 => {
                return Frame::chunk(len);
            }
            Writing::Framed(Framing::Exact(left)) => {
                debug_assert!(len as u64 <= *left, "more body than the head said");
                *left = left.saturating_sub(len as u64);
            }
            Writing::Framed(Framing::None) => debug_assert!(len == 0, "a body where none may be"),
            _ => {}
        }
        Frame::default()
    }

    pub(super) fn end(&mut self, trailers: Option<&Fields>, out: &mut impl Sink) -> After {
        match self {
            Writing::Framed(Framing::None | Framing::Exact(0)) => After::Reusable,
            Writing::Framed(Framing::Exact(_) | Framing::UntilClose | Framing::Tunnel) => After::MustClose,
            Writing::Framed(Framing::Chunked) => self.end_chunks(trailers, out),
            Writing::WithoutTrailers => self.end_chunks(None, out),
        }
    }

    #[inline(never)]
    fn end_chunks(&mut self, trailers: Option<&Fields>, out: &mut impl Sink) -> After {
        last_chunk(trailers, out);
        *self = Writing::default();
        After::Reusable
    }
}

fn last_chunk(trailers: Option<&Fields>, out: &mut impl Sink) {
    out.put(b"0\r\n");
    if let Some(fields) = trailers {
        let mut run = Run::new(fields, out);
        for field in fields.list() {
            if trailers::passes(field.tag, fields.text(field.name), fields.text(field.value)) {
                run.field(field);
            }
        }
        run.flush();
    }
    out.put(b"\r\n");
}

/// The length field of a head.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Length {
    Unstated,
    /// The received Content-Length field, if any: it describes a body that is not sent.
    Received,
    Exact(u64),
    Chunked,
}

impl From<Framing> for Length {
    fn from(framing: Framing) -> Length {
        match framing {
            Framing::Exact(n) => Length::Exact(n),
            Framing::Chunked => Length::Chunked,
            Framing::None | Framing::UntilClose | Framing::Tunnel => Length::Unstated,
        }
    }
}

pub(super) fn request_head(head: &RequestHead, connection: ConnectionLine, out: &mut impl Sink) {
    let length = Length::from(head.framing);
    if !out.fill(|free| encode_fast::request(head, length, connection, free)) {
        request_in_pieces(head, connection, out);
    }
}

pub(super) fn response_head(
    head: &ResponseHead,
    length: Length,
    connection: ConnectionLine,
    out: &mut impl Sink,
) {
    if !out.fill(|free| encode_fast::response(head, length, connection, free)) {
        response_in_pieces(head, length, connection, out);
    }
}

#[inline(never)]
fn request_in_pieces(head: &RequestHead, connection: ConnectionLine, out: &mut impl Sink) {
    let mut run = Run::new(&head.fields, out);
    run.request_line(head.method_text, head.target);
    run.fields(Length::from(head.framing));
    run.finish(connection);
}

#[inline(never)]
fn response_in_pieces(head: &ResponseHead, length: Length, connection: ConnectionLine, out: &mut impl Sink) {
    let mut run = Run::new(&head.fields, out);
    run.status_line(head.status, head.reason);
    run.fields(length);
    run.finish(connection);
}

/// What a head says of its connection, and so how it ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum ConnectionLine {
    /// It stays open, which HTTP/1.1 need not say.
    Unstated,
    /// The answer to an HTTP/1.0 client that asked for it.
    KeepAlive,
    Close,
    Upgrade,
}

impl ConnectionLine {
    pub(super) const UNSTATED: &[u8; 2] = b"\r\n";
    pub(super) const KEEP_ALIVE: &[u8; 26] = b"Connection: keep-alive\r\n\r\n";

    /// The line and the end of the head.
    pub(super) fn ending(self) -> &'static [u8] {
        match self {
            ConnectionLine::Unstated => Self::UNSTATED,
            ConnectionLine::KeepAlive => Self::KEEP_ALIVE,
            ConnectionLine::Close => b"Connection: close\r\n\r\n",
            ConnectionLine::Upgrade => b"Connection: upgrade\r\n\r\n",
        }
    }
}

impl From<Persistence> for ConnectionLine {
    fn from(persistence: Persistence) -> ConnectionLine {
        match persistence {
            Persistence::Keep => ConnectionLine::Unstated,
            Persistence::Close => ConnectionLine::Close,
            Persistence::Upgrade => ConnectionLine::Upgrade,
        }
    }
}

/// Pending bytes of the storage, to be copied as they are.
struct Run<'a, S> {
    fields: &'a Fields,
    bytes: &'a [u8],
    start: usize,
    end: usize,
    out: &'a mut S,
}

impl<'a, S: Sink> Run<'a, S> {
    fn new(fields: &'a Fields, out: &'a mut S) -> Run<'a, S> {
        Run { fields, bytes: fields.bytes(), start: 0, end: 0, out }
    }

    fn extend(&mut self, start: usize, end: usize) {
        if start != self.end {
            self.flush();
            self.start = start;
        }
        self.end = end;
    }

    fn flush(&mut self) {
        if self.start < self.end {
            self.out.put(&self.bytes[self.start..self.end]);
        }
        self.start = self.end;
    }

    fn put(&mut self, bytes: &[u8]) {
        self.flush();
        self.out.put(bytes);
    }

    /// Whether `text` is in the storage at `at`.
    fn has<const N: usize>(&self, at: u32, text: &[u8; N]) -> bool {
        self.bytes.get(at as usize..).is_some_and(|rest| rest.first_chunk() == Some(text))
    }

    fn request_line(&mut self, method: Span, target: Span) {
        const VERSION: &[u8; 11] = b" HTTP/1.1\r\n";
        if target.start == method.end + 1 && self.has(method.end, b" ") && self.has(target.end, VERSION) {
            return self.extend(method.start as usize, target.end as usize + VERSION.len());
        }
        if target.start == method.end + 1 && self.has(method.end, b" ") {
            self.extend(method.start as usize, target.end as usize);
            return self.put(VERSION);
        }
        for piece in [self.fields.text(method), b" ", self.fields.text(target), VERSION] {
            self.put(piece);
        }
    }

    fn status_line(&mut self, status: u16, reason: Span) {
        let digit = |n: u16| b'0' + (n % 10) as u8;
        let mut line = *b"HTTP/1.1 000 ";
        line[9..12].copy_from_slice(&[digit(status / 100), digit(status / 10), digit(status)]);
        if reason.start == 13 && self.has(0, &line) && self.has(reason.end, b"\r\n") {
            return self.extend(0, reason.end as usize + 2);
        }
        self.put(&line);
        if self.has(reason.end, b"\r\n") {
            return self.extend(reason.start as usize, reason.end as usize + 2);
        }
        self.put(self.fields.text(reason));
        self.put(b"\r\n");
    }

    /// Writes all fields, and the length in the position of the first length field, else at the end.
    fn fields(&mut self, length: Length) {
        let fields = self.fields;
        let mut said = false;
        for field in fields.list() {
            match field.tag {
                Name::Connection => {}
                Name::ContentLength | Name::TransferEncoding => {
                    said |= !said && self.length(length, Some(field))
                }
                _ => self.field(field),
            }
        }
        if !said {
            self.length(length, None);
        }
    }

    /// Writes the length in the position of `field`. Returns whether that is done: `Received` waits for a
    /// Content-Length.
    fn length(&mut self, length: Length, field: Option<&Field>) -> bool {
        let came = field.filter(|field| field.tag == Name::ContentLength);
        match (length, came) {
            (Length::Unstated, _) => {}
            (Length::Received, Some(field)) => self.field(field),
            (Length::Received, None) => return false,
            (Length::Exact(n), came) => self.content_length(n, came),
            (Length::Chunked, _) => self.put(b"Transfer-Encoding: chunked\r\n"),
        }
        true
    }

    fn content_length(&mut self, n: u64, came: Option<&Field>) {
        if let Some(field) = came.filter(|field| framing::says(self.fields.text(field.value), n)) {
            return self.field(field);
        }
        let mut digits = [0; 20];
        let digits = decimal(n, &mut digits);
        match came {
            Some(field) => self.line(self.fields.text(field.name), digits),
            None => self.line(b"Content-Length", digits),
        }
    }

    fn field(&mut self, field: &Field) {
        if field.plain {
            self.extend(field.name.start as usize, field.value.end as usize + 2);
        } else {
            self.line(self.fields.text(field.name), self.fields.text(field.value));
        }
    }

    fn line(&mut self, name: &[u8], value: &[u8]) {
        for piece in [name, b": ", value, b"\r\n"] {
            self.put(piece);
        }
    }

    fn finish(&mut self, connection: ConnectionLine) {
        self.put(connection.ending());
    }
}

fn decimal(n: u64, digits: &mut [u8; 20]) -> &[u8] {
    let mut start = digits.len();
    let mut rest = n;
    loop {
        start -= 1;
        digits[start] = b'0' + (rest % 10) as u8;
        rest /= 10;
        if rest == 0 {
            return &digits[start..];
        }
    }
}
