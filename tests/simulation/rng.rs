//! A seed's stream of choices (splitmix64), and the bytes of every body. The same seed makes the same run, which
//! is what makes it a bug report.

pub struct Rng(u64);

impl Rng {
    pub fn new(seed: u64) -> Rng {
        Rng(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ 0xD1B5_4A32_D192_ED03)
    }

    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        mix(self.0)
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

    pub fn pick<T: Copy>(&mut self, list: &[T]) -> T {
        list[self.below(list.len())]
    }

    /// A size: mostly small, sometimes around a block, rarely several blocks.
    pub fn size(&mut self) -> usize {
        match self.below(40) {
            0..=3 => 0,
            4..=19 => self.below(200),
            20..=33 => self.below(5_000),
            34..=36 => 32_768 - 60 + self.below(80),
            37..=38 => self.below(40_000),
            _ => self.below(150_000),
        }
    }

    /// For how long a peer does nothing, in microseconds.
    pub fn pause(&mut self) -> u64 {
        let most = self.pick(&[1_000, 5_000, 20_000, 200_000]);
        self.below(most) as u64
    }

    /// How many bytes a peer reads or writes at once.
    pub fn piece(&mut self) -> usize {
        self.pick(&[1, 11, 400, 9_000, 200_000])
    }
}

fn mix(mut x: u64) -> u64 {
    x = (x ^ (x >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    x ^ (x >> 31)
}

/// Eight bytes of the body that belongs to `key`: every body is different everywhere, so that nothing repeated,
/// dropped or crossed over can look right.
fn word(key: u64, number: usize) -> [u8; 8] {
    mix(key.wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ (number as u64).wrapping_mul(0xC2B2_AE3D_27D4_EB4F))
        .to_le_bytes()
}

/// The key of the pages that the script answers with: `site.lua` has to make them.
pub const PAGE: u64 = u64::MAX;

pub fn body(key: u64, len: usize) -> Vec<u8> {
    let mut bytes: Vec<u8> = (0..len.div_ceil(8)).flat_map(|number| word(key, number)).collect();
    bytes.truncate(len);
    bytes
}

/// Where `bytes`, which stand at `at`, first differ from the body of `key`.
pub fn first_wrong(key: u64, at: usize, bytes: &[u8]) -> Option<usize> {
    if key == PAGE {
        let right = |(i, byte): (usize, &u8)| usize::from(*byte) == (at + i) % 251;
        return bytes.iter().enumerate().position(|place| !right(place)).map(|i| at + i);
    }
    let mut done = 0;
    while done < bytes.len() {
        let here = at + done;
        let expected = &word(key, here / 8)[here % 8..];
        let n = expected.len().min(bytes.len() - done);
        if expected[..n] != bytes[done..done + n] {
            return Some(here);
        }
        done += n;
    }
    None
}
