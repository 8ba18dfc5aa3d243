//! A bounded table that all workers use: a hash table in parts with a lock each, held for one look-up.
//!
//! Keys are kept as 128 bits of a hash with a secret seed: two texts that clients may find have the same ones with
//! no probability that matters, and an entry needs no memory of its own for its key. When the table is full, an entry
//! goes that has expired, else the one that was not used for the longest time. Of a table with several parts, that is
//! looked for in the part where the new entry goes; the bounds are of the whole table.

use std::hash::Hasher;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::sync::{Mutex, MutexGuard, PoisonError};

use hashbrown::HashTable;
use serde::{Deserialize, Serialize};
use siphasher::sip128::{Hasher128, SipHasher13};

use super::expiry::Expiry;

/// An entry that never expires.
pub const NEVER: u64 = u64::MAX;

/// Tables of fewer entries have one part: which entry goes is then exactly the one that should.
const ONE_PART: usize = 16 * 1024;
const PARTS: usize = 16;
/// Entries that one call may throw out: one large value takes the place of many small ones.
const MOST_AT_ONCE: usize = 1024;
/// Noted times of expiry that one search may bring up to date.
const MOST_OUTDATED: usize = 64;

#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Key {
    part: u64,
    hash: u64,
}

impl Key {
    pub fn words(self) -> [u64; 2] {
        [self.part, self.hash]
    }
}

/// What a table holds.
pub trait Entry {
    /// When it may be forgotten without a difference.
    fn expires(&self) -> u64;
    /// Bytes outside of the table.
    fn bytes(&self) -> usize;
}

/// What becomes of an entry.
pub enum Change<V> {
    /// It stays, with what was changed in it: its expiry not to an earlier time.
    Keep,
    Put(V),
    Remove,
}

/// How large a table may be.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Bounds {
    pub entries: usize,
    pub memory: usize,
}

pub struct Table<V> {
    parts: Box<[Mutex<Part<V>>]>,
    seed: [u64; 2],
    entries: AtomicUsize,
    memory: AtomicUsize,
    evicted: AtomicU64,
}

impl<V: Entry> Table<V> {
    /// A table for about so many entries. The seed is secret.
    pub fn new(entries: usize, seed: [u64; 2]) -> Table<V> {
        let parts = if entries <= ONE_PART { 1 } else { PARTS };
        Table {
            parts: (0..parts).map(|_| Mutex::new(Part::new())).collect(),
            seed,
            entries: AtomicUsize::new(0),
            memory: AtomicUsize::new(0),
            evicted: AtomicU64::new(0),
        }
    }

    pub fn key(&self, text: &[u8]) -> Key {
        let mut hasher = SipHasher13::new_with_keys(self.seed[0], self.seed[1]);
        hasher.write(text);
        let hash = hasher.finish128();
        Key { part: hash.h1, hash: hash.h2 }
    }

    /// Bytes that each entry takes in the table.
    pub const fn overhead() -> usize {
        // With its places in the hash table and among the times of expiry.
        size_of::<Slot<V>>() + 24
    }

    pub fn seed(&self) -> [u64; 2] {
        self.seed
    }

    pub fn entries(&self) -> usize {
        self.entries.load(Relaxed)
    }

    pub fn memory(&self) -> usize {
        self.memory.load(Relaxed)
    }

    /// Entries that had not expired and went because the table was full.
    pub fn evicted(&self) -> u64 {
        self.evicted.load(Relaxed)
    }

    /// Reads an entry that has not expired; it does not count as used.
    pub fn peek<R>(&self, key: Key, now: u64, read: impl FnOnce(Option<&V>) -> R) -> R {
        let part = self.lock(self.index(key));
        let value = part.find(key).and_then(|slot| part.slots[slot as usize].value.as_ref());
        read(value.filter(|value| value.expires() > now))
    }

    /// Uses an entry, in one step for all workers: `work` gets it unless it has expired, and says what becomes of it.
    pub fn access<R>(
        &self,
        key: Key,
        now: u64,
        bounds: Bounds,
        work: impl FnOnce(Option<&mut V>) -> (Change<V>, R),
    ) -> R {
        let index = self.index(key);
        let mut part = self.lock(index);
        let found = part.find(key);
        let Some(slot) = found else {
            let (change, result) = work(None);
            if let Change::Put(value) = change {
                self.insert(part, index, (key, value), now, bounds);
            }
            return result;
        };
        let value = part.slots[slot as usize].value.as_mut();
        let value = value.filter(|value| value.expires() > now);
        let is_there = value.is_some();
        match work(value) {
            (Change::Keep, result) if is_there => {
                part.touch(slot);
                result
            }
            (Change::Keep | Change::Remove, result) => {
                self.forget(part.remove(slot));
                result
            }
            (Change::Put(value), result) => {
                self.replace(part, index, (slot, value), now, bounds);
                result
            }
        }
    }

