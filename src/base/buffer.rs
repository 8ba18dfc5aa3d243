//! Blocks of 32 KiB and the two buffers made of them.
//!
//! Memory is borrowed from a pool only while it holds bytes, so an idle connection costs no block and a slow
//! reader's pair costs two. `Buffer` holds what was read and not yet understood; `Output` holds what is to be
//! written and was not yet taken by the kernel. Both keep bytes strictly in order: they only ever lose bytes at
//! the front (`consume`) and gain them at the end.

pub use super::blocks::{BLOCK, BlockPool, Traffic};
use super::blocks::{Lent, Overflow};

/// At most one block of bytes, first in first out; more only after `grow`.
///
/// Invariant (`check`): between calls it holds a block exactly while it holds bytes, and the block's
/// `start < end <= bytes.len()` then.
#[derive(Default)]
pub struct Buffer {
    block: Option<Lent>,
}

impl Buffer {
    pub fn is_empty(&self) -> bool {
        self.block.is_none()
    }

    pub fn len(&self) -> usize {
        self.block.as_ref().map_or(0, |block| block.len())
    }

    /// How many bytes can still be added.
    pub fn room(&self) -> usize {
        self.block.as_ref().map_or(BLOCK, |block| block.room())
    }

    /// Doubles the block when it is full, up to `most` bytes, for a caller that needs more than a block in one piece.
    /// The larger block is freed when the buffer becomes empty.
    #[cold]
    pub fn grow(&mut self, most: usize) {
        let Some(block) = self.block.as_mut().filter(|block| block.room() == 0) else { return };
        let size = most.min(2 * block.bytes.len());
        if size > block.bytes.len() {
            block.grow(size);
        }
    }

    pub fn bytes(&self) -> &[u8] {
        self.block.as_ref().map_or(&[], |block| block.held())
    }

    /// Passes the free space to `fill`, which returns how many bytes it wrote. Bytes are moved to the front of the
    /// block first when the space behind them has become small. `fill` is not called when there is no room.
    pub fn fill<E>(
        &mut self,
        pool: &mut BlockPool,
        fill: impl FnOnce(&mut [u8]) -> Result<usize, E>,
    ) -> Result<usize, E> {
        if self.room() == 0 {
            return Ok(0);
        }
        let block = self.block.get_or_insert_with(|| pool.borrow());
        if block.start > 0 && block.bytes.len() - (block.end as usize) < BLOCK / 2 {
            block.move_to_front();
        }
        let result = fill(&mut block.bytes[block.end as usize..]);
        if let Ok(n) = result {
            block.end += n as u32;
            debug_assert!(block.end as usize <= block.bytes.len());
        }
        self.settle(pool);
        result
    }

    /// Adds as much of `bytes` as fits and returns how much that was.
    pub fn push(&mut self, pool: &mut BlockPool, bytes: &[u8]) -> usize {
        if bytes.is_empty() {
            return 0;
        }
        let take = bytes.len().min(self.room());
        if take == 0 {
            return 0;
        }
        let block = self.block.get_or_insert_with(|| pool.borrow());
        if block.bytes.len() - (block.end as usize) < take {
            block.move_to_front();
        }
        block.bytes[block.end as usize..block.end as usize + take].copy_from_slice(&bytes[..take]);
        block.end += take as u32;
        take
    }

    /// Passes the space behind the bytes to `write`, which returns how many it wrote. False if none.
    fn fill_behind(&mut self, pool: &mut BlockPool, write: impl FnOnce(&mut [u8]) -> Option<usize>) -> bool {
        let block = self.block.get_or_insert_with(|| pool.borrow());
        match write(&mut block.bytes[block.end as usize..]) {
            Some(n @ 1..) => {
                block.end += n as u32;
                debug_assert!(block.end as usize <= block.bytes.len());
                true
            }
            _ => {
                self.settle(pool);
                false
            }
        }
    }

    /// Adds all of `bytes` if the buffer is not empty and the space behind its bytes suffices.
    fn push_behind(&mut self, bytes: &[u8]) -> bool {
        let Some(block) = self.block.as_mut() else { return false };
        let (start, end) = (block.end as usize, block.end as usize + bytes.len());
        let Some(space) = block.bytes.get_mut(start..end) else { return false };
        space.copy_from_slice(bytes);
        block.end = end as u32;
        true
    }

    /// Drops `n` bytes from the front. The block goes back to the pool with the last byte.
    pub fn consume(&mut self, pool: &mut BlockPool, n: usize) {
        let left = self.len();
        assert!(n <= left, "consumed more than it holds");
        if n == left {
            self.clear(pool);
        } else if let Some(block) = &mut self.block {
            block.start += n as u32;
        }
    }

