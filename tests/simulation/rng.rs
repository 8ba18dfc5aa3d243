//! A seed's stream of choices (splitmix64). The same seed makes the same run, which is what makes it a bug report.

pub struct Rng(u64);

impl Rng {
    pub fn new(seed: u64) -> Rng {
        Rng(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ 0xD1B5_4A32_D192_ED03)
    }

    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut x = self.0;
        x = (x ^ (x >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        x = (x ^ (x >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        x ^ (x >> 31)
    }

    /// 0 … n-1.
    pub fn below(&mut self, n: usize) -> usize {
        (self.next() % n.max(1) as u64) as usize
    }

    /// 1 … n.
    pub fn upto(&mut self, n: usize) -> usize {
        1 + self.below(n)
    }

    /// True once in n times.
    pub fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }

    /// A size: mostly small, sometimes around a block, rarely several blocks.
    pub fn size(&mut self) -> usize {
        match self.below(10) {
            0 => 0,
            1..=4 => self.below(200),
            5..=6 => self.below(5_000),
            7 => 32_768 - 40 + self.below(80),
            8 => self.below(40_000),
            _ => self.below(150_000),
        }
    }
}

/// Byte `at` of the body that belongs to `id`: every body is different everywhere, so that nothing repeated,
/// dropped or crossed over can look right.
pub fn body_byte(id: u64, at: usize) -> u8 {
    let mut x = id.wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ (at as u64 / 8).wrapping_mul(0xC2B2_AE3D_27D4_EB4F);
    x = (x ^ (x >> 29)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    (x >> (8 * (at % 8))) as u8
}

pub fn body(id: u64, len: usize) -> Vec<u8> {
    (0..len).map(|at| body_byte(id, at)).collect()
}