    /// A list of what is there, at most so many entries and bytes; those used last come first, of each part.
    pub fn snapshot<T>(&self, most: Bounds, mut copy: impl FnMut(Key, &V) -> Option<T>) -> Vec<T> {
        let mut all = Vec::new();
        let (mut memory, share) = (0, most.entries / self.parts.len());
        for index in 0..self.parts.len() {
            let part = self.lock(index);
            let mut next = part.newest;
            let mut left = share;
            while next != NONE && left > 0 && memory < most.memory {
                let slot = &part.slots[next as usize];
                next = slot.older;
                let Some(value) = &slot.value else { continue };
                if let Some(copied) = copy(slot.key, value) {
                    memory += value.bytes() + Self::overhead();
                    left -= 1;
                    all.push(copied);
                }
            }
        }
        all
    }

    fn index(&self, key: Key) -> usize {
        key.part as usize & (self.parts.len() - 1)
    }

    fn lock(&self, index: usize) -> MutexGuard<'_, Part<V>> {
        // A panic below would be in `work`, which has changed nothing yet.
        self.parts[index].lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn insert<'a>(
        &'a self,
        mut part: MutexGuard<'a, Part<V>>,
        index: usize,
        (key, value): (Key, V),
        now: u64,
        bounds: Bounds,
    ) {
        self.entries.fetch_add(1, Relaxed);
        self.memory.fetch_add(Self::overhead() + value.bytes(), Relaxed);
        let slot = part.insert(key, value);
        self.shrink(part, index, slot, now, bounds);
    }

    fn replace<'a>(
        &'a self,
        mut part: MutexGuard<'a, Part<V>>,
        index: usize,
        (slot, value): (u32, V),
        now: u64,
        bounds: Bounds,
    ) {
        self.memory.fetch_add(value.bytes(), Relaxed);
        let before = part.replace(slot, value);
        self.memory.fetch_sub(before, Relaxed);
        self.shrink(part, index, slot, now, bounds);
    }

    fn forget(&self, bytes: usize) {
        self.entries.fetch_sub(1, Relaxed);
        self.memory.fetch_sub(Self::overhead() + bytes, Relaxed);
    }

    /// Throws out entries, but not the one just set, until the table is within its bounds again.
    fn shrink<'a>(
        &'a self,
        mut part: MutexGuard<'a, Part<V>>,
        index: usize,
        kept: u32,
        now: u64,
        bounds: Bounds,
    ) {
        let mut keep = Some(kept);
        let mut at = index;
        for _ in 0..MOST_AT_ONCE {
            if self.entries() <= bounds.entries && self.memory() <= bounds.memory {
                return;
            }
            match part.evict(now, keep) {
                Some((bytes, had_expired)) => {
                    self.forget(bytes);
                    self.evicted.fetch_add(u64::from(!had_expired), Relaxed);
                }
                None => {
                    // Nothing else is in this part.
                    at = (at + 1) & (self.parts.len() - 1);
                    if at == index {
                        return;
                    }
                    drop(part);
                    (part, keep) = (self.lock(at), None);
                }
            }
        }
    }
}

const NONE: u32 = u32::MAX;

struct Slot<V> {
    key: Key,
    /// `None`: the slot is free, and `older` is the next free one.
    value: Option<V>,
    newer: u32,
    older: u32,
}

struct Part<V> {
    index: HashTable<u32>,
    slots: Vec<Slot<V>>,
    free: u32,
    /// The ends of the list of entries by their last use.
    newest: u32,
    oldest: u32,
    /// Entries that expire, with a time that is not later than theirs: one that moves away is noted when it matters.
    expiry: Expiry,
}

impl<V: Entry> Part<V> {
    fn new() -> Part<V> {
        Part {
            index: HashTable::new(),
            slots: Vec::new(),
            free: NONE,
            newest: NONE,
            oldest: NONE,
            expiry: Expiry::default(),
        }
    }

    fn find(&self, key: Key) -> Option<u32> {
        self.index.find(key.hash, |slot| self.slots[*slot as usize].key == key).copied()
    }

    fn insert(&mut self, key: Key, value: V) -> u32 {
        let expires = value.expires();
        let new = Slot { key, value: Some(value), newer: NONE, older: NONE };
        let slot = match self.free {
            NONE => {
                self.slots.push(new);
                self.slots.len() as u32 - 1
            }
            free => {
                self.free = self.slots[free as usize].older;
                self.slots[free as usize] = new;
                free
            }
        };
        let slots = &self.slots;
        self.index.insert_unique(key.hash, slot, |slot| slots[*slot as usize].key.hash);
        self.link(slot);
        self.note_expiry(slot, expires);
        slot
    }

