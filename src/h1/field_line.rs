//! Parses field lines (RFC 9112 section 5) into spans.
//!
//! Nearly every line has one form: a name of letters and hyphens, a colon, one space, a value without tabs or
//! surrounding spaces, CR LF. `plain` parses it with one vector test of the name and one per sixteen bytes of the
//! value, `searched` if the name is longer than that. All other lines go to `odd`, which implements the whole
//! grammar; so a missed fast path costs time and not correctness.

use super::chunk::{Chunk, WIDTH};
use super::fault::Flaw;
use super::grammar::TOKEN;
use super::simd;
use crate::http::{Field, Fields, Name, Span};

/// The bytes that `plain` reads in any case: a chunk at the name and one at the value.
const WINDOW: usize = WIDTH + 2 + WIDTH;

/// Parses field lines from `at` to the empty line; no more than `most`. Returns the end.
pub(super) fn parse(input: &[u8], at: usize, most: usize, fields: &mut Fields) -> Result<usize, Flaw> {
    fields.clear();
    let mut rest = input.get(at..).ok_or(Flaw::Cut)?;
    while let Some(window) = rest.first_chunk()
        && !is_over(rest, most, fields)
    {
        rest = line(Some(window), rest, input.len() - rest.len(), fields)?;
    }
    rest = last_lines(input, rest, most, fields)?;
    match rest {
        [b'\r', b'\n', ..] => Ok(input.len() - rest.len() + 2),
        [] | [b'\r'] => Err(Flaw::Cut),
        _ => Err(Flaw::TooManyFields),
    }
}

#[inline(always)]
fn is_over(rest: &[u8], most: usize, fields: &Fields) -> bool {
    rest.starts_with(b"\r\n") || fields.len() == most
}

/// The last lines, which begin less than a window before the end of the input, are parsed in a zero-padded copy;
/// zeros are not part of any plain line.
fn last_lines<'a>(
    input: &[u8],
    mut rest: &'a [u8],
    most: usize,
    fields: &mut Fields,
) -> Result<&'a [u8], Flaw> {
    let mut text = [0; 2 * WINDOW];
    let (last, _zeros) = text.split_at_mut(WINDOW);
    let is_short = input.last_chunk::<WINDOW>().map(|bytes| last.copy_from_slice(bytes)).is_none();
    while !is_over(rest, most, fields) {
        let start = if is_short { None } else { WINDOW.checked_sub(rest.len()) };
        let window = start.and_then(|start| text[start..].first_chunk());
        rest = line(window, rest, input.len() - rest.len(), fields)?;
    }
    Ok(rest)
}

/// Adds the first field line of `rest` and returns the offset after it. `rest` begins at `at`; `window` is its
/// beginning.
#[inline(always)]
fn line<'a>(
    window: Option<&[u8; WINDOW]>,
    rest: &'a [u8],
    at: usize,
    fields: &mut Fields,
) -> Result<&'a [u8], Flaw> {
    match window.and_then(|window| plain(window, rest, at, fields)) {
        Some(behind) => Ok(behind),
        None => less_plain(rest, at, fields),
    }
}

/// The same for a line that is not plain.
#[inline(never)]
fn less_plain<'a>(rest: &'a [u8], at: usize, fields: &mut Fields) -> Result<&'a [u8], Flaw> {
    match searched(rest, at, fields) {
        Some(behind) => Ok(behind),
        None => odd(rest, at, fields),
    }
}

/// The same for a complete line in the usual form.
#[inline(always)]
fn plain<'a>(window: &[u8; WINDOW], rest: &'a [u8], at: usize, fields: &mut Fields) -> Option<&'a [u8]> {
    let letter = window[0];
    let text = Chunk::of(window.first_chunk()?);
    let colon = text.first_not_of_word()?;
    if colon == 0 {
        return None;
    }
    // Single bytes are loaded before the chunk that contains them: otherwise the compiler extracts them from the
    // vector, which is slower.
    let behind = &window[colon..];
    if !behind.starts_with(b": ") || behind[2] == b' ' {
        return None;
    }
    let len = match Chunk::of(behind[2..].first_chunk()?).first_control() {
        Some(len) => ends_well(&behind[1 + len..]).then_some(len)?,
        None => long_value(rest.get(colon + 2..)?)?,
    };
    let (name, value) = (Span::new(at, at + colon), Span::new(at + colon + 2, at + colon + 2 + len));
    let behind = rest.get(colon + 2 + len + 2..)?;
    fields.add(Field { tag: tag(text, letter, &window[..colon]), plain: true, name, value });
    Some(behind)
}

/// The same for any position of the colon and the end of the input.
#[inline(always)]
fn searched<'a>(rest: &'a [u8], at: usize, fields: &mut Fields) -> Option<&'a [u8]> {
    let (name, behind) = rest.split_at_checked(simd::word_end(rest))?;
    let value = behind.strip_prefix(b": ")?;
    let len = simd::control(value);
    if name.is_empty() || value.first() == Some(&b' ') || !ends_well(behind.get(1 + len..)?) {
        return None;
    }
    let colon = at + name.len();
    let (tag, value) = (Name::of(name), Span::new(colon + 2, colon + 2 + len));
    let behind = behind.get(2 + len + 2..)?;
    fields.add(Field { tag, plain: true, name: Span::new(at, colon), value });
    Some(behind)
}

/// Length of a value longer than a chunk.
#[inline(always)]
fn long_value(value: &[u8]) -> Option<usize> {
    let len = WIDTH + simd::control(value.get(WIDTH..)?);
    ends_well(value.get(len - 1..)?).then_some(len)
}

