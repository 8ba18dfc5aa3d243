//! Request ids: 32 hexadecimal digits, unique among all requests of this and other processes. They identify a request
//! in logs and are not secret.

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};

/// The value of `X-Request-ID`. One from a trusted peer is kept up to `Id::MAX` bytes.
#[derive(Clone, Copy)]
pub struct Id {
    bytes: [u8; Id::MAX],
    len: u8,
}

impl Id {
    pub const MAX: usize = 64;

    /// By reference: a copy would be twice the usual length.
    pub fn set(&mut self, text: &[u8]) {
        let len = text.len().min(Id::MAX);
        self.bytes[..len].copy_from_slice(&text[..len]);
        self.len = len as u8;
    }

    pub fn clear(&mut self) {
        self.len = 0;
    }

    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[..self.len as usize]
    }
}

impl Default for Id {
    fn default() -> Id {
        Id { bytes: [0; Id::MAX], len: 0 }
    }
}

/// Generator of ids.
#[cfg_attr(test, derive(Clone))]
pub struct Ids {
    /// 16 random digits of this worker.
    prefix: [u8; 16],
    next: u64,
}

impl Ids {
    pub fn new() -> Ids {
        // The standard library seeds its hash keys from the operating system.
        let random = || RandomState::new().build_hasher().finish();
        // Not zero, so that no id is: a trace-id must not be.
        Ids { prefix: hex(random().max(1)), next: random() }
    }

    /// Ids that are the same each time, for what is run again.
    pub fn numbered() -> Ids {
        Ids { prefix: hex(1), next: 0 }
    }

    /// A new id.
    pub fn make(&mut self) -> [u8; 32] {
        let mut digits = [0; 32];
        digits[..16].copy_from_slice(&self.prefix);
        digits[16..].copy_from_slice(&hex(self.number()));
        digits
    }

    /// The parent-id of a new trace, which is never zero.
    pub fn span(&mut self) -> [u8; 16] {
        hex(self.number().max(1))
    }

    fn number(&mut self) -> u64 {
        self.next = self.next.wrapping_add(0x9E37_79B9_7F4A_7C15);
        mix(self.next)
    }
}

impl Default for Ids {
    fn default() -> Ids {
        Ids::new()
    }
}

/// splitmix64's finalizer: a bijection, so ids of one worker never repeat within 2^64.
fn mix(mut x: u64) -> u64 {
    x = (x ^ (x >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    x ^ (x >> 31)
}

/// Eight digits at a time: every nibble in its own byte, plus the offset to the letters for those above 9.
fn hex(x: u64) -> [u8; 16] {
    let mut out = [0; 16];
    out[..8].copy_from_slice(&digits((x >> 32) as u32));
    out[8..].copy_from_slice(&digits(x as u32));
    out
}

fn digits(x: u32) -> [u8; 8] {
    const ONES: u64 = 0x0101_0101_0101_0101;
    let mut nibbles = u64::from(x);
    nibbles = (nibbles | nibbles << 16) & 0x0000_ffff_0000_ffff;
    nibbles = (nibbles | nibbles << 8) & 0x00ff_00ff_00ff_00ff;
    nibbles = (nibbles | nibbles << 4) & 0x0f0f_0f0f_0f0f_0f0f;
    let above_nine = (nibbles + 6 * ONES) >> 4 & ONES;
    (nibbles + u64::from(b'0') * ONES + above_nine * u64::from(b'a' - b'0' - 10)).to_be_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn ids_are_32_hexadecimal_digits_and_all_different() {
        let (mut a, mut b) = (Ids::new(), Ids::new());
        let seen: HashSet<[u8; 32]> = (0..1000).flat_map(|_| [a.make(), b.make()]).collect();
        assert_eq!(seen.len(), 2000);
        assert!(seen.iter().flatten().all(u8::is_ascii_hexdigit));
        assert_eq!(hex(0x0123_4567_89ab_cdef), *b"0123456789abcdef");
    }
}