    /// Returns the bytes of the value that was there.
    fn replace(&mut self, slot: u32, value: V) -> usize {
        let expires = value.expires();
        let before = self.slots[slot as usize].value.replace(value);
        self.touch(slot);
        self.note_expiry(slot, expires);
        before.map_or(0, |before| before.bytes())
    }

    fn note_expiry(&mut self, slot: u32, expires: u64) {
        match self.expiry.of(slot) {
            _ if expires == NEVER => self.expiry.remove(slot),
            Some(noted) if noted <= expires => {}
            _ => self.expiry.set(slot, expires),
        }
    }

    /// Returns the bytes of its value.
    fn remove(&mut self, slot: u32) -> usize {
        self.unlink(slot);
        self.expiry.remove(slot);
        let key = self.slots[slot as usize].key;
        if let Ok(found) = self.index.find_entry(key.hash, |other| *other == slot) {
            found.remove();
        }
        let removed = &mut self.slots[slot as usize];
        removed.older = self.free;
        self.free = slot;
        removed.value.take().map_or(0, |value| value.bytes())
    }

    /// Removes an entry that has expired, else the oldest. Returns its bytes and whether it had expired.
    fn evict(&mut self, now: u64, keep: Option<u32>) -> Option<(usize, bool)> {
        for _ in 0..MOST_OUTDATED {
            let Some((_, slot)) = self.expiry.first().filter(|(time, _)| *time <= now) else { break };
            let expires = self.slots[slot as usize].value.as_ref().map_or(NEVER, V::expires);
            if expires <= now && keep != Some(slot) {
                return Some((self.remove(slot), true));
            }
            self.expiry.set(slot, expires.max(now + 1));
        }
        let oldest = self.oldest;
        (oldest != NONE && keep != Some(oldest)).then(|| (self.remove(oldest), false))
    }

    fn touch(&mut self, slot: u32) {
        if self.newest != slot {
            self.unlink(slot);
            self.link(slot);
        }
    }

    fn link(&mut self, slot: u32) {
        let before = std::mem::replace(&mut self.newest, slot);
        let linked = &mut self.slots[slot as usize];
        (linked.newer, linked.older) = (NONE, before);
        match before {
            NONE => self.oldest = slot,
            before => self.slots[before as usize].newer = slot,
        }
    }

