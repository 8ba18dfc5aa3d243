//! The pairs of a worker by their keys.

use std::ops::{Index, IndexMut};

use slab::Slab;

use super::Pair;

/// A pair among those of its worker, until it ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PairKey(u32);

impl PairKey {
    fn slot(self) -> usize {
        self.0 as usize
    }
}

/// Boxed, so that pairs are reused without being moved.
#[derive(Default)]
pub(crate) struct Pairs(Slab<Box<Pair>>);

impl Pairs {
    pub fn insert(&mut self, pair: Box<Pair>) -> PairKey {
        PairKey(self.0.insert(pair) as u32)
    }

    pub fn remove(&mut self, key: PairKey) -> Box<Pair> {
        self.0.remove(key.slot())
    }

    pub fn contains(&self, key: PairKey) -> bool {
        self.0.contains(key.slot())
    }

    pub fn get(&self, key: PairKey) -> Option<&Pair> {
        self.0.get(key.slot()).map(|pair| &**pair)
    }

    pub fn get_mut(&mut self, key: PairKey) -> Option<&mut Pair> {
        self.0.get_mut(key.slot()).map(|pair| &mut **pair)
    }

    /// Two different ones.
    pub fn get2_mut(&mut self, one: PairKey, other: PairKey) -> Option<(&mut Pair, &mut Pair)> {
        let (one, other) = self.0.get2_mut(one.slot(), other.slot())?;
        Some((&mut **one, &mut **other))
    }

    pub fn iter(&self) -> impl Iterator<Item = &Pair> {
        self.0.iter().map(|(_, pair)| &**pair)
    }

    pub fn iter_mut(&mut self) -> impl Iterator<Item = &mut Pair> {
        self.0.iter_mut().map(|(_, pair)| &mut **pair)
    }

    pub fn len(&self) -> usize {
        self.0.len()
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// For keys of pairs that have not ended.
impl Index<PairKey> for Pairs {
    type Output = Pair;

    fn index(&self, key: PairKey) -> &Pair {
        &self.0[key.slot()]
    }
}

impl IndexMut<PairKey> for Pairs {
    fn index_mut(&mut self, key: PairKey) -> &mut Pair {
        &mut self.0[key.slot()]
    }
}
