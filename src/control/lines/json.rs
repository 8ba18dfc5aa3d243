//! One JSON object a line, always with the same keys in the same order. What is not known is null, a time that did not
//! occur 0. Bytes that are no UTF-8 become `\u00NN`: a line is valid JSON whatever a client sends.

use super::text::{FIRST_LINE, ip, milliseconds, number, six_digits};
use crate::base::named_values::{self, NamedValue};
use crate::control::clock::Stamp;
use crate::control::escape;
use crate::exchange::end::Party;
use crate::exchange::record::{End, Record, known};

pub fn line(record: &Record<'_>, start: u64, stamp: &mut Stamp, out: &mut Vec<u8>) {
    out.extend_from_slice(b"{\"ts\":\"");
    out.extend_from_slice(stamp.iso(start).as_bytes());
    out.push(b'.');
    six_digits((start % 1_000_000) as u32, out);
    out.push(b'Z');
    client(record, out);
    text(b",\"listener\":", record.listener, out);
    text(b",\"tls_version\":", record.tls_version, out);
    text(b",\"sni\":", record.sni, out);
    text(b",\"method\":", record.method, out);
    let scheme: &[u8] = if record.https { b",\"scheme\":\"https\"" } else { b",\"scheme\":\"http\"" };
    out.extend_from_slice(scheme);
    text(b",\"host\":", record.host, out);
    target(record, out);
    out.extend_from_slice(match record.version {
        10 => b",\"version\":\"1.0\",\"status\":",
        11 => b",\"version\":\"1.1\",\"status\":",
        _ => b",\"version\":null,\"status\":",
    });
    number(record.status.into(), out);
    out.extend_from_slice(b",\"sent\":");
    number(record.sent, out);
    out.extend_from_slice(b",\"received\":");
    number(record.received, out);
    server(record, out);
    times(record, out);
    ending(record, out);
    text(b",\"id\":", record.id, out);
    text(b",\"referer\":", record.referer, out);
    text(b",\"user_agent\":", record.user_agent, out);
    added(record, out);
    out.extend_from_slice(b"}\n");
}

/// The end of the string before belongs to it. A client on a unix socket has neither address nor port.
fn client(record: &Record<'_>, out: &mut Vec<u8>) {
    match record.client {
        Some(client) => {
            out.extend_from_slice(b"\",\"client_ip\":\"");
            ip(client, out);
            out.extend_from_slice(b"\",\"client_port\":");
        }
        None => out.extend_from_slice(b"\",\"client_ip\":null,\"client_port\":"),
    }
    match record.client_port {
        0 => out.extend_from_slice(b"null"),
        port => number(port.into(), out),
    }
}

/// Of a malformed request its first line, escaped as in the other formats: it may be anything.
fn target(record: &Record<'_>, out: &mut Vec<u8>) {
    const KEY: &[u8] = b",\"target\":";
    if record.is_malformed() {
        let mut line = Vec::new();
        escape::shortened(record.target, FIRST_LINE, &mut line);
        return text(KEY, &line, out);
    }
    text(KEY, record.target, out);
}

fn server(record: &Record<'_>, out: &mut Vec<u8>) {
    text(b",\"pool\":", record.pool, out);
    text(b",\"server\":", record.server, out);
    out.extend_from_slice(match record.reused {
        None => b",\"reused\":null,\"retries\":",
        Some(true) => b",\"reused\":true,\"retries\":",
        Some(false) => b",\"reused\":false,\"retries\":",
    });
    number(record.retries.into(), out);
}

fn times(record: &Record<'_>, out: &mut Vec<u8>) {
    let times = &record.times;
    for (key, time) in [
        (&b",\"queue_ms\":"[..], times.queued),
        (b",\"connect_ms\":", times.connecting()),
        (b",\"first_byte_ms\":", times.responding()),
        (b",\"total_ms\":", times.end),
    ] {
        out.extend_from_slice(key);
        milliseconds(known(time), out);
    }
    out.extend_from_slice(b",\"script_us\":");
    number(known(times.script).into(), out);
}

/// Why it ended: of a malformed request what was wrong with it.
fn ending(record: &Record<'_>, out: &mut Vec<u8>) {
    let (by, phase) = match record.end {
        End::Complete => ("", ""),
        End::Answered => (Party::Rsp.text(), ""),
        end => (end.side().text(), record.phase.text()),
    };
    let is_malformed = record.is_malformed() && !record.detail.is_empty();
    text(b",\"end\":", if is_malformed { record.detail } else { record.end.text().as_bytes() }, out);
    text(b",\"by\":", by.as_bytes(), out);
    text(b",\"phase\":", phase.as_bytes(), out);
}

/// What the script adds. Its names need no escaping.
fn added(record: &Record<'_>, out: &mut Vec<u8>) {
    let mut rest = record.added;
    while let Some(NamedValue { name, value, is_text }) = named_values::take(&mut rest) {
        for piece in [b",\"", name, b"\":"] {
            out.extend_from_slice(piece);
        }
        if !is_text {
            out.extend_from_slice(value);
            continue;
        }
        out.push(b'"');
        string(value, out);
        out.push(b'"');
    }
}

/// A key and its string; null if it is empty.
fn text(key: &[u8], text: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(key);
    if text.is_empty() {
        return out.extend_from_slice(b"null");
    }
    out.push(b'"');
    string(text, out);
    out.push(b'"');
}

/// What stands in a string as it is.
const PLAIN: u8 = 0;
/// What has no letter of its own behind a backslash.
const CODE: u8 = b'u';

/// For each byte how it is written: one of these, or the letter behind the backslash.
const KINDS: [u8; 256] = {
    let mut kinds = [PLAIN; 256];
    let mut byte = 0;
    while byte < 256 {
        kinds[byte] = match byte as u8 {
            b'"' | b'\\' => byte as u8,
            b'\n' => b'n',
            b'\r' => b'r',
            b'\t' => b't',
            ..0x20 | 0x7f => CODE,
            _ => PLAIN,
        };
        byte += 1;
    }
    kinds
};

fn string(text: &[u8], out: &mut Vec<u8>) {
    if std::str::from_utf8(text).is_ok() {
        return valid(text, out);
    }
    for chunk in text.utf8_chunks() {
        valid(chunk.valid().as_bytes(), out);
        chunk.invalid().iter().for_each(|byte| code(*byte, out));
    }
}

/// Runs of plain bytes, the usual case, are copied at once.
fn valid(mut text: &[u8], out: &mut Vec<u8>) {
    while let Some(at) = text.iter().position(|byte| KINDS[usize::from(*byte)] != PLAIN) {
        out.extend_from_slice(&text[..at]);
        match KINDS[usize::from(text[at])] {
            CODE => code(text[at], out),
            letter => out.extend_from_slice(&[b'\\', letter]),
        }
        text = &text[at + 1..];
    }
    out.extend_from_slice(text);
}

/// `\u00NN`
fn code(byte: u8, out: &mut Vec<u8>) {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    out.extend_from_slice(b"\\u00");
    out.extend_from_slice(&[HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]]);
}
