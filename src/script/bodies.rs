//! Large bodies that scripts answer with, outside of Lua: one copy of each, whoever is reading it. A page that a
//! script gives to hundreds of slow readers is in memory once.
//!
//! Bodies are told apart by what they hold, so it does not matter whether a script returns one answer again and again
//! or makes it anew with the same text. Where nobody reads a body any more, it is gone.

use std::collections::HashMap;
use std::sync::{Arc, Weak};

/// A vector in its own allocation: an `Arc<[u8]>` would stay in memory as long as there is a `Weak` of it.
pub type Body = Arc<Vec<u8>>;

/// Smaller ones fit into a client's output with their head, and are not kept elsewhere.
const LEAST: usize = 16 * 1024;

const SAMPLES: usize = 8;

/// Entries of bodies that are gone go with the first new one past this number, or past twice those that were left the
/// last time.
const FEW: usize = 16;

/// The length, and eight bytes each from places all over it. Bodies that have these in common are compared whole.
type Key = (usize, [u64; SAMPLES]);

#[derive(Default)]
pub(super) struct Bodies {
    read: HashMap<Key, Weak<Vec<u8>>>,
    left: usize,
}

impl Bodies {
    /// A body with these bytes: the one that is being read now, if there is one.
    pub fn share(&mut self, bytes: &[u8]) -> Body {
        if bytes.len() < LEAST {
            return Arc::new(bytes.to_vec());
        }
        let key = key_of(bytes);
        let same = self.read.get(&key).and_then(Weak::upgrade).filter(|body| body.as_slice() == bytes);
        same.unwrap_or_else(|| self.add(key, bytes))
    }

    fn add(&mut self, key: Key, bytes: &[u8]) -> Body {
        if self.read.len() >= FEW.max(2 * self.left) {
            self.read.retain(|_, body| body.strong_count() > 0);
            self.left = self.read.len();
        }
        let body = Arc::new(bytes.to_vec());
        self.read.insert(key, Arc::downgrade(&body));
        body
    }

    /// Those that somebody is reading.
    pub fn count(&self) -> usize {
        self.read.values().filter(|body| body.strong_count() > 0).count()
    }
}

/// Of at least `LEAST` bytes.
fn key_of(bytes: &[u8]) -> Key {
    let last = bytes.len() - size_of::<u64>();
    let sample = |i: usize| {
        let at = last / (SAMPLES - 1) * i;
        bytes[at..].first_chunk().map_or(0, |chunk| u64::from_le_bytes(*chunk))
    };
    (bytes.len(), std::array::from_fn(sample))
}

#[cfg(test)]
mod tests {
    use super::*;

    const LARGE: usize = 100_000;

    #[test]
    fn a_body_that_is_being_read_is_shared_by_content_and_is_gone_with_its_last_reader() {
        let mut bodies = Bodies::default();
        let first = bodies.share(&[b'a'; LARGE]);
        let second = bodies.share(&vec![b'a'; LARGE]);
        assert!(Arc::ptr_eq(&first, &second));
        let third = bodies.share(&[b'a'; LARGE + 1]);
        assert_eq!((third.len(), bodies.count()), (LARGE + 1, 2));
        drop((first, second));
        assert_eq!(bodies.count(), 1);
        assert_eq!(bodies.share(&[b'a'; LARGE]).len(), LARGE);
    }

    #[test]
    fn bodies_that_differ_in_one_byte_anywhere_are_not_taken_for_each_other() {
        let mut bodies = Bodies::default();
        let plain = vec![b'a'; LEAST];
        let first = bodies.share(&plain);
        for at in (0..LEAST).step_by(61).chain([LEAST - 1]) {
            let mut other = plain.clone();
            other[at] = b'b';
            assert!(*bodies.share(&other) == other, "at {at}");
        }
        assert!(*first == plain);
    }

    #[test]
    fn entries_of_bodies_that_are_gone_do_not_pile_up() {
        let mut bodies = Bodies::default();
        let kept: Vec<Body> = (0..40).map(|i| bodies.share(&vec![b'k'; LEAST + i])).collect();
        for i in 0..1_000 {
            bodies.share(&vec![b'a'; LEAST + i]);
        }
        assert_eq!(bodies.count(), kept.len());
        assert!(bodies.read.len() <= 2 * kept.len() + 1, "{}", bodies.read.len());
    }
}
