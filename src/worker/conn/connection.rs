//! One connection, client or backend: the socket, its buffered input and output, and its epoll readiness.
//!
//! Readiness is edge-triggered and stored here: an event only sets a flag; `WouldBlock` clears it. A short `recv` also
//! clears it, except after the peer's close was reported, since data and FIN can arrive as one edge. Interest is
//! derived, not stored: write while `output` holds bytes, read while `input` has room.

use std::io::{self, ErrorKind};

use crate::base::buffer::{BlockPool, Buffer, Output, Traffic};
use crate::http::Sink;
use crate::net::Transport;
use crate::worker::conn::table::HasGeneration;
use crate::worker::pair::pipes::HeldPipe;

/// Upper bound of the framing added to one piece of a body (a chunk's size line and its end), in bytes.
pub const FRAME_MAX: usize = 24;

/// Bytes of a block that the first read leaves free, so that body bytes read with a head fit into the other side's
/// output together with the rewritten head, in one write.
const LEEWAY: usize = 1024;

/// Reads that may find nothing of a message on an idle connection.
const LOOKS: usize = 8;

/// Shutdown of our write side: requested by a half-closed tunnel, done once the output is empty.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum WriteEnd {
    #[default]
    Open,
    Wanted,
    Done,
}

pub struct Connection<S: Transport, R> {
    pub stream: S,
    /// State specific to a client or a backend.
    pub role: R,
    pub input: Buffer,
    pub output: Output,
    /// A pipe with bytes that follow those of `output`; nothing is added to `output` until it is empty.
    pub pipe: Option<Box<HeldPipe<S::Pipe>>>,
    pub readable: bool,
    pub writable: bool,
    /// The peer's close was reported: read until 0 or an error.
    pub read_closed: bool,
    /// A read returned 0.
    pub eof: bool,
    /// Both directions are closed (EPOLLHUP or an error).
    pub hung_up: bool,
    pub write_end: WriteEnd,
    /// The connection is in the ready queue.
    pub queued: bool,
    /// When bytes were last read, and last written (or a write began to block). Microseconds.
    pub read_at: u64,
    pub write_at: u64,
    /// Unacknowledged bytes when the kernel was last asked.
    unacknowledged: u32,
    /// Generation of the connection's slot, stored here because it takes no extra memory (see `table`).
    generation: u32,
}

impl<S: Transport, R> HasGeneration for Connection<S, R> {
    fn generation(&mut self) -> &mut u32 {
        &mut self.generation
    }

    fn has_generation(&self) -> u32 {
        self.generation
    }
}

/// Counts the bytes of one side of a pair.
pub trait CountsTraffic {
    fn received(&self, bytes: usize, traffic: &mut Traffic);
    fn sent(&mut self, bytes: usize, traffic: &mut Traffic);
}

impl<S: Transport, R: CountsTraffic> Connection<S, R> {
    pub fn new(stream: S, role: R, writable: bool, now: u64) -> Connection<S, R> {
        Connection {
            stream,
            role,
            input: Buffer::default(),
            output: Output::default(),
            pipe: None,
            readable: false,
            writable,
            read_closed: false,
            eof: false,
            hung_up: false,
            write_end: WriteEnd::Open,
            queued: false,
            read_at: now,
            write_at: now,
            unacknowledged: 0,
            generation: 0,
        }
    }

    /// Returns true if nothing is buffered and nothing can be read without an event.
    #[inline]
    pub fn is_silent(&self) -> bool {
        !self.readable && self.input.is_empty() && !self.eof
    }

    /// Reads once if the socket is readable and `input` has room. Returns true if bytes or an end of stream arrived.
    #[inline]
    pub fn fill(&mut self, blocks: &mut BlockPool, now: u64) -> io::Result<bool> {
        if !self.readable || self.eof || self.input.room() == 0 {
            return Ok(false);
        }
        self.read(blocks, now)
    }

