//! `show errors`: the last malformed messages, with the offending byte marked. Positions stay as they were: what nobody
//! is to see (credentials, queries) is written over, letter by letter.

use std::fmt::Write;
use std::time::{SystemTime, UNIX_EPOCH};

use crate::control::clock::Stamp;
use crate::h1::{Kind, locate};
use crate::worker::Malformed;

/// Bytes in one line of the dump.
const WIDTH: usize = 70;
/// Parts of the names of fields whose values are not told.
const SECRET: [&str; 10] =
    ["auth", "cookie", "token", "secret", "pass", "key", "session", "signature", "credential", "csrf"];

/// A message, made fit for being told.
pub struct Told {
    pub at: SystemTime,
    pub side: &'static str,
    pub what: &'static str,
    pub bytes: Vec<u8>,
    pub position: Option<usize>,
}

impl Told {
    pub fn of(one: &Malformed) -> Told {
        let kind = if one.server.is_some() { Kind::Response } else { Kind::Request };
        Told {
            at: one.at,
            side: if one.server.is_some() { "response" } else { "request" },
            what: one.fault.text(),
            position: locate(&one.bytes, kind, &one.limits),
            bytes: masked(&one.bytes),
        }
    }

    /// The line with the offending byte, or the first one.
    pub fn line(&self) -> String {
        let at = self.position.unwrap_or_default().min(self.bytes.len());
        let start = memchr::memrchr(b'\n', &self.bytes[..at]).map_or(0, |end| end + 1);
        let end = memchr::memchr(b'\n', &self.bytes[start..]).map_or(self.bytes.len(), |end| start + end);
        escaped(&self.bytes[start..end])
    }
}

pub fn text((total, all): &(u64, Vec<Malformed>), listeners: impl Fn(&Malformed) -> String) -> String {
    let mut text = String::new();
    // Writing to a String cannot fail.
    let _ = writeln!(text, "Total events captured on [{}] : {total}", stamp(SystemTime::now()));
    for one in all.iter().rev() {
        let told = Told::of(one);
        let client = one.client.map_or("unix".into(), |(ip, port)| match ip.is_ipv4() {
            true => format!("{ip}:{port}"),
            false => format!("[{ip}]:{port}"),
        });
        let (pool, server) =
            one.server.as_ref().map_or(("<NONE>", "<NONE>"), |(pool, server)| (pool, server));
        let position = told.position.map_or("not known".into(), |at| at.to_string());
        let _ = writeln!(
            text,
            " \n[{}] frontend {}: invalid {}: {}\n  backend {pool}, server {server}, event #{}, src {client}\n  \
             len {}, error at position {position}:\n ",
            stamp(one.at),
            listeners(one),
            told.side,
            told.what,
            one.number,
            one.bytes.len(),
        );
        dump(&mut text, &told.bytes, told.position);
    }
    text
}

/// The bytes line by line, each with its position in front, and `^` under the offending one.
fn dump(text: &mut String, bytes: &[u8], position: Option<usize>) {
    let mut start = 0;
    while start < bytes.len() {
        let line = memchr::memchr(b'\n', &bytes[start..]).map_or(bytes.len(), |end| start + end + 1);
        let end = line.min(start + WIDTH);
        let continues = if start > 0 && bytes[start - 1] != b'\n' { '+' } else { ' ' };
        let _ = writeln!(text, "  {start:05}{continues} {}", escaped(&bytes[start..end]));
        if let Some(at) = position.filter(|at| (start..end).contains(at)) {
            let _ = writeln!(text, "  {:>5}  {:width$}^", "", "", width = escaped(&bytes[start..at]).len());
        }
        start = end;
    }
}

fn escaped(bytes: &[u8]) -> String {
    let one = |byte: &u8| match byte {
        b'\r' => "\\r".into(),
        b'\n' => "\\n".into(),
        b'\t' => "\\t".into(),
        b'\\' => "\\\\".into(),
        0x20..=0x7e => char::from(*byte).to_string(),
        other => format!("\\x{other:02x}"),
    };
    bytes.iter().map(one).collect()
}

