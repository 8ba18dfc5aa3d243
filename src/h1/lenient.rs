//! The second reading of a response head, for servers that are careless in a way that has one reading only.
//!
//! A head that the strict reader refuses is read by `httparse`, which also takes bare LFs and more than one blank in
//! front of the status. What else passes it would refuse, so that is put right before: a version up to 1.9, control
//! bytes in values. Of what it read the head is written anew, without the second of two equal lengths and without a
//! length beside `chunked`, and the strict reader has the last word on that. Nothing else passes: no folded lines, no
//! blanks in front of a colon, no control bytes where the framing is told. The connection is not used again.
//!
//! Requests are never read like this: where two readers of a request differ, somebody smuggles.

use std::ops::Range;

use httparse::{EMPTY_HEADER, Header, ParserConfig, Status};

use super::{HeadLimits, framing, head};
use crate::http::{Fault, Name, Names, ResponseHead};

/// Whether a server is forgiven anything, and whether that was needed.
#[derive(Clone, Copy, Default)]
pub(super) struct Leniency {
    strict: bool,
    used: bool,
}

impl Leniency {
    pub(super) fn new(strict: bool) -> Leniency {
        Leniency { strict, used: false }
    }

    /// What clients get.
    pub(super) fn none() -> Leniency {
        Leniency::new(true)
    }

    pub(super) fn is_strict(self) -> bool {
        self.strict
    }

    pub(super) fn was_used(self) -> bool {
        self.used
    }

    /// Asks for one thing to be forgiven.
    #[cold]
    pub(super) fn forgive(&mut self) -> bool {
        self.used |= !self.strict;
        !self.strict
    }
}

/// Where a control byte would change what a message is.
const NO_CONTROLS: Names =
    Names::of(&[Name::ContentLength, Name::TransferEncoding, Name::Connection, Name::Upgrade]);

/// Reads `raw`, a whole response head that the strict reader refused for this fault.
#[cold]
pub(super) fn response(
    raw: &[u8],
    fault: Fault,
    to_head: bool,
    limits: &HeadLimits,
    leniency: &mut Leniency,
    head: &mut ResponseHead,
) -> Result<(), Fault> {
    // What a bare LF is taken for by the strict reader depends on what it stands in.
    let fault = if has_bare_lf(raw) { Fault::LineEnd } else { fault };
    if !leniency.forgive() {
        return Err(fault);
    }
    match rewritten(raw) {
        Some(rewritten) if rewritten.len() <= limits.bytes => {
            read_again(&rewritten, limits.fields, to_head, head).ok_or(fault)
        }
        _ => Err(fault),
    }
}

/// The strict reader looks at the lines with their control bytes hidden, and keeps them as they came.
fn read_again(lines: &[u8], fields: usize, to_head: bool, head: &mut ResponseHead) -> Option<()> {
    let hidden: Vec<u8> = lines.iter().map(|byte| if is_forgiven(*byte) { HIDDEN } else { *byte }).collect();
    let len = head::response_lines(&hidden, fields, head).ok()?;
    if len != lines.len() || head.status < 100 {
        return None;
    }
    head.fields.take_bytes(&lines[..len - 2]);
    let framed = head.fields.iter().filter(|(tag, ..)| NO_CONTROLS.has(*tag));
    if framed.into_iter().any(|(_, _, value)| value.iter().any(|byte| is_forgiven(*byte))) {
        return None;
    }
    head::judge_response(to_head, head).ok()
}

