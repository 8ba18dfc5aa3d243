//! The parts of a pattern that stand for one byte: `a`, `.`, `%a`, `[a-z]`.

use super::class::{Class, class_of};

/// What one byte is compared with.
#[derive(Clone, Copy)]
pub(super) enum Item {
    Any,
    Byte(u8),
    Not(u8),
    Class(Class),
    /// From after `[` to before `]`.
    Set(usize, usize),
}

/// The item at `p`, and its end.
pub(super) fn item_at(pattern: &[u8], p: usize) -> Result<(Item, usize), &'static str> {
    match pattern.get(p).copied().unwrap_or(0) {
        b'.' => Ok((Item::Any, p + 1)),
        b'%' => match pattern.get(p + 1) {
            Some(&letter) => Ok((class_of(letter).map_or(Item::Byte(letter), Item::Class), p + 2)),
            None => Err("malformed pattern (ends with '%')"),
        },
        b'[' => {
            let end = set_end(pattern, p)?;
            let item = match pattern.get(p + 1..end - 1) {
                Some([byte]) => Item::Byte(*byte),
                Some([b'^', byte]) => Item::Not(*byte),
                _ => Item::Set(p + 1, end - 1),
            };
            Ok((item, end))
        }
        byte => Ok((Item::Byte(byte), p + 1)),
    }
}

/// The end of the set that begins at `p`.
pub(super) fn set_end(pattern: &[u8], p: usize) -> Result<usize, &'static str> {
    let mut at = if pattern.get(p + 1) == Some(&b'^') { p + 2 } else { p + 1 };
    // The first byte is never the end.
    loop {
        let Some(&byte) = pattern.get(at) else { return Err("malformed pattern (missing ']')") };
        at += 1;
        if byte == b'%' && at < pattern.len() {
            at += 1;
        }
        if pattern.get(at) == Some(&b']') {
            return Ok(at + 1);
        }
    }
}

/// Whether a set, without its brackets, has this byte.
pub(super) fn has(set: &[u8], byte: u8) -> bool {
    match set.split_first() {
        Some((b'^', rest)) => !lists(rest, byte),
        _ => lists(set, byte),
    }
}

/// Whether a set, without its brackets and `^`, lists this byte.
fn lists(mut set: &[u8], byte: u8) -> bool {
    loop {
        set = match set {
            [] => return false,
            // A `%` just before the `]` escapes it.
            [b'%'] => return byte == b']',
            [b'%', letter, rest @ ..] => {
                if class_of(*letter).map_or(byte == *letter, |class| class.has(byte)) {
                    return true;
                }
                rest
            }
            [low, b'-', high, rest @ ..] => {
                if (*low..=*high).contains(&byte) {
                    return true;
                }
                rest
            }
            [only, rest @ ..] => {
                if *only == byte {
                    return true;
                }
                rest
            }
        }
    }
}