/// Writes over what is nobody's business: queries, values of fields about credentials, lines that are no fields.
fn masked(head: &[u8]) -> Vec<u8> {
    let mut masked = head.to_vec();
    let (mut start, mut hides) = (0, false);
    for (number, line) in head.split_inclusive(|byte| *byte == b'\n').enumerate() {
        let from = match number {
            0 => secret_in_first(line),
            _ => secret_in_field(line, &mut hides),
        };
        if let Some(from) = from {
            masked[start + from..start + line.len()]
                .iter_mut()
                .filter(|byte| byte.is_ascii_graphic())
                .for_each(|byte| {
                    *byte = b'*';
                });
        }
        start += line.len();
    }
    masked
}

/// A query, or what is no request line at all.
fn secret_in_first(line: &[u8]) -> Option<usize> {
    let is_http = line.windows(5).any(|part| part == b"HTTP/");
    if !is_http {
        return Some(line.iter().position(|byte| *byte == b' ' || *byte == b'?').unwrap_or(0));
    }
    let query = memchr::memchr(b'?', line)?;
    Some(query + 1)
}

/// `hides`: the line before was hidden, and one that begins with a blank belongs to it.
fn secret_in_field(line: &[u8], hides: &mut bool) -> Option<usize> {
    let folded = line.first().is_some_and(|byte| *byte == b' ' || *byte == b'\t');
    if folded {
        return hides.then_some(0);
    }
    let Some(colon) = memchr::memchr(b':', line) else {
        *hides = true;
        return Some(0);
    };
    // A name may be malformed, as by a blank or a NUL within it.
    let letters = |byte: &u8| byte.is_ascii_alphanumeric();
    let name: String =
        line[..colon].iter().filter(|b| letters(b)).map(|b| char::from(b.to_ascii_lowercase())).collect();
    *hides = SECRET.iter().any(|part| name.contains(part));
    hides.then_some(colon + 1)
}

fn stamp(at: SystemTime) -> String {
    let micros = at.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_micros() as u64);
    let mut stamp = Stamp::default();
    stamp.iso(micros).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_and_queries_are_written_over_and_positions_stay() {
        let head = b"GET /a?token=x HTTP/1.1\r\nHost: a\r\nAuthorization: Basic eHg6eXk=\r\n folded\r\nX-Api-Key: k\r\n\
            Coo kie: a=b\r\nnot a field\r\nAccept: */*\r\n\r\n";
        let masked = String::from_utf8(masked(head)).unwrap();
        assert_eq!(
            masked,
            "GET /a?******* ********\r\nHost: a\r\nAuthorization: ***** ********\r\n ******\r\nX-Api-Key: *\r\n\
             Coo kie: ***\r\n*** * *****\r\nAccept: */*\r\n\r\n"
        );
        assert_eq!(masked.len(), head.len());
        for secret in ["eHg6", "folded", "token=x", "a=b"] {
            assert!(!masked.contains(secret), "{secret}");
        }
    }

    #[test]
    fn what_is_no_http_is_not_told() {
        assert_eq!(masked(b"\x16\x03secret"), b"\x16\x03******");
        assert_eq!(masked(b"PUT secret"), b"PUT ******");
    }

    #[test]
    fn the_offending_byte_is_marked() {
        let mut text = String::new();
        dump(&mut text, b"GET /\r\nBad Header\r\n", Some(10));
        assert_eq!(text, "  00000  GET /\\r\\n\n  00007  Bad Header\\r\\n\n            ^\n");
        text.clear();
        dump(&mut text, &[b'a'; 100], Some(71));
        assert!(text.contains("\n  00070+ aaa") && text.ends_with("\n          ^\n"), "{text}");
    }
}
