//! Second parser for response heads, for sloppy servers whose heads have only one reading.
//!
//! A head that the strict parser refuses is parsed by `httparse`, which also accepts bare LFs and several blanks
//! before the status. What else is allowed but refused by it is replaced first: versions up to 1.9, control bytes in
//! values. The head is then serialized again, without a repeated equal length and without a length beside `chunked`,
//! and the strict parser decides about the result. Everything else stays refused: folded lines, blanks before a
//! colon, control bytes in framing fields. The connection is not reused.
//!
//! Requests are never parsed like this: where two parsers of a request differ, smuggling is possible.

use std::ops::Range;

use httparse::{EMPTY_HEADER, Header, ParserConfig, Status};

use super::{HeadLimits, framing, head};
use crate::http::{Fault, Name, Names, ResponseHead};

/// Whether leniency is allowed, and whether it was needed.
#[derive(Clone, Copy, Default)]
pub(super) struct Leniency {
    strict: bool,
    used: bool,
}

impl Leniency {
    pub(super) fn new(strict: bool) -> Leniency {
        Leniency { strict, used: false }
    }

    /// For clients.
    pub(super) fn none() -> Leniency {
        Leniency::new(true)
    }

    pub(super) fn is_strict(self) -> bool {
        self.strict
    }

    pub(super) fn was_used(self) -> bool {
        self.used
    }

    /// Whether one deviation is accepted; notes it.
    pub(super) fn forgive(&mut self) -> bool {
        self.used |= !self.strict;
        !self.strict
    }
}

/// Fields in which a control byte would change the message.
const NO_CONTROLS: Names =
    Names::of(&[Name::ContentLength, Name::TransferEncoding, Name::Connection, Name::Upgrade]);

/// Parses `raw`, a complete response head that the strict parser refused with this fault.
pub(super) fn response(
    raw: &[u8],
    fault: Fault,
    to_head: bool,
    limits: &HeadLimits,
    leniency: &mut Leniency,
    head: &mut ResponseHead,
) -> Result<(), Fault> {
    // The strict parser's fault for a bare LF depends on its position.
    let fault = if has_bare_lf(raw) { Fault::LineEnd } else { fault };
    if !leniency.forgive() {
        return Err(fault);
    }
    match rewritten(raw) {
        Some(rewritten) if rewritten.len() <= limits.bytes => {
            parse_masked(&rewritten, limits.fields, to_head, head).ok_or(fault)
        }
        _ => Err(fault),
    }
}

/// The strict parser sees the lines with control bytes masked, and stores them as received.
fn parse_masked(lines: &[u8], fields: usize, to_head: bool, head: &mut ResponseHead) -> Option<()> {
    let hidden: Vec<u8> = lines.iter().map(|byte| if is_tolerated(*byte) { MASK } else { *byte }).collect();
    let len = head::response_lines(&hidden, fields, head).ok()?;
    if len != lines.len() || head.status < 100 {
        return None;
    }
    head.fields.take_bytes(&lines[..len - 2]);
    let framed = head.fields.iter().filter(|(tag, ..)| NO_CONTROLS.has(*tag));
    if framed.into_iter().any(|(_, _, value)| value.iter().any(|byte| is_tolerated(*byte))) {
        return None;
    }
    head::judge_response(to_head, head).ok()
}

/// The head in strict form, if it has only one reading.
fn rewritten(raw: &[u8]) -> Option<Vec<u8>> {
    let line_end = memchr::memchr(b'\n', raw)?;
    let masked = masked(raw, line_end)?;
    let mut room = vec![EMPTY_HEADER; memchr::memchr_iter(b'\n', raw).count()];
    let mut response = httparse::Response::new(&mut room);
    let mut config = ParserConfig::default();
    config.allow_multiple_spaces_in_response_status_delimiters(true);
    if config.parse_response(&mut response, &masked) != Ok(Status::Complete(raw.len())) {
        return None;
    }
    let lengths = KeptLength::of(response.headers)?;
    let version = match response.version {
        // An interim response has no body, and 1.0 has none.
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
        lines.extend_from_slice(raw.get(range_in(header.value, &masked))?);
        lines.extend_from_slice(b"\r\n");
    }
    lines.extend_from_slice(b"\r\n");
    Some(lines)
}

/// The head with everything that `httparse` refuses masked, without moving bytes.
fn masked(raw: &[u8], line_end: usize) -> Option<Vec<u8>> {
    let mut masked = raw.to_vec();
    let (line, fields) = masked.split_at_mut(line_end);
    match line {
        [b'H', b'T', b'T', b'P', b'/', b'1', b'.', minor @ b'0'..=b'9', b' ', ..] => {
            *minor = (*minor).min(b'1');
        }
        _ => return None,
    }
    fields.iter_mut().filter(|byte| is_tolerated(**byte)).for_each(|byte| *byte = MASK);
    Some(masked)
}

/// Placeholder for a control byte; allowed in a value and not in a name.
const MASK: u8 = b'?';

fn is_tolerated(byte: u8) -> bool {
    byte.is_ascii_control() && !matches!(byte, b'\t' | b'\r' | b'\n' | 0)
}

fn has_bare_lf(raw: &[u8]) -> bool {
    memchr::memchr_iter(b'\n', raw).any(|at| at == 0 || raw[at - 1] != b'\r')
}

/// What follows the version: after one or two blanks.
fn status_and_reason(line: &[u8]) -> Option<&[u8]> {
    let line = line.strip_suffix(b"\r").unwrap_or(line).get(9..)?;
    Some(line.strip_prefix(b" ").unwrap_or(line)).filter(|rest| !rest.starts_with(b" "))
}

/// The range of a piece within `whole`.
fn range_in(piece: &[u8], whole: &[u8]) -> Range<usize> {
    let start = (piece.as_ptr() as usize).wrapping_sub(whole.as_ptr() as usize);
    start..start.saturating_add(piece.len())
}

/// Which of the length fields is kept.
struct KeptLength<'a> {
    /// The field that is kept of several equal ones.
    kept: Option<&'a str>,
    chunked: bool,
}

impl<'a> KeptLength<'a> {
    /// `None` if they are malformed or contradict each other.
    fn of(headers: &[Header<'a>]) -> Option<KeptLength<'a>> {
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
        Some(KeptLength { kept: first.filter(|_| !chunked).map(|header| header.name), chunked })
    }

    fn keep(&self, header: &Header<'_>) -> bool {
        let is_length = header.name.eq_ignore_ascii_case("Content-Length");
        // Names are slices of the head: an equal pointer is the same line.
        !is_length || self.kept.is_some_and(|kept| kept.as_ptr() == header.name.as_ptr())
    }
}
