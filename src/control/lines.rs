//! Formats of the access log, applied to records on the log's own thread.
//!
//! `combined` is exactly Apache's and nginx's, so that every existing tool reads it. `rsp` shows where the time went:
//! words of `key=value`, greppable, with the pool, the server, three times and the reason of the end.

use std::io::Write;

use crate::config::LogFormat;
use crate::control::clock::Stamp;
use crate::control::escape;
use crate::exchange::end::Party;
use crate::exchange::record::{End, NEVER, Record};

/// The highest status that readers of `combined` accept; a server may send higher ones.
const HIGHEST_STATUS: u16 = 599;
/// How many bytes of a malformed first line are logged.
const FIRST_LINE: usize = 200;

/// Appends the line for a record whose request began at this wall time (microseconds since 1970).
pub type FormatLine = Box<dyn FnMut(&Record<'_>, u64, &mut Vec<u8>) + Send>;

pub fn line(format: LogFormat) -> FormatLine {
    let mut stamp = Stamp::default();
    match format {
        LogFormat::Combined => Box::new(move |record, start, out| combined(record, start, &mut stamp, out)),
        LogFormat::Rsp => Box::new(move |record, start, out| rsp(record, start, &mut stamp, out)),
    }
}

/// `10.1.2.3 - - [10/Oct/2000:13:55:36 +0000] "GET /x HTTP/1.1" 200 2326 "referer" "agent"`
fn combined(record: &Record<'_>, start: u64, stamp: &mut Stamp, out: &mut Vec<u8>) {
    ip(record, out);
    out.extend_from_slice(b" - - [");
    out.extend_from_slice(stamp.clf(start).as_bytes());
    out.extend_from_slice(b"] \"");
    request(record, out);
    match record.version {
        10 => out.extend_from_slice(b" HTTP/1.0"),
        11 => out.extend_from_slice(b" HTTP/1.1"),
        _ => {}
    }
    put(out, format_args!("\" {} {} \"", record.status.min(HIGHEST_STATUS), record.sent));
    quoted_or_dash(record.referer, out);
    out.extend_from_slice(b"\" \"");
    // A malformed request has no user agent: the field holds the reason instead.
    let agent = if record.method.is_empty() { record.detail } else { record.user_agent };
    quoted_or_dash(agent, out);
    out.extend_from_slice(b"\"\n");
}

fn rsp(record: &Record<'_>, start: u64, stamp: &mut Stamp, out: &mut Vec<u8>) {
    let micros = start % 1_000_000;
    put(out, format_args!("time={}.{micros:06}Z client=", stamp.iso(start)));
    client(record, out);
    out.extend_from_slice(b" request=\"");
    request(record, out);
    out.extend_from_slice(b"\" host=");
    word_or_dash(record.host, out);
    let Record { status, sent, received, .. } = record;
    put(out, format_args!(" status={status} sent={sent} received={received} pool="));
    word_or_dash(record.pool, out);
    out.extend_from_slice(b" server=");
    word_or_dash(record.server, out);
    let times = record.times;
    for (key, time) in [
        ("queue", times.queued),
        ("connect", times.connected),
        ("first", times.first_byte),
        ("total", times.end),
    ] {
        put(out, format_args!(" {key}="));
        milliseconds(time, out);
    }
    put(out, format_args!(" retries={} left=", record.retries));
    word_or_dash(record.left, out);
    out.extend_from_slice(b" id=");
    word_or_dash(record.id, out);
    ending(record, out);
}

/// Party and phase of an end that was not normal, and the reason.
fn ending(record: &Record<'_>, out: &mut Vec<u8>) {
    let (by, phase) = match record.end {
        End::Complete => ("-", "-"),
        End::Answered => (Party::Rsp.text(), "-"),
        end => (end.side().text(), record.phase.text()),
    };
    put(out, format_args!(" by={by} phase={phase} end={}", record.end.text()));
    if !record.detail.is_empty() {
        out.extend_from_slice(b" detail=\"");
        escape::quoted(record.detail, out);
        out.push(b'"');
    }
    out.push(b'\n');
}

/// Writing to memory cannot fail.
fn put(out: &mut Vec<u8>, text: std::fmt::Arguments<'_>) {
    let _ = out.write_fmt(text);
}

/// Only clients on a Unix socket have no address.
fn ip(record: &Record<'_>, out: &mut Vec<u8>) {
    match record.client {
        Some(ip) => put(out, format_args!("{ip}")),
        None => out.extend_from_slice(b"unix:"),
    }
}

/// The port is 0 if a proxy named the client without one.
fn client(record: &Record<'_>, out: &mut Vec<u8>) {
    match record.client {
        Some(ip) if record.client_port == 0 => put(out, format_args!("{ip}")),
        Some(ip) => put(out, format_args!("{}", std::net::SocketAddr::new(ip, record.client_port))),
        None => out.extend_from_slice(b"unix:"),
    }
}

/// `GET /x`; the first line of a malformed request, or `-`.
fn request(record: &Record<'_>, out: &mut Vec<u8>) {
    match (record.method, record.target) {
        (_, b"") => out.push(b'-'),
        (b"", line) => escape::shortened(line, FIRST_LINE, out),
        (method, target) => {
            escape::quoted(method, out);
            out.push(b' ');
            escape::quoted(target, out);
        }
    }
}

fn quoted_or_dash(text: &[u8], out: &mut Vec<u8>) {
    escape::quoted(if text.is_empty() { b"-" } else { text }, out);
}

fn word_or_dash(text: &[u8], out: &mut Vec<u8>) {
    escape::word(if text.is_empty() { b"-" } else { text }, out);
}

/// Three decimals: microseconds.
fn milliseconds(micros: u32, out: &mut Vec<u8>) {
    match micros {
        NEVER => out.push(b'-'),
        _ => put(out, format_args!("{}.{:03}", micros / 1000, micros % 1000)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exchange::record::{Phase, Times};

    const START: u64 = 971_186_136_000_123;

    fn record() -> Record<'static> {
        Record {
            client: Some("10.1.2.3".parse().unwrap()),
            client_port: 4711,
            status: 200,
            end: End::Complete,
            phase: Phase::Request,
            version: 11,
            retries: 0,
            times: Times { start: 5, queued: NEVER, connected: 210, first_byte: 1_042, end: 12_003_456 },
            sent: 2326,
            received: 17,
            method: b"GET",
            target: b"/x?y=1",
            host: b"www.example.com",
            referer: b"http://a/",
            user_agent: b"curl/8 (\"me\")",
            pool: b"web",
            server: b"127.0.0.1:83",
            id: b"0123abcd",
            left: b"",
            detail: b"",
        }
    }

    fn unread() -> Record<'static> {
        Record {
            status: 400,
            end: End::BadRequest,
            version: 0,
            times: Times { end: 7, ..Times::default() },
            sent: 0,
            received: 0,
            method: b"",
            target: b"",
            host: b"",
            referer: b"",
            user_agent: b"",
            pool: b"",
            server: b"",
            id: b"",
            detail: b"malformed start line",
            ..record()
        }
    }

    fn text(format: LogFormat, record: Record<'_>) -> String {
        let mut out = Vec::new();
        line(format)(&record, START, &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn combined_is_what_apache_and_nginx_write() {
        let combined = |record| text(LogFormat::Combined, record);
        assert_eq!(
            combined(record()),
            "10.1.2.3 - - [10/Oct/2000:13:55:36 +0000] \"GET /x?y=1 HTTP/1.1\" 200 2326 \
             \"http://a/\" \"curl/8 (\\x22me\\x22)\"\n"
        );
        assert_eq!(
            combined(Record { client: Some("2001:db8::1".parse().unwrap()), version: 10, ..record() }),
            "2001:db8::1 - - [10/Oct/2000:13:55:36 +0000] \"GET /x?y=1 HTTP/1.0\" 200 2326 \
             \"http://a/\" \"curl/8 (\\x22me\\x22)\"\n"
        );
    }

    #[test]
    fn a_status_above_599_is_599_in_combined_and_unchanged_in_rsp() {
        for (status, shown) in [(599, " 599 "), (600, " 599 "), (999, " 599 ")] {
            let record = Record { status, ..record() };
            assert!(text(LogFormat::Combined, record).contains(shown), "{status}");
            assert!(text(LogFormat::Rsp, record).contains(&format!(" status={status} ")), "{status}");
        }
    }

    #[test]
    fn combined_logs_a_dash_for_unknown_fields_and_the_reason_of_a_malformed_request() {
        let combined = |record| text(LogFormat::Combined, record);
        let unread = |target, detail| Record { target, detail, ..unread() };
        assert_eq!(
            combined(unread(b"\x16\x03\x01\"", b"TLS hello")),
            "10.1.2.3 - - [10/Oct/2000:13:55:36 +0000] \"\\x16\\x03\\x01\\x22\" 400 0 \"-\" \"TLS hello\"\n"
        );
        assert_eq!(
            combined(Record { client: None, status: 408, ..unread(b"", b"") }),
            "unix: - - [10/Oct/2000:13:55:36 +0000] \"-\" 408 0 \"-\" \"-\"\n"
        );
        let long = combined(unread(&[b'a'; 256], b""));
        assert!(long.contains(&format!("\"{}...\" 400", "a".repeat(FIRST_LINE))), "{long}");
    }

    #[test]
    fn rsp_adds_server_times_and_end() {
        assert_eq!(
            text(LogFormat::Rsp, record()),
            "time=2000-10-10T13:55:36.000123Z client=10.1.2.3:4711 request=\"GET /x?y=1\" host=www.example.com \
             status=200 sent=2326 received=17 pool=web server=127.0.0.1:83 queue=- connect=0.210 \
             first=1.042 total=12003.456 retries=0 left=- id=0123abcd by=- phase=- end=complete\n"
        );
        let named = Record { client_port: 0, ..record() };
        assert!(text(LogFormat::Rsp, named).contains(" client=10.1.2.3 request="));
        let failed =
            Record { client: Some("::1".parse().unwrap()), pool: b"my pool", retries: 2, ..unread() };
        assert_eq!(
            text(LogFormat::Rsp, failed),
            "time=2000-10-10T13:55:36.000123Z client=[::1]:4711 request=\"-\" host=- status=400 sent=0 received=0 \
             pool=my\\x20pool server=- queue=- connect=- first=- total=0.007 retries=2 left=- id=- by=client phase=request \
             end=client-bad-request detail=\"malformed start line\"\n"
        );
    }

    #[test]
    fn a_client_cannot_forge_a_line() {
        let evil =
            Record { target: b"/\" 200 1\n6.6.6.6", user_agent: b"\n\"", host: b"a end=x", ..record() };
        for format in [LogFormat::Combined, LogFormat::Rsp] {
            let line = text(format, evil);
            assert_eq!(line.matches('\n').count(), 1, "{line}");
            assert!(line.contains("\"GET /\\x22 200 1\\x0A6.6.6.6"), "{line}");
        }
        assert!(text(LogFormat::Rsp, evil).contains(" host=a\\x20end=x "));
    }
}
