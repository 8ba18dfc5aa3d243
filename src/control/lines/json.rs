//! One JSON object a line, always with the same keys in the same order. What is not known is null, a time that did not
//! occur 0. Bytes that are no UTF-8 become `\u00NN`: a line is valid JSON whatever a client sends.

use super::text::{FIRST_LINE, ip, milliseconds, number, six_digits};
use crate::base::named_values::{self, NamedValue};
use crate::control::clock::Stamp;
use crate::control::escape;
use crate::exchange::end::Party;
use crate::exchange::record::{End, Record, known};

/// `,"KEY":"VALUE"`; null if the text is empty. A text that is known to be plain is copied as it is. Keys are constants,
/// so that each piece is copied as one.
macro_rules! text {
    ($key:literal, $text:expr, $out:expr) => {
        text!($key, $text, false, $out)
    };
    ($key:literal, $text:expr, $is_plain:expr, $out:expr) => {{
        let (text, out): (&[u8], &mut Vec<u8>) = ($text, $out);
        if text.is_empty() {
            out.extend_from_slice(concat!(",\"", $key, "\":null").as_bytes());
        } else {
            out.extend_from_slice(concat!(",\"", $key, "\":\"").as_bytes());
            match $is_plain {
                true => out.extend_from_slice(text),
                false => string(text, out),
            }
            out.push(b'"');
        }
    }};
}

pub fn line(record: &Record<'_>, start: u64, stamp: &mut Stamp, out: &mut Vec<u8>) {
    out.extend_from_slice(b"{\"ts\":\"");
    out.extend_from_slice(stamp.iso(start).as_bytes());
    out.push(b'.');
    six_digits((start % 1_000_000) as u32, out);
    out.push(b'Z');
    client(record, out);
    let is_plain = is_plain(record.texts) && !record.texts.is_empty();
    text!("listener", record.listener, is_plain, out);
    text!("tls_version", record.tls_version, is_plain, out);
    text!("sni", record.sni, is_plain, out);
    text!("method", record.method, is_plain, out);
    out.extend_from_slice(if record.https { b",\"scheme\":\"https\"" } else { b",\"scheme\":\"http\"" });
    text!("host", record.host, is_plain, out);
    target(record, is_plain, out);
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
    server(record, is_plain, out);
    times(record, out);
    ending(record, out);
    text!("id", record.id, is_plain, out);
    text!("referer", record.referer, is_plain, out);
    text!("user_agent", record.user_agent, is_plain, out);
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
fn target(record: &Record<'_>, is_plain: bool, out: &mut Vec<u8>) {
    if !record.is_malformed() {
        return text!("target", record.target, is_plain, out);
    }
    let mut line = Vec::new();
    escape::shortened(record.target, FIRST_LINE, &mut line);
    text!("target", &line, out);
}

fn server(record: &Record<'_>, is_plain: bool, out: &mut Vec<u8>) {
    text!("pool", record.pool, is_plain, out);
    text!("server", record.server, is_plain, out);
    out.extend_from_slice(match record.reused {
        None => b",\"reused\":null,\"retries\":",
        Some(true) => b",\"reused\":true,\"retries\":",
        Some(false) => b",\"reused\":false,\"retries\":",
    });
    number(record.retries.into(), out);
}

fn times(record: &Record<'_>, out: &mut Vec<u8>) {
    let times = &record.times;
    out.extend_from_slice(b",\"queue_ms\":");
    milliseconds(known(times.queued), out);
    out.extend_from_slice(b",\"connect_ms\":");
    milliseconds(known(times.connecting()), out);
    out.extend_from_slice(b",\"first_byte_ms\":");
    milliseconds(known(times.responding()), out);
    out.extend_from_slice(b",\"total_ms\":");
    milliseconds(known(times.end), out);
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
    text!("end", if is_malformed { record.detail } else { record.end.text().as_bytes() }, out);
    text!("by", by.as_bytes(), out);
    text!("phase", phase.as_bytes(), out);
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

/// Nearly all texts are printable ASCII without quotes and backslashes.
fn string(text: &[u8], out: &mut Vec<u8>) {
    match is_plain(text) {
        true => out.extend_from_slice(text),
        false => escaped(text, out),
    }
}

/// No byte has to be written in another way.
fn is_plain(text: &[u8]) -> bool {
    let (blocks, rest) = text.as_chunks::<BLOCK>();
    blocks.iter().all(|block| special(block) == 0)
        && match text.last_chunk::<BLOCK>() {
            // Some of it for the second time.
            Some(last) => special(last) == 0,
            None => rest.iter().all(|byte| KINDS[usize::from(*byte)] == PLAIN && byte.is_ascii()),
        }
}

/// Bytes that the processor looks at as one.
const BLOCK: usize = 16;

/// In bytes and not in booleans, which the compiler turns into a few vector instructions.
fn special(block: &[u8; BLOCK]) -> u8 {
    let special = |byte: u8| {
        u8::from(byte < 0x20) | u8::from(byte >= 0x7f) | u8::from(byte == b'"') | u8::from(byte == b'\\')
    };
    block.iter().fold(0, |all, byte| all | special(*byte))
}

fn escaped(text: &[u8], out: &mut Vec<u8>) {
    for chunk in text.utf8_chunks() {
        valid(chunk.valid().as_bytes(), out);
        chunk.invalid().iter().for_each(|byte| code(*byte, out));
    }
}

/// Runs of plain bytes are copied at once.
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
