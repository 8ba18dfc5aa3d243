//! The lines of a head that each codec writes itself, noted when it is decoded: looking for them again when it is
//! encoded costs 3 % of a small request's instructions.
//!
//! Their usual form is at most one Connection, at most one Content-Length without leading zeros, no Transfer-Encoding.

use crate::http::{CodecNote, Span};

const NO_LENGTH: u32 = u32::MAX;

/// Notes the Connection line, which is empty if there is none, and the length. Large lengths and offsets count as
/// unusual.
pub(super) fn note_usual(connection: Span, length: Option<u64>) -> CodecNote {
    let number = length.map_or(NO_LENGTH, |n| n.min(NO_LENGTH.into()) as u32);
    match (connection.start, connection.end) {
        (start, end) if end <= u16::MAX.into() => CodecNote { offsets: [start as u16, end as u16], number },
        _ => CodecNote::NONE,
    }
}

/// The Connection line, empty if there is none, provided the lines are usual and state this length.
pub(super) fn connection(note: CodecNote, length: Option<u64>) -> Option<Span> {
    let CodecNote { offsets: [start, end], number } = note;
    let says = match length {
        Some(n) => n == u64::from(number) && number != NO_LENGTH,
        None => number == NO_LENGTH,
    };
    (says && start <= end).then_some(Span { start: start.into(), end: end.into() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_noted_holds_for_the_same_length_only() {
        let line = Span::new(20, 44);
        let note = note_usual(line, Some(5));
        assert_eq!((connection(note, Some(5)), connection(note, Some(6))), (Some(line), None));
        assert_eq!(connection(note, None), None);
        assert_eq!(connection(note_usual(Span::default(), None), None), Some(Span::default()));
    }

    #[test]
    fn large_offsets_and_lengths_and_no_note_say_nothing() {
        assert_eq!(note_usual(Span::new(10, 70_000), Some(5)), CodecNote::NONE);
        assert_eq!(connection(note_usual(Span::default(), Some(u64::MAX)), Some(NO_LENGTH.into())), None);
        assert_eq!(connection(CodecNote::NONE, None), None);
    }
}
