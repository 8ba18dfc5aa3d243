//! TCP and Unix sockets as `Transport`s, and the real `Network`.

use std::io::{self, IoSlice, Write};
use std::net::{Shutdown, SocketAddr};
use std::os::fd::{AsRawFd, RawFd};
use std::time::Duration;

use mio::net::{TcpStream, UnixStream};
use mio::{Interest, Registry, Token};
use socket2::{Domain, Protocol, SockRef, Socket, Type};

use super::fd_reserve::{Reserve, is_shortage};
use super::listener::unmapped;
use super::{Listener, Network, Pipe, Transport, options as wanted};
use crate::config::{Address, Endpoint, SocketOptions};

pub enum Stream {
    Tcp(TcpStream),
    Unix(UnixStream),
}

/// Calls a method of either socket type.
macro_rules! either {
    ($stream:expr, $s:ident => $call:expr) => {
        match $stream {
            Stream::Tcp($s) => $call,
            Stream::Unix($s) => $call,
        }
    };
}

impl Stream {
    /// Registers it with a loop other than a worker's.
    pub fn watch(&mut self, registry: &Registry, token: usize) -> io::Result<()> {
        let interests = Interest::READABLE | Interest::WRITABLE;
        either!(self, s => registry.register(s, Token(token), interests))
    }

    fn descriptor(&self) -> RawFd {
        either!(self, s => s.as_raw_fd())
    }
}

impl Transport for Stream {
    type Pipe = Pipe;

    fn recv(&mut self, space: &mut [u8]) -> io::Result<usize> {
        super::syscalls::recv(self.descriptor(), space)
    }

    fn send(&mut self, bytes: &[u8]) -> io::Result<usize> {
        super::syscalls::send(self.descriptor(), bytes)
    }

    fn send_parts(&mut self, parts: &[IoSlice<'_>]) -> io::Result<usize> {
        either!(self, s => s.write_vectored(parts))
    }

    fn shutdown_write(&mut self) -> io::Result<()> {
        either!(self, s => s.shutdown(Shutdown::Write))
    }

    fn connect_result(&mut self) -> io::Result<()> {
        match either!(self, s => s.take_error())? {
            Some(error) => Err(error),
            // Writable without an error can still be too early (mio's documentation); getpeername(2) decides.
            None => match self {
                Stream::Tcp(s) => s.peer_addr().map(|_| ()),
                Stream::Unix(s) => s.peer_addr().map(|_| ()),
            },
        }
    }

    fn reset_on_close(&mut self) {
        // A failure leaves an orderly close, which is all a broken socket can do.
        let _ = either!(self, s => SockRef::from(&*s).set_linger(Some(Duration::ZERO)));
    }

    fn short_recv_is_empty(&self) -> bool {
        matches!(self, Stream::Tcp(_))
    }

    fn new_pipe() -> io::Result<Pipe> {
        Pipe::new()
    }

    fn can_splice(&self) -> bool {
        matches!(self, Stream::Tcp(_))
    }

    fn splice_in(&mut self, pipe: &mut Pipe, most: usize) -> io::Result<usize> {
        pipe.take_from(self.descriptor(), most)
    }

    fn splice_out(&mut self, pipe: &mut Pipe, held: usize) -> io::Result<usize> {
        pipe.give_to(self.descriptor(), held)
    }

    fn unacknowledged(&self) -> usize {
        super::queue::unacknowledged(self.descriptor())
    }

    fn local_address(&self) -> Option<SocketAddr> {
        match self {
            Stream::Tcp(s) => s.local_addr().ok().map(unmapped),
            Stream::Unix(_) => None,
        }
    }
}

/// The real network of one worker's loop.
pub struct Kernel {
    registry: Registry,
    reserve: Reserve,
    /// A connection needed the reserve, or failed for lack of a descriptor, since the last `was_short`.
    short: bool,
}

impl Kernel {
    pub fn new(registry: Registry, reserve: Reserve) -> Kernel {
        let kernel = Kernel { registry, reserve, short: false };
        kernel.refill();
        kernel
    }

    /// Ends the watch of a listener that is to be closed.
    pub fn unwatch(&self, listener: &mut Listener) {
        listener.unwatch(&self.registry);
    }

    /// Refills the reserve. Returns false if there are too few descriptors to accept clients.
    pub fn refill(&self) -> bool {
        self.reserve.refill()
    }

    /// Returns true if descriptors were short since the last call.
    pub fn was_short(&mut self) -> bool {
        std::mem::take(&mut self.short)
    }

    fn register(&self, stream: &mut Stream, token: u64) -> io::Result<()> {
        let (token, both) = (Token(token as usize), Interest::READABLE | Interest::WRITABLE);
        either!(stream, s => self.registry.register(s, token, both))
    }
}

impl Network for Kernel {
    type Stream = Stream;

    fn connect(&mut self, to: &Endpoint, token: u64) -> io::Result<Stream> {
        let mut stream = match open(to) {
            Err(error) if is_shortage(&error) => {
                self.short = true;
                self.reserve.help(|| open(to))?
            }
            other => other?,
        };
        self.register(&mut stream, token)?;
        Ok(stream)
    }

    fn watch(&mut self, stream: &mut Stream, token: u64) -> io::Result<()> {
        self.register(stream, token)
    }
}

/// Starts a nonblocking connect.
fn open(to: &Endpoint) -> io::Result<Stream> {
    match &to.address {
        Address::Ip(address) => open_tcp(*address, &to.sockets).map(Stream::Tcp),
        Address::Unix(path) => UnixStream::connect(path).map(Stream::Unix),
        other => Err(other.not_resolved()),
    }
}

fn open_tcp(address: SocketAddr, options: &SocketOptions) -> io::Result<TcpStream> {
    let kind = Type::STREAM.nonblocking();
    let socket = Socket::new(Domain::for_address(address), kind, Some(Protocol::TCP))?;
    // Messages are written whole, so Nagle's algorithm only adds delay (RFC 9293 section 3.7.4).
    socket.set_tcp_nodelay(true)?;
    wanted::set(SockRef::from(&socket), options);
    match socket.connect(&address.into()) {
        Err(error) if error.raw_os_error() != Some(libc::EINPROGRESS) => Err(error),
        _ => Ok(TcpStream::from_std(socket.into())),
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    #[test]
    fn server_connections_get_their_options_before_connect() {
        let server = TcpListener::bind("127.0.0.1:0").unwrap();
        let options = SocketOptions { receive_buffer: Some(8192), send_buffer: Some(16384), busy_poll: None };
        let stream = open_tcp(server.local_addr().unwrap(), &options).unwrap();
        let socket = SockRef::from(&stream);
        assert!(socket.tcp_nodelay().unwrap() && socket.nonblocking().unwrap());
        assert_eq!(socket.recv_buffer_size().unwrap(), 16384);
        assert_eq!(socket.send_buffer_size().unwrap(), 32768);
    }

    #[test]
    fn a_refused_connect_fails_at_once_or_in_connect_result() {
        let nobody = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let refused = match open_tcp(nobody, &SocketOptions::default()) {
            Ok(stream) => Stream::Tcp(stream).connect_result().is_err(),
            Err(error) => error.kind() == io::ErrorKind::ConnectionRefused,
        };
        assert!(refused);
    }
}
