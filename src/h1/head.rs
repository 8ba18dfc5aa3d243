//! Parses a head: its start line, then its fields, in one pass over the bytes.
//!
//! Fields become spans; each field that rsp must understand is noted while its span is made. The bytes are copied
//! once into the head's own storage, without the empty line, so that fields that are added later stand right
//! behind those that came. What the notes mean together is decided by the tables in `framing`, `options` and
//! `target`.

use super::fault::{self, Flaw};
use super::find;
use super::framing::{self, Lengths};
use super::grammar::TOKEN;
use super::limits;
use super::options::Options;
use super::target::{self, Form};
use crate::http::{Fault, Field, Fields, Framing, Method, Name, RequestHead, ResponseHead, Span, Version};

/// Reads the request head that `input` begins with and says its length, its empty line included; `None` if the
/// input ends first.
pub(super) fn request(input: &[u8], head: &mut RequestHead) -> Result<Option<usize>, Fault> {
    let mut notes = Notes::default();
    let len = match request_lines(input, head, &mut notes) {
        Ok(len) => len,
        Err(Flaw::Cut) => return Ok(None),
        Err(flaw) => return Err(fault::of_request(flaw, input)),
    };
    head.fields.take_bytes(&input[..len - 2]);
    notes.check()?;
    notes.check_host(head.version)?;
    let target = &input[head.target.start as usize..head.target.end as usize];
    normalise_target(target, head)?;
    head.framing = framing::of_request(head.version, notes.lengths)?;
    head.keep_alive = notes.options.keeps_alive(head.version);
    head.nominates = notes.options.nominate();
    // RFC 6455 section 4.1: a WebSocket opens with a GET, which has no body that could be mistaken for frames.
    head.upgrade = head.method == Method::Get
        && matches!(head.framing, Framing::None | Framing::Exact(0))
        && notes.options.wants_websocket(head.version);
    Ok(Some(len))
}

/// Reads `raw`, which is a whole request head.
pub(super) fn whole_request(raw: &[u8], head: &mut RequestHead) -> Result<(), Fault> {
    match request(raw, head)? {
        Some(len) if len == raw.len() => Ok(()),
        _ => Err(fault::of_request(Flaw::Line, raw)),
    }
}

fn request_lines(input: &[u8], head: &mut RequestHead, notes: &mut Notes) -> Result<usize, Flaw> {
    let method = token(input, 0, b' ', Flaw::Line)?;
    let start = method + 1;
    let end = target_end(input, start);
    head.method = Method::of(&input[..method]);
    head.method_text = Span::new(0, method);
    head.target = Span::new(start, end);
    let rest = input.get(end..).unwrap_or_default();
    head.version = match rest.first_chunk() {
        Some(b" HTTP/1.1\r\n") if end > start => Version::Http11,
        Some(b" HTTP/1.0\r\n") if end > start => Version::Http10,
        Some(_) => return Err(Flaw::Line),
        None => return Err(Flaw::Cut),
    };
    field_lines(input, end + 11, &mut head.fields, |tag, value| notes.note(tag, value))
}

/// Where the target ends; what it may not have is found by `target::form`, once all of the head is there.
fn target_end(input: &[u8], start: usize) -> usize {
    let mut end = find::target_end(input, start);
    while let Some(b'#' | 0x80..) = input.get(end) {
        end = find::target_end(input, end + 1);
    }
    end
}

/// Reads the response head that `input` begins with, as `request` does. `to_head`: it answers a HEAD request.
pub(super) fn response(input: &[u8], to_head: bool, head: &mut ResponseHead) -> Result<Option<usize>, Fault> {
    let mut notes = Notes::default();
    let len = match response_lines(input, head, &mut notes) {
        Ok(len) => len,
        Err(Flaw::Cut) => return Ok(None),
        Err(flaw) => return Err(fault::of_response(flaw, input)),
    };
    if !(100..600).contains(&head.status) {
        return Err(Fault::Status);
    }
    head.fields.take_bytes(&input[..len - 2]);
    notes.check()?;
    let bodiless = to_head || framing::is_bodiless(head.status);
    head.framing = framing::of_response(head.version, bodiless, notes.lengths)?;
    head.keep_alive = notes.options.keeps_alive(head.version) && head.framing != Framing::UntilClose;
    head.nominates = notes.options.nominate();
    head.upgrade = notes.options.wants_websocket(head.version);
    Ok(Some(len))
}

/// Reads `raw`, which is a whole response head.
pub(super) fn whole_response(raw: &[u8], to_head: bool, head: &mut ResponseHead) -> Result<(), Fault> {
    match response(raw, to_head, head)? {
        Some(len) if len == raw.len() => Ok(()),
        _ => Err(fault::of_response(Flaw::Line, raw)),
    }
}

