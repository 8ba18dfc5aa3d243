//! haproxy's `option httplog` (haproxy 2.6, doc/configuration.txt, section 8.2.3), so that whoever reads haproxy's
//! logs reads these:
//!
//! ```text
//! %ci:%cp [%tr] %ft %b/%s %TR/%Tw/%Tc/%Tr/%Ta %ST %B %CC %CS %tsc %ac/%fc/%bc/%sc/%rc %sq/%bq %{+Q}r
//! ```
//!
//! In a file each line begins as syslog daemons write it, since that is where haproxy's lines come from. There are no
//! captured headers and cookies.

use super::FormatLine;
use super::text::{client_ip, number, three_digits, version, word_or_dash};
use crate::control::clock::Stamp;
use crate::control::syslog::host_name;
use crate::exchange::record::{End, NEVER, Phase, Record, known};

/// Of a request that was aborted before it reached a server.
const NO_SERVER: &[u8] = b"<NOSRV>";
/// Instead of a request that could not be read.
const BAD_REQUEST: &[u8] = b"<BADREQ>";

pub fn lines(with_header: bool) -> FormatLine {
    let mut begun = Stamp::default();
    if !with_header {
        return Box::new(move |record, start, out| line(record, start, &mut begun, out));
    }
    let (mut ended, sender) = (Stamp::default(), format!(" {} rsp[{}]: ", host_name(), std::process::id()));
    Box::new(move |record, start, out| {
        out.extend_from_slice(ended.syslog(start + u64::from(record.times.end)).as_bytes());
        out.extend_from_slice(sender.as_bytes());
        line(record, start, &mut begun, out);
    })
}

fn line(record: &Record<'_>, start: u64, stamp: &mut Stamp, out: &mut Vec<u8>) {
    client_ip(record, out);
    if record.client.is_some() {
        out.push(b':');
    }
    number(record.client_port.into(), out);
    out.extend_from_slice(b" [");
    // Without the time zone, which is UTC.
    out.extend_from_slice(&stamp.clf(start).as_bytes()[.."06/Feb/2009:12:14:14".len()]);
    out.push(b'.');
    three_digits((start / 1000 % 1000) as u32, out);
    out.extend_from_slice(b"] ");
    word_or_dash(record.listener, out);
    if !record.tls_version.is_empty() {
        out.push(b'~');
    }
    out.push(b' ');
    word_or_dash(if record.pool.is_empty() { record.listener } else { record.pool }, out);
    out.push(b'/');
    word_or_dash(if record.server.is_empty() { NO_SERVER } else { record.server }, out);
    times(record, out);
    number(record.status.into(), out);
    out.push(b' ');
    number(record.sent + u64::from(record.sent_heads), out);
    out.extend_from_slice(b" - - ");
    out.extend_from_slice(&termination(record));
    out.extend_from_slice(b"-- ");
    load(record, out);
    request(record, out);
}

/// ` TR/Tw/Tc/Tr/Ta `: a step that was not reached is -1.
fn times(record: &Record<'_>, out: &mut Vec<u8>) {
    let times = &record.times;
    let queued = if record.pool.is_empty() { NEVER } else { known(times.queued) };
    let mut before = b' ';
    for time in [times.head, queued, times.connecting(), times.responding(), times.end] {
        out.push(before);
        match time {
            NEVER => out.extend_from_slice(b"-1"),
            time => number((time / 1000).into(), out),
        }
        before = b'/';
    }
    out.push(b' ');
}

/// `actconn/feconn/beconn/srv_conn/retries srv_queue/backend_queue `. A `+` says that retries went to other servers,
/// as all do.
fn load(record: &Record<'_>, out: &mut Vec<u8>) {
    let load = &record.load;
    for count in [load.process, load.listener, load.pool, load.server] {
        number(count.into(), out);
        out.push(b'/');
    }
    if record.retries > 0 {
        out.push(b'+');
    }
    number(record.retries.into(), out);
    out.push(b' ');
    number(load.server_queue.into(), out);
    out.push(b'/');
    number(load.pool_queue.into(), out);
    out.push(b' ');
}

fn request(record: &Record<'_>, out: &mut Vec<u8>) {
    out.push(b'"');
    if record.is_malformed() && !record.pool.is_empty() {
        // A connection that is passed through.
        out.push(b'-');
    } else if record.is_malformed() {
        out.extend_from_slice(BAD_REQUEST);
    } else {
        escaped(record.method, out);
        out.push(b' ');
        escaped(record.target, out);
        version(record, out);
    }
    out.extend_from_slice(b"\"\n");
}

/// As haproxy escapes it: `#22`.
fn escaped(text: &[u8], out: &mut Vec<u8>) {
    const HEX: &[u8; 16] = b"0123456789ABCDEF";
    for byte in text {
        match byte {
            b'"' | b'#' | ..0x20 | 0x7f.. => {
                out.extend_from_slice(&[b'#', HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]]);
            }
            byte => out.push(*byte),
        }
    }
}

/// The first two letters of the termination state (section 8.5): what ended the session, and in which phase.
fn termination(record: &Record<'_>) -> [u8; 2] {
    let cause = match record.end {
        End::Complete => return *b"--",
        End::Answered => return *b"LR",
        End::BadRequest | End::ClientUnknownName | End::Aborted => b'P',
        End::ClientCutRequest | End::ClientCutResponse => b'C',
        End::ClientHeadTimeout
        | End::ClientBodyTimeout
        | End::ClientWriteTimeout
        | End::ClientBodyRate
        | End::ClientWriteRate
        | End::TunnelTimeout => b'c',
        End::QueueFull | End::ServerBadResponse => b'P',
        End::NoServer | End::ServerRefused | End::ServerTls | End::ServerClosed | End::ServerCutResponse => {
            b'S'
        }
        End::QueueTimeout
        | End::ServerConnectTimeout
        | End::ServerResponseTimeout
        | End::ServerGapTimeout
        | End::ServerBodyTimeout => b's',
        End::NoDescriptors => b'R',
        End::Stopped | End::Drained => b'K',
        End::ScriptFailed | End::Internal => b'I',
    };
    [cause, phase(record)]
}

fn phase(record: &Record<'_>) -> u8 {
    let waited = record.times.queued != NEVER && record.server.is_empty();
    match record.phase {
        _ if matches!(record.end, End::QueueFull | End::QueueTimeout) => b'Q',
        Phase::Connect if waited => b'Q',
        Phase::Request => b'R',
        Phase::Connect => b'C',
        Phase::Body | Phase::Headers => b'H',
        Phase::Data | Phase::Tunnel => b'D',
        Phase::Last => b'L',
    }
}
