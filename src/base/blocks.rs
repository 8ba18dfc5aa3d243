//! Blocks of 32 KiB and the pool they are borrowed from, one pool a worker. Free blocks are kept for the next
//! borrower, since an allocation for each would dominate the cost, and returned to the system when they were not
//! needed for a while.

use std::collections::VecDeque;

use super::buffer_memory::Reserved;

pub const BLOCK: usize = 32 * 1024;

/// Bytes received from sockets and sent to them; of TLS what is inside.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Traffic {
    pub client_in: u64,
    pub client_out: u64,
    pub server_in: u64,
    pub server_out: u64,
}

/// A buffer's storage while it holds bytes. The positions are in here and not in the buffer, so that the empty
/// buffers of an idle connection stay one pointer.
pub(super) struct Block {
    pub start: u32,
    pub end: u32,
    /// What follows the bytes of this block in an output.
    pub following: Option<Box<Following>>,
    /// A separate allocation, so that it comes zeroed from the system and its pages are not touched before use.
    /// `BLOCK` bytes; more only after `grow`.
    pub bytes: Box<[u8]>,
}

/// Boxed, so that moving it is cheap and an empty buffer is one pointer.
pub(super) type Lent = Box<Block>;

/// Blocks behind a full one, all but the last full as well.
#[derive(Default)]
pub(super) struct Following {
    blocks: VecDeque<Lent>,
    /// Room for them that was reserved. What must be taken (a head) is, with or without.
    pub reserved: Reserved,
}

impl Following {
    pub fn len(&self) -> usize {
        match self.blocks.back() {
            Some(last) => (self.blocks.len() - 1) * BLOCK + last.len(),
            None => 0,
        }
    }

    /// How many of the reserved bytes are free.
    pub fn room(&self) -> usize {
        self.reserved.bytes().saturating_sub(self.len())
    }

    pub fn push(&mut self, pool: &mut BlockPool, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let last = match self.blocks.back_mut().filter(|last| (last.end as usize) < BLOCK) {
                Some(last) => last,
                None => {
                    self.blocks.push_back(pool.borrow());
                    continue;
                }
            };
            let (start, take) = (last.end as usize, bytes.len().min(BLOCK - last.end as usize));
            last.bytes[start..start + take].copy_from_slice(&bytes[..take]);
            last.end += take as u32;
            bytes = &bytes[take..];
        }
    }

    /// The first of them, whose reserved bytes are given back.
    pub fn pop(&mut self) -> Option<Lent> {
        self.reserved.shrink(BLOCK);
        self.blocks.pop_front()
    }

    pub fn is_empty(&self) -> bool {
        self.blocks.is_empty()
    }

    pub fn clear(&mut self, pool: &mut BlockPool) {
        self.blocks.drain(..).for_each(|block| pool.give_back(block));
    }
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

    /// Enlarges the block to `size` bytes until it is returned.
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

/// Free blocks that `trim` never frees.
const ALWAYS: usize = 8;

/// The pool. `keep` bounds how many free blocks stay allocated.
pub struct BlockPool {
    free: Vec<Lent>,
    lent: usize,
    keep: usize,
    /// The lowest number of free blocks since the last `trim`: those were not needed.
    least: usize,
    /// Bytes of sockets that passed the blocks, or could have.
    pub traffic: Traffic,
}

impl BlockPool {
    pub fn new(keep: usize) -> BlockPool {
        BlockPool { free: Vec::with_capacity(keep), lent: 0, keep, least: 0, traffic: Traffic::default() }
    }

    /// Blocks borrowed now.
    pub fn lent(&self) -> usize {
        self.lent
    }

    /// Free blocks that stay allocated.
    pub fn spare(&self) -> usize {
        self.free.len()
    }

    /// Whether a later `trim` would free something.
    pub fn has_surplus(&self) -> bool {
        self.free.len() > ALWAYS
    }

    /// Frees the blocks not needed since the last call and returns their number.
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
        Box::new(Block { start: 0, end: 0, following: None, bytes: vec![0; BLOCK].into_boxed_slice() })
    }

    pub(super) fn give_back(&mut self, mut block: Lent) {
        debug_assert!(block.following.is_none());
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
    fn blocks_not_needed_between_two_trims_are_freed() {
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
