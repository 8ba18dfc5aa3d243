//! One connection of either side: the socket, what was read and not understood, what is to be written, and what
//! epoll said about it.
//!
//! Readiness is edge-triggered and remembered here: an event only sets a flag; `WouldBlock` clears it; a short
//! `recv` clears it too, but not once the peer's close was seen, since data and FIN can come as one edge.
//! What is wanted is never stored: there is something to write while `output` holds bytes, and something may be
//! read while `input` has room.

use std::io::{self, ErrorKind};

use crate::base::buffer::{BlockPool, Buffer, Output};
use crate::http::Sink;
use crate::net::Transport;
use crate::worker::conn::table::Slot;
use crate::worker::pair::pipes::Held;

/// The most that framing adds around one piece of a body (a chunk's size line and its end).
pub const FRAME_MAX: usize = 24;

/// A first read leaves so much of its block free: what came with a head then fits into the other side's output with
/// the head as rewritten, and goes with it in one write, without a few bytes that need a write of their own.
const LEEWAY: usize = 1024;

/// Our end of what we send: asked for by a half-closed tunnel, done once the output is empty.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum WriteEnd {
    #[default]
    Open,
    Wanted,
    Done,
}

pub struct Connection<S: Transport, R> {
    pub stream: S,
    /// What it is for: a client's side or a backend's.
    pub role: R,
    pub input: Buffer,
    pub output: Output,
    /// A pipe with bytes that follow those of `output`; nothing is added to `output` while it holds any.
    pub spliced: Option<Box<Held<S::Pipe>>>,
    pub readable: bool,
    pub writable: bool,
    /// The peer's close was reported: read until 0 or an error.
    pub read_closed: bool,
    /// 0 was read.
    pub eof: bool,
    /// Both directions are gone (EPOLLHUP or an error).
    pub hung_up: bool,
    pub write_end: WriteEnd,
    /// It stands in the turn queue.
    pub queued: bool,
    /// When bytes last came in, and last went out (or began to wait for the kernel). Microseconds.
    pub read_at: u64,
    pub write_at: u64,
    /// What the kernel held for the peer when it was last asked.
    held: u32,
    /// Its slot's: here, because there is room (`table`).
    generation: u32,
}

impl<S: Transport, R> Slot for Connection<S, R> {
    fn generation(&mut self) -> &mut u32 {
        &mut self.generation
    }
}

impl<S: Transport, R> Connection<S, R> {
    pub fn new(stream: S, role: R, writable: bool, now: u64) -> Connection<S, R> {
        Connection {
            stream,
            role,
            input: Buffer::default(),
            output: Output::default(),
            spliced: None,
            readable: false,
            writable,
            read_closed: false,
            eof: false,
            hung_up: false,
            write_end: WriteEnd::Open,
            queued: false,
            read_at: now,
            write_at: now,
            held: 0,
            generation: 0,
        }
    }

    /// Nothing of what it sent is here, and nothing more can be had without an event.
    #[inline]
    pub fn is_silent(&self) -> bool {
        !self.readable && self.input.is_empty() && !self.eof
    }

