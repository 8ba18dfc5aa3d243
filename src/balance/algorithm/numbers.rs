//! Pseudo-random numbers for choices among servers: fast, and the same for the same seed. Nothing depends on their
//! being unpredictable.

/// splitmix64.
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Random {
        Random(seed)
    }

    pub fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        mix(self.0)
    }

    /// Returns a number below `bound`, or 0 if that is 0. The bias is below `bound` / 2^64.
    pub fn below(&mut self, bound: usize) -> usize {
        scale(self.bits(), bound)
    }
}

/// Maps all 64 bits evenly to the numbers below `bound`.
pub fn scale(bits: u64, bound: usize) -> usize {
    ((u128::from(bits) * bound as u128) >> 64) as usize
}

/// splitmix64's finalizer: a bijection in which every bit depends on all others.
pub fn mix(mut x: u64) -> u64 {
    x = (x ^ (x >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    x ^ (x >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_even_and_the_same_for_the_same_seed() {
        let (mut random, mut same, mut counts) = (Random::new(1), Random::new(1), [0_u32; 10]);
        for _ in 0..100_000 {
            let number = random.below(10);
            assert_eq!(number, same.below(10));
            counts[number] += 1;
        }
        assert!(counts.iter().all(|count| (9700..10_300).contains(count)), "{counts:?}");
        assert_eq!((random.below(0), random.below(1)), (0, 0));
        assert_ne!(Random::new(1).bits(), Random::new(2).bits());
    }
}
