//! Tests sixteen bytes at once; the result is a mask with one bit a byte, the first byte's the lowest.
//!
//! Every x86-64 has SSE2. Elsewhere plain loops give the same results and leave vectorising to the compiler. A test
//! compares the two for every byte at every position.

use std::num::NonZero;

#[cfg(not(target_arch = "x86_64"))]
pub(super) use portable::Chunk;
#[cfg(target_arch = "x86_64")]
pub(super) use sse2::Chunk;

pub(super) const WIDTH: usize = 16;

impl Chunk {
    /// Position of the first byte that is neither a letter nor a hyphen.
    pub(super) fn first_not_of_word(self) -> Option<usize> {
        first(self.not_of_word())
    }

    /// Position of the first control character, DEL included.
    pub(super) fn first_control(self) -> Option<usize> {
        first(self.controls())
    }

    /// Position of the first byte that differs from the other's, ignoring case; `WIDTH` if none does. The other is in
    /// lower case.
    pub(super) fn first_unlike(self, lower: Chunk) -> usize {
        (!self.like(lower)).trailing_zeros() as usize
    }

    /// Loads fewer bytes than a chunk has, zero-padded.
    pub(super) fn of_fewer(bytes: &[u8]) -> Chunk {
        // Two overlapping loads from both ends: the shared bytes are the same in both.
        let text = if let (Some(first), Some(last)) = (bytes.first_chunk(), bytes.last_chunk()) {
            let (first, last) = (u64::from_le_bytes(*first), u64::from_le_bytes(*last));
            u128::from(first) | u128::from(last) << (8 * (bytes.len() - 8))
        } else if let (Some(first), Some(last)) = (bytes.first_chunk(), bytes.last_chunk()) {
            let (first, last) = (u32::from_le_bytes(*first), u32::from_le_bytes(*last));
            u128::from(u64::from(first) | u64::from(last) << (8 * (bytes.len() - 4)))
        } else {
            bytes.iter().rev().fold(0, |text, byte| text << 8 | u128::from(*byte))
        };
        Chunk::of(&text.to_le_bytes())
    }
}

/// Position of the lowest bit. The type limits it to sixteen bits, which saves bounds checks later.
fn first(found: u32) -> Option<usize> {
    NonZero::new(found as u16).map(|found| found.trailing_zeros() as usize)
}

#[cfg(target_arch = "x86_64")]
mod sse2 {
    use safe_arch::*;

    #[derive(Clone, Copy)]
    pub(in crate::h1) struct Chunk(m128i);

    impl Chunk {
        pub(in crate::h1) fn of(bytes: &[u8; super::WIDTH]) -> Chunk {
            Chunk(load_unaligned_m128i(bytes))
        }

        /// Control characters, DEL included.
        pub(in crate::h1) fn controls(self) -> u32 {
            bits(at_most(self.0, 0x1f) | is(self.0, 0x7f))
        }

        /// Not visible ASCII, or `#`.
        pub(in crate::h1) fn not_of_target(self) -> u32 {
            let visible = at_most(sub_i8_m128i(self.0, all(b'!')), b'~' - b'!');
            not_bits(visible) | bits(is(self.0, b'#'))
        }

        /// Neither a letter nor a hyphen.
        pub(in crate::h1) fn not_of_word(self) -> u32 {
            not_bits(letters(self.0) | is(self.0, b'-'))
        }

        /// Not a letter, digit, hyphen or dot.
        pub(in crate::h1) fn not_of_host(self) -> u32 {
            let digits = at_most(sub_i8_m128i(self.0, all(b'0')), 9);
            not_bits(letters(self.0) | digits | is(self.0, b'-') | is(self.0, b'.'))
        }

        /// Equal to the other, ignoring case; the other is in lower case.
        pub(in crate::h1) fn like(self, lower: Chunk) -> u32 {
            bits(cmp_eq_mask_i8_m128i(self.0 | all(0x20), lower.0))
        }
    }

    fn letters(bytes: m128i) -> m128i {
        at_most(sub_i8_m128i(bytes | all(0x20), all(b'a')), 25)
    }

    /// SSE2 has no unsigned comparison: a byte is in range if min(byte, `most`) leaves it unchanged.
    fn at_most(bytes: m128i, most: u8) -> m128i {
        cmp_eq_mask_i8_m128i(bytes, min_u8_m128i(bytes, all(most)))
    }

