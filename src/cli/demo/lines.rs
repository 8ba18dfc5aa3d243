//! One line a request on the demo's terminal, in columns; retries and failures are mentioned at its end.

use std::io::Write;

use crate::control::escape;
use crate::control::lines::FormatLine;
use crate::exchange::record::{End, Record};

pub const HEADING: &str =
    "    since   request                          status  server         bytes      took";

/// `names` are the servers' addresses with their names in the demo.
pub fn line(names: Vec<(String, &'static str)>, colours: bool) -> FormatLine {
    Box::new(move |record, _, out| {
        let colour = if colours { colour(record.status) } else { "" };
        let plain = if colours { "\x1b[0m" } else { "" };
        // Writing to memory cannot fail.
        let _ = writeln!(
            out,
            "{:>8.1}s   {:<32} {colour}{:>6}{plain}  {:<8} {:>11} {:>9}{}",
            record.times.start as f64 / 1e6,
            request(record),
            record.status,
            server(record, &names),
            size(record.sent),
            duration(record.times.end),
            remark(record),
        );
    })
}

fn colour(status: u16) -> &'static str {
    match status {
        100..400 => "\x1b[32m",
        400..500 => "\x1b[33m",
        _ => "\x1b[31m",
    }
}

fn request(record: &Record<'_>) -> String {
    if record.method.is_empty() {
        return "-".into();
    }
    let mut text = Vec::new();
    escape::quoted(record.method, &mut text);
    text.push(b' ');
    escape::quoted(record.target, &mut text);
    if text.len() > 32 {
        text.truncate(30);
        text.extend_from_slice(b"..");
    }
    String::from_utf8_lossy(&text).into_owned()
}

fn server<'a>(record: &Record<'_>, names: &'a [(String, &'static str)]) -> &'a str {
    let known = names.iter().find(|(address, _)| address.as_bytes() == record.server);
    known.map_or("-", |(_, name)| name)
}

fn size(bytes: u64) -> String {
    match bytes {
        0..10_000 => format!("{bytes} B"),
        10_000..10_000_000 => format!("{:.1} KiB", bytes as f64 / 1024.0),
        _ => format!("{:.1} MiB", bytes as f64 / 1_048_576.0),
    }
}

fn duration(micros: u32) -> String {
    match micros {
        0..1_000_000 => format!("{:.1} ms", f64::from(micros) / 1e3),
        _ => format!("{:.1} s", f64::from(micros) / 1e6),
    }
}

fn remark(record: &Record<'_>) -> String {
    let retries = match record.retries {
        0 => String::new(),
        1 => "  after 1 retry".into(),
        n => format!("  after {n} retries"),
    };
    match record.end {
        End::Complete => retries,
        end => format!("{retries}  {}", end.text()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exchange::record::Times;

    fn record() -> Record<'static> {
        Record {
            status: 200,
            times: Times { start: 1_250_000, end: 2_345, ..Times::default() },
            sent: 312,
            method: b"GET",
            target: b"/slow",
            server: b"127.0.0.1:4001",
            ..Record::default()
        }
    }

    fn text(record: Record<'_>, colours: bool) -> String {
        let mut out = Vec::new();
        line(vec![("127.0.0.1:4001".into(), "apple")], colours)(&record, 0, &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_request_is_one_line_in_the_columns_of_the_heading() {
        assert_eq!(
            text(record(), false),
            "     1.2s   GET /slow                           200  apple          312 B    2.3 ms\n"
        );
        let line = text(record(), false);
        assert_eq!(line.find("GET"), HEADING.find("request"));
        assert_eq!(line.find("apple"), HEADING.find("server"));
        assert_eq!(line.trim_end().len(), HEADING.len());
    }

    #[test]
    fn retries_and_failures_are_at_the_end() {
        let big = Times { end: 16_000_000, ..record().times };
        let retried = Record { retries: 1, sent: 67_108_864, times: big, ..record() };
        assert!(text(retried, false).ends_with("64.0 MiB    16.0 s  after 1 retry\n"));
        let cut = Record { status: 400, end: End::ClientCutRequest, method: b"", server: b"", ..record() };
        assert!(text(cut, false).ends_with("client-cut-request\n"));
        assert!(text(Record { status: 502, ..record() }, true).contains("\x1b[31m   502\x1b[0m"));
    }

    #[test]
    fn a_long_or_hostile_target_stays_in_its_column() {
        let target = "/\x1b[2J".repeat(50);
        let line = text(Record { target: target.as_bytes(), ..record() }, false);
        assert_eq!((line.len(), line.contains('\x1b')), (text(record(), false).len(), false));
    }
}
