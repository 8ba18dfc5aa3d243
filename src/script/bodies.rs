//! Large bodies of scripts' answers, outside of Lua: one shared copy of each while clients are reading it. A page
//! that hundreds of slow clients read is in memory once.
//!
//! Bodies are deduplicated by content, so it does not matter whether a script returns one answer repeatedly or makes
//! it anew. A body is freed with its last reader.

use std::collections::HashMap;
use std::sync::{Arc, Weak};

/// A vector in its own allocation: an `Arc<[u8]>` would stay allocated as long as there is a `Weak`.
pub type Body = Arc<Vec<u8>>;

/// Smaller ones fit into a client's output with their head, and are not shared.
const LEAST: usize = 16 * 1024;

const SAMPLES: usize = 8;

/// Dead entries are removed when a new one exceeds this number, or twice the number of live ones at the last removal.
const FEW: usize = 16;

/// The length, and samples of eight bytes from all over the body. Bodies with equal keys are compared in full.
type BodyKey = (usize, [u64; SAMPLES]);

#[derive(Default)]
pub(super) struct Bodies {
    read: HashMap<BodyKey, Weak<Vec<u8>>>,
    left: usize,
}

impl Bodies {
    /// A body with these bytes: a shared one, if one is being read.
    pub fn share(&mut self, bytes: &[u8]) -> Body {
        if bytes.len() < LEAST {
            return Arc::new(bytes.to_vec());
        }
        let key = key_of(bytes);
        let same = self.read.get(&key).and_then(Weak::upgrade).filter(|body| body.as_slice() == bytes);
        same.unwrap_or_else(|| self.add(key, bytes))
    }

    fn add(&mut self, key: BodyKey, bytes: &[u8]) -> Body {
        if self.read.len() >= FEW.max(2 * self.left) {
            self.read.retain(|_, body| body.strong_count() > 0);
            self.left = self.read.len();
        }
        let body = Arc::new(bytes.to_vec());
        self.read.insert(key, Arc::downgrade(&body));
        body
    }

    /// The number of bodies being read.
    pub fn count(&self) -> usize {
        self.read.values().filter(|body| body.strong_count() > 0).count()
    }
}

/// `bytes` has at least `LEAST` bytes.
fn key_of(bytes: &[u8]) -> BodyKey {
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
    fn a_body_is_shared_by_content_and_freed_with_its_last_reader() {
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
    fn bodies_that_differ_in_any_byte_are_not_shared() {
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
    fn dead_entries_do_not_accumulate() {
        let mut bodies = Bodies::default();
        let kept: Vec<Body> = (0..40).map(|i| bodies.share(&vec![b'k'; LEAST + i])).collect();
        for i in 0..1_000 {
            bodies.share(&vec![b'a'; LEAST + i]);
        }
        assert_eq!(bodies.count(), kept.len());
        assert!(bodies.read.len() <= 2 * kept.len() + 1, "{}", bodies.read.len());
    }
}