    pub fn clear(&mut self, pool: &mut BlockPool) {
        if let Some(block) = self.block.take() {
            pool.give_back(block);
        }
    }

    fn settle(&mut self, pool: &mut BlockPool) {
        if self.block.as_ref().is_some_and(|block| block.start == block.end) {
            self.clear(pool);
        }
    }

    /// The invariant, for tests and simulations.
    pub fn check(&self) -> bool {
        self.block
            .as_ref()
            .is_none_or(|block| block.start < block.end && block.end as usize <= block.bytes.len())
    }
}

/// Bytes to be written: one block, and a rarely used overflow for what must not be split by back-pressure (a head
/// that a script made larger than a block).
///
/// The block is full while anything is in the overflow, so `room` is zero and bodies wait until it is gone.
#[derive(Default)]
pub struct Output {
    block: Buffer,
}

impl Output {
    pub fn is_empty(&self) -> bool {
        self.block.is_empty()
    }

    pub fn len(&self) -> usize {
        self.block.len() + self.overflow().map_or(0, |o| o.bytes.len() - o.start)
    }

    /// How many body bytes may be added now.
    pub fn room(&self) -> usize {
        self.block.room()
    }

    /// What is to be written first.
    pub fn bytes(&self) -> &[u8] {
        self.block.bytes()
    }

    fn overflow(&self) -> Option<&Overflow> {
        self.block.block.as_ref()?.overflow.as_deref()
    }

    /// Adds all of `bytes`; those that do not fit go to the overflow.
    pub fn push(&mut self, pool: &mut BlockPool, bytes: &[u8]) {
        // Heads come in pieces, and nearly all of them fit. A full block fails here.
        if !self.block.push_behind(bytes) {
            self.push_slowly(pool, bytes);
        }
    }

    #[inline(never)]
    fn push_slowly(&mut self, pool: &mut BlockPool, bytes: &[u8]) {
        if self.block.is_empty() && (1..=BLOCK).contains(&bytes.len()) {
            self.block.block = Some(pool.borrow());
            self.block.push_behind(bytes);
            return;
        }
        let taken = self.block.push(pool, bytes);
        if let (Some(block), true) = (&mut self.block.block, taken < bytes.len()) {
            block.overflow.get_or_insert_default().bytes.extend_from_slice(&bytes[taken..]);
        }
    }

    /// Passes the free space to `write`, which returns how many bytes it wrote, `None` if the space was too small.
    /// False if nothing was written.
    pub fn fill(&mut self, pool: &mut BlockPool, write: impl FnOnce(&mut [u8]) -> Option<usize>) -> bool {
        self.overflow().is_none() && self.block.fill_behind(pool, write)
    }

    /// Drops `n` written bytes and refills the block from the overflow.
    pub fn consume(&mut self, pool: &mut BlockPool, n: usize) {
        match self.overflow() {
            None => self.block.consume(pool, n),
            Some(_) => self.refill(pool, n),
        }
    }

    #[cold]
    fn refill(&mut self, pool: &mut BlockPool, n: usize) {
        let overflow = self.block.block.as_mut().and_then(|block| block.overflow.take());
        self.block.consume(pool, n);
        let Some(mut overflow) = overflow else { return };
        overflow.start += self.block.push(pool, &overflow.bytes[overflow.start..]);
        if let (Some(block), true) = (&mut self.block.block, overflow.start < overflow.bytes.len()) {
            block.overflow = Some(overflow);
        }
    }

