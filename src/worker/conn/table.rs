//! A slab whose keys carry a generation, so that a late event for a reused slot is recognised and ignored.

use std::ops::{Index, IndexMut};

use slab::Slab;

/// Which table a token belongs to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Side {
    Client,
    Backend,
}

/// A slot, its generation and its side in 64 bits: the connection's epoll token.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Token {
    pub side: Side,
    pub key: u32,
    generation: u32,
}

impl Token {
    pub fn to_bits(self) -> u64 {
        (self.generation as u64) << 32 | (self.key as u64) << 1 | (self.side == Side::Backend) as u64
    }

    pub fn from_bits(bits: u64) -> Token {
        let side = if bits & 1 == 1 { Side::Backend } else { Side::Client };
        Token { side, key: (bits as u32) >> 1, generation: (bits >> 32) as u32 }
    }

    /// Returns the connection's id in the timer wheel.
    pub fn timer_of(side: Side, key: u32) -> u32 {
        key << 1 | (side == Side::Backend) as u32
    }

    /// Returns the side and key for a timer id.
    pub fn of_timer(number: u32) -> (Side, u32) {
        (if number & 1 == 1 { Side::Backend } else { Side::Client }, number >> 1)
    }
}

/// Stores the slot's generation in the connection, where it fits into padding.
pub trait HasGeneration {
    fn generation(&mut self) -> &mut u32;
    fn has_generation(&self) -> u32;
}

/// Slots that `trim` always keeps.
const FEW: usize = 64;

pub struct Table<C> {
    side: Side,
    slab: Slab<C>,
    generation: u32,
    /// The slab's capacity after the last `trim`.
    grown: usize,
}

impl<C: HasGeneration> Table<C> {
    /// Bytes of one slot: the slab's vacancy mark fits into a niche of the connection.
    pub const SLOT: usize = size_of::<Option<C>>();

    pub fn new(side: Side) -> Table<C> {
        Table { side, slab: Slab::new(), generation: 0, grown: 0 }
    }

    /// The token that the next `insert` will use.
    pub fn next_token(&self) -> Token {
        Token { side: self.side, key: self.slab.vacant_key() as u32, generation: self.generation }
    }

    /// The token of a connection.
    pub fn token(&mut self, key: u32) -> Token {
        Token { side: self.side, key, generation: *self.slab[key as usize].generation() }
    }

    /// The same without changing anything.
    pub fn peek_token(&self, key: u32) -> Option<Token> {
        let generation = self.slab.get(key as usize)?.has_generation();
        Some(Token { side: self.side, key, generation })
    }

    pub fn insert(&mut self, mut connection: C) -> u32 {
        *connection.generation() = self.generation;
        let key = self.slab.insert(connection) as u32;
        // Token::from_bits keeps 32 bits; the top value is reserved for listeners and the waker.
        self.generation = (self.generation + 1) % (u32::MAX - 1);
        key
    }

    /// Frees the slots after the last one in use, if few are in use.
    pub fn trim(&mut self) {
        if self.has_surplus() {
            self.slab.shrink_to_fit();
            self.grown = self.slab.capacity();
        }
    }

    /// Returns true if `trim` may free memory: the slab has grown since the last `trim` and is mostly empty.
    pub fn has_surplus(&self) -> bool {
        self.slab.capacity() > self.grown.max(FEW) && self.slab.len() <= self.slab.capacity() / 4
    }

    /// Returns the bytes allocated for slots, in use or not.
    pub fn footprint(&self) -> usize {
        self.slab.capacity() * Table::<C>::SLOT
    }

    pub fn remove(&mut self, key: u32) -> Option<C> {
        self.slab.try_remove(key as usize)
    }

    /// Returns the connection for a token, or `None` if it is closed.
    pub fn by_token(&mut self, token: Token) -> Option<&mut C> {
        let connection = self.slab.get_mut(token.key as usize)?;
        (*connection.generation() == token.generation).then_some(connection)
    }

    pub fn get(&self, key: u32) -> Option<&C> {
        self.slab.get(key as usize)
    }

    pub fn get_mut(&mut self, key: u32) -> Option<&mut C> {
        self.slab.get_mut(key as usize)
    }

    /// Returns one more than the highest key in use.
    pub fn slots(&self) -> u32 {
        self.slab.iter().next_back().map_or(0, |(key, _)| key as u32 + 1)
    }

    pub fn len(&self) -> usize {
        self.slab.len()
    }

    pub fn keys(&self) -> Vec<u32> {
        self.slab.iter().map(|(key, _)| key as u32).collect()
    }
}

/// For keys the worker stores itself and clears when the connection closes.
impl<C> Index<u32> for Table<C> {
    type Output = C;
    fn index(&self, key: u32) -> &C {
        &self.slab[key as usize]
    }
}

impl<C> IndexMut<u32> for Table<C> {
    fn index_mut(&mut self, key: u32) -> &mut C {
        &mut self.slab[key as usize]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Named(&'static str, u32);

    impl HasGeneration for Named {
        fn generation(&mut self) -> &mut u32 {
            &mut self.1
        }

        fn has_generation(&self) -> u32 {
            self.1
        }
    }

    #[test]
    fn tokens_round_trip_and_stale_ones_are_ignored() {
        let mut table: Table<Named> = Table::new(Side::Backend);
        let token = table.next_token();
        assert_eq!(Token::from_bits(token.to_bits()), token);
        let key = table.insert(Named("first", 0));
        assert_eq!(table.by_token(token).map(|c| c.0), Some("first"));
        table.remove(key);
        assert_eq!(table.by_token(token).map(|c| c.0), None);
        let again = table.next_token();
        assert_eq!(table.insert(Named("second", 0)), key, "the slot is used again");
        assert_eq!(table.by_token(token).map(|c| c.0), None);
        assert_eq!(table.by_token(again).map(|c| c.0), Some("second"));
        assert_ne!(Token::timer_of(Side::Client, key), Token::timer_of(Side::Backend, key));
    }
}
