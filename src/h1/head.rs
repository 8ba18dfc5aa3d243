//! Parses a head: its start line, then its fields, in one pass.
//!
//! Fields become spans; each field that rsp must understand is noted while its span is made. The bytes are copied
//! once into the head's own storage, without the empty line, so that added fields directly follow the received ones.
//! What the notes mean together is decided by `framing`, `connection_options` and `target`.

use super::fault::{self, Flaw};
use super::field_line::{self, line_end, token};
use super::framing;
use super::limits;
use super::simd;
use super::target::{self, Form};
use super::understood_fields::UnderstoodFields;
use crate::http::{Fault, Fields, Framing, Method, RequestHead, ResponseHead, Span, Version};

/// Parses the request head at the start of `input` and returns its length including the empty line; `None` if the
/// input ends first. `fields`: the limit on fields.
pub(super) fn request(input: &[u8], fields: usize, head: &mut RequestHead) -> Result<Option<usize>, Fault> {
    let (len, is_target_clean) = match request_lines(input, fields, head) {
        Ok(read) => read,
        Err(Flaw::Cut) => return Ok(None),
        Err(flaw) => return Err(fault::of_request(flaw, input)),
    };
    head.fields.take_bytes(&input[..len - 2]);
    let notes = UnderstoodFields::of(&head.fields);
    notes.check()?;
    notes.check_host(head.version)?;
    if !is_target_clean {
        return Err(Fault::Target);
    }
    let target = &input[head.target.range()];
    normalise_target(target, head)?;
    head.framing = framing::of_request(head.version, notes.lengths)?;
    head.keep_alive = notes.options.keeps_alive(head.version);
    head.nominates = notes.options.nominate();
    head.note = notes.own_lines();
    head.is_rewritten = false;
    head.upgrade = notes.options.wants_upgrade(head.version) && may_upgrade(head, &notes);
    Ok(Some(len))
}

/// RFC 6455 section 4.1: a WebSocket opens with a GET, which has no body that could be mistaken for frames. CONNECT
/// requests a tunnel in any case.
fn may_upgrade(head: &RequestHead, notes: &UnderstoodFields) -> bool {
    let opens_websocket =
        head.method == Method::Get && matches!(head.framing, Framing::None | Framing::Exact(0));
    head.method != Method::Connect && (opens_websocket || !notes.options.names_websocket())
}

/// Parses `raw`, which is a complete request head.
pub(super) fn whole_request(raw: &[u8], fields: usize, head: &mut RequestHead) -> Result<(), Fault> {
    match request(raw, fields, head)? {
        Some(len) if len == raw.len() => Ok(()),
        _ => Err(fault::of_request(Flaw::Line, raw)),
    }
}

/// Validates a request line as far as it has arrived, so that an error is reported as soon as it is known. Earlier
/// calls validated everything before `scanned`.
pub(super) fn check_request_line(seen: &[u8], scanned: usize, head: &mut RequestHead) -> Result<(), Fault> {
    let (before, _) = seen.split_at_checked(scanned).unwrap_or((seen, b""));
    if memchr::memchr(b'\n', before).is_some() {
        return Ok(());
    }
    // The last byte may be a CR.
    let from = before.len().saturating_sub(1);
    let end = from + simd::control(&seen[from..]);
    match &seen[end..] {
        [] | [b'\r'] => Ok(()),
        // An empty line is handled elsewhere.
        [b'\r', b'\n', ..] if end == 0 => Ok(()),
        [b'\r', b'\n', ..] => match request_line(&seen[..end + 2], head) {
            Ok((_, true)) => target::form(head.method, &seen[head.target.range()]).map(drop),
            Ok((_, false)) => Err(Fault::Target),
            Err(_) => Err(fault::of_request_line(&seen[..end])),
        },
        [b'\r' | b'\n', ..] => Err(Fault::LineEnd),
        _ => Err(fault::of_control_byte(&seen[..end])),
    }
}

/// The length of the head, and whether all bytes of its target are allowed.
fn request_lines(input: &[u8], fields: usize, head: &mut RequestHead) -> Result<(usize, bool), Flaw> {
    let (len, is_clean) = request_line(input, head)?;
    Ok((field_line::parse(input, len, fields, &mut head.fields)?, is_clean))
}

/// The same for the first line alone.
#[inline(always)]
fn request_line(input: &[u8], head: &mut RequestHead) -> Result<(usize, bool), Flaw> {
    let (method, len) = match input.first_chunk() {
        Some(b"GET ") => (Method::Get, 3),
        _ => method(input)?,
    };
    head.method = method;
    head.method_text = Span::new(0, len);
    let start = len + 1;
    let (end, is_clean) = target_end(input, start);
    head.target = Span::new(start, end);
    head.version = match input.get(end..).unwrap_or_default().first_chunk() {
        Some(version) if end > start && version == b" HTTP/1.1\r\n" => Version::Http11,
        Some(version) if end > start && version == b" HTTP/1.0\r\n" => Version::Http10,
        Some(_) => return Err(Flaw::Line),
        None => return Err(Flaw::Cut),
    };
    Ok((end + 11, is_clean))
}

