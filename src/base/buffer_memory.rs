//! Memory for bodies that are held: one bound for all workers (`buffer_memory`), and what became of those that found none
//! left.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::Relaxed;

/// Whose body.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum BodyOf {
    Request,
    Response,
}

impl BodyOf {
    pub const ALL: [BodyOf; 2] = [BodyOf::Request, BodyOf::Response];

    pub fn text(self) -> &'static str {
        match self {
            BodyOf::Request => "request",
            BodyOf::Response => "response",
        }
    }
}

/// A handle to the memory, with the limit of whoever holds it.
#[derive(Clone)]
pub struct BufferMemory {
    shared: Arc<Shared>,
    pub most: usize,
}

#[derive(Default)]
struct Shared {
    used: AtomicUsize,
    /// Bodies that found none left.
    short: [AtomicU64; 2],
}

impl Default for BufferMemory {
    fn default() -> BufferMemory {
        BufferMemory { shared: Arc::default(), most: usize::MAX }
    }
}

impl BufferMemory {
    /// The same memory with another limit.
    pub fn limited(&self, most: usize) -> BufferMemory {
        BufferMemory { shared: self.shared.clone(), most }
    }

    /// Bytes that are reserved.
    pub fn used(&self) -> usize {
        self.shared.used.load(Relaxed)
    }

    /// How many bodies were not held, or not further, since there was no memory left.
    pub fn short(&self, of: BodyOf) -> u64 {
        self.shared.short[of as usize].load(Relaxed)
    }

    /// Counts one of those.
    pub fn note_short(&self, of: BodyOf) {
        self.shared.short[of as usize].fetch_add(1, Relaxed);
    }

    fn take(&self, bytes: usize) -> bool {
        let more = |used: usize| used.checked_add(bytes).filter(|sum| *sum <= self.most);
        self.shared.used.fetch_update(Relaxed, Relaxed, more).is_ok()
    }

    fn give_back(&self, bytes: usize) {
        self.shared.used.fetch_sub(bytes, Relaxed);
    }
}

/// The memory of one body, given back when it is dropped.
#[derive(Default)]
pub struct Reserved {
    memory: BufferMemory,
    bytes: usize,
}

impl Reserved {
    pub fn new(memory: &BufferMemory) -> Reserved {
        Reserved { memory: memory.clone(), bytes: 0 }
    }

    /// For another body, of the same memory.
    pub fn beside(&self) -> Reserved {
        Reserved::new(&self.memory)
    }

    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Reserves so many bytes more. Returns false if there are not as many.
    pub fn grow(&mut self, bytes: usize) -> bool {
        let fits = self.memory.take(bytes);
        self.bytes += if fits { bytes } else { 0 };
        fits
    }

    /// The same for what is worth less than what others hold: a quarter of the memory, and only while that is free.
    pub fn grow_spare(&mut self, bytes: usize) -> bool {
        self.memory.used().saturating_add(bytes) <= self.memory.most / 4 && self.grow(bytes)
    }

    /// Gives so many bytes back, or all that it has.
    pub fn shrink(&mut self, bytes: usize) {
        let bytes = bytes.min(self.bytes);
        self.memory.give_back(bytes);
        self.bytes -= bytes;
    }
}

impl Drop for Reserved {
    fn drop(&mut self) {
        self.memory.give_back(self.bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_bounded_over_all_bodies_and_given_back() {
        let memory = BufferMemory::default().limited(100);
        let (mut first, mut second) = (Reserved::new(&memory), Reserved::new(&memory));
        assert!(first.grow(60) && !second.grow(41) && second.grow(40));
        assert_eq!((first.bytes(), second.bytes(), memory.used()), (60, 40, 100));
        first.shrink(10);
        assert!(second.grow(10) && !second.grow(1));
        first.shrink(1000);
        assert_eq!((first.bytes(), memory.used()), (0, 50));
        drop((first, second));
        assert_eq!(memory.used(), 0);
    }

    #[test]
    fn a_lower_limit_lets_nobody_reserve_until_enough_is_given_back() {
        let memory = BufferMemory::default().limited(100);
        let mut first = Reserved::new(&memory);
        assert!(first.grow(100));
        let mut second = Reserved::new(&memory.limited(50));
        assert!(!second.grow(10));
        first.shrink(60);
        assert!(second.grow(10) && !second.grow(1));
    }

    #[test]
    fn bodies_that_find_none_are_counted_for_all() {
        let memory = BufferMemory::default();
        memory.limited(0).note_short(BodyOf::Response);
        assert_eq!(BodyOf::ALL.map(|of| memory.short(of)), [0, 1]);
    }
}
