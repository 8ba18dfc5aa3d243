//! A body's pieces on their way out: large ones straight to the socket from where they were read, small ones, and
//! what the kernel does not take, through the output, in order.

use std::io::{self, IoSlice};

use crate::base::buffer::BlockPool;
use crate::net::Transport;
use crate::worker::conn::connection::Connection;

/// Body pieces from this size on go to the socket from where they were read; smaller ones are copied behind the
/// head, so that one write takes both.
const DIRECT_MIN: usize = 4096;

impl<S: Transport, R> Connection<S, R> {
    /// Passes a piece of a body on with its framing, straight from `body` where that saves a copy; not where `more`
    /// was read behind it, since the copy costs less than a second write. The caller has made sure of room for all of
    /// it, so what the kernel does not take now is kept.
    #[inline(always)]
    pub fn send_body(
        &mut self,
        blocks: &mut BlockPool,
        parts: [&[u8]; 3],
        more: bool,
        now: u64,
    ) -> io::Result<()> {
        debug_assert!(self.output.room() >= parts.iter().map(|part| part.len()).sum());
        if parts[1].len() >= DIRECT_MIN && self.writable && !more && !self.stream.wants_write() {
            let taken = self.send_now(blocks, parts, now)?;
            self.keep_rest(blocks, parts, taken);
            return Ok(());
        }
        let [before, body, after] = parts;
        if !before.is_empty() {
            self.output.push(blocks, before);
        }
        self.output.push(blocks, body);
        if !after.is_empty() {
            self.output.push(blocks, after);
        }
        Ok(())
    }

    /// Straight from where the body was read. Says how much of the parts went.
    #[inline(never)]
    fn send_now(
        &mut self,
        blocks: &mut BlockPool,
        [before, body, after]: [&[u8]; 3],
        now: u64,
    ) -> io::Result<usize> {
        let waiting = self.output.bytes();
        let parts = [waiting, before, body, after];
        let sent = self.stream.send_parts(&parts.map(IoSlice::new));
        let waiting = waiting.len();
        let n = self.sent(sent, now)?;
        self.output.consume(blocks, n.min(waiting));
        Ok(n - n.min(waiting))
    }

    #[inline(never)]
    fn keep_rest(&mut self, blocks: &mut BlockPool, parts: [&[u8]; 3], mut taken: usize) {
        let mut keep = |part: &[u8]| {
            let gone = taken.min(part.len());
            taken -= gone;
            if gone < part.len() {
                self.output.push(blocks, &part[gone..]);
            }
        };
        let [before, body, after] = parts;
        keep(before);
        keep(body);
        keep(after);
    }
}
