//! The lingering close (RFC 9112 section 9.6): closing while a client is still sending causes a reset, which can
//! destroy the last response. So rsp shuts down its write side first, then reads and drops input, then closes.
//!
//! It is bounded in three ways. Total time and gap are a third of nginx's (lingering_time 30 s, lingering_timeout 5 s),
//! since the connection counts against `max_connections`. The byte limit is what a fast, distant client can have in
//! flight before it sees the response (1 Gbit/s at 0.13 s): less would reset valid uploads. A block is held only within
//! a turn.

use crate::exchange::counters::ConnectionEnd;
use crate::net::{Network, Transport};
use crate::worker::conn::connection::WriteEnd;
use crate::worker::conn::table::ClientKey;
use crate::worker::core::{Core, Step};

const TOTAL: u64 = 10_000_000;
pub const GAP: u64 = 2_000_000;
const BYTES: u64 = 16 * 1024 * 1024;
/// Reads per turn.
const READS: usize = 8;

#[derive(Clone, Copy, Debug)]
pub struct Lingering {
    until: u64,
    /// Bytes that may still be read and dropped.
    left: u64,
}

impl Lingering {
    /// Returns when lingering ends if nothing is read after `read_at`, in microseconds.
    pub fn ends(&self, read_at: u64) -> u64 {
        self.until.min(read_at.saturating_add(GAP))
    }
}

impl<N: Network> Core<N> {
    /// Shuts down the write side and closes without waiting. Input that has arrived is dropped first: closing a socket
    /// with unread bytes resets it, and the client may lose the response.
    pub(crate) fn close_without_linger(&mut self, key: ClientKey) -> Step {
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

    /// Shuts down the write side after the response is written.
    pub(crate) fn begin_linger(&mut self, key: ClientKey) -> Step {
        let client = &mut self.clients[key];
        client.write_end = WriteEnd::Wanted;
        // This fails if the peer is already gone; the next read reports that.
        let _ = client.flush(&mut self.tools.blocks, self.tools.now);
        client.read_at = self.tools.now;
        client.role.set_lingering(Lingering { until: self.tools.now + TOTAL, left: BYTES });
        Step::Again
    }

    /// Reads and drops input within the bounds.
    pub(crate) fn linger(&mut self, key: ClientKey) -> Step {
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

    /// The client kept sending past the bounds.
    pub(crate) fn end_linger(&mut self, key: ClientKey) -> Step {
        self.counters.connection_ended(ConnectionEnd::Lingered);
        self.close_client(key)
    }
}
