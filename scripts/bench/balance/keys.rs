//! The keys of requests, as clients would choose them.

use std::hash::{DefaultHasher, Hasher};

use rsp::balance::algorithm::Random;

use crate::origin::unit;

#[derive(Clone, Copy)]
pub enum Popularity {
    Even,
    /// The share of the n-th is in proportion to 1/n.
    Zipf,
    /// The first has this share, the others the rest.
    OneHot(f64),
}

pub struct Keys {
    /// The hash of each key.
    hashes: Vec<u64>,
    /// The sum of its share and those before it.
    shares: Vec<f64>,
}

impl Keys {
    pub fn new(count: usize, popularity: Popularity) -> Keys {
        let share = |at: usize| match popularity {
            Popularity::Even => 1.0,
            Popularity::Zipf => 1.0 / (at + 1) as f64,
            Popularity::OneHot(share) if at == 0 => share * (count - 1) as f64 / (1.0 - share),
            Popularity::OneHot(_) => 1.0,
        };
        let mut sum = 0.0;
        let shares = (0..count).map(|at| {
            sum += share(at);
            sum
        });
        Keys { shares: shares.collect(), hashes: (0..count).map(hash).collect() }
    }

    pub fn draw(&self, random: &mut Random) -> Option<u64> {
        let drawn = unit(random) * self.shares.last()?;
        let at = self.shares.partition_point(|sum| *sum <= drawn);
        self.hashes.get(at).copied()
    }
}

/// As the product hashes a path.
pub fn hash(number: usize) -> u64 {
    let mut hasher = DefaultHasher::new();
    hasher.write(format!("/items/{number}").as_bytes());
    hasher.finish()
}
