//! Diagnoses a head that could not be parsed. Done only then, over the whole head, so that the parser need not track
//! it.

use super::grammar::{is_token, is_version};
use crate::http::Fault;

/// Where the parser stopped.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Flaw {
    /// At the end of the input, before the end of the head.
    Cut,
    /// In the start line.
    Line,
    /// In a field line.
    Field,
    TooManyFields,
}

pub(super) fn of_request(flaw: Flaw, raw: &[u8]) -> Fault {
    match flaw {
        _ if has_bare_cr(raw) => Fault::LineEnd,
        Flaw::TooManyFields => Fault::TooManyFields,
        Flaw::Field => Fault::FieldLine,
        Flaw::Line | Flaw::Cut => of_request_line(first_line(raw)),
    }
}

pub(super) fn of_response(flaw: Flaw, raw: &[u8]) -> Fault {
    match flaw {
        _ if has_bare_cr(raw) => Fault::LineEnd,
        Flaw::TooManyFields => Fault::TooManyFields,
        Flaw::Field => Fault::FieldLine,
        Flaw::Line | Flaw::Cut => status_line_fault(first_line(raw)),
    }
}

/// A first byte that no request begins with. 22 is a handshake record, with which every TLS connection begins (RFC
/// 8446 section 5.1).
pub(super) fn of_no_request(input: &[u8]) -> Fault {
    match input {
        [22, ..] => Fault::TlsHello,
        _ => Fault::StartLine,
    }
}

/// Which part of a status line is malformed: version SP status, optionally SP reason.
fn status_line_fault(line: &[u8]) -> Fault {
    match line.split_first_chunk() {
        Some((b"HTTP/1.1" | b"HTTP/1.0", [b' ', ..])) => Fault::Status,
        Some((version, [b' ', ..])) if is_version(version) => Fault::Version,
        _ => Fault::StartLine,
    }
}

/// Which part of a request line is malformed: method SP target SP version.
pub(super) fn of_request_line(line: &[u8]) -> Fault {
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

/// Which part of a request line has a control byte: the one after these bytes.
pub(super) fn of_control_byte(before: &[u8]) -> Fault {
    match memchr::memchr_iter(b' ', before).count() {
        1 => Fault::Target,
        _ => Fault::StartLine,
    }
}

fn first_line(raw: &[u8]) -> &[u8] {
    &raw[..memchr::memchr(b'\r', raw).unwrap_or(raw.len())]
}

fn has_bare_cr(raw: &[u8]) -> bool {
    memchr::memchr_iter(b'\r', raw).any(|at| raw.get(at + 1) != Some(&b'\n'))
}
