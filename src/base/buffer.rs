//! Blocks of 32 KiB and the two buffers made of them.
//!
//! Memory is borrowed from a pool only while it holds bytes, so an idle connection costs no block and a slow
//! reader's pair costs two. `Buffer` holds what was read and not yet understood; `Output` holds what is to be
//! written and was not yet taken by the kernel. Both keep bytes strictly in order: they only ever lose bytes at
//! the front (`consume`) and gain them at the end.

pub use super::blocks::{BLOCK, BlockPool, Traffic};
use super::blocks::{Following, Lent};
use super::buffer_memory::{BufferMemory, Reserved};

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

    #[inline(always)]
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

/// Bytes to be written: one block, and further ones behind it for what must not be split by back-pressure (a head that a
/// script made larger than a block), or for a response that is read ahead (`reserve`).
///
/// The block is filled to its end while anything is behind it.
#[derive(Default)]
pub struct Output {
    block: Buffer,
}

impl Output {
    pub fn is_empty(&self) -> bool {
        self.block.is_empty()
    }

    pub fn len(&self) -> usize {
        self.block.len() + self.following().map_or(0, Following::len)
    }

    /// How many body bytes may be added now.
    pub fn room(&self) -> usize {
        match self.following() {
            None => self.block.room(),
            Some(following) => following.room(),
        }
    }

    /// What is to be written first.
    pub fn bytes(&self) -> &[u8] {
        self.block.bytes()
    }

    fn following(&self) -> Option<&Following> {
        self.block.block.as_ref()?.following.as_deref()
    }

    /// `bytes` is all that it holds, and what is added now follows that.
    pub fn is_one_piece(&self) -> bool {
        self.following().is_none()
    }

    /// Bytes that were reserved and are not yet written.
    pub fn reserved(&self) -> usize {
        self.following().map_or(0, |following| following.reserved.bytes())
    }

    /// Makes room for one more block, for an output that has none left. Returns false if there is no memory.
    #[cold]
    pub fn reserve(&mut self, memory: &BufferMemory) -> bool {
        let Some(block) = &mut self.block.block else { return false };
        let following = block.following.get_or_insert_default();
        if following.reserved.bytes() == 0 {
            following.reserved = Reserved::new(memory);
        }
        let fits = following.reserved.grow(BLOCK);
        if !fits && following.is_empty() && following.reserved.bytes() == 0 {
            block.following = None;
        }
        fits
    }

