//! The operations that the data path needs of a connection and of the network. `Stream` and `Kernel` implement them
//! with system calls, tests in memory. A filter such as TLS is a `Transport` over another one.

use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::rc::Rc;

use super::TlsInfo;
use crate::config::Endpoint;

/// One connection. No call blocks; after `WouldBlock`, readiness will be reported.
///
/// A transport may be a filter over another one (TLS): bytes accepted by `send` may be buffered inside, and `recv` may
/// return bytes read earlier. It returns `WouldBlock` only when it holds none of them.
pub trait Transport {
    /// A kernel buffer for splice(2). Closed when dropped.
    type Pipe;
    fn recv(&mut self, space: &mut [u8]) -> io::Result<usize>;
    fn send(&mut self, bytes: &[u8]) -> io::Result<usize>;
    /// Sends several pieces as one message.
    fn send_parts(&mut self, parts: &[IoSlice<'_>]) -> io::Result<usize>;
    /// Returns true if bytes accepted by `send` are buffered inside: call `flush`, and not `send`, until they are sent.
    fn wants_write(&self) -> bool {
        false
    }
    /// Sends what is buffered inside; `WouldBlock` if some is left.
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
    /// Returns true if bytes can be exchanged. Until then only `handshake` is called, with each event.
    fn is_established(&self) -> bool {
        true
    }
    /// Continues the handshake; `WouldBlock` if it can make no progress now.
    fn handshake(&mut self) -> io::Result<()> {
        Ok(())
    }
    /// Shuts down the write side after all buffered bytes; reading goes on. Its own bytes (an alert) may be buffered.
    fn shutdown_write(&mut self) -> io::Result<()>;
    /// Returns the result of a connect, once it was reported writable.
    fn connect_result(&mut self) -> io::Result<()>;
    /// Makes the following close a reset, where an orderly end would look like a complete message.
    fn reset_on_close(&mut self);
    /// Returns true if a `recv` shorter than its space has emptied the socket.
    fn short_recv_is_empty(&self) -> bool;
    fn new_pipe() -> io::Result<Self::Pipe>;
    /// Returns true if bytes can be spliced: not if a filter must transform them.
    fn can_splice(&self) -> bool;
    /// Splices up to `most` received bytes into an empty pipe; 0 is the end of the stream. Because the pipe is empty,
    /// `WouldBlock` means that nothing was received.
    fn splice_in(&mut self, pipe: &mut Self::Pipe, most: usize) -> io::Result<usize>;
    /// Splices up to `held` bytes out of the pipe.
    fn splice_out(&mut self, pipe: &mut Self::Pipe, held: usize) -> io::Result<usize>;
    /// Returns the bytes accepted by `send` that the peer has not acknowledged.
    fn unacknowledged(&self) -> usize;
    /// Called before an orderly close, when all is written: tells the peer so, as far as that needs no waiting. Returns
    /// false if that still has to be written.
    fn farewell(&mut self) -> bool {
        true
    }
    /// Begins TLS after a PROXY header, behind which these bytes were received. Returns false if the bytes are not TLS's.
    fn start_tls(&mut self, _received: &[u8]) -> io::Result<bool> {
        Ok(false)
    }
    /// Takes bytes that go out before the handshake (a PROXY header). Returns false if there is none.
    fn send_before_tls(&mut self, _bytes: &[u8]) -> bool {
        false
    }
    /// Returns true once the expensive part of a client's handshake is done.
    fn has_answered(&self) -> bool {
        false
    }
    /// Returns true for a client that speaks plain HTTP where TLS is expected: it gets a plain answer.
    fn lacks_tls(&self) -> bool {
        false
    }
    /// Returns what was agreed on in the TLS handshake.
    fn tls(&self) -> Option<&Rc<TlsInfo>> {
        None
    }
    /// Returns true if the end of the stream may be an attacker's: TLS was not ended by the peer.
    fn was_truncated(&self) -> bool {
        false
    }
    /// Returns the local address; `None` if it is not an IP address.
    fn local_address(&self) -> Option<SocketAddr> {
        None
    }
}

/// Opens connections and registers them for readiness events.
pub trait Network {
    type Stream: Transport;
    /// Starts a connect; readiness is reported under `token`.
    fn connect(&mut self, to: &Endpoint, token: u64) -> io::Result<Self::Stream>;
    /// The same, but fails rather than takes what is kept for a shortage.
    fn connect_spare(&mut self, to: &Endpoint, token: u64) -> io::Result<Self::Stream> {
        self.connect(to, token)
    }
    /// Registers an accepted connection for readiness events of both directions under `token`, once.
    fn watch(&mut self, stream: &mut Self::Stream, token: u64) -> io::Result<()>;
}
