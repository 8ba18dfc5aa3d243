//! What the data path asks of a connection and of the network, and nothing more. `Stream` and `Kernel` answer
//! with system calls; tests answer from memory. A byte filter such as TLS is another `Transport` over one.

use std::io::{self, IoSlice};
use std::net::SocketAddr;

use crate::config::Endpoint;

/// One connection. No call blocks; `WouldBlock` means: not now, and readiness will be reported.
///
/// A transport may be a filter over another one (TLS): bytes that were taken by `send` may still be held inside, and
/// `recv` may give bytes that came with earlier ones. It gives `WouldBlock` only when it holds none of them.
pub trait Transport {
    /// A kernel buffer through which bytes pass without being looked at (splice(2)). Closed when dropped.
    type Pipe;
    fn recv(&mut self, space: &mut [u8]) -> io::Result<usize>;
    fn send(&mut self, bytes: &[u8]) -> io::Result<usize>;
    /// Several pieces as one message.
    fn send_parts(&mut self, parts: &[IoSlice<'_>]) -> io::Result<usize>;
    /// Bytes taken by `send` are held inside: they go with the next `flush`, and `send` is not called before.
    fn wants_write(&self) -> bool {
        false
    }
    /// Passes on what is held inside; `WouldBlock` where not all of it went.
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
    /// Whether bytes can be exchanged. Until then only `handshake` is called, with each event.
    fn is_established(&self) -> bool {
        true
    }
    /// Goes on with the handshake; `WouldBlock` where it has read and written all that it can now.
    fn handshake(&mut self) -> io::Result<()> {
        Ok(())
    }
    /// Our end of what we send, behind all that is held; reading goes on. What it adds (an alert) may be held as well.
    fn shutdown_write(&mut self) -> io::Result<()>;
    /// Asked once a connect was reported writable: did it succeed?
    fn connect_result(&mut self) -> io::Result<()>;
    /// Makes the close that follows visible as a reset, where a clean end would look like a whole message.
    fn reset_on_close(&mut self);
    /// Whether a `recv` that returned less than there was space for has emptied the socket.
    fn short_recv_is_empty(&self) -> bool;
    fn new_pipe() -> io::Result<Self::Pipe>;
    /// Whether bytes can pass this connection through a pipe: not where a filter has to see them.
    fn can_splice(&self) -> bool;
    /// Moves up to `most` received bytes into an empty pipe; 0 is the end. With an empty pipe, and only with one,
    /// `WouldBlock` means that nothing has been received.
    fn splice_in(&mut self, pipe: &mut Self::Pipe, most: usize) -> io::Result<usize>;
    /// Moves up to `held` bytes out of the pipe.
    fn splice_out(&mut self, pipe: &mut Self::Pipe, held: usize) -> io::Result<usize>;
    /// Bytes that were taken by `send` and that the peer has not taken yet.
    fn unacknowledged(&self) -> usize;
    /// Our end's address. `None` where that is no IP address.
    fn local_address(&self) -> Option<SocketAddr> {
        None
    }
}

/// Where new connections come from and readiness is asked for.
pub trait Network {
    type Stream: Transport;
    /// Begins a connection whose readiness is reported under `token`.
    fn connect(&mut self, to: &Endpoint, token: u64) -> io::Result<Self::Stream>;
    /// Asks for readiness of an accepted connection under `token`, both directions, once and for all.
    fn watch(&mut self, stream: &mut Self::Stream, token: u64) -> io::Result<()>;
}
