//! Finds where a piece of a head ends, eight bytes at a time.
//!
//! Each search is for the first byte of a class: what may not stand in a field's value, what ends a request
//! target, what is neither letter nor hyphen in a name. A class takes eight bytes as one number and sets the top
//! bit of those that belong to it. Carries may set more bits, but only above a byte that does belong, so the
//! lowest bit is always right, and it is the only one that is used.

const WIDTH: usize = 8;
const TOPS: u64 = every(0x80);

/// This byte eight times.
const fn every(byte: u8) -> u64 {
    u64::from_le_bytes([byte; WIDTH])
}

/// The first control byte, DEL included, at `from` or behind it; the end if there is none.
#[inline]
pub(super) fn control(bytes: &[u8], from: usize) -> usize {
    first(bytes, from, is_control)
}

/// The first byte that is not visible ASCII, or is `#`.
#[inline]
pub(super) fn target_end(bytes: &[u8], from: usize) -> usize {
    first(bytes, from, is_no_target)
}

/// The first byte that is neither a letter nor a hyphen.
#[inline]
pub(super) fn word_end(bytes: &[u8], from: usize) -> usize {
    first(bytes, from, is_no_word)
}

#[inline(always)]
fn first(bytes: &[u8], from: usize, class: impl Fn(u64) -> u64) -> usize {
    let mut at = from;
    while let Some(word) = bytes.get(at..).and_then(|rest| rest.first_chunk()) {
        match class(u64::from_le_bytes(*word)) {
            0 => at += WIDTH,
            found => return at + place(found),
        }
    }
    match bytes.len().saturating_sub(at) {
        0 => bytes.len(),
        left => at + place(class(last(bytes, left))),
    }
}

fn place(found: u64) -> usize {
    found.trailing_zeros() as usize / 8
}

/// The last `left` bytes, fewer than a word, and zeros behind them: those belong to every class.
#[inline]
fn last(bytes: &[u8], left: usize) -> u64 {
    match bytes.last_chunk() {
        Some(word) => u64::from_le_bytes(*word) >> (8 * (WIDTH - left)),
        None => bytes[bytes.len() - left..].iter().rev().fold(0, |word, byte| word << 8 | u64::from(*byte)),
    }
}

#[inline(always)]
fn is_control(x: u64) -> u64 {
    let below = x.wrapping_sub(every(0x20));
    (below | is_zero(x ^ every(0x7f))) & !x & TOPS
}

#[inline(always)]
fn is_no_target(x: u64) -> u64 {
    let below = x.wrapping_sub(every(0x21));
    (below | is_zero(x ^ every(0x7f)) | is_zero(x ^ every(b'#')) | x) & TOPS
}

#[inline(always)]
fn is_no_word(x: u64) -> u64 {
    let lower = x | every(0x20);
    let from_a = (lower | TOPS) - every(b'a');
    let behind_z = lower.wrapping_add(every(0x7f - b'z'));
    let is_hyphen = !(x ^ every(b'-')).wrapping_add(every(0x7f));
    (!(from_a & !behind_z | is_hyphen) | x) & TOPS
}

/// Top bits of bytes that are zero (or above 0x80, which the callers exclude).
#[inline(always)]
fn is_zero(x: u64) -> u64 {
    x.wrapping_sub(every(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    type Search = fn(&[u8], usize) -> usize;
    type Class = fn(u8) -> bool;

    const SEARCHES: [(Search, Class); 3] = [
        (control, |byte| byte.is_ascii_control()),
        (target_end, |byte| !byte.is_ascii_graphic() || byte == b'#'),
        (word_end, |byte| !byte.is_ascii_alphabetic() && byte != b'-'),
    ];

    #[test]
    fn every_byte_is_judged_as_a_plain_loop_would_wherever_it_stands_and_whatever_is_beside_it() {
        for (search, class) in SEARCHES {
            for byte in 0..=255 {
                for other in [b'a', b'Z', b'-', b'{', 0x80, 0xff, b'\r', 0] {
                    for at in 0..9 {
                        let mut bytes = *b"abcdefghi";
                        bytes[at] = byte;
                        bytes[(at + 1) % 9] = other;
                        let expected = bytes.iter().position(|byte| class(*byte)).unwrap_or(9);
                        assert_eq!(search(&bytes, 0), expected, "{byte:#x} {other:#x} {at}");
                    }
                }
            }
        }
    }

    #[test]
    fn the_first_byte_is_found_wherever_the_bytes_begin_and_end() {
        for len in 0..30 {
            for at in 0..=len {
                let mut bytes = vec![b'a'; len];
                bytes.iter_mut().skip(at).take(1).for_each(|byte| *byte = b'\n');
                for from in 0..=len {
                    let expected = if at >= from { at } else { len };
                    for (search, _) in SEARCHES {
                        assert_eq!(search(&bytes, from), expected, "{len} {at} {from}");
                    }
                }
            }
        }
    }
}
