//! Searches for the end of a part of a head, sixteen bytes at a time.
//!
//! Each function finds the first byte of a class: not allowed in a field value, end of a request target, neither
//! letter nor hyphen in a name. The classes and the vector tests are in `chunk`.

use super::chunk::{Chunk, WIDTH};

/// The first control byte, DEL included; the length if there is none.
pub(super) fn control(bytes: &[u8]) -> usize {
    first(bytes, Chunk::controls)
}

/// The first byte that is not visible ASCII, or is `#`.
pub(super) fn target_end(bytes: &[u8]) -> usize {
    first(bytes, Chunk::not_of_target)
}

/// The first byte that is not a letter, digit, hyphen or dot, the usual bytes of host names and addresses.
pub(super) fn host_end(bytes: &[u8]) -> usize {
    first(bytes, Chunk::not_of_host)
}

/// The first byte that is neither a letter nor a hyphen.
pub(super) fn word_end(bytes: &[u8]) -> usize {
    first(bytes, Chunk::not_of_word)
}

/// Most parts end in their first chunk, so that is tested inline.
fn first(bytes: &[u8], class: impl Fn(Chunk) -> u32) -> usize {
    let Some((chunk, behind)) = bytes.split_first_chunk() else {
        return among_last(bytes, bytes.len(), class);
    };
    let found = class(Chunk::of(chunk));
    if found != 0 { place(found) } else { further(bytes, behind, class) }
}

/// The search after the first chunk.
fn further(bytes: &[u8], mut rest: &[u8], class: impl Fn(Chunk) -> u32) -> usize {
    while let Some((chunk, behind)) = rest.split_first_chunk() {
        let found = class(Chunk::of(chunk));
        if found != 0 {
            return bytes.len() - rest.len() + place(found);
        }
        rest = behind;
    }
    bytes.len() - rest.len() + among_last(bytes, rest.len(), class)
}

/// The search in the last `left` bytes, fewer than a chunk; `left` if there is none.
#[inline(never)]
fn among_last(bytes: &[u8], left: usize, class: impl Fn(Chunk) -> u32) -> usize {
    match bytes.last_chunk() {
        Some(chunk) => left.min(place(class(Chunk::of(chunk)) >> (WIDTH - left))),
        // The zero padding is in every class.
        None => place(class(Chunk::of_fewer(bytes))),
    }
}

fn place(found: u32) -> usize {
    found.trailing_zeros() as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    type Search = fn(&[u8]) -> usize;
    type Class = fn(u8) -> bool;

    const SEARCHES: [(Search, Class); 4] = [
        (control, |byte| byte.is_ascii_control()),
        (target_end, |byte| !byte.is_ascii_graphic() || byte == b'#'),
        (host_end, |byte| !byte.is_ascii_alphanumeric() && byte != b'-' && byte != b'.'),
        (word_end, |byte| !byte.is_ascii_alphabetic() && byte != b'-'),
    ];

    #[test]
    fn every_byte_is_classified_as_by_a_plain_loop_at_every_position() {
        for (search, class) in SEARCHES {
            for byte in 0..=255 {
                for other in [b'a', b'Z', b'-', b'{', 0x80, 0xff, b'\r', 0] {
                    for at in 0..17 {
                        let mut bytes = *b"abcdefghijklmnopq";
                        bytes[at] = byte;
                        bytes[(at + 1) % 17] = other;
                        let expected = bytes.iter().position(|byte| class(*byte)).unwrap_or(17);
                        assert_eq!(search(&bytes), expected, "{byte:#x} {other:#x} {at}");
                    }
                }
            }
        }
    }

    #[test]
    fn the_first_match_is_found_at_every_offset_and_length() {
        for len in 0..50 {
            for at in 0..=len {
                let mut bytes = vec![b'a'; len];
                bytes.iter_mut().skip(at).take(1).for_each(|byte| *byte = b'\n');
                for from in 0..=len {
                    let expected = if at >= from { at } else { len } - from;
                    for (search, _) in SEARCHES {
                        assert_eq!(search(&bytes[from..]), expected, "{len} {at} {from}");
                    }
                }
            }
        }
    }
}