fn method(input: &[u8]) -> Result<(Method, usize), Flaw> {
    let len = token(input, b' ', Flaw::Line)?;
    Ok((Method::of(&input[..len]), len))
}

/// The end of the target, and whether all its bytes are allowed. If not, that is reported once the head is complete.
#[inline(always)]
fn target_end(input: &[u8], start: usize) -> (usize, bool) {
    let target_end = |from| from + input.get(from..).map_or(0, simd::target_end);
    let first = target_end(start);
    let mut end = first;
    while let Some(b'#' | 0x80..) = input.get(end) {
        end = target_end(end + 1);
    }
    (end, end == first)
}

/// Parses the response head at the start of `input`, like `request`. `to_head`: it answers a HEAD request.
pub(super) fn response(
    input: &[u8],
    fields: usize,
    to_head: bool,
    head: &mut ResponseHead,
) -> Result<Option<usize>, Fault> {
    let len = match response_lines(input, fields, head) {
        Ok(len) => len,
        Err(Flaw::Cut) => return Ok(None),
        Err(flaw) => return Err(fault::of_response(flaw, input)),
    };
    if !(100..600).contains(&head.status) {
        return Err(Fault::Status);
    }
    head.fields.take_bytes(&input[..len - 2]);
    judge_response(to_head, head)?;
    Ok(Some(len))
}

/// Decides framing and persistence of a response head.
#[inline(always)]
pub(super) fn judge_response(to_head: bool, head: &mut ResponseHead) -> Result<(), Fault> {
    let notes = UnderstoodFields::of(&head.fields);
    notes.check()?;
    head.framing = framing::of_response(head.version, to_head, head.status, notes.lengths)?;
    head.keep_alive = notes.options.keeps_alive(head.version) && head.framing != Framing::UntilClose;
    head.nominates = notes.options.nominate();
    head.note = notes.own_lines();
    head.upgrade = notes.options.wants_upgrade(head.version);
    Ok(())
}

/// Parses `raw`, which is a complete response head.
pub(super) fn whole_response(
    raw: &[u8],
    fields: usize,
    to_head: bool,
    head: &mut ResponseHead,
) -> Result<(), Fault> {
    match response(raw, fields, to_head, head)? {
        Some(len) if len == raw.len() => Ok(()),
        _ => Err(fault::of_response(Flaw::Line, raw)),
    }
}

/// `HTTP/1.1 200 Reason`; the space after the status may be missing if there is no reason.
#[inline(always)]
pub(super) fn response_lines(input: &[u8], fields: usize, head: &mut ResponseHead) -> Result<usize, Flaw> {
    if let Some(b"HTTP/1.1 200 OK\r\n") = input.first_chunk() {
        (head.version, head.status, head.reason) = (Version::Http11, 200, Span::new(13, 15));
        return field_line::parse(input, 17, fields, &mut head.fields);
    }
    let Some((start, rest)) = input.split_first_chunk::<12>() else { return Err(Flaw::Cut) };
    let (version, digits) = start.split_at(9);
    head.version = match version {
        _ if version == b"HTTP/1.1 " => Version::Http11,
        _ if version == b"HTTP/1.0 " => Version::Http10,
        _ => return Err(Flaw::Line),
    };
    head.status = status(digits).ok_or(Flaw::Line)?;
    let end = line_end(input, 12, Flaw::Line)?;
    head.reason = match rest.first() {
        Some(b' ') => Span::new(13, end),
        _ if end == 12 => Span::new(12, 12),
        _ => return Err(Flaw::Line),
    };
    field_line::parse(input, end + 2, fields, &mut head.fields)
}

fn status(digits: &[u8]) -> Option<u16> {
    digits.iter().try_fold(0, |n, digit| digit.is_ascii_digit().then(|| n * 10 + u16::from(digit - b'0')))
}

/// Parses `raw`, a complete trailer section with at least one field.
pub(super) fn trailers(raw: &[u8], fields: &mut Fields) -> Result<(), Fault> {
    match field_line::parse(raw, 0, limits::TRAILER_FIELDS, fields) {
        Ok(len) if len == raw.len() => {
            fields.take_bytes(&raw[..len - 2]);
            Ok(())
        }
        _ => Err(Fault::Trailers),
    }
}

/// RFC 9112 section 3.2.2: the authority of an absolute form replaces Host; the target becomes origin form.
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