    /// Adds all of `bytes`; those that do not fit go into blocks behind the first.
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
        let follows = self.following().is_some_and(|following| !following.is_empty());
        let taken = if follows { 0 } else { self.block.push(pool, bytes) };
        if let (Some(block), true) = (&mut self.block.block, taken < bytes.len()) {
            block.following.get_or_insert_default().push(pool, &bytes[taken..]);
        }
    }

    /// Passes the free space to `write`, which returns how many bytes it wrote, `None` if the space was too small.
    /// False if nothing was written.
    pub fn fill(&mut self, pool: &mut BlockPool, write: impl FnOnce(&mut [u8]) -> Option<usize>) -> bool {
        self.following().is_none() && self.block.fill_behind(pool, write)
    }

    /// Drops `n` written bytes. The next block takes the place of the first one when that is empty.
    pub fn consume(&mut self, pool: &mut BlockPool, n: usize) {
        match self.following() {
            None => self.block.consume(pool, n),
            Some(_) => self.advance(pool, n),
        }
    }

    #[cold]
    fn advance(&mut self, pool: &mut BlockPool, n: usize) {
        let following = self.block.block.as_mut().and_then(|block| block.following.take());
        self.block.consume(pool, n);
        let Some(mut following) = following else { return };
        if self.block.is_empty() {
            self.block.block = following.pop();
            if following.is_empty() {
                return;
            }
        }
        if let Some(block) = &mut self.block.block {
            block.following = Some(following);
        }
    }

    pub fn clear(&mut self, pool: &mut BlockPool) {
        if let Some(mut following) = self.block.block.as_mut().and_then(|block| block.following.take()) {
            following.clear(pool);
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

    fn numbered(len: usize) -> Vec<u8> {
        (0..len as u32).map(|i| (i % 253) as u8).collect()
    }

    fn write_out(out: &mut Output, pool: &mut BlockPool, most: usize) -> Vec<u8> {
        let mut seen = Vec::new();
        while !out.is_empty() {
            let n = out.bytes().len().min(most);
            seen.extend_from_slice(&out.bytes()[..n]);
            out.consume(pool, n);
        }
        seen
    }

    #[test]
    fn output_takes_what_must_not_be_split_and_reports_no_room_until_one_block_is_left() {
        let mut pool = BlockPool::new(1);
        let mut out = Output::default();
        let bytes = numbered(100_000);
        out.push(&mut pool, &bytes[..50_000]);
        out.push(&mut pool, &bytes[50_000..]);
        assert_eq!((out.len(), out.room(), pool.lent()), (100_000, 0, 4));
        assert!(write_out(&mut out, &mut pool, 777) == bytes);
        assert_eq!((out.room(), pool.lent(), out.len()), (BLOCK, 0, 0));
    }

    #[test]
    fn output_holds_further_blocks_as_far_as_memory_is_reserved_and_gives_both_back() {
        let (mut pool, memory) = (BlockPool::new(9), BufferMemory::default().limited(2 * BLOCK));
        let mut out = Output::default();
        let bytes = numbered(3 * BLOCK);
        out.push(&mut pool, &bytes[..BLOCK]);
        assert_eq!(out.room(), 0);
        assert!(out.reserve(&memory) && out.reserve(&memory) && !out.reserve(&memory));
        assert_eq!((out.room(), out.reserved(), pool.lent()), (2 * BLOCK, 2 * BLOCK, 1));
        for piece in bytes[BLOCK..].chunks(1000) {
            out.push(&mut pool, piece);
        }
        assert_eq!((out.room(), out.len(), pool.lent()), (0, bytes.len(), 3));
        out.consume(&mut pool, 10);
        assert_eq!((out.room(), memory.used()), (0, 2 * BLOCK), "room in front is none");
        out.consume(&mut pool, BLOCK - 10);
        assert_eq!((out.bytes().len(), memory.used(), pool.lent()), (BLOCK, BLOCK, 2));
        assert!(write_out(&mut out, &mut pool, 777) == bytes[BLOCK..]);
        assert_eq!((out.room(), memory.used(), pool.lent()), (BLOCK, 0, 0));
    }

    #[test]
    fn reserved_room_that_was_not_used_is_given_back_with_the_block_before_it() {
        let (mut pool, memory) = (BlockPool::new(9), BufferMemory::default());
        let mut out = Output::default();
        out.push(&mut pool, &[1; BLOCK]);
        assert!(out.reserve(&memory));
        out.consume(&mut pool, BLOCK);
        assert_eq!((out.is_empty(), memory.used(), pool.lent()), (true, 0, 0));
        out.push(&mut pool, &[1; BLOCK]);
        assert!(out.reserve(&memory));
        out.push(&mut pool, &[2; 5]);
        out.clear(&mut pool);
        assert_eq!((out.is_empty(), memory.used(), pool.lent()), (true, 0, 0));
        assert!(!out.reserve(&memory), "there is room without");
    }

    #[test]
    fn bytes_of_an_output_stay_in_order_whatever_is_reserved_pushed_and_written() {
        let (mut pool, memory) = (BlockPool::new(1), BufferMemory::default().limited(5 * BLOCK));
        let mut out = Output::default();
        let (mut next_in, mut next_out) = (0u64, 0u64);
        for round in 0..20_000u64 {
            if round % 3 == 0 && out.room() == 0 {
                out.reserve(&memory);
            }
            let most = if round % 97 == 0 { usize::MAX } else { out.room() };
            let want = ((round * 7919 % 40_000) as usize).min(most);
            let bytes: Vec<u8> = (next_in..next_in + want as u64).map(|i| (i % 251) as u8).collect();
            next_in += want as u64;
            out.push(&mut pool, &bytes);
            let take = ((round * 104_729 % 30_001) as usize).min(out.bytes().len());
            for (i, byte) in out.bytes()[..take].iter().enumerate() {
                assert_eq!(*byte, ((next_out + i as u64) % 251) as u8);
            }
            out.consume(&mut pool, take);
            next_out += take as u64;
            assert_eq!(out.len() as u64, next_in - next_out);
        }
        assert!(next_out > 10_000_000);
        out.clear(&mut pool);
        assert_eq!((memory.used(), pool.lent()), (0, 0));
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
