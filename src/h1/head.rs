//! Parses a whole head: one pass of httparse over the bytes, one pass over its fields.
//!
//! The bytes are copied once into the head's own storage and the fields become spans of them. Each field that
//! rsp must understand is noted while its span is made; what the notes mean together is decided by the tables
//! in `framing`, `options` and `target`.

use std::mem::MaybeUninit;

use httparse::{Error, Header, Status};

use super::framing::{self, Lengths};
use super::grammar::{is_token, is_version};
use super::limits;
use super::options::Options;
use super::target::{self, Form};
use crate::http::{Fault, Fields, Framing, Method, Name, RequestHead, ResponseHead, Span, Version};

/// Room for the parser's own list. Left uninitialised: most heads use a tenth of it.
type Room<'a> = [MaybeUninit<Header<'a>>; limits::FIELDS];

const fn room<'a>() -> Room<'a> {
    [const { MaybeUninit::uninit() }; limits::FIELDS]
}

/// `raw` is a whole request head, its empty line included.
pub(super) fn request(raw: &[u8], head: &mut RequestHead) -> Result<(), Fault> {
    let mut room = room();
    let mut parsed = httparse::Request::new(&mut []);
    whole(raw, parsed.parse_with_uninit_headers(raw, &mut room)).map_err(|e| request_fault(e, raw))?;
    let (Some(method), Some(target), Some(minor)) = (parsed.method, parsed.path, parsed.version) else {
        return Err(Fault::StartLine);
    };
    let notes = Notes::of(raw, parsed.headers, &mut head.fields)?;
    head.method = Method::of(method.as_bytes());
    head.method_text = span(raw, method.as_bytes());
    head.target = span(raw, target.as_bytes());
    head.version = version(minor);
    notes.check_host(head.version)?;
    normalise_target(target.as_bytes(), head)?;
    head.framing = framing::of_request(head.version, notes.lengths)?;
    head.keep_alive = notes.options.keeps_alive(head.version);
    // RFC 6455 section 4.1: a WebSocket opens with a GET, which has no body that could be mistaken for frames.
    head.upgrade = head.method == Method::Get
        && matches!(head.framing, Framing::None | Framing::Exact(0))
        && notes.options.wants_websocket(head.version);
    Ok(())
}

/// `raw` is a whole response head. `to_head`: it answers a HEAD request.
pub(super) fn response(raw: &[u8], to_head: bool, head: &mut ResponseHead) -> Result<(), Fault> {
    let mut room = room();
    let mut parsed = httparse::Response::new(&mut []);
    let config = httparse::ParserConfig::default();
    let status = config.parse_response_with_uninit_headers(&mut parsed, raw, &mut room);
    whole(raw, status).map_err(|e| response_fault(e, raw))?;
    let (Some(code), Some(minor)) = (parsed.code, parsed.version) else {
        return Err(Fault::StartLine);
    };
    if !(100..600).contains(&code) {
        return Err(Fault::Status);
    }
    let notes = Notes::of(raw, parsed.headers, &mut head.fields)?;
    head.status = code;
    head.reason = reason(raw);
    head.version = version(minor);
    head.framing = framing::of_response(head.version, to_head || framing::is_bodiless(code), notes.lengths)?;
    head.keep_alive = notes.options.keeps_alive(head.version) && head.framing != Framing::UntilClose;
    head.upgrade = notes.options.wants_websocket(head.version);
    Ok(())
}

/// `raw` is a whole trailer section with at least one field.
pub(super) fn trailers(raw: &[u8], fields: &mut Fields) -> Result<(), Fault> {
    let mut room = [httparse::EMPTY_HEADER; limits::FIELDS];
    match httparse::parse_headers(raw, &mut room) {
        Ok(Status::Complete((end, headers))) if end == raw.len() => {
            fields.start(raw);
            for header in headers {
                fields.push_span(span(raw, header.name.as_bytes()), span(raw, header.value));
            }
            Ok(())
        }
        _ => Err(Fault::Trailers),
    }
}

/// What the fields of one head say, each for itself.
#[derive(Default)]
struct Notes {
    lengths: Lengths,
    options: Options,
    hosts: usize,
}