    fn read(&mut self, blocks: &mut BlockPool, now: u64) -> io::Result<bool> {
        let (stream, mut space) = (&mut self.stream, 0);
        let leeway = if self.input.is_empty() { LEEWAY } else { 0 };
        let received = self.input.fill(blocks, |free| {
            space = free.len() - leeway;
            stream.recv(&mut free[..space])
        });
        match received {
            Ok(0) => {
                self.eof = true;
                self.readable = false;
                Ok(true)
            }
            Ok(n) => {
                if n < space && !self.read_closed && self.stream.short_recv_is_empty() {
                    self.readable = false;
                }
                self.read_at = now;
                self.role.received(n, &mut blocks.traffic);
                Ok(true)
            }
            Err(error) => self.not_received(error),
        }
    }

    /// `WouldBlock` and `Interrupted` are not errors.
    fn not_received(&mut self, error: io::Error) -> io::Result<bool> {
        match error.kind() {
            ErrorKind::WouldBlock => {
                self.readable = false;
                Ok(false)
            }
            ErrorKind::Interrupted => Ok(true),
            _ => {
                self.readable = false;
                Err(error)
            }
        }
    }

    /// Writes the output until the socket would block. Returns true if anything was written.
    #[inline]
    pub fn flush(&mut self, blocks: &mut BlockPool, now: u64) -> io::Result<bool> {
        if self.is_flushed() && self.write_end != WriteEnd::Wanted {
            return Ok(false);
        }
        self.write(blocks, now)
    }

    fn write(&mut self, blocks: &mut BlockPool, now: u64) -> io::Result<bool> {
        let mut moved = false;
        while self.writable {
            if self.stream.wants_write() {
                moved |= self.flush_stream(now)?;
                continue;
            }
            if self.output.is_empty() {
                break;
            }
            let sent = self.stream.send(self.output.bytes());
            let n = self.sent(sent, now)?;
            self.role.sent(n, &mut blocks.traffic);
            self.output.consume(blocks, n);
            moved |= n > 0;
        }
        if self.pipe.is_some() {
            moved |= self.flush_pipe(blocks, now)?;
        }
        if self.write_end == WriteEnd::Wanted && self.is_flushed() {
            self.end_writing(now)?;
            moved = true;
        }
        Ok(moved)
    }

    /// Nothing follows the output: the write side is shut down once it is flushed.
    pub fn end_output(&mut self) {
        if self.write_end == WriteEnd::Open {
            self.write_end = WriteEnd::Wanted;
        }
    }

    /// Shuts down the write side, after what the transport still has to send.
    fn end_writing(&mut self, now: u64) -> io::Result<()> {
        self.write_end = WriteEnd::Done;
        // This fails if the peer is already gone; the next read reports that.
        let _ = self.stream.shutdown_write();
        if self.stream.wants_write() {
            self.flush_stream(now)?;
        }
        Ok(())
    }

    /// Returns true if the kernel has taken all output.
    pub fn is_flushed(&self) -> bool {
        self.output.is_empty()
            && self.pipe.as_ref().is_none_or(|held| held.bytes == 0)
            && !self.stream.wants_write()
    }

    /// Flushes bytes buffered inside the transport.
    fn flush_stream(&mut self, now: u64) -> io::Result<bool> {
        loop {
            match self.stream.flush() {
                Ok(()) => {
                    self.write_at = now;
                    return Ok(true);
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return self.not_sent(error, now).map(|_| false),
            }
        }
    }

    /// Continues the transport's handshake. Returns true once it is complete.
    #[inline]
    pub fn is_established(&mut self) -> io::Result<bool> {
        if self.stream.is_established() { Ok(true) } else { self.handshake() }
    }

    fn handshake(&mut self) -> io::Result<bool> {
        loop {
            match self.stream.handshake() {
                Ok(()) => break,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    // Continued by the next event.
                    (self.readable, self.writable) = (false, false);
                    return Ok(false);
                }
                Err(error) => return Err(error),
            }
        }
        // Bytes after the handshake may already be buffered, without another event.
        (self.readable, self.writable) = (true, true);
        Ok(true)
    }