    fn is(bytes: m128i, byte: u8) -> m128i {
        cmp_eq_mask_i8_m128i(bytes, all(byte))
    }

    fn all(byte: u8) -> m128i {
        set_splat_i8_m128i(byte as i8)
    }

    fn bits(answers: m128i) -> u32 {
        move_mask_i8_m128i(answers) as u32
    }

    fn not_bits(answers: m128i) -> u32 {
        bits(answers) ^ 0xffff
    }
}

#[cfg(any(test, not(target_arch = "x86_64")))]
mod portable {
    #[derive(Clone, Copy)]
    pub(in crate::h1) struct Chunk([u8; super::WIDTH]);

    impl Chunk {
        pub(in crate::h1) fn of(bytes: &[u8; super::WIDTH]) -> Chunk {
            Chunk(*bytes)
        }

        pub(in crate::h1) fn controls(self) -> u32 {
            self.bits(|byte| byte.is_ascii_control())
        }

        pub(in crate::h1) fn not_of_target(self) -> u32 {
            self.bits(|byte| !byte.is_ascii_graphic() || byte == b'#')
        }

        pub(in crate::h1) fn not_of_word(self) -> u32 {
            self.bits(|byte| !byte.is_ascii_alphabetic() && byte != b'-')
        }

        pub(in crate::h1) fn not_of_host(self) -> u32 {
            self.bits(|byte| !byte.is_ascii_alphanumeric() && byte != b'-' && byte != b'.')
        }

        pub(in crate::h1) fn like(self, lower: Chunk) -> u32 {
            let same = |at: usize| self.0[at] | 0x20 == lower.0[at];
            (0..super::WIDTH).map(|at| u32::from(same(at)) << at).sum()
        }

        fn bits(self, class: impl Fn(u8) -> bool) -> u32 {
            self.0.iter().enumerate().map(|(at, byte)| u32::from(class(*byte)) << at).sum()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    type Bytes = [u8; WIDTH];

    const LOWER: &Bytes = b"abc-efghijklmnop";

    fn answers(chunk: Chunk) -> [u32; 5] {
        let like = chunk.like(Chunk::of(LOWER));
        [chunk.controls(), chunk.not_of_target(), chunk.not_of_word(), chunk.not_of_host(), like]
    }

    fn plain_answers(bytes: &Bytes) -> [u32; 5] {
        let chunk = portable::Chunk::of(bytes);
        let like = chunk.like(portable::Chunk::of(LOWER));
        [chunk.controls(), chunk.not_of_target(), chunk.not_of_word(), chunk.not_of_host(), like]
    }

    #[test]
    fn sse2_and_plain_loops_agree_for_every_byte_at_every_position() {
        for (byte, other, at) in
            (0..=255).flat_map(|b| (0..=255).flat_map(move |o| (0..WIDTH).map(move |at| (b, o, at))))
        {
            let mut bytes: Bytes = *b"abcdefghijklmnop";
            bytes[at] = byte;
            bytes[(at + 1) % WIDTH] = other;
            assert_eq!(answers(Chunk::of(&bytes)), plain_answers(&bytes), "{byte:#x} {other:#x} {at}");
        }
    }

    #[test]
    fn fewer_bytes_are_zero_padded() {
        let text = b"\x01bcd:f-h\x7fjkl.n#";
        for len in 0..WIDTH {
            let mut bytes = [0; WIDTH];
            bytes[..len].copy_from_slice(&text[..len]);
            assert_eq!(answers(Chunk::of_fewer(&text[..len])), plain_answers(&bytes), "{len}");
        }
    }

    #[test]
    fn the_position_is_that_of_the_first_match() {
        let chunk = |bytes| Chunk::of(bytes);
        assert_eq!(chunk(b"abc:ef\r\nabcdefgh").first_not_of_word(), Some(3));
        assert_eq!(chunk(b"abc:ef\r\nabcdefgh").first_control(), Some(6));
        assert_eq!(chunk(b"abcdefghijklmno\0").first_control(), Some(15));
        assert_eq!(chunk(LOWER).first_control(), None);
        assert_eq!(chunk(b"ABC-EFGHIJKLMNOP").first_unlike(chunk(LOWER)), WIDTH);
        assert_eq!(chunk(b"ABC-EFGHIJKLMNO:").first_unlike(chunk(LOWER)), 15);
        assert_eq!(chunk(b"ABCD-FGHIJKLMNOP").first_unlike(chunk(LOWER)), 3);
    }
}
