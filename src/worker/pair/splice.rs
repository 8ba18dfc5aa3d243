//! Passes large bodies of known length through a pipe: splice(2) from one socket into the pipe and from the pipe into
//! the other. Only the codecs' byte counts are updated.
//!
//! `WouldBlock` from splice is ambiguous: the socket is empty or the pipe is full; and a short splice says nothing
//! about the socket. So a pipe is filled only when it is empty, and only `WouldBlock` clears readiness. Bodies are
//! copied wherever splice does not apply: bytes already read (checked by the callers), unsent output, too few bytes
//! left, no pipe, a transport that transforms the bytes.
//!
//! Nothing is corked (SPLICE_F_MORE, MSG_MORE): if a server paused within a body, the client would wait up to 0.2 s for
//! bytes already here. A head is sent with the bytes read with it, in one write.

use std::io::{self, ErrorKind};

use crate::base::buffer::BLOCK;
use crate::base::os_error::os_error;
use crate::exchange::{Failure, ResponseHalf};
use crate::http::Codec;
use crate::net::{Either, Transport};
use crate::worker::conn::backend::Backend;
use crate::worker::conn::client::Client;
use crate::worker::conn::connection::{Connection, CountsTraffic};
use crate::worker::pair::Pair;
use crate::worker::pair::closed::{client_gone, closed_early, is_cut};
use crate::worker::pair::pipes::Pipes;
use crate::worker::pair::pump::Tools;

/// Bytes moved in one step: a pipe's capacity. Then the other direction runs. (Half of it costs a tenth more per byte,
/// twice of it saves nothing.)
const SPLICE_BYTES: u64 = 256 * 1024;

/// The result of one splice.
pub enum SpliceResult {
    /// Not possible: copy.
    No,
    /// The socket is empty.
    Empty,
    Moved,
}

/// Server to client.
pub fn response<S: Transport>(
    client: &mut Client<S>,
    backend: &mut Backend<S>,
    pair: &mut Pair,
    tools: &mut Tools<S>,
) -> Result<SpliceResult, Failure> {
    let left = backend.role.codec.known_rest(pair.target);
    match fit(backend, client, left, &tools.pipes) {
        Eligibility::Not => return Ok(SpliceResult::No),
        _ if pair.reads_rest_ahead(left) => return Ok(SpliceResult::No),
        Eligibility::Later => return Ok(SpliceResult::Empty),
        Eligibility::Now => {}
    }
    tools.reads += 1;
    let received = fill(backend, client, left, &mut tools.pipes, tools.now);
    let n = match received.map_err(|_| closed_early(pair))? {
        Received::Bytes(n) => n,
        Received::End if is_cut(backend, pair) => return Err(closed_early(pair)),
        other => return Ok(other.result()),
    };
    pair.exchange.sent += n as u64;
    backend.role.received(n, &mut tools.blocks.traffic);
    client.role.codec.frame_body(pair.source, n);
    client.flush(&mut tools.blocks, tools.now).map_err(|_| Failure::ClientGone)?;
    if backend.role.codec.pass(pair.target, n as u64) {
        pair.exchange.response = ResponseHalf::Done;
    }
    Ok(SpliceResult::Moved)
}

/// Client to server. A failed write is detected by the flush that follows.
pub fn request<S: Transport>(
    client: &mut Client<S>,
    backend: &mut Backend<S>,
    pair: &mut Pair,
    tools: &mut Tools<S>,
) -> Result<SpliceResult, Failure> {
    let left = client.role.codec.known_rest(pair.source);
    match fit(client, backend, left, &tools.pipes) {
        Eligibility::Not => return Ok(SpliceResult::No),
        Eligibility::Later => return Ok(SpliceResult::Empty),
        Eligibility::Now => {}
    }
    tools.reads += 1;
    let received = fill(client, backend, left, &mut tools.pipes, tools.now);
    let n = match received.map_err(|_| client_gone(pair))? {
        Received::Bytes(n) => n,
        other => return Ok(other.result()),
    };
    pair.exchange.received += n as u64;
    client.role.received(n, &mut tools.blocks.traffic);
    backend.role.codec.frame_body(pair.target, n);
    pair.exchange.take_body(client.role.codec.pass(pair.source, n as u64));
    Ok(SpliceResult::Moved)
}

/// What became of bytes without framing.
pub enum Unframed {
    Bytes(usize),
    /// Interrupted by a signal.
    Again,
    /// The other side must take what it has first.
    Later,
    /// Nothing is there, or no more will come, or splice is not possible.
    Over,
}

