//! `rsp.concurrency`: how many requests of a key run at one time. Each holds a place until it ends, however it ends; a
//! key that nobody holds a place of is forgotten.

use std::hash::Hasher;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use hashbrown::HashTable;
use hashbrown::hash_table::Entry;
use siphasher::sip128::{Hasher128, SipHasher13};

/// Parts with a lock each.
const PARTS: usize = 16;

pub struct Places {
    parts: [Mutex<HashTable<Taken>>; PARTS],
    seed: [u64; 2],
    refused: AtomicU64,
}

#[derive(Clone, Copy)]
struct Taken {
    key: (u64, u64),
    count: u32,
}

/// One request's place, left when this is dropped.
pub struct Place {
    of: Arc<Places>,
    key: (u64, u64),
}

impl Places {
    pub fn new(seed: [u64; 2]) -> Places {
        Places { parts: std::array::from_fn(|_| Mutex::default()), seed, refused: AtomicU64::new(0) }
    }

    /// `None`: the key has as many as it may have.
    pub fn enter(self: &Arc<Places>, key: &[u8], most: u32) -> Option<Place> {
        let mut hasher = SipHasher13::new_with_keys(self.seed[0], self.seed[1]);
        hasher.write(key);
        let hash = hasher.finish128();
        let key = (hash.h1, hash.h2);
        let mut part = self.part(key);
        let entry = part.entry(key.1, |taken| taken.key == key, |taken| taken.key.1);
        let taken = entry.or_insert(Taken { key, count: 0 }).into_mut();
        if taken.count >= most {
            self.refused.fetch_add(1, Relaxed);
            return None;
        }
        taken.count += 1;
        Some(Place { of: self.clone(), key })
    }

    /// Keys with requests.
    pub fn keys(&self) -> usize {
        let each = self.parts.iter().map(|part| part.lock().unwrap_or_else(PoisonError::into_inner).len());
        each.sum()
    }

    /// Requests that found no place.
    pub fn refused(&self) -> u64 {
        self.refused.load(Relaxed)
    }

    fn part(&self, key: (u64, u64)) -> MutexGuard<'_, HashTable<Taken>> {
        self.parts[key.0 as usize % PARTS].lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut part = self.of.part(self.key);
        let entry = part.entry(self.key.1, |taken| taken.key == self.key, |taken| taken.key.1);
        if let Entry::Occupied(mut entry) = entry {
            match entry.get().count {
                0 | 1 => _ = entry.remove(),
                _ => entry.get_mut().count -= 1,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_left_when_it_is_dropped() {
        let places = Arc::new(Places::new([1, 2]));
        let first = places.enter(b"a", 2).unwrap();
        let second = places.enter(b"a", 2).unwrap();
        assert!(places.enter(b"a", 2).is_none() && places.enter(b"b", 1).is_some());
        assert_eq!((places.keys(), places.refused()), (1, 1));
        drop(first);
        assert!(places.enter(b"a", 1).is_none(), "a smaller bound of a later config");
        assert!(places.enter(b"a", 2).is_some());
        drop(second);
        assert_eq!(places.keys(), 0);
    }

    #[test]
    fn threads_together_never_have_more() {
        let places = Arc::new(Places::new([1, 2]));
        let inside = std::sync::atomic::AtomicU32::new(0);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..5000 {
                        let Some(_place) = places.enter(b"k", 2) else { continue };
                        assert!(inside.fetch_add(1, Relaxed) < 2);
                        inside.fetch_sub(1, Relaxed);
                    }
                });
            }
        });
        assert_eq!(places.keys(), 0);
    }
}
