//! Parses field lines (RFC 9112 section 5), into spans.
//!
//! Nearly every line is written in one way: a name of letters and hyphens, a colon, one space, a value that neither
//! begins nor ends with a space and has no tab, CR LF. Such a line is found in two searches. Any other is left to
//! `odd`, which reads lines by the whole grammar, plain ones as well; so what `plain` does not know costs time and
//! no correctness.

use super::fault::Flaw;
use super::grammar::TOKEN;
use super::{find, limits};
use crate::http::{Field, Fields, Name, Span};

/// Field lines from `at` up to the empty line, behind which they end.
pub(super) fn parse(input: &[u8], mut at: usize, fields: &mut Fields) -> Result<usize, Flaw> {
    fields.clear();
    let mut rest = input.get(at..).ok_or(Flaw::Cut)?;
    while !rest.starts_with(b"\r\n") {
        if fields.len() == limits::FIELDS {
            return Err(Flaw::TooManyFields);
        }
        let behind = match plain(rest, at, fields) {
            Some(behind) => behind,
            None => odd(rest, at, fields)?,
        };
        at += rest.len() - behind.len();
        rest = behind;
    }
    Ok(at + 2)
}

/// The field line that `rest` begins with, if it is whole and written as nearly all are, and what is behind it. `rest`
/// stands at `at`.
#[inline(always)]
fn plain<'a>(rest: &'a [u8], at: usize, fields: &mut Fields) -> Option<&'a [u8]> {
    let (name, behind) = rest.split_at_checked(find::word_end(rest))?;
    let behind = behind.strip_prefix(b": ")?;
    let (value, behind) = behind.split_at_checked(find::control(behind))?;
    let behind = behind.strip_prefix(b"\r\n")?;
    if name.is_empty() || matches!(value, [] | [b' ', ..] | [.., b' ']) {
        return None;
    }
    let colon = at + name.len();
    let first = colon + 2;
    let (tag, value) = (Name::of(name), Span::new(first, first + value.len()));
    fields.add(Field { tag, plain: true, name: Span::new(at, colon), value });
    Some(behind)
}

/// The same for any field line.
#[cold]
#[inline(never)]
fn odd<'a>(rest: &'a [u8], at: usize, fields: &mut Fields) -> Result<&'a [u8], Flaw> {
    if let [] | [b'\r'] = rest {
        return Err(Flaw::Cut);
    }
    let colon = token(rest, b':', Flaw::Field)?;
    let first = skip_blanks(rest, colon + 1);
    let end = line_end(rest, first, Flaw::Field)?;
    let last = trim_blanks(rest, first, end);
    let plain = rest[colon + 1] == b' ' && first == colon + 2 && last == end;
    let (name, value) = (Span::new(at, at + colon), Span::new(at + first, at + last));
    fields.add(Field { tag: Name::of(&rest[..colon]), plain, name, value });
    Ok(&rest[end + 2..])
}

/// Where the token that `rest` begins with ends, if that is before `end`.
#[inline(always)]
pub(super) fn token(rest: &[u8], end: u8, flaw: Flaw) -> Result<usize, Flaw> {
    let mut stop = find::word_end(rest);
    while rest.get(stop).is_some_and(|byte| TOKEN.has(*byte)) {
        stop += 1;
    }
    match rest.get(stop) {
        Some(byte) if *byte == end && stop > 0 => Ok(stop),
        None => Err(Flaw::Cut),
        Some(_) => Err(flaw),
    }
}

/// Where the line that goes on at `from` ends: the place of its CR LF.
#[inline(always)]
pub(super) fn line_end(rest: &[u8], from: usize, flaw: Flaw) -> Result<usize, Flaw> {
    let control = |from| from + rest.get(from..).map_or(0, find::control);
    let mut at = control(from);
    while let Some(b'\t') = rest.get(at) {
        at = control(at + 1);
    }
    match rest.get(at..) {
        Some([b'\r', b'\n', ..]) => Ok(at),
        Some([] | [b'\r']) | None => Err(Flaw::Cut),
        Some(_) => Err(flaw),
    }
}

fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t')
}

fn skip_blanks(rest: &[u8], mut at: usize) -> usize {
    while rest.get(at).is_some_and(|byte| is_blank(*byte)) {
        at += 1;
    }
    at
}

fn trim_blanks(rest: &[u8], first: usize, mut end: usize) -> usize {
    while end > first && is_blank(rest[end - 1]) {
        end -= 1;
    }
    end
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The lines, each with one byte replaced by every other.
    fn variants(lines: &[&'static [u8]]) -> impl Iterator<Item = Vec<u8>> {
        lines.iter().flat_map(|line| {
            (0..line.len()).flat_map(move |at| {
                (0..=255).map(move |byte| {
                    let mut line = line.to_vec();
                    line[at] = byte;
                    line
                })
            })
        })
    }

    #[test]
    fn a_plain_line_is_read_as_any_line_is() {
        let lines: [&[u8]; 7] = [
            b"Host: a\r\n",
            b"X-Forwarded-Proto: b c\r\nNext: line\r\n",
            b"a-b: \xe4\xff\r\n\r\n",
            b"A:  b\r\n",
            b"A: b \r\n",
            b"A: \r\n",
            b"A: a value that is longer than thirty-two bytes\r\n",
        ];
        let mut plains = 0;
        for line in variants(&lines) {
            let (mut by_plain, mut by_odd) = (Fields::default(), Fields::default());
            if let Some(behind) = plain(&line, 7, &mut by_plain) {
                assert_eq!(odd(&line, 7, &mut by_odd), Ok(behind), "{}", line.escape_ascii());
                assert_eq!(by_plain.list(), by_odd.list(), "{}", line.escape_ascii());
                plains += 1;
            }
        }
        assert!(plains > 10_000, "{plains}");
    }
}