    fn unlink(&mut self, slot: u32) {
        let Slot { newer, older, .. } = self.slots[slot as usize];
        match newer {
            NONE => self.newest = older,
            newer => self.slots[newer as usize].older = older,
        }
        match older {
            NONE => self.oldest = newer,
            older => self.slots[older as usize].newer = newer,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Plain {
        expires: u64,
        bytes: usize,
    }

    impl Entry for Plain {
        fn expires(&self) -> u64 {
            self.expires
        }

        fn bytes(&self) -> usize {
            self.bytes
        }
    }

    const WIDE: Bounds = Bounds { entries: usize::MAX, memory: usize::MAX };

    fn put(table: &Table<Plain>, name: &str, expires: u64, now: u64, bounds: Bounds) {
        let value = Plain { expires, bytes: 100 };
        table.access(table.key(name.as_bytes()), now, bounds, |_| (Change::Put(value), ()));
    }

    fn is_there(table: &Table<Plain>, name: &str, now: u64) -> bool {
        table.peek(table.key(name.as_bytes()), now, |value| value.is_some())
    }

    fn uses(table: &Table<Plain>, name: &str, now: u64) -> bool {
        table.access(table.key(name.as_bytes()), now, WIDE, |value| (Change::Keep, value.is_some()))
    }

    fn there(table: &Table<Plain>, names: &str, now: u64) -> String {
        names.chars().filter(|name| is_there(table, &name.to_string(), now)).collect()
    }

    #[test]
    fn the_least_recently_used_goes_when_the_table_is_full() {
        let (table, bounds) = (Table::new(3, [1, 2]), Bounds { entries: 3, memory: usize::MAX });
        for name in ["a", "b", "c"] {
            put(&table, name, NEVER, 0, bounds);
        }
        assert!(uses(&table, "a", 0));
        put(&table, "d", NEVER, 0, bounds);
        assert_eq!(there(&table, "abcd", 0), "acd");
        put(&table, "c", NEVER, 0, bounds);
        put(&table, "e", NEVER, 0, bounds);
        assert_eq!((there(&table, "abcde", 0).as_str(), table.entries(), table.evicted()), ("cde", 3, 2));
    }

    #[test]
    fn the_expired_go_first_and_are_not_counted() {
        let (table, bounds) = (Table::new(3, [1, 2]), Bounds { entries: 3, memory: usize::MAX });
        for (name, expires) in [("a", NEVER), ("b", NEVER), ("c", 5)] {
            put(&table, name, expires, 0, bounds);
        }
        assert!(is_there(&table, "c", 4) && !is_there(&table, "c", 5) && !uses(&table, "c", 9));
        put(&table, "c", 5, 0, bounds);
        put(&table, "d", NEVER, 5, bounds);
        assert_eq!((there(&table, "abcd", 5).as_str(), table.evicted()), ("abd", 0));
        put(&table, "e", NEVER, 5, bounds);
        assert_eq!((there(&table, "abcde", 5).as_str(), table.evicted()), ("bde", 1));
    }

    #[test]
    fn an_expiry_that_moved_away_is_not_forgotten() {
        let (table, bounds) = (Table::new(2, [1, 2]), Bounds { entries: 2, memory: usize::MAX });
        put(&table, "a", 5, 0, bounds);
        put(&table, "b", NEVER, 0, bounds);
        let key = table.key(b"a");
        table.access(key, 0, bounds, |value| (Change::Keep, value.unwrap().expires = 50));
        put(&table, "c", NEVER, 20, bounds);
        assert_eq!((there(&table, "abc", 20).as_str(), table.evicted()), ("ac", 1), "b was used before");
        put(&table, "d", NEVER, 60, bounds);
        assert_eq!((there(&table, "abcd", 60).as_str(), table.evicted()), ("cd", 1));
    }

    #[test]
    fn many_expired_entries_go_before_any_other() {
        let (table, bounds) = (Table::new(200, [1, 2]), Bounds { entries: 200, memory: usize::MAX });
        (0..100).for_each(|n| put(&table, &format!("stays {n}"), NEVER, 0, bounds));
        (0..100).for_each(|n| put(&table, &format!("goes {n}"), 10 + n % 7, 0, bounds));
        (0..100).for_each(|n| put(&table, &format!("new {n}"), NEVER, 20, bounds));
        assert!((0..100).all(|n| is_there(&table, &format!("stays {n}"), 20)));
        assert_eq!((table.entries(), table.evicted()), (200, 0));
    }

    #[test]
    fn the_bound_on_memory_counts_values_and_what_entries_cost() {
        let each = Table::<Plain>::overhead() + 100;
        let (table, bounds) = (Table::new(1000, [1, 2]), Bounds { entries: 1000, memory: 10 * each });
        (0..30).for_each(|n| put(&table, &n.to_string(), NEVER, 0, bounds));
        assert_eq!((table.entries(), table.memory(), table.evicted()), (10, 10 * each, 20));
        let large = Plain { expires: NEVER, bytes: 9 * each };
        table.access(table.key(b"large"), 0, bounds, |_| (Change::Put(large), ()));
        assert!(table.memory() <= bounds.memory && is_there(&table, "large", 0));
        table.access(table.key(b"large"), 0, bounds, |_| (Change::Remove, ()));
        assert_eq!(table.memory(), table.entries() * each);
    }

    #[test]
    fn a_table_with_parts_keeps_the_bound_of_the_whole() {
        let table = Table::new(ONE_PART + 1, [1, 2]);
        let bounds = Bounds { entries: 1000, memory: usize::MAX };
        (0..5000).for_each(|n| put(&table, &n.to_string(), NEVER, 0, bounds));
        assert_eq!((table.parts.len(), table.entries(), table.evicted()), (PARTS, 1000, 4000));
        (4990..5000).for_each(|n| assert!(is_there(&table, &n.to_string(), 0)));
        // A smaller bound, of a later config.
        put(&table, "x", NEVER, 0, Bounds { entries: 10, memory: usize::MAX });
        assert_eq!(table.entries(), 10);
        assert!(is_there(&table, "x", 0));
    }

    #[test]
    fn slots_of_removed_entries_are_used_again() {
        let table = Table::new(10, [1, 2]);
        for n in 0..10_000 {
            put(&table, &n.to_string(), if n % 2 == 0 { NEVER } else { n }, 0, WIDE);
            assert!(uses(&table, &n.to_string(), 0));
            table.access(table.key(n.to_string().as_bytes()), 0, WIDE, |_| (Change::Remove, ()));
        }
        assert_eq!((table.entries(), table.memory()), (0, 0));
        assert_eq!(table.parts[0].lock().unwrap().slots.len(), 1);
    }

    #[test]
    fn a_snapshot_has_the_last_used_first() {
        let table = Table::new(10, [1, 2]);
        ["a", "b", "c"].into_iter().for_each(|name| put(&table, name, NEVER, 0, WIDE));
        uses(&table, "a", 0);
        let keys = |most| table.snapshot(most, |key, _| Some(key));
        assert_eq!(keys(WIDE), ["a", "c", "b"].map(|name| table.key(name.as_bytes())));
        assert_eq!(keys(Bounds { entries: 1, memory: usize::MAX }), [table.key(b"a")]);
        assert_eq!(keys(Bounds { entries: 9, memory: 1 }).len(), 1);
    }
}
