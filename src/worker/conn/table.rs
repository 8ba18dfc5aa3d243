//! A slab whose keys carry a generation: an event that was on its way when a slot was freed and used again is
//! recognised and ignored.

use std::ops::{Index, IndexMut};

use slab::Slab;

/// Which table a token belongs to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Side {
    Client,
    Backend,
}

/// A slot, its generation and its side in 64 bits: what epoll gives back to us.
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

    /// One number a connection for the timer wheel.
    pub fn timer_of(side: Side, key: u32) -> u32 {
        key << 1 | (side == Side::Backend) as u32
    }

    /// Whose timer that is.
    pub fn of_timer(number: u32) -> (Side, u32) {
        (if number & 1 == 1 { Side::Backend } else { Side::Client }, number >> 1)
    }
}

/// What a table holds: it keeps its slot's generation among its own fields, where that takes no more memory.
pub trait Slot {
    fn generation(&mut self) -> &mut u32;
}

/// Slots that no quiet time takes away.
const FEW: usize = 64;

pub struct Table<C> {
    side: Side,
    slab: Slab<C>,
    generation: u32,
    /// Its slots after `trim` last looked.
    grown: usize,
}

impl<C: Slot> Table<C> {
    /// Bytes of one slot: the slab has no room for its own mark beside a connection, and needs none.
    pub const SLOT: usize = size_of::<Option<C>>();

    pub fn new(side: Side) -> Table<C> {
        Table { side, slab: Slab::new(), generation: 0, grown: 0 }
    }

    /// The token that the next `insert` will use.
    pub fn next_token(&self) -> Token {
        Token { side: self.side, key: self.slab.vacant_key() as u32, generation: self.generation }
    }

    pub fn insert(&mut self, mut connection: C) -> u32 {
        *connection.generation() = self.generation;
        let key = self.slab.insert(connection) as u32;
        // Token::from_bits keeps 32 bits; the top value is left to listeners and the waker.
        self.generation = (self.generation + 1) % (u32::MAX - 1);
        key
    }

    /// Frees the slots behind the last one in use, where only few are in use.
    pub fn trim(&mut self) {
        if self.has_surplus() {
            self.slab.shrink_to_fit();
            self.grown = self.slab.capacity();
        }
    }

    /// Whether `trim` may find something: it grew since the last time it did, and few are left.
    pub fn has_surplus(&self) -> bool {
        self.slab.capacity() > self.grown.max(FEW) && self.slab.len() <= self.slab.capacity() / 4
    }

    /// Bytes that the slots take, in use or not.
    pub fn footprint(&self) -> usize {
        self.slab.capacity() * Table::<C>::SLOT
    }

    pub fn remove(&mut self, key: u32) -> Option<C> {
        self.slab.try_remove(key as usize)
    }

    /// The connection a token means, unless it is gone.
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

    pub fn len(&self) -> usize {
        self.slab.len()
    }

    pub fn keys(&self) -> Vec<u32> {
        self.slab.iter().map(|(key, _)| key as u32).collect()
    }
}

/// For keys that the worker itself stored and clears when the connection goes.
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

    impl Slot for Named {
        fn generation(&mut self) -> &mut u32 {
            &mut self.1
        }
    }

    #[test]
    fn a_token_survives_its_bits_and_a_late_one_means_nothing() {
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
