//! A slab whose keys carry a generation, so that a late event for a reused slot is recognised and ignored.

use std::marker::PhantomData;
use std::ops::{Index, IndexMut};

use slab::Slab;

/// A slot of one table.
pub trait Key: Copy {
    /// The lowest bit of its tokens and timers.
    const BIT: u32;
    fn of(slot: u32) -> Self;
    fn slot(self) -> u32;

    /// Returns the connection's id in the timer wheel.
    fn timer(self) -> u32 {
        self.slot() << 1 | Self::BIT
    }
}

/// A client's connection among those of its worker.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default, Debug)]
pub struct ClientKey(u32);

/// The same for a connection to a server.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct BackendKey(u32);

impl Key for ClientKey {
    const BIT: u32 = 0;

    fn of(slot: u32) -> ClientKey {
        ClientKey(slot)
    }

    fn slot(self) -> u32 {
        self.0
    }
}

impl Key for BackendKey {
    const BIT: u32 = 1;

    fn of(slot: u32) -> BackendKey {
        BackendKey(slot)
    }

    fn slot(self) -> u32 {
        self.0
    }
}

/// A connection of either table.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ConnectionKey {
    Client(ClientKey),
    Backend(BackendKey),
}

impl ConnectionKey {
    /// Returns the connection's id in the timer wheel.
    pub fn timer(self) -> u32 {
        match self {
            ConnectionKey::Client(key) => key.timer(),
            ConnectionKey::Backend(key) => key.timer(),
        }
    }

    /// Whose timer has this id.
    pub fn of_timer(number: u32) -> ConnectionKey {
        match number & 1 {
            BackendKey::BIT => ConnectionKey::Backend(BackendKey(number >> 1)),
            _ => ConnectionKey::Client(ClientKey(number >> 1)),
        }
    }
}

/// A slot, its generation and its table in 64 bits: the connection's epoll token.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Token<K> {
    pub key: K,
    generation: u32,
}

pub type ClientToken = Token<ClientKey>;

impl<K: Key> Token<K> {
    pub fn to_bits(self) -> u64 {
        (self.generation as u64) << 32 | self.key.timer() as u64
    }

    /// The bits must be those of a token of this table.
    pub fn from_bits(bits: u64) -> Token<K> {
        debug_assert_eq!(bits as u32 & 1, K::BIT, "a token of the other table");
        Token { key: K::of((bits as u32) >> 1), generation: (bits >> 32) as u32 }
    }
}

/// The token of a connection of either table.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum AnyToken {
    Client(ClientToken),
    Backend(Token<BackendKey>),
}

impl AnyToken {
    pub fn from_bits(bits: u64) -> AnyToken {
        match bits as u32 & 1 {
            BackendKey::BIT => AnyToken::Backend(Token::from_bits(bits)),
            _ => AnyToken::Client(Token::from_bits(bits)),
        }
    }
}

/// Stores the slot's generation in the connection, where it fits into padding.
pub trait HasGeneration {
    fn generation(&mut self) -> &mut u32;
    fn has_generation(&self) -> u32;
}

/// Slots that `trim` always keeps.
const FEW: usize = 64;

pub struct Table<K, C> {
    slab: Slab<C>,
    keys: PhantomData<K>,
    generation: u32,
    /// The slab's capacity after the last `trim`.
    grown: usize,
}

impl<K: Key, C: HasGeneration> Table<K, C> {
    /// Bytes of one slot: the slab's vacancy mark fits into a niche of the connection.
    pub const SLOT: usize = size_of::<Option<C>>();

    pub fn new() -> Table<K, C> {
        Table { slab: Slab::new(), keys: PhantomData, generation: 0, grown: 0 }
    }

    /// The token that the next `insert` will use.
    pub fn next_token(&self) -> Token<K> {
        Token { key: K::of(self.slab.vacant_key() as u32), generation: self.generation }
    }

    /// The token of a connection.
    pub fn token(&mut self, key: K) -> Token<K> {
        Token { key, generation: *self[key].generation() }
    }

    /// The same without changing anything.
    pub fn peek_token(&self, key: K) -> Option<Token<K>> {
        Some(Token { key, generation: self.get(key)?.has_generation() })
    }

    pub fn insert(&mut self, mut connection: C) -> K {
        *connection.generation() = self.generation;
        let key = K::of(self.slab.insert(connection) as u32);
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
        self.slab.capacity() * Table::<K, C>::SLOT
    }

    pub fn remove(&mut self, key: K) -> Option<C> {
        self.slab.try_remove(key.slot() as usize)
    }

    /// Returns the connection for a token, or `None` if it is closed.
    pub fn by_token(&mut self, token: Token<K>) -> Option<&mut C> {
        let connection = self.get_mut(token.key)?;
        (*connection.generation() == token.generation).then_some(connection)
    }

    pub fn get(&self, key: K) -> Option<&C> {
        self.slab.get(key.slot() as usize)
    }

    pub fn get_mut(&mut self, key: K) -> Option<&mut C> {
        self.slab.get_mut(key.slot() as usize)
    }

    /// Returns one more than the highest key in use.
    pub fn slots(&self) -> u32 {
        self.slab.iter().next_back().map_or(0, |(key, _)| key as u32 + 1)
    }

    pub fn len(&self) -> usize {
        self.slab.len()
    }

    pub fn keys(&self) -> Vec<K> {
        self.slab.iter().map(|(slot, _)| K::of(slot as u32)).collect()
    }
}

/// For keys the worker stores itself and clears when the connection closes.
impl<K: Key, C> Index<K> for Table<K, C> {
    type Output = C;
    fn index(&self, key: K) -> &C {
        &self.slab[key.slot() as usize]
    }
}

impl<K: Key, C> IndexMut<K> for Table<K, C> {
    fn index_mut(&mut self, key: K) -> &mut C {
        &mut self.slab[key.slot() as usize]
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
        let mut table: Table<BackendKey, Named> = Table::new();
        let token = table.next_token();
        assert_eq!(AnyToken::from_bits(token.to_bits()), AnyToken::Backend(token));
        let key = table.insert(Named("first", 0));
        assert_eq!(table.by_token(token).map(|c| c.0), Some("first"));
        table.remove(key);
        assert_eq!(table.by_token(token).map(|c| c.0), None);
        let again = table.next_token();
        assert_eq!(table.insert(Named("second", 0)), key, "the slot is used again");
        assert_eq!(table.by_token(token).map(|c| c.0), None);
        assert_eq!(table.by_token(again).map(|c| c.0), Some("second"));
    }

    #[test]
    fn timers_of_clients_and_of_backends_are_told_apart() {
        let (client, backend) = (ClientKey(7), BackendKey(7));
        assert_eq!(ConnectionKey::of_timer(client.timer()), ConnectionKey::Client(client));
        assert_eq!(ConnectionKey::of_timer(backend.timer()), ConnectionKey::Backend(backend));
    }
}
