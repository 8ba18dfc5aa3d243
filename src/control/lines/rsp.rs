//! `time=… client=… request="…" host=… status=…`: pool, server, how long each phase took, and the reason of the end.

use super::text::{client, milliseconds_or_dash, number, request, six_digits, word_or_dash};
use crate::control::clock::Stamp;
use crate::control::escape;
use crate::exchange::end::Party;
use crate::exchange::record::{End, Record};

pub fn line(record: &Record<'_>, start: u64, stamp: &mut Stamp, out: &mut Vec<u8>) {
    out.extend_from_slice(b"time=");
    out.extend_from_slice(stamp.iso(start).as_bytes());
    out.push(b'.');
    six_digits((start % 1_000_000) as u32, out);
    out.extend_from_slice(b"Z client=");
    client(record, out);
    out.extend_from_slice(b" request=\"");
    request(record, out);
    out.extend_from_slice(b"\" host=");
    word_or_dash(record.host, out);
    for (key, value) in
        [(&b" status="[..], record.status.into()), (b" sent=", record.sent), (b" received=", record.received)]
    {
        out.extend_from_slice(key);
        number(value, out);
    }
    out.extend_from_slice(b" pool=");
    word_or_dash(record.pool, out);
    out.extend_from_slice(b" server=");
    word_or_dash(record.server, out);
    phases(record, out);
    out.extend_from_slice(b" retries=");
    number(record.retries.into(), out);
    out.extend_from_slice(b" left=");
    word_or_dash(record.left, out);
    out.extend_from_slice(b" id=");
    word_or_dash(record.id, out);
    ending(record, out);
}

fn phases(record: &Record<'_>, out: &mut Vec<u8>) {
    let times = &record.times;
    for (key, time) in [
        (&b" queue="[..], times.queued),
        (b" connect=", times.connecting()),
        (b" first=", times.responding()),
        (b" total=", times.end),
        (b" script=", times.script),
    ] {
        out.extend_from_slice(key);
        milliseconds_or_dash(time, out);
    }
}

/// Party and phase of an end that was not normal, and the reason.
fn ending(record: &Record<'_>, out: &mut Vec<u8>) {
    let (by, phase) = match record.end {
        End::Complete => ("-", "-"),
        End::Answered => (Party::Rsp.text(), "-"),
        end => (end.side().text(), record.phase.text()),
    };
    for word in [" by=", by, " phase=", phase, " end=", record.end.text()] {
        out.extend_from_slice(word.as_bytes());
    }
    if !record.detail.is_empty() {
        out.extend_from_slice(b" detail=\"");
        escape::quoted(record.detail, out);
        out.push(b'"');
    }
    out.push(b'\n');
}
