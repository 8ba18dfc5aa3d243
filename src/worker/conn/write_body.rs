//! Writing body bytes: large pieces go to the socket directly from the read buffer; small ones, and what the kernel
//! does not take, go through the output, in order.

use std::io::{self, IoSlice};

use crate::base::buffer::BlockPool;
use crate::net::Transport;
use crate::worker::conn::connection::{Connection, CountsTraffic};

/// Body pieces of at least this many bytes are written directly from the read buffer; smaller ones are copied behind
/// the head, so that one write sends both.
const DIRECT_MIN: usize = 4096;

impl<S: Transport, R: CountsTraffic> Connection<S, R> {
    /// Sends a piece of a body with its framing, directly from `body` where that saves a copy; not if `more` follows,
    /// since a copy costs less than a second write. The caller has checked that the output has room for all of it, so
    /// unsent bytes are buffered.
    pub fn send_body(
        &mut self,
        blocks: &mut BlockPool,
        parts: [&[u8]; 3],
        more: bool,
        now: u64,
    ) -> io::Result<()> {
        debug_assert!(self.output.room() >= parts.iter().map(|part| part.len()).sum());
        let direct = parts[1].len() >= DIRECT_MIN && self.writable && !more && !self.stream.wants_write();
        if direct && self.output.is_one_piece() {
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

    /// Writes the parts directly from the read buffer. Returns how many of their bytes were written.
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
        self.role.sent(n, &mut blocks.traffic);
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
