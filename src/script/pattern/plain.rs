//! Parts of a search that need no matcher: whether a pattern is one, how its matches begin, and texts without patterns.

use memchr::{memchr, memmem};

/// The byte that every match of the pattern begins with, if that is plain to see.
pub(super) fn first_byte(pattern: &[u8]) -> Option<u8> {
    // More captures than these may be too many.
    let mut rest = pattern;
    for _ in 0..8 {
        match rest {
            [b'(', b')', ..] => return None,
            [b'(', inside @ ..] => rest = inside,
            _ => break,
        }
    }
    let (byte, after) = match rest {
        [b'(' | b')' | b'$' | b'.' | b'[' | b'%'] | [b'(' | b')' | b'$' | b'.' | b'[', ..] => return None,
        [b'%', letter, ..] if letter.is_ascii_alphanumeric() => return None,
        [b'%', byte, after @ ..] | [byte, after @ ..] => (*byte, after),
        [] => return None,
    };
    match after.first() {
        Some(b'*' | b'?' | b'-') => None,
        _ => Some(byte),
    }
}

/// Whether `find` looks for more than these very bytes.
pub fn has_specials(pattern: &[u8]) -> bool {
    let is_special =
        |byte: &u8| matches!(byte, b'^' | b'$' | b'*' | b'+' | b'?' | b'.' | b'(' | b'[' | b'%' | b'-');
    pattern.iter().any(is_special)
}

/// The first place of `wanted` at `from` or later.
pub fn find_plain(text: &[u8], wanted: &[u8], from: usize) -> Option<usize> {
    let Some(first) = wanted.first() else { return Some(from) };
    let mut at = from;
    // A searcher takes long to make, and pays only where the first byte is frequent.
    for _ in 0..ATTEMPTS {
        at += memchr(*first, text.get(at..)?)?;
        if text[at..].starts_with(wanted) {
            return Some(at);
        }
        at += 1;
    }
    memmem::find(text.get(at..)?, wanted).map(|found| at + found)
}

/// Places that `find_plain` looks at one by one.
const ATTEMPTS: usize = 8;