    /// Returns true if an idle connection has received no message bytes. Records the transport reads for itself (TLS
    /// tickets) do not count.
    pub fn is_still_idle(&mut self) -> bool {
        if self.hung_up || self.read_closed || !self.input.is_empty() {
            return false;
        }
        for _ in 0..LOOKS {
            if !self.readable {
                return true;
            }
            match self.stream.recv(&mut [0; 1]) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => self.readable = false,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Ok(_) | Err(_) => return false,
            }
        }
        // It keeps sending what means nothing.
        !self.readable
    }

    /// Returns the number of body bytes that may be added now.
    pub fn room(&self) -> usize {
        match &self.pipe {
            Some(held) if held.bytes > 0 => 0,
            _ => self.output.room().saturating_sub(FRAME_MAX),
        }
    }

    #[inline(never)]
    fn flush_pipe(&mut self, blocks: &mut BlockPool, now: u64) -> io::Result<bool> {
        let mut moved = false;
        while self.writable && self.output.is_empty() {
            let Some(held) = self.pipe.as_mut().filter(|held| held.bytes > 0) else { break };
            let sent = self.stream.splice_out(&mut held.pipe, held.bytes);
            let n = self.sent(sent, now)?;
            self.role.sent(n, &mut blocks.traffic);
            if let Some(held) = &mut self.pipe {
                held.bytes -= n;
            }
            moved |= n > 0;
        }
        Ok(moved)
    }

    /// Counts kernel-side progress as activity: the kernel buffers megabytes for a slow peer and does not report
    /// writability until a third has drained. Called when a write deadline is near.
    pub fn note_progress(&mut self, now: u64) {
        let unacknowledged = u32::try_from(self.stream.unacknowledged()).unwrap_or(u32::MAX);
        if std::mem::replace(&mut self.unacknowledged, unacknowledged) != unacknowledged {
            self.write_at = now;
        }
    }

    /// Returns the bytes written for the peer but not acknowledged; the kernel's part as of the last `note_progress`.
    pub fn untaken(&self) -> usize {
        self.output.len() + self.unacknowledged as usize + self.pipe.as_ref().map_or(0, |held| held.bytes)
    }

    /// Maps `Interrupted` and `WouldBlock` to 0. The latter clears `writable` and sets `write_at`.
    pub(crate) fn sent(&mut self, sent: io::Result<usize>, now: u64) -> io::Result<usize> {
        match sent {
            Ok(0) => Err(ErrorKind::WriteZero.into()),
            Ok(n) => {
                self.write_at = now;
                Ok(n)
            }
            Err(error) => self.not_sent(error, now),
        }
    }

    fn not_sent(&mut self, error: io::Error, now: u64) -> io::Result<usize> {
        match error.kind() {
            ErrorKind::WouldBlock => {
                self.writable = false;
                // The write timeout starts now.
                self.write_at = now;
                Ok(0)
            }
            ErrorKind::Interrupted => Ok(0),
            _ => Err(error),
        }
    }

    /// Tells the peer, with TLS, that all was sent, if it was; where something is left, it is to see a cut. Returns false if that
    /// still has to be written.
    pub fn send_close_notify(&mut self) -> bool {
        !self.is_flushed() || self.stream.farewell()
    }

    /// Returns all blocks to the pool before the connection is dropped.
    pub fn discard(&mut self, blocks: &mut BlockPool) {
        self.input.clear(blocks);
        self.clear_output(blocks);
    }

    /// Discards unwritten output.
    pub fn clear_output(&mut self, blocks: &mut BlockPool) {
        self.output.clear(blocks);
        self.pipe = None;
    }
}

/// A `Sink` that lets a codec write into a connection's output.
pub struct OutputSink<'a> {
    pub output: &'a mut Output,
    pub blocks: &'a mut BlockPool,
}

impl Sink for OutputSink<'_> {
    fn put(&mut self, bytes: &[u8]) {
        self.output.push(self.blocks, bytes);
    }

    fn fill(&mut self, write: impl FnOnce(&mut [u8]) -> Option<usize>) -> bool {
        self.output.fill(self.blocks, write)
    }
}
