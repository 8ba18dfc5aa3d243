//! Formats of the access log, applied to records on the log's own thread. They run for every request, beside the
//! workers, so lines are put together without the formatting machinery of the standard library.
//!
//! - `combined` exactly Apache's and nginx's, so that every existing tool reads it
//! - `rsp`      where the time went: words of `key=value`, greppable
//! - `haproxy`  exactly haproxy's `option httplog`, for halog and lnav
//! - `json`     one object a line, for programs
//! - `text`     what they have in common: numbers, addresses

mod haproxy;
mod json;
mod rsp;
#[cfg(test)]
mod tests;
mod text;

use crate::config::{LogFormat, LogTarget};
use crate::control::clock::Stamp;
use crate::exchange::record::Record;
use text::{client_ip, number, quoted_or_dash, request, version};

/// The highest status that readers of `combined` accept; a server may send higher ones.
const HIGHEST_STATUS: u16 = 599;

/// Appends the line for a record whose request began at this wall time (microseconds since 1970).
pub type FormatLine = Box<dyn FnMut(&Record<'_>, u64, &mut Vec<u8>) + Send>;

/// `target`: a syslog daemon writes a header of its own before each line.
pub fn line(format: LogFormat, target: &LogTarget) -> FormatLine {
    let mut stamp = Stamp::default();
    match format {
        LogFormat::Combined => Box::new(move |record, start, out| combined(record, start, &mut stamp, out)),
        LogFormat::Rsp => Box::new(move |record, start, out| rsp::line(record, start, &mut stamp, out)),
        LogFormat::Json => Box::new(move |record, start, out| json::line(record, start, &mut stamp, out)),
        LogFormat::Haproxy => haproxy::lines(matches!(target, LogTarget::Stdout | LogTarget::File(_))),
    }
}

/// `10.1.2.3 - - [10/Oct/2000:13:55:36 +0000] "GET /x HTTP/1.1" 200 2326 "referer" "agent"`
fn combined(record: &Record<'_>, start: u64, stamp: &mut Stamp, out: &mut Vec<u8>) {
    client_ip(record, out);
    out.extend_from_slice(b" - - [");
    out.extend_from_slice(stamp.clf(start).as_bytes());
    out.extend_from_slice(b"] \"");
    request(record, out);
    version(record, out);
    out.extend_from_slice(b"\" ");
    number(record.status.min(HIGHEST_STATUS).into(), out);
    out.push(b' ');
    number(record.sent, out);
    out.extend_from_slice(b" \"");
    quoted_or_dash(record.referer, out);
    out.extend_from_slice(b"\" \"");
    // A malformed request has no user agent: the field holds the reason instead.
    let agent = if record.is_malformed() { record.detail } else { record.user_agent };
    quoted_or_dash(agent, out);
    out.extend_from_slice(b"\"\n");
}