    /// Reads once if epoll said there is something and there is room. True if anything came, an end included.
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
                Ok(true)
            }
            Err(error) => self.not_received(error),
        }
    }

    /// "Not now" and "again" are no errors.
    #[cold]
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

    /// Writes what is there until the kernel takes no more. True if it took anything.
    #[inline]
    pub fn flush(&mut self, blocks: &mut BlockPool, now: u64) -> io::Result<bool> {
        if self.is_flushed() && self.write_end != WriteEnd::Wanted {
            return Ok(false);
        }
        self.write(blocks, now)
    }

    fn write(&mut self, blocks: &mut BlockPool, now: u64) -> io::Result<bool> {
        let mut moved = false;
        while self.writable && (!self.output.is_empty() || self.stream.wants_write()) {
            if self.stream.wants_write() {
                moved |= self.flush_stream(now)?;
                continue;
            }
            let sent = self.stream.send(self.output.bytes());
            let n = self.sent(sent, now)?;
            self.output.consume(blocks, n);
            moved |= n > 0;
        }
        if self.spliced.is_some() {
            moved |= self.flush_spliced(now)?;
        }
        if self.write_end == WriteEnd::Wanted && self.is_flushed() {
            self.end_writing(now)?;
            moved = true;
        }
        Ok(moved)
    }

    /// What a transport still says before its end goes first.
    fn end_writing(&mut self, now: u64) -> io::Result<()> {
        self.write_end = WriteEnd::Done;
        // A peer that is gone already makes this fail; reading will say so.
        let _ = self.stream.shutdown_write();
        if self.stream.wants_write() {
            self.flush_stream(now)?;
        }
        Ok(())
    }

    /// Everything was taken by the kernel.
    pub fn is_flushed(&self) -> bool {
        self.output.is_empty()
            && self.spliced.as_ref().is_none_or(|held| held.bytes == 0)
            && !self.stream.wants_write()
    }

    /// Passes on what the transport holds back.
    #[cold]
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

    /// Goes on with the transport's handshake, if that is not over. True once it is.
    #[inline]
    pub fn is_established(&mut self) -> io::Result<bool> {
        if self.stream.is_established() { Ok(true) } else { self.handshake() }
    }

    #[cold]
    fn handshake(&mut self) -> io::Result<bool> {
        loop {
            match self.stream.handshake() {
                Ok(()) => break,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    // The next event goes on with it.
                    (self.readable, self.writable) = (false, false);
                    return Ok(false);
                }
                Err(error) => return Err(error),
            }
        }
        // What came behind the handshake may be here already, without another event.
        (self.readable, self.writable) = (true, true);
        Ok(true)
    }

    /// Nothing of a message was received on a connection that waits for its next request: what a transport sends for
    /// itself (TLS tickets) is read and is none.
    #[cold]
    pub fn is_still_idle(&mut self) -> bool {
        if self.hung_up || self.read_closed || !self.input.is_empty() {
            return false;
        }
        while self.readable {
            match self.stream.recv(&mut [0; 1]) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => self.readable = false,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Ok(_) | Err(_) => return false,
            }
        }
        true
    }

    /// How many body bytes may be added now.
    pub fn room(&self) -> usize {
        match &self.spliced {
            Some(held) if held.bytes > 0 => 0,
            _ => self.output.room().saturating_sub(FRAME_MAX),
        }
    }

    #[inline(never)]
    fn flush_spliced(&mut self, now: u64) -> io::Result<bool> {
        let mut moved = false;
        while self.writable && self.output.is_empty() {
            let Some(held) = self.spliced.as_mut().filter(|held| held.bytes > 0) else { break };
            let sent = self.stream.splice_out(&mut held.pipe, held.bytes);
            let n = self.sent(sent, now)?;
            if let Some(held) = &mut self.spliced {
                held.bytes -= n;
            }
            moved |= n > 0;
        }
        Ok(moved)
    }

    /// The kernel holds megabytes for a slow peer and is not writable again until a third of them has gone: a
    /// peer that takes them, however slowly, is at work. Asked when a deadline for writing is near.
    pub fn note_progress(&mut self, now: u64) {
        let held = u32::try_from(self.stream.unacknowledged()).unwrap_or(u32::MAX);
        if std::mem::replace(&mut self.held, held) != held {
            self.write_at = now;
        }
    }

    /// Bytes for the peer that it has not taken, as far as is known: the kernel's part as of `note_progress`.
    pub fn untaken(&self) -> usize {
        self.output.len() + self.held as usize + self.spliced.as_ref().map_or(0, |held| held.bytes)
    }

    /// Makes 0 of "again" and of "not now", which clears `writable` and remembers since when nothing is taken.
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

    #[cold]
    fn not_sent(&mut self, error: io::Error, now: u64) -> io::Result<usize> {
        match error.kind() {
            ErrorKind::WouldBlock => {
                self.writable = false;
                // The wait for the kernel begins now.
                self.write_at = now;
                Ok(0)
            }
            ErrorKind::Interrupted => Ok(0),
            _ => Err(error),
        }
    }

    /// Gives every block back before the connection goes.
    pub fn discard(&mut self, blocks: &mut BlockPool) {
        self.input.clear(blocks);
        self.clear_output(blocks);
    }

    /// Forgets what was still to be written.
    pub fn clear_output(&mut self, blocks: &mut BlockPool) {
        self.output.clear(blocks);
        self.spliced = None;
    }
}

/// Lets a codec write into a connection's output.
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