    pub fn clear(&mut self, pool: &mut BlockPool) {
        if let Some(block) = &mut self.block.block {
            block.overflow = None;
        }
        self.block.clear(pool);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(buffer: &mut Buffer, pool: &mut BlockPool, bytes: &[u8]) -> usize {
        buffer
            .fill(pool, |space| {
                let n = bytes.len().min(space.len());
                space[..n].copy_from_slice(&bytes[..n]);
                Ok::<_, ()>(n)
            })
            .unwrap()
    }

    #[test]
    fn a_buffer_holds_a_block_only_while_it_holds_bytes() {
        let mut pool = BlockPool::new(4);
        let mut buffer = Buffer::default();
        assert!(buffer.check());
        assert_eq!(pool.lent(), 0);
        put(&mut buffer, &mut pool, b"abc");
        assert_eq!((buffer.bytes(), pool.lent(), buffer.check()), (&b"abc"[..], 1, true));
        buffer.consume(&mut pool, 2);
        assert_eq!(buffer.bytes(), b"c");
        buffer.consume(&mut pool, 1);
        assert_eq!((pool.lent(), pool.spare(), buffer.check()), (0, 1, true));
    }

    #[test]
    fn a_full_buffer_grows_up_to_its_bound_and_its_long_block_is_not_kept() {
        let mut pool = BlockPool::new(4);
        let mut buffer = Buffer::default();
        buffer.grow(4 * BLOCK);
        assert!(buffer.is_empty(), "nothing is in it that would need more");
        let bytes: Vec<u8> = (0..4 * BLOCK).map(|i| (i % 251) as u8).collect();
        put(&mut buffer, &mut pool, &bytes[..BLOCK]);
        buffer.consume(&mut pool, 7);
        buffer.grow(4 * BLOCK);
        assert_eq!(buffer.room(), 7, "there is room");
        put(&mut buffer, &mut pool, &bytes[BLOCK..BLOCK + 7]);
        for (most, room) in [(BLOCK, 0), (BLOCK + 9, 9), (3 * BLOCK, BLOCK + 9), (3 * BLOCK, BLOCK - 18)] {
            buffer.grow(most);
            assert_eq!(buffer.room(), room);
            let at = 7 + buffer.len();
            put(&mut buffer, &mut pool, &bytes[at..at + room]);
            assert_eq!((buffer.bytes(), buffer.check()), (&bytes[7..at + room], true));
        }
        buffer.grow(3 * BLOCK);
        assert_eq!((buffer.room(), pool.lent()), (0, 1));
        let len = buffer.len();
        buffer.consume(&mut pool, len);
        assert_eq!((buffer.room(), pool.lent(), pool.spare()), (BLOCK, 0, 0));
    }

    #[test]
    fn a_fill_that_reads_nothing_gives_the_block_back() {
        let mut pool = BlockPool::new(4);
        let mut buffer = Buffer::default();
        assert_eq!(buffer.fill(&mut pool, |_| Err::<usize, _>("would block")), Err("would block"));
        assert_eq!(pool.lent(), 0);
        assert_eq!(buffer.fill(&mut pool, |_| Ok::<_, ()>(0)), Ok(0));
        assert_eq!((pool.lent(), buffer.check()), (0, true));
    }

    #[test]
    fn bytes_stay_in_order_whatever_the_sizes_of_fills_and_consumes() {
        let mut pool = BlockPool::new(1);
        let mut buffer = Buffer::default();
        let (mut next_in, mut next_out) = (0u64, 0u64);
        for round in 0..20_000u64 {
            let want = (round * 7919 % 9000) as usize;
            let bytes: Vec<u8> = (next_in..next_in + want as u64).map(|i| (i % 251) as u8).collect();
            next_in += if round % 2 == 0 {
                put(&mut buffer, &mut pool, &bytes)
            } else {
                buffer.push(&mut pool, &bytes)
            } as u64;
            let take = ((round * 104_729 % 9001) as usize).min(buffer.len());
            for (i, byte) in buffer.bytes()[..take].iter().enumerate() {
                assert_eq!(*byte, ((next_out + i as u64) % 251) as u8);
            }
            buffer.consume(&mut pool, take);
            next_out += take as u64;
            assert!(buffer.check());
        }
        assert!(next_out > 10_000_000);
    }

    #[test]
    fn output_overflows_in_order_and_reports_no_room_until_it_is_gone() {
        let mut pool = BlockPool::new(1);
        let mut out = Output::default();
        let bytes: Vec<u8> = (0..100_000u32).map(|i| (i % 253) as u8).collect();
        out.push(&mut pool, &bytes[..50_000]);
        out.push(&mut pool, &bytes[50_000..]);
        assert_eq!((out.len(), out.room(), pool.lent()), (100_000, 0, 1));
        let mut seen = Vec::new();
        while !out.is_empty() {
            let n = out.bytes().len().min(777);
            seen.extend_from_slice(&out.bytes()[..n]);
            out.consume(&mut pool, n);
        }
        assert!(seen == bytes);
        assert_eq!((out.room(), pool.lent(), out.len()), (BLOCK, 0, 0));
    }

    #[test]
    fn the_pool_keeps_at_most_its_limit() {
        let mut pool = BlockPool::new(2);
        let mut buffers: Vec<Buffer> = (0..5).map(|_| Buffer::default()).collect();
        for buffer in &mut buffers {
            buffer.push(&mut pool, b"x");
        }
        assert_eq!(pool.lent(), 5);
        for buffer in &mut buffers {
            buffer.clear(&mut pool);
        }
        assert_eq!((pool.lent(), pool.spare()), (0, 2));
    }
}