impl Notes {
    fn of(raw: &[u8], headers: &[Header<'_>], fields: &mut Fields) -> Result<Notes, Fault> {
        let mut notes = Notes::default();
        fields.start(raw);
        for header in headers {
            let tag = fields.push_span(span(raw, header.name.as_bytes()), span(raw, header.value));
            if tag != Name::Other {
                notes.note(tag, header.value)?;
            }
        }
        Ok(notes)
    }

    fn note(&mut self, tag: Name, value: &[u8]) -> Result<(), Fault> {
        match tag {
            Name::ContentLength => self.lengths.note_content_length(value)?,
            Name::TransferEncoding => self.lengths.note_transfer_encoding(value),
            Name::Connection => self.options.note_connection(value),
            Name::Upgrade => self.options.note_upgrade(value),
            Name::Host => self.note_host(value),
            _ => {}
        }
        Ok(())
    }

    /// A malformed Host counts as too many of them, so that one check judges all.
    fn note_host(&mut self, value: &[u8]) {
        self.hosts += if target::is_authority(value) { 1 } else { 2 };
    }

    /// RFC 9112 section 3.2: one Host in 1.1, at most one in 1.0.
    fn check_host(&self, version: Version) -> Result<(), Fault> {
        match (version, self.hosts) {
            (_, 1) | (Version::Http10, 0) => Ok(()),
            _ => Err(Fault::Host),
        }
    }
}

/// RFC 9112 section 3.2.2: the authority of an absolute form replaces Host, the rest goes on in origin form.
fn normalise_target(target: &[u8], head: &mut RequestHead) -> Result<(), Fault> {
    if let Form::Absolute { authority, path } = target::form(head.method, target)? {
        head.fields.set(b"Host", &target[authority]);
        head.target = match (&target[path], head.method) {
            (b"", Method::Options) => head.fields.store(b"*"),
            (path @ [b'/', ..], _) => head.fields.store(path),
            (query, _) => head.fields.store_all(&[b"/", query]),
        };
    }
    Ok(())
}

fn version(minor: u8) -> Version {
    if minor == 0 { Version::Http10 } else { Version::Http11 }
}

/// Where `part`, a slice of `raw`, stands in it.
fn span(raw: &[u8], part: &[u8]) -> Span {
    let start = part.as_ptr() as usize - raw.as_ptr() as usize;
    Span::new(start, start + part.len())
}

/// The parser drops a reason that is not ASCII. It has checked the line, so `HTTP/1.1 200` has 12 bytes and what
/// follows up to the line's end is a space and the reason, or nothing.
fn reason(raw: &[u8]) -> Span {
    let end = memchr::memchr(b'\r', raw).unwrap_or(raw.len());
    Span::new(end.min(13), end)
}

/// The parser must see the end of the head where the scan saw it: two readings would be one too many.
fn whole(raw: &[u8], status: httparse::Result<usize>) -> Result<(), Error> {
    match status? {
        Status::Complete(end) if end == raw.len() => Ok(()),
        _ => Err(Error::NewLine),
    }
}

#[cold]
fn request_fault(error: Error, raw: &[u8]) -> Fault {
    match error {
        _ if has_bare_cr(raw) => Fault::LineEnd,
        Error::TooManyHeaders => Fault::TooManyFields,
        Error::HeaderName | Error::HeaderValue => Fault::FieldLine,
        _ => request_line_fault(first_line(raw)),
    }
}

#[cold]
fn response_fault(error: Error, raw: &[u8]) -> Fault {
    let line = first_line(raw);
    match error {
        _ if has_bare_cr(raw) => Fault::LineEnd,
        Error::TooManyHeaders => Fault::TooManyFields,
        Error::HeaderName | Error::HeaderValue => Fault::FieldLine,
        Error::Status if line.get(..9).is_some_and(|start| start.ends_with(b" ")) => Fault::Status,
        Error::Version if line.get(..8).is_some_and(is_version) && line.get(8) == Some(&b' ') => {
            Fault::Version
        }
        _ => Fault::StartLine,
    }
}

/// Which part of a request line is the bad one: method SP target SP version.
fn request_line_fault(line: &[u8]) -> Fault {
    let (Some(first), Some(last)) = (memchr::memchr(b' ', line), memchr::memrchr(b' ', line)) else {
        return Fault::StartLine;
    };
    match (is_token(&line[..first]), is_version(&line[last + 1..])) {
        (true, true) if first == last => Fault::StartLine,
        (true, true)
            if line[first + 1..last].iter().all(|byte| byte.is_ascii_graphic()) && last > first + 1 =>
        {
            Fault::Version
        }
        (true, true) => Fault::Target,
        _ => Fault::StartLine,
    }
}

fn first_line(raw: &[u8]) -> &[u8] {
    &raw[..memchr::memchr(b'\r', raw).unwrap_or(raw.len())]
}

fn has_bare_cr(raw: &[u8]) -> bool {
    memchr::memchr_iter(b'\r', raw).any(|at| raw.get(at + 1) != Some(&b'\n'))
}
