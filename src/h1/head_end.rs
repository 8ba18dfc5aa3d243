//! Finds the end of a head or a trailer section.
//!
//! The field parser starts over each time it is called; this scan resumes. It keeps one offset between calls, scans
//! every byte once, and passes only complete heads with CR LF line ends to the parser.

use crate::http::Fault;

/// The end of the section that `input` begins with, including its empty line. An empty line at the very front is a
/// section of two bytes. `scanned` is how far earlier calls came; `limit` is the maximum length of a section.
pub(super) fn section_end(input: &[u8], scanned: &mut u32, limit: usize) -> Result<Option<usize>, Fault> {
    let seen = &input[..input.len().min(limit)];
    let from = (*scanned as usize).min(seen.len());
    for at in memchr::memchr_iter(b'\n', &seen[from..]) {
        let end = from + at + 1;
        match &seen[end.saturating_sub(3)..end] {
            b"\n\r\n" | b"\r\n" => return Ok(Some(end)),
            [_, b'\r', b'\n'] => {}
            _ => return Err(Fault::LineEnd),
        }
    }
    if seen.len() == limit {
        return Err(Fault::HeadTooLarge);
    }
    *scanned = seen.len() as u32;
    Ok(None)
}

/// The same where a line may also end in a bare LF. The section does not begin with an empty line.
pub(super) fn loose_end(input: &[u8], scanned: &mut u32, limit: usize) -> Result<Option<usize>, Fault> {
    let seen = &input[..input.len().min(limit)];
    let from = (*scanned as usize).min(seen.len());
    for at in memchr::memchr_iter(b'\n', &seen[from..]) {
        let end = from + at + 1;
        if let [.., b'\n', b'\r', b'\n'] | [.., b'\n', b'\n'] = &seen[..end] {
            return Ok(Some(end));
        }
    }
    if seen.len() == limit {
        return Err(Fault::HeadTooLarge);
    }
    *scanned = seen.len() as u32;
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The result when the bytes arrive in two parts.
    fn scan(bytes: &[u8], split: usize, limit: usize) -> Result<Option<usize>, Fault> {
        let mut scanned = 0;
        match section_end(&bytes[..split], &mut scanned, limit) {
            Ok(None) => section_end(bytes, &mut scanned, limit),
            decided => decided,
        }
    }

    #[test]
    fn the_end_is_after_the_first_empty_line_at_every_split() {
        for (bytes, expected) in [
            (&b"A\r\n\r\nB\r\n\r\n"[..], Ok(Some(5))),
            (b"A\r\nB: c\r\n\r\n", Ok(Some(11))),
            (b"\r\nGET", Ok(Some(2))),
            (b"A\r\nB\r\n", Ok(None)),
            (b"A\nB\r\n\r\n", Err(Fault::LineEnd)),
            (b"\nB\r\n\r\n", Err(Fault::LineEnd)),
            (b"A\r\n\n", Err(Fault::LineEnd)),
            (b"A\r\nB\n\r\n", Err(Fault::LineEnd)),
            (b"A\r\n\rB\r\n\r\n", Ok(Some(9))),
        ] {
            for split in 0..=bytes.len() {
                assert_eq!(
                    scan(bytes, split, 100),
                    expected,
                    "{:?} at {split}",
                    String::from_utf8_lossy(bytes)
                );
            }
        }
    }

    #[test]
    fn a_lenient_section_ends_after_its_first_empty_line_with_any_line_ends() {
        for (bytes, expected) in [
            (&b"A\r\n\r\nB\n\n"[..], Some(5)),
            (b"A\n\nB\r\n\r\n", Some(3)),
            (b"A\nB: c\r\n\nD", Some(9)),
            (b"A\r\nB: c\n\r\n", Some(10)),
            (b"A\r\n\rB\n\r\r\n", None),
        ] {
            for split in 0..=bytes.len() {
                let mut scanned = 0;
                let first = loose_end(&bytes[..split], &mut scanned, 100);
                let end = if first == Ok(None) { loose_end(bytes, &mut scanned, 100) } else { first };
                assert_eq!(end, Ok(expected), "{} at {split}", bytes.escape_ascii());
            }
        }
    }

    #[test]
    fn a_section_may_be_as_long_as_its_limit() {
        let bytes = b"A\r\nB: c\r\n\r\n";
        for split in 0..=bytes.len() {
            assert_eq!(scan(bytes, split, bytes.len()), Ok(Some(bytes.len())));
            assert_eq!(scan(bytes, split, bytes.len() - 1), Err(Fault::HeadTooLarge));
        }
    }

    #[test]
    fn no_byte_is_scanned_twice() {
        let mut scanned = 0;
        assert_eq!(section_end(b"A\r\nB", &mut scanned, 100), Ok(None));
        assert_eq!(scanned, 4);
        // A bare LF in the scanned part is not noticed: the scan does not go back.
        assert_eq!(section_end(b"\n\r\nB: c\r\n\r\n", &mut scanned, 100), Ok(Some(11)));
    }
}