/// One direction of a connection that is passed through. The caller checks that nothing is buffered.
pub fn unframed<S: Transport, A: CountsTraffic, B: CountsTraffic>(
    from: &mut Connection<Either<S>, A>,
    to: &mut Connection<Either<S>, B>,
    tools: &mut Tools<S>,
) -> io::Result<Unframed> {
    match fit(from, to, u64::MAX, &tools.pipes) {
        Eligibility::Not => return Ok(Unframed::Over),
        Eligibility::Later => return Ok(Unframed::Later),
        Eligibility::Now => {}
    }
    tools.reads += 1;
    Ok(match fill(from, to, u64::MAX, &mut tools.pipes, tools.now)? {
        Received::Bytes(n) => Unframed::Bytes(n),
        Received::Again => Unframed::Again,
        Received::Nothing | Received::End | Received::NoPipe => Unframed::Over,
    })
}

enum Eligibility {
    /// Copy.
    Not,
    /// Wait until the output of `to` is flushed: copying more behind it would only delay that.
    Later,
    Now,
}

/// Decides whether the next `left` bytes of `from` can be spliced to `to`. The caller checks that none are buffered.
fn fit<S: Transport, A: CountsTraffic, B: CountsTraffic>(
    from: &Connection<S, A>,
    to: &Connection<S, B>,
    left: u64,
    pipes: &Pipes<S::Pipe>,
) -> Eligibility {
    let worth = pipes.least.is_some_and(|least| left >= least_to_splice(least, to.pipe.is_some()))
        && from.stream.can_splice()
        && to.stream.can_splice();
    match worth {
        false => Eligibility::Not,
        // In both cases the next event is that `to` is writable.
        true if !to.writable || !to.is_flushed() => Eligibility::Later,
        true => Eligibility::Now,
    }
}

/// Returns the least number of remaining bytes to splice. Once a body is spliced, only what one read can copy is not:
/// that read is short and so finds the socket empty, which a splice would leave unknown.
fn least_to_splice(least: u64, begun: bool) -> u64 {
    if begun { least.clamp(1, BLOCK as u64) } else { least.max(1) }
}

enum Received {
    Bytes(usize),
    End,
    Nothing,
    /// Interrupted by a signal.
    Again,
    /// No pipe, or these sockets cannot splice.
    NoPipe,
}

impl Received {
    fn result(self) -> SpliceResult {
        match self {
            Received::Nothing => SpliceResult::Empty,
            Received::NoPipe => SpliceResult::No,
            Received::Bytes(_) | Received::End | Received::Again => SpliceResult::Moved,
        }
    }
}

/// Splices from a socket into the other connection's pipe.
fn fill<S: Transport, A: CountsTraffic, B: CountsTraffic>(
    from: &mut Connection<S, A>,
    to: &mut Connection<S, B>,
    left: u64,
    pipes: &mut Pipes<S::Pipe>,
    now: u64,
) -> io::Result<Received> {
    if !from.readable {
        return Ok(Received::Nothing);
    }
    let Some(mut held) = to.pipe.take().or_else(|| pipes.borrow(S::new_pipe)) else {
        return Ok(Received::NoPipe);
    };
    let received = from.stream.splice_in(&mut held.pipe, left.min(SPLICE_BYTES) as usize);
    held.bytes = *received.as_ref().unwrap_or(&0);
    to.pipe = Some(held);
    match received {
        Ok(0) => {
            (from.eof, from.readable) = (true, false);
            Ok(Received::End)
        }
        Ok(n) => {
            from.read_at = now;
            Ok(Received::Bytes(n))
        }
        Err(error) => refused(from, error, pipes),
    }
}

/// Maps an error of splice.
fn refused<S: Transport, A>(
    from: &mut Connection<S, A>,
    error: io::Error,
    pipes: &mut Pipes<S::Pipe>,
) -> io::Result<Received> {
    match error.kind() {
        ErrorKind::Interrupted => Ok(Received::Again),
        // The kernel cannot splice these sockets: copy from now on.
        ErrorKind::InvalidInput | ErrorKind::Unsupported => {
            pipes.give_up();
            log::warn!("splice is not possible here, bodies are copied from now on: {}", os_error(&error));
            Ok(Received::NoPipe)
        }
        ErrorKind::WouldBlock => {
            from.readable = false;
            Ok(Received::Nothing)
        }
        _ => {
            from.readable = false;
            Err(error)
        }
    }
}
