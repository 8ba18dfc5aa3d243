//! The lingering close (RFC 9112 section 9.6): a client that got its last answer while it was still sending would
//! lose that answer to a reset if its bytes met a closed socket. So our side ends first, what still comes is read
//! and dropped, and only then the connection goes.
//!
//! It is bounded three ways. The total and the gap are a third of nginx's (lingering_time 30 s, lingering_timeout
//! 5 s), since such a connection counts against `max_connections`. The bytes are what a fast and far client can
//! have on its way before it can have seen the answer (1 Gbit/s and 0.13 s): less would reset honest uploads.
//! Dropping holds a block only within a turn.

use crate::exchange::counters::ConnectionEnd;
use crate::net::{Network, Transport};
use crate::worker::conn::connection::WriteEnd;
use crate::worker::core::{Core, Step};

const TOTAL: u64 = 10_000_000;
pub const GAP: u64 = 2_000_000;
const BYTES: u64 = 16 * 1024 * 1024;
/// Reads before others get their turn.
const READS: usize = 8;

#[derive(Clone, Copy, Debug)]
pub struct Lingering {
    until: u64,
    /// Bytes we are still willing to read and drop.
    left: u64,
}

impl Lingering {
    /// When it is over if nothing comes after `read_at`.
    pub fn ends(&self, read_at: u64) -> u64 {
        self.until.min(read_at.saturating_add(GAP))
    }
}

impl<N: Network> Core<N> {
    /// Ends our side and closes without waiting: what is here already of what the client sends is dropped, since a
    /// socket that is closed with bytes unread resets, and takes from the client what it has not read yet.
    #[cold]
    pub(crate) fn close_without_linger(&mut self, key: u32) -> Step {
        let client = &mut self.clients[key];
        let _ = client.stream.shutdown_write();
        for _ in 0..READS {
            client.input.clear(&mut self.tools.blocks);
            if !client.fill(&mut self.tools.blocks, self.tools.now).is_ok_and(|came| came) {
                break;
            }
        }
        self.close_client(key)
    }

    /// Ends our side; everything for the client is written.
    pub(crate) fn begin_linger(&mut self, key: u32) -> Step {
        let client = &mut self.clients[key];
        client.write_end = WriteEnd::Wanted;
        // A peer that is gone already makes this fail; reading will say so.
        let _ = client.flush(&mut self.tools.blocks, self.tools.now);
        client.read_at = self.tools.now;
        client.role.set_lingering(Lingering { until: self.tools.now + TOTAL, left: BYTES });
        Step::Again
    }

    /// Drops what came, as long as that is within the bounds.
    pub(crate) fn linger(&mut self, key: u32) -> Step {
        let client = &mut self.clients[key];
        let _ = client.flush(&mut self.tools.blocks, self.tools.now);
        for _ in 0..READS {
            let dropped = client.input.len() as u64;
            client.input.clear(&mut self.tools.blocks);
            let Some(lingering) = client.role.lingering_mut() else { return Step::Wait };
            if client.eof {
                return self.close_client(key);
            }
            if dropped > lingering.left {
                self.counters.connection_ended(ConnectionEnd::Lingered);
                return self.close_client(key);
            }
            lingering.left -= dropped;
            match client.fill(&mut self.tools.blocks, self.tools.now) {
                Ok(true) => {}
                Ok(false) => return Step::Wait,
                Err(_) => return self.close_client(key),
            }
        }
        client.input.clear(&mut self.tools.blocks);
        self.queue_client(key);
        Step::Wait
    }

    /// It went on sending for too long.
    pub(crate) fn end_linger(&mut self, key: u32) -> Step {
        self.counters.connection_ended(ConnectionEnd::Lingered);
        self.close_client(key)
    }
}