/// The lines of a head that has one reading, as they should have been written.
fn rewritten(raw: &[u8]) -> Option<Vec<u8>> {
    let line_end = memchr::memchr(b'\n', raw)?;
    let readable = readable(raw, line_end)?;
    let mut room = vec![EMPTY_HEADER; memchr::memchr_iter(b'\n', raw).count()];
    let mut response = httparse::Response::new(&mut room);
    let mut config = ParserConfig::default();
    config.allow_multiple_spaces_in_response_status_delimiters(true);
    if config.parse_response(&mut response, &readable) != Ok(Status::Complete(raw.len())) {
        return None;
    }
    let lengths = Lengths::of(response.headers)?;
    let version = match response.version {
        // An interim response has no body, and of 1.0 there is none.
        Some(0) if !(lengths.chunked && response.code >= Some(200)) => b"HTTP/1.0 ",
        _ => b"HTTP/1.1 ",
    };
    let mut lines = Vec::with_capacity(raw.len() + response.headers.len());
    lines.extend_from_slice(version);
    lines.extend_from_slice(status_and_reason(&raw[..line_end])?);
    lines.extend_from_slice(b"\r\n");
    for header in response.headers.iter().filter(|header| lengths.keep(header)) {
        lines.extend_from_slice(header.name.as_bytes());
        lines.extend_from_slice(b": ");
        lines.extend_from_slice(raw.get(place(header.value, &readable))?);
        lines.extend_from_slice(b"\r\n");
    }
    lines.extend_from_slice(b"\r\n");
    Some(lines)
}

/// The head with what `httparse` refuses put right, each byte in its place.
fn readable(raw: &[u8], line_end: usize) -> Option<Vec<u8>> {
    let mut readable = raw.to_vec();
    let (line, fields) = readable.split_at_mut(line_end);
    match line {
        [b'H', b'T', b'T', b'P', b'/', b'1', b'.', minor @ b'0'..=b'9', b' ', ..] => {
            *minor = (*minor).min(b'1');
        }
        _ => return None,
    }
    fields.iter_mut().filter(|byte| is_forgiven(**byte)).for_each(|byte| *byte = HIDDEN);
    Some(readable)
}

/// Stands for a control byte; may stand in a value and not in a name.
const HIDDEN: u8 = b'?';

fn is_forgiven(byte: u8) -> bool {
    byte.is_ascii_control() && !matches!(byte, b'\t' | b'\r' | b'\n' | 0)
}

fn has_bare_lf(raw: &[u8]) -> bool {
    memchr::memchr_iter(b'\n', raw).any(|at| at == 0 || raw[at - 1] != b'\r')
}

/// What follows the version: behind one blank or two.
fn status_and_reason(line: &[u8]) -> Option<&[u8]> {
    let line = line.strip_suffix(b"\r").unwrap_or(line).get(9..)?;
    Some(line.strip_prefix(b" ").unwrap_or(line)).filter(|rest| !rest.starts_with(b" "))
}

/// Where a piece of `whole` stands in it.
fn place(piece: &[u8], whole: &[u8]) -> Range<usize> {
    let start = (piece.as_ptr() as usize).wrapping_sub(whole.as_ptr() as usize);
    start..start.saturating_add(piece.len())
}

/// Which of the lines that tell a length go on.
struct Lengths<'a> {
    /// The line that stays where others say the same.
    kept: Option<&'a str>,
    chunked: bool,
}

impl<'a> Lengths<'a> {
    /// `None` if they have no reading, or more than one.
    fn of(headers: &[Header<'a>]) -> Option<Lengths<'a>> {
        let named =
            |name: &'static str| headers.iter().filter(move |header| header.name.eq_ignore_ascii_case(name));
        let mut lengths = named("Content-Length");
        let first = lengths.next();
        let (second, third) = (lengths.next(), lengths.next());
        let is_bad = |header: &Header<'_>| {
            framing::number(header.value).is_none() || first.is_some_and(|first| first.value != header.value)
        };
        if third.is_some() || first.into_iter().chain(second).any(is_bad) {
            return None;
        }
        let mut codings = named("Transfer-Encoding");
        let chunked = match (codings.next(), codings.next()) {
            (None, _) => false,
            (Some(only), None) if only.value.eq_ignore_ascii_case(b"chunked") => true,
            _ => return None,
        };
        Some(Lengths { kept: first.filter(|_| !chunked).map(|header| header.name), chunked })
    }

    fn keep(&self, header: &Header<'_>) -> bool {
        let is_length = header.name.eq_ignore_ascii_case("Content-Length");
        // The names are pieces of the head: the same place is the same line.
        !is_length || self.kept.is_some_and(|kept| kept.as_ptr() == header.name.as_ptr())
    }
}
