//! Blocks of 32 KiB, and the pool they come from and go back to. A worker has one: blocks that nobody needs are kept
//! for the next borrower, since asking the allocator for each would cost more than all else that is done with it,
//! and given back to the system once nobody has needed them for a while.

pub const BLOCK: usize = 32 * 1024;

/// What a buffer holds while it holds bytes. Where they stand is kept here, not in the buffer: the empty buffers of
/// an idle connection take no memory for it.
#[derive(Debug)]
pub(super) struct Block {
    pub start: u32,
    pub end: u32,
    /// What did not fit. Only while the block is full.
    pub overflow: Option<Box<Overflow>>,
    /// Apart, so that it comes zeroed from the system and no page of it is touched before it is used. `BLOCK` bytes, and
    /// more only where `grow` was asked for them.
    pub bytes: Box<[u8]>,
}

/// Boxed, since it goes from hand to hand, and a buffer without one is a pointer and no more.
pub(super) type Lent = Box<Block>;

/// What stands behind a full block.
#[derive(Debug, Default)]
pub(super) struct Overflow {
    pub bytes: Vec<u8>,
    pub start: usize,
}

impl Block {
    pub fn len(&self) -> usize {
        (self.end - self.start) as usize
    }

    pub fn held(&self) -> &[u8] {
        &self.bytes[self.start as usize..self.end as usize]
    }

    /// How many bytes can still be added.
    pub fn room(&self) -> usize {
        self.bytes.len() - self.len()
    }

    /// Has `size` bytes from here on, until it is given back.
    pub fn grow(&mut self, size: usize) {
        let mut bytes = vec![0; size].into_boxed_slice();
        let held = self.held();
        bytes[..held.len()].copy_from_slice(held);
        (self.start, self.end) = (0, held.len() as u32);
        self.bytes = bytes;
    }

    /// Moves what it holds to the front.
    pub fn move_to_front(&mut self) {
        self.bytes.copy_within(self.start as usize..self.end as usize, 0);
        self.end -= self.start;
        self.start = 0;
    }
}

/// Unused blocks that no quiet time takes away.
const ALWAYS: usize = 8;

/// Where blocks come from and go back to. `keep` bounds how many unused ones stay allocated.
pub struct BlockPool {
    free: Vec<Lent>,
    lent: usize,
    keep: usize,
    /// The fewest unused ones there were since the last `trim`: nobody needed those.
    least: usize,
}

impl BlockPool {
    pub fn new(keep: usize) -> BlockPool {
        BlockPool { free: Vec::with_capacity(keep), lent: 0, keep, least: 0 }
    }

    /// Blocks that are in somebody's hands now.
    pub fn lent(&self) -> usize {
        self.lent
    }

    /// Unused blocks that stay allocated for the next borrower.
    pub fn spare(&self) -> usize {
        self.free.len()
    }

    /// Whether `trim`, called in a while, would find something.
    pub fn has_surplus(&self) -> bool {
        self.free.len() > ALWAYS
    }

    /// Frees what nobody needed since the last call; says how many blocks that were.
    pub fn trim(&mut self) -> usize {
        let before = self.free.len();
        self.free.truncate(before - self.least.saturating_sub(ALWAYS));
        self.least = self.free.len();
        before - self.free.len()
    }

    pub(super) fn borrow(&mut self) -> Lent {
        self.lent += 1;
        match self.free.pop() {
            Some(block) => {
                self.least = self.least.min(self.free.len());
                block
            }
            None => self.new_block(),
        }
    }

    #[cold]
    fn new_block(&mut self) -> Lent {
        self.least = 0;
        Box::new(Block { start: 0, end: 0, overflow: None, bytes: vec![0; BLOCK].into_boxed_slice() })
    }

    pub(super) fn give_back(&mut self, mut block: Lent) {
        debug_assert!(block.overflow.is_none());
        (block.start, block.end) = (0, 0);
        self.lent -= 1;
        if self.free.len() < self.keep && block.bytes.len() == BLOCK {
            self.free.push(block);
        } else {
            free(block);
        }
    }
}

#[cold]
fn free(block: Lent) {
    drop(block);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_nobody_needed_between_two_trims_are_freed() {
        let mut pool = BlockPool::new(64);
        let lent: Vec<Lent> = (0..40).map(|_| pool.borrow()).collect();
        lent.into_iter().for_each(|block| pool.give_back(block));
        assert_eq!((pool.trim(), pool.spare()), (0, 40), "they were all in use a moment ago");
        let lent: Vec<Lent> = (0..10).map(|_| pool.borrow()).collect();
        lent.into_iter().for_each(|block| pool.give_back(block));
        assert_eq!((pool.trim(), pool.spare()), (30 - ALWAYS, 10 + ALWAYS));
        assert_eq!((pool.trim(), pool.spare()), (10, ALWAYS));
        assert!(!pool.has_surplus());
    }
}