/// `HTTP/1.1 200 Reason`, where the space behind the status may be missing with the reason.
fn response_lines(input: &[u8], head: &mut ResponseHead, notes: &mut Notes) -> Result<usize, Flaw> {
    let Some((start, rest)) = input.split_first_chunk::<12>() else { return Err(Flaw::Cut) };
    head.version = match start.first_chunk() {
        Some(b"HTTP/1.1 ") => Version::Http11,
        Some(b"HTTP/1.0 ") => Version::Http10,
        _ => return Err(Flaw::Line),
    };
    head.status = status(&start[9..]).ok_or(Flaw::Line)?;
    let end = line_end(input, 12, Flaw::Line)?;
    head.reason = match rest.first() {
        Some(b' ') => Span::new(13, end),
        _ if end == 12 => Span::new(12, 12),
        _ => return Err(Flaw::Line),
    };
    field_lines(input, end + 2, &mut head.fields, |tag, value| notes.note(tag, value))
}

fn status(digits: &[u8]) -> Option<u16> {
    digits.iter().try_fold(0, |n, digit| digit.is_ascii_digit().then(|| n * 10 + u16::from(digit - b'0')))
}

/// `raw` is a whole trailer section with at least one field.
pub(super) fn trailers(raw: &[u8], fields: &mut Fields) -> Result<(), Fault> {
    match field_lines(raw, 0, fields, |_, _| ()) {
        Ok(len) if len == raw.len() => {
            fields.take_bytes(raw);
            Ok(())
        }
        _ => Err(Fault::Trailers),
    }
}

/// Field lines from `at` up to the empty line, behind which they end.
fn field_lines(
    input: &[u8],
    mut at: usize,
    fields: &mut Fields,
    mut note: impl FnMut(Name, &[u8]),
) -> Result<usize, Flaw> {
    fields.clear();
    loop {
        match input.get(at..) {
            Some([b'\r', b'\n', ..]) => return Ok(at + 2),
            Some([] | [b'\r']) | None => return Err(Flaw::Cut),
            Some(_) if fields.len() == limits::FIELDS => return Err(Flaw::TooManyFields),
            Some(_) => {}
        }
        let colon = token(input, at, b':', Flaw::Field)?;
        // As HTTP/1 writes it: one space before the value, none behind it.
        let mut plain = matches!(input.get(colon + 1..), Some([b' ', next, ..]) if !is_blank(*next));
        let first = if plain { colon + 2 } else { skip_blanks(input, colon + 1) };
        let end = line_end(input, first, Flaw::Field)?;
        plain &= !is_blank(input[end - 1]) || first == end;
        let last = if plain { end } else { trim_blanks(input, first, end) };
        let tag = Name::of(&input[at..colon]);
        fields.add(Field { tag, plain, name: Span::new(at, colon), value: Span::new(first, last) });
        if tag != Name::Other {
            note(tag, &input[first..last]);
        }
        at = end + 2;
    }
}

/// Where the token that begins at `at` ends, if that is before `end`.
#[inline(always)]
fn token(input: &[u8], at: usize, end: u8, flaw: Flaw) -> Result<usize, Flaw> {
    let mut stop = find::word_end(input, at);
    while input.get(stop).is_some_and(|byte| TOKEN.has(*byte)) {
        stop += 1;
    }
    match input.get(stop) {
        Some(byte) if *byte == end && stop > at => Ok(stop),
        None => Err(Flaw::Cut),
        Some(_) => Err(flaw),
    }
}

fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t')
}

#[cold]
fn skip_blanks(input: &[u8], mut at: usize) -> usize {
    while input.get(at).is_some_and(|byte| is_blank(*byte)) {
        at += 1;
    }
    at
}

#[cold]
fn trim_blanks(input: &[u8], first: usize, mut end: usize) -> usize {
    while end > first && is_blank(input[end - 1]) {
        end -= 1;
    }
    end
}

/// Where the line that goes on at `from` ends: the place of its CR LF.
#[inline(always)]
fn line_end(input: &[u8], from: usize, flaw: Flaw) -> Result<usize, Flaw> {
    let mut at = find::control(input, from);
    while let Some(b'\t') = input.get(at) {
        at = find::control(input, at + 1);
    }
    match input.get(at..) {
        Some([b'\r', b'\n', ..]) => Ok(at),
        Some([] | [b'\r']) | None => Err(Flaw::Cut),
        Some(_) => Err(flaw),
    }
}

/// What the fields of one head say, each for itself.
#[derive(Default)]
struct Notes {
    lengths: Lengths,
    options: Options,
    hosts: usize,
    /// The first field that has no reading at all.
    fault: Option<Fault>,
}

impl Notes {
    fn note(&mut self, tag: Name, value: &[u8]) {
        match tag {
            Name::ContentLength => self.note_content_length(value),
            Name::TransferEncoding => self.lengths.note_transfer_encoding(value),
            Name::Connection => self.options.note_connection(value),
            Name::Upgrade => self.options.note_upgrade(value),
            Name::Host => self.note_host(value),
            _ => {}
        }
    }

    fn note_content_length(&mut self, value: &[u8]) {
        if let Err(fault) = self.lengths.note_content_length(value) {
            self.fault.get_or_insert(fault);
        }
    }

    /// A malformed Host counts as too many of them, so that one check judges all.
    fn note_host(&mut self, value: &[u8]) {
        self.hosts += if target::is_authority(value) { 1 } else { 2 };
    }

    fn check(&self) -> Result<(), Fault> {
        self.fault.map_or(Ok(()), Err)?;
        self.options.check()
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
