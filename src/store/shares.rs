//! `rsp.split`: shares of requests. Requests with a key always get the same one; as a share grows it keeps the keys
//! that it had. Requests without a key take turns, evenly spread and exact over all workers.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// The weights of a split; their sum is not 0.
#[derive(Clone, PartialEq, Debug)]
pub struct Shares {
    /// Up to where each goes, from the sum of those before it.
    ends: Vec<u64>,
    /// Steps through all turns, spreading the shares.
    step: u64,
}

impl Shares {
    pub fn new(weights: &[u64]) -> Option<Shares> {
        let ends: Vec<u64> = weights
            .iter()
            .scan(0_u64, |sum, weight| {
                *sum = sum.checked_add(*weight)?;
                Some(*sum)
            })
            .collect();
        let total = *ends.last()?;
        (ends.len() == weights.len() && total > 0).then(|| Shares { step: step(total), ends })
    }

    fn total(&self) -> u64 {
        self.ends.last().copied().unwrap_or(1)
    }

    /// The share of a key, the same in every process; `salt` makes splits independent of each other.
    pub fn of_key(&self, salt: &[u8], key: &[u8]) -> usize {
        let hash = mixed(key.iter().fold(mixed(fnv(salt)), |hash, byte| fnv_step(hash, *byte)));
        let point = (u128::from(hash) * u128::from(self.total())) >> 64;
        self.at(point as u64)
    }

    /// The share whose turn it is.
    pub fn next(&self, turns: &AtomicU64) -> usize {
        let turn = turns.fetch_add(1, Relaxed) % self.total();
        self.at((u128::from(turn) * u128::from(self.step) % u128::from(self.total())) as u64)
    }

    fn at(&self, point: u64) -> usize {
        self.ends.partition_point(|end| *end <= point).min(self.ends.len() - 1)
    }
}

/// About the golden section of all, without a common divisor: the points of turns that follow each other lie far apart.
fn step(total: u64) -> u64 {
    let mut step = (u128::from(total) * 618 / 1000) as u64;
    step = step.max(1);
    while divisor(step, total) != 1 {
        step += 1;
    }
    step
}

fn divisor(a: u64, b: u64) -> u64 {
    if b == 0 { a } else { divisor(b, a % b) }
}

fn fnv(text: &[u8]) -> u64 {
    text.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| fnv_step(hash, *byte))
}

fn fnv_step(hash: u64, byte: u8) -> u64 {
    (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
}

/// The finalizer of MurmurHash3: every bit of the hash depends on every bit of the key.
fn mixed(mut hash: u64) -> u64 {
    hash = (hash ^ (hash >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
    hash = (hash ^ (hash >> 33)).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    hash ^ (hash >> 33)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn turns_are_exact_and_spread() {
        for weights in [&[95, 5][..], &[1, 1], &[1], &[0, 3], &[50, 30, 20], &[999_999, 1]] {
            let shares = Shares::new(weights).unwrap();
            let (turns, mut counts) = (AtomicU64::new(0), vec![0; weights.len()]);
            (0..shares.total()).for_each(|_| counts[shares.next(&turns)] += 1);
            assert_eq!(counts, weights);
        }
        let (shares, turns) = (Shares::new(&[90, 10]).unwrap(), AtomicU64::new(0));
        let canary: Vec<usize> = (0..100).filter(|_| shares.next(&turns) == 1).collect();
        assert!(canary.windows(2).all(|pair| pair[1] - pair[0] >= 5), "{canary:?}");
        assert!(Shares::new(&[]).is_none() && Shares::new(&[0, 0]).is_none());
        assert!(Shares::new(&[u64::MAX, 1]).is_none());
    }

    #[test]
    fn keys_keep_their_share_while_it_grows() {
        let keys: Vec<String> = (0..20_000).map(|n| format!("10.0.{}.{}", n / 256, n % 256)).collect();
        let canary = |percent: u64, salt: &[u8]| -> Vec<bool> {
            let shares = Shares::new(&[100 - percent, percent]).unwrap();
            keys.iter().map(|key| shares.of_key(salt, key.as_bytes()) == 1).collect()
        };
        let count = |of: &[bool]| of.iter().filter(|is| **is).count();
        let (five, ten) = (canary(5, b"a"), canary(10, b"a"));
        assert!((900..1100).contains(&count(&five)), "{}", count(&five));
        assert!((1850..2150).contains(&count(&ten)), "{}", count(&ten));
        assert!(five.iter().zip(&ten).all(|(before, after)| !before || *after));
        let other = canary(5, b"b");
        let both = five.iter().zip(&other).filter(|(a, b)| **a && **b).count();
        assert!(both < 120, "{both} of about 50");
    }
}
