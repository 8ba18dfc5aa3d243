//! Version 1: one line of text (section 2.1). Matched strictly: single spaces, no leading zeros, addresses of the
//! stated family, CRLF at the end. Anything may follow UNKNOWN.

use std::net::{IpAddr, SocketAddr};

use super::{Header, HeaderError, OnBehalf, limits};

const START: &[u8] = b"PROXY ";

pub fn read(input: &[u8]) -> Result<Option<Header>, HeaderError> {
    let known = input.len().min(START.len());
    if input[..known] != START[..known] {
        return Err(HeaderError::NotProxy);
    }
    let Some(end) = line_end(input)? else { return Ok(None) };
    let on_behalf = input.get(START.len()..end).and_then(words).ok_or(HeaderError::Line)?;
    Ok(Some(Header { on_behalf, consumed: end + 2 }))
}

/// Position of CRLF, which must come within the limit. A bare CR or LF is an error.
fn line_end(input: &[u8]) -> Result<Option<usize>, HeaderError> {
    let line = &input[..input.len().min(limits::LINE)];
    let end = memchr::memchr2(b'\r', b'\n', line);
    match (end, end.and_then(|end| line.get(end..end + 2))) {
        (Some(end), Some(b"\r\n")) => Ok(Some(end)),
        (Some(_), Some(_)) => Err(HeaderError::Line),
        (Some(end), None) if line[end] == b'\n' => Err(HeaderError::Line),
        _ if line.len() == limits::LINE => Err(HeaderError::Line),
        _ => Ok(None),
    }
}

/// Parses the words between `PROXY ` and the line's end.
fn words(text: &[u8]) -> Option<OnBehalf> {
    if text == b"UNKNOWN" || text.starts_with(b"UNKNOWN ") {
        return Some(OnBehalf::Unknown);
    }
    let mut words = std::str::from_utf8(text).ok()?.split(' ');
    let [Some(family), Some(source), Some(destination), Some(source_port), Some(port), None] =
        std::array::from_fn(|_| words.next())
    else {
        return None;
    };
    let source = SocketAddr::new(ip(family, source)?, number(source_port)?);
    let destination = SocketAddr::new(ip(family, destination)?, number(port)?);
    Some(OnBehalf::Client { source, destination })
}

fn ip(family: &str, text: &str) -> Option<IpAddr> {
    match family {
        "TCP4" => text.parse().ok().map(IpAddr::V4),
        "TCP6" => text.parse().ok().map(IpAddr::V6),
        _ => None,
    }
}

/// Decimal digits without leading zeros.
fn number(text: &str) -> Option<u16> {
    let plain = text.bytes().all(|byte| byte.is_ascii_digit()) && (text == "0" || !text.starts_with('0'));
    plain.then(|| text.parse().ok()).flatten()
}
