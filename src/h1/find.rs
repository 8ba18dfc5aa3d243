//! Finds where a piece of a head ends, sixteen bytes at a time.
//!
//! Each search is for the first byte of a class: what may not stand in a field's value, what ends a request
//! target, what is neither letter nor hyphen in a name. A class is asked for every byte of a chunk without a
//! branch, so that the compiler does all sixteen at once (on x86-64 with SSE2, which every one has); then the
//! answers are looked at as two numbers.

const WIDTH: usize = 16;

type Chunk = [u8; WIDTH];

/// The first control byte, DEL included, at `from` or behind it; the end if there is none.
#[inline(always)]
pub(super) fn control(bytes: &[u8], from: usize) -> usize {
    first(bytes, from, |byte| (byte < b' ') | (byte == 0x7f))
}

/// The first byte that is not visible ASCII, or is `#`.
#[inline(always)]
pub(super) fn target_end(bytes: &[u8], from: usize) -> usize {
    first(bytes, from, |byte| (byte <= b' ') | (byte >= 0x7f) | (byte == b'#'))
}

/// The first byte that is not what host names and addresses are made of nearly always: letter, digit, hyphen, dot.
#[inline]
pub(super) fn host_end(bytes: &[u8]) -> usize {
    first(bytes, 0, |byte| {
        let is_letter = (byte | 0x20).wrapping_sub(b'a') < 26;
        let is_other = (byte.wrapping_sub(b'0') < 10) | (byte == b'-') | (byte == b'.');
        !(is_letter | is_other)
    })
}

/// The first byte that is neither a letter nor a hyphen.
#[inline(always)]
pub(super) fn word_end(bytes: &[u8], from: usize) -> usize {
    first(bytes, from, |byte| ((byte | 0x20).wrapping_sub(b'a') >= 26) & (byte != b'-'))
}

#[inline(always)]
fn first(bytes: &[u8], from: usize, class: impl Fn(u8) -> bool) -> usize {
    let mut at = from;
    while let Some(chunk) = bytes.get(at..).and_then(|rest| rest.first_chunk()) {
        match answers(chunk, &class) {
            (0, 0) => at += WIDTH,
            (0, high) => return at + 8 + place(high),
            (low, _) => return at + place(low),
        }
    }
    at + among_last(bytes, bytes.len().saturating_sub(at), class)
}

/// The answers for the first eight bytes and for the last eight, each a byte of ones or of zeros.
#[inline(always)]
fn answers(chunk: &Chunk, class: impl Fn(u8) -> bool) -> (u64, u64) {
    let mut answers = [0; WIDTH];
    for (answer, byte) in answers.iter_mut().zip(chunk) {
        *answer = if class(*byte) { 0xff } else { 0 };
    }
    // The compiler would take the array apart again, bit by bit.
    let answers = std::hint::black_box(answers);
    let half = |at: usize| answers[at..].first_chunk().map_or(0, |half| u64::from_le_bytes(*half));
    (half(0), half(8))
}

fn place(answers: u64) -> usize {
    answers.trailing_zeros() as usize / 8
}

/// The same for the last `left` bytes, which are fewer than a chunk, by way of the last whole chunk.
#[inline(always)]
fn among_last(bytes: &[u8], left: usize, class: impl Fn(u8) -> bool) -> usize {
    match bytes.last_chunk() {
        _ if left == 0 => 0,
        Some(chunk) => {
            let (low, high) = answers(chunk, class);
            let answers = (u128::from(high) << 64 | u128::from(low)) >> (8 * (WIDTH - left));
            left.min(answers.trailing_zeros() as usize / 8)
        }
        None => {
            let chunk = std::hint::black_box(short(bytes));
            let (low, high) = answers(&chunk, class);
            let answers = (u128::from(high) << 64 | u128::from(low)) >> (8 * (bytes.len() - left));
            left.min(answers.trailing_zeros() as usize / 8)
        }
    }
}

/// Fewer bytes than a chunk has, at the front of one.
#[inline]
fn short(bytes: &[u8]) -> Chunk {
    match (bytes.first_chunk(), bytes.last_chunk()) {
        (Some(first), Some(last)) => {
            let (first, last) = (u64::from_le_bytes(*first), u64::from_le_bytes(*last));
            (u128::from(first) | u128::from(last) << (8 * (bytes.len() - 8))).to_le_bytes()
        }
        _ => std::array::from_fn(|at| bytes.get(at).copied().unwrap_or_default()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    type Search = fn(&[u8], usize) -> usize;
    type Class = fn(u8) -> bool;

    const SEARCHES: [(Search, Class); 4] = [
        (control, |byte| byte.is_ascii_control()),
        (target_end, |byte| !byte.is_ascii_graphic() || byte == b'#'),
        (
            |bytes, from| from + host_end(&bytes[from..]),
            |byte| !byte.is_ascii_alphanumeric() && byte != b'-' && byte != b'.',
        ),
        (word_end, |byte| !byte.is_ascii_alphabetic() && byte != b'-'),
    ];

    #[test]
    fn every_byte_is_judged_as_a_plain_loop_would_wherever_it_stands_and_whatever_is_beside_it() {
        for (search, class) in SEARCHES {
            for byte in 0..=255 {
                for other in [b'a', b'Z', b'-', b'{', 0x80, 0xff, b'\r', 0] {
                    for at in 0..17 {
                        let mut bytes = *b"abcdefghijklmnopq";
                        bytes[at] = byte;
                        bytes[(at + 1) % 17] = other;
                        let expected = bytes.iter().position(|byte| class(*byte)).unwrap_or(17);
                        assert_eq!(search(&bytes, 0), expected, "{byte:#x} {other:#x} {at}");
                    }
                }
            }
        }
    }

    #[test]
    fn the_first_byte_is_found_wherever_the_bytes_begin_and_end() {
        for len in 0..50 {
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