/// `from_last` begins with the value's last byte, or with the space before an empty value.
#[inline(always)]
fn ends_well(from_last: &[u8]) -> bool {
    matches!(from_last, [last, line_end @ ..] if *last != b' ' && line_end.starts_with(b"\r\n"))
}

/// The tag of the name that `text` begins with: letters and hyphens up to a colon.
#[inline(always)]
fn tag(text: Chunk, letter: u8, name: &[u8]) -> Name {
    match Name::guess(letter, name.len()) {
        Name::Other => Name::Other,
        // The padding of the known name differs from the colon.
        guess if text.first_unlike(Chunk::of(guess.padded())) == name.len() => guess,
        _ => Name::of_unknown(name),
    }
}

/// Parses any field line.
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

/// The end of the token at the start of `rest`, if it is before `end`.
#[inline(always)]
pub(super) fn token(rest: &[u8], end: u8, flaw: Flaw) -> Result<usize, Flaw> {
    let mut stop = simd::word_end(rest);
    while rest.get(stop).is_some_and(|byte| TOKEN.has(*byte)) {
        stop += 1;
    }
    match rest.get(stop) {
        Some(byte) if *byte == end && stop > 0 => Ok(stop),
        None => Err(Flaw::Cut),
        Some(_) => Err(flaw),
    }
}

/// The position of the CR LF that ends the line, searched from `from`.
#[inline(always)]
pub(super) fn line_end(rest: &[u8], from: usize, flaw: Flaw) -> Result<usize, Flaw> {
    let control = |from| from + rest.get(from..).map_or(0, simd::control);
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

    /// The lines, each with one byte replaced by every other value.
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

    /// The result of `plain` for a line followed by these bytes.
    fn read_plain(line: &[u8], following: &[u8], fields: &mut Fields) -> Option<usize> {
        let input = [line, following].concat();
        let mut window = [0; WINDOW];
        window.iter_mut().zip(&input).for_each(|(byte, of_input)| *byte = *of_input);
        plain(&window, &input, 7, fields).map(|behind| input.len() - behind.len())
    }

    #[test]
    fn plain_and_odd_agree_on_plain_lines() {
        let lines: [&[u8]; 12] = [
            b"Host: a\r\n",
            b"X-Forwarded-Proto: b c\r\nNext: line\r\n",
            b"a-b: \xe4\xff\r\n\r\n",
            b": b\r\n",
            b"A:  b\r\n",
            b"A: b \r\n",
            b"A: \r\n",
            b"A: a value that is longer than thirty-two bytes\r\n",
            b"X-Forwarded-For: of fifteen and sixteen\r\n",
            b"Content-Length: 12\r\n",
            b"TE: of sixteen bytes\r\n",
            b"Transfer-Encoding: chunked\r\n",
        ];
        let (mut plains, mut searcheds) = (0, 0);
        for (line, following) in variants(&lines).flat_map(|line| [(line.clone(), 0), (line, WINDOW)]) {
            let (mut by_plain, mut by_odd) = (Fields::default(), Fields::default());
            if let Some(len) = read_plain(&line, &vec![b' '; following], &mut by_plain) {
                let behind = odd(&line, 7, &mut by_odd).map(|behind| line.len() - behind.len());
                assert_eq!(behind, Ok(len), "{}", line.escape_ascii());
                assert_eq!(by_plain.list(), by_odd.list(), "{}", line.escape_ascii());
                plains += 1;
            }
            by_plain.clear();
            if let Some(behind) = searched(&line, 7, &mut by_plain) {
                assert_eq!(odd(&line, 7, &mut by_odd), Ok(behind), "{}", line.escape_ascii());
                assert_eq!(by_plain.list(), &by_odd.list()[by_odd.len() - 1..], "{}", line.escape_ascii());
                searcheds += 1;
            }
        }
        assert!(plains > 20_000 && searcheds > 20_000, "{plains} {searcheds}");
    }

    #[test]
    fn lines_are_parsed_alike_wherever_the_input_ends() {
        let head = b"Host: a\r\nA: a value that is longer than thirty-two bytes\r\nB: b\r\nTE: c\r\n\r\n";
        let (mut fields, mut expected) = (Fields::default(), Fields::default());
        let mut rest = &head[..];
        while rest != b"\r\n" {
            rest = odd(rest, head.len() - rest.len(), &mut expected).unwrap();
        }
        for following in 0..2 * WINDOW {
            let input = [&head[..], &vec![b'x'; following]].concat();
            assert_eq!(parse(&input, 0, 9, &mut fields), Ok(head.len()));
            assert_eq!(fields.list(), expected.list(), "{following}");
        }
        for len in 0..head.len() {
            assert_eq!(parse(&head[..len], 0, 9, &mut fields), Err(Flaw::Cut), "{len}");
        }
    }

    #[test]
    fn the_maximum_number_of_fields_is_accepted_before_the_empty_line_arrives() {
        let mut fields = Fields::default();
        let lines = b"A: b\r\n".repeat(9);
        for (end, expected) in [
            (&b""[..], Err(Flaw::Cut)),
            (b"\r", Err(Flaw::Cut)),
            (b"\r\n", Ok(lines.len() + 2)),
            (b"A", Err(Flaw::TooManyFields)),
        ] {
            assert_eq!(parse(&[&lines[..], end].concat(), 0, 9, &mut fields), expected);
        }
    }
}
