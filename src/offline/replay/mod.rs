//! `rsp replay`: asks two configs what becomes of each request of an access log, and tells where they differ.
//!
//! - `log_line` a row of the log, and what it says of its request
//! - `times`    its time
//! - `known`    which fields of a request a row tells: a script that reads others is not judged
//! - `side`     one of the two configs
//! - `report`   the differences, grouped and counted

mod known;
mod log_line;
mod report;
mod side;
mod times;

use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::path::Path;

use self::log_line::Row;
use self::side::Side;
use crate::base::os_error::os_error;

pub use report::Report;

/// A longer line is none of an access log.
const LONGEST_LINE: usize = 256 * 1024;

/// How far it is: bytes read, and all there are.
pub type Progress<'a> = &'a mut dyn FnMut(u64, u64);

/// Replays a log. An error: a config or the log cannot be read.
pub fn run(old: &Path, new: &Path, log: &Path, progress: Progress<'_>) -> Result<Report, String> {
    let (old, mut new) = (Side::load(old)?, Side::load(new)?);
    let unreadable = |error| format!("cannot read {}: {}", log.display(), os_error(&error));
    let file =
        File::open(log).map_err(|error| format!("cannot open {}: {}", log.display(), os_error(&error)))?;
    let length = file.metadata().map(|file| file.len()).unwrap_or_default();
    let (mut reader, mut line, mut done) = (BufReader::with_capacity(1 << 16, file), Vec::new(), 0);
    let mut replay = Replay { old, report: Report::default() };
    while read_line(&mut reader, &mut line).map_err(unreadable)? > 0 {
        done += line.len() as u64;
        replay.report.rows += 1;
        replay.row(line.trim_ascii_end(), &mut new);
        line.clear();
        progress(done, length);
    }
    replay.report.unreached = new.unreached();
    Ok(replay.report)
}

/// The same as `read_until` in a fraction of its instructions: memchr looks at 32 bytes at a time.
fn read_line(reader: &mut impl BufRead, line: &mut Vec<u8>) -> io::Result<usize> {
    loop {
        let bytes = match reader.fill_buf() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            other => other?,
        };
        let end = memchr::memchr(b'\n', bytes);
        let (len, is_over) = (end.map_or(bytes.len(), |at| at + 1), end.is_some() || bytes.is_empty());
        line.extend_from_slice(&bytes[..len]);
        reader.consume(len);
        if is_over {
            return Ok(line.len());
        }
    }
}

struct Replay {
    old: Side,
    report: Report,
}

impl Replay {
    fn row(&mut self, line: &[u8], new: &mut Side) {
        let number = self.report.rows;
        let row = if line.len() > LONGEST_LINE { None } else { Row::of(line) };
        let Some(row) = row else {
            self.report.unreadable += 1;
            return self.report.note_unreadable(number, line);
        };
        let old = self.old.ask(&row, number);
        let new = new.ask(&row, number);
        match old.and_then(|old| new.map(|new| (old, new))) {
            Err(lacking) => {
                self.report.undecided += 1;
                self.report.note_lacking(lacking);
            }
            Ok((old, new)) if side::is_same(&old, &new) => {}
            Ok((old, new)) => {
                self.report.changed += 1;
                self.report.note_change(&old, &new, number, &row);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_read_whatever_the_buffer_holds_of_them() {
        let text = b"a\n\nlonger than the buffer\nthe last has no end";
        let mut reader = BufReader::with_capacity(4, &text[..]);
        let (mut line, mut lines) = (Vec::new(), Vec::new());
        while read_line(&mut reader, &mut line).unwrap() > 0 {
            lines.push(String::from_utf8(std::mem::take(&mut line)).unwrap());
        }
        assert_eq!(lines, ["a\n", "\n", "longer than the buffer\n", "the last has no end"]);
    }
}
