//! Where in a malformed head the fault is: for reports, after the fact. Codecs refuse a head as a whole, so this decodes
//! parts of it again: first the line, by adding one line at a time to a head that is otherwise whole, then the byte, by
//! taking one byte after the other off that line.

use super::{BackendCodec, ClientCodec, HeadLimits};
use crate::http::{Codec, Fault, Fields, RequestHead, ResponseHead};

/// Lines and bytes of a line that are looked at.
const LINES: usize = 200;
const BYTES: usize = 512;

/// What kind of message it is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    Request,
    Response,
}

/// The position of the byte at which the head cannot be valid any more; `None` if no part of it shows the fault.
pub fn locate(head: &[u8], kind: Kind, limits: &HeadLimits) -> Option<usize> {
    let lines = lines(head);
    let first = lines.first()?;
    if fault_of(&[&head[..first.1], b"\r\n"], kind, limits) {
        return Some(in_first_line(&head[..first.1], kind));
    }
    for (start, end) in lines.iter().skip(1).take(LINES) {
        if start == end {
            return None;
        }
        if fault_of(&[&head[..*end], b"\r\n"], kind, limits) {
            return Some(start + in_field(&head[..*start], &head[*start..*end], kind, limits));
        }
    }
    None
}

/// The positions of the lines, without their ends.
fn lines(head: &[u8]) -> Vec<(usize, usize)> {
    let (mut lines, mut start) = (Vec::new(), 0);
    for at in memchr::memchr_iter(b'\n', head) {
        let end = if at > start && head[at - 1] == b'\r' { at - 1 } else { at };
        lines.push((start, end));
        start = at + 1;
    }
    if start < head.len() {
        lines.push((start, head.len()));
    }
    lines
}

/// The byte from which on the line shows the fault, however much of it follows. A name alone is none yet, so it gets an
/// end and a colon; it must not become that of a field that needs a value.
fn in_field(before: &[u8], line: &[u8], kind: Kind, limits: &HeadLimits) -> usize {
    let shows = |length: &usize| {
        let part = &line[..*length];
        let end: &[u8] = if part.contains(&b':') { b"" } else { b"z:" };
        fault_of(&[before, part, end, b"\r\n"], kind, limits)
    };
    let shortest = (1..=line.len()).rev().take(BYTES).take_while(shows).last();
    shortest.unwrap_or(line.len()).saturating_sub(1)
}

/// Whether this head, ended here, is malformed for what is in it.
fn fault_of(parts: &[&[u8]], kind: Kind, limits: &HeadLimits) -> bool {
    let head = [parts.concat().as_slice(), b"\r\n"].concat();
    let mut trailers = Fields::default();
    let result = match kind {
        Kind::Request => {
            let mut into = RequestHead::default();
            ClientCodec::default().decode(&head, false, 0, limits, &mut into, &mut trailers).map(|_| ())
        }
        Kind::Response => {
            let mut into = ResponseHead::default();
            BackendCodec::new(true).decode(&head, false, 0, limits, &mut into, &mut trailers).map(|_| ())
        }
    };
    // A head that ends early may only lack its Host.
    result.is_err_and(|fault| fault != Fault::Host || has_host(&head))
}

fn has_host(head: &[u8]) -> bool {
    head.split(|byte| *byte == b'\n').any(|line| line.len() >= 5 && line[..5].eq_ignore_ascii_case(b"host:"))
}

/// In a first line: a byte that may be nowhere in it, else where the part begins that is not as it must be.
fn in_first_line(line: &[u8], kind: Kind) -> usize {
    let odd = |byte: &u8| !byte.is_ascii_graphic() && *byte != b' ';
    if let Some(at) = line.iter().position(odd) {
        return at;
    }
    let blanks: Vec<usize> =
        line.iter().enumerate().filter(|(_, byte)| **byte == b' ').map(|(at, _)| at).collect();
    match (kind, blanks.as_slice()) {
        // METHOD TARGET VERSION
        (Kind::Request, [first, second]) if *second > first + 1 => {
            let method = line[..*first].iter().position(|byte| !is_token(*byte));
            let target = &line[first + 1..*second];
            let version = line[second + 1..].starts_with(b"HTTP/1.");
            match (method, version) {
                (Some(at), _) => at,
                (None, false) => second + 1,
                (None, true) => first + 1 + target.iter().position(|byte| *byte == b'#').unwrap_or_default(),
            }
        }
        (Kind::Request, [_, _, third, ..]) => *third,
        (Kind::Response, [first, ..]) if line.starts_with(b"HTTP/") => first + 1,
        (Kind::Response, _) => 0,
        (Kind::Request, _) => line.len().saturating_sub(1),
    }
}

fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The head with `^` in front of the byte that is found.
    fn marked(head: &str, kind: Kind) -> String {
        match locate(head.as_bytes(), kind, &HeadLimits::REQUEST) {
            Some(at) => format!("{}^{}", &head[..at], &head[at..]),
            None => head.to_owned(),
        }
    }

    #[test]
    fn the_offending_byte_of_a_request_is_found() {
        for head in [
            "GET / HTTP/1.1\r\nHost: a\r\nBad^ Header: x\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a\r\nX: a^\0b\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 1^x\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a\r\nA: b\r\n^ folded\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a\r\nHost^: b\r\n\r\n",
            "GET / ^HTTP/2.0\r\nHost: a\r\n\r\n",
            "GET / HTTP/1.1^ x\r\nHost: a\r\n\r\n",
            "G^(T / HTTP/1.1\r\nHost: a\r\n\r\n",
            "GET /^\u{7f} HTTP/1.1\r\nHost: a\r\n\r\n",
        ] {
            assert_eq!(marked(&head.replace('^', ""), Kind::Request), head);
        }
    }

    #[test]
    fn the_offending_byte_of_a_response_is_found() {
        for head in ["HTTP/1.1 200 OK\r\nA b^: c\r\n\r\n", "HTTP/1.1 ^2000 OK\r\n\r\n", "^FTP 200 OK\r\n\r\n"]
        {
            let found = marked(&head.replace('^', ""), Kind::Response);
            assert!(found == head || found.contains("A^ b"), "{found}");
        }
    }

    #[test]
    fn a_valid_head_has_no_fault() {
        let head = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
        assert_eq!(marked(head, Kind::Request), head);
        assert_eq!(locate(b"", Kind::Request, &HeadLimits::REQUEST), None);
    }
}
