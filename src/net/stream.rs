//! TCP and Unix sockets as `Transport`s, with or without TLS, and the real `Network`.

use std::io::{self, IoSlice, Write};
use std::net::{Shutdown, SocketAddr};
use std::os::fd::AsRawFd;
use std::rc::Rc;
use std::time::Duration;

use mio::net::{TcpStream, UnixStream};
use mio::{Interest, Registry, Token};
use socket2::{Domain, Protocol, SockRef, Socket, Type};

use super::fd_reserve::{Reserve, is_shortage};
use super::listener::unmapped;
use super::tls::Tls;
use super::{Listener, Network, Pipe, TlsInfo, Transport, options as wanted};
use crate::config::{Address, Endpoint, SocketOptions};
use crate::tls::Server;

pub enum Stream {
    Tcp(TcpStream),
    Unix(UnixStream),
    /// Over one of the others.
    Tls(Box<Tls<Stream>>),
}

/// Calls a method of any socket type; of TLS, that of the filter.
macro_rules! any {
    ($stream:expr, $s:ident => $call:expr, $tls:ident => $filtered:expr) => {
        match $stream {
            Stream::Tcp($s) => $call,
            Stream::Unix($s) => $call,
            Stream::Tls($tls) => $filtered,
        }
    };
}

impl Stream {
    /// An accepted connection whose client speaks TLS, after a PROXY header if it comes through a proxy.
    pub fn secured(self, server: &Server, after_header: bool) -> io::Result<Stream> {
        Tls::server(self, server, after_header).map(|tls| Stream::Tls(Box::new(tls)))
    }

    fn filter(&self) -> Option<&Tls<Stream>> {
        match self {
            Stream::Tls(tls) => Some(tls),
            Stream::Tcp(_) | Stream::Unix(_) => None,
        }
    }

    /// Registers it for readiness events of both directions.
    pub fn watch(&mut self, registry: &Registry, token: usize) -> io::Result<()> {
        let both = Interest::READABLE | Interest::WRITABLE;
        any!(self, s => registry.register(s, Token(token), both), tls => tls.socket().watch(registry, token))
    }
}

impl Transport for Stream {
    type Pipe = Pipe;

    // `always`: with the branch to TLS, the compiler would call it and `send`: 100 instructions of a small request.
    #[inline(always)]
    fn recv(&mut self, space: &mut [u8]) -> io::Result<usize> {
        any!(self, s => super::syscalls::recv(s.as_raw_fd(), space), tls => tls.recv(space))
    }

    #[inline(always)]
    fn send(&mut self, bytes: &[u8]) -> io::Result<usize> {
        any!(self, s => super::syscalls::send(s.as_raw_fd(), bytes), tls => tls.send(bytes))
    }

    fn send_parts(&mut self, parts: &[IoSlice<'_>]) -> io::Result<usize> {
        any!(self, s => s.write_vectored(parts), tls => tls.send_parts(parts))
    }

    fn wants_write(&self) -> bool {
        self.filter().is_some_and(Transport::wants_write)
    }

    fn flush(&mut self) -> io::Result<()> {
        any!(self, _s => Ok(()), tls => tls.flush())
    }

    fn is_established(&self) -> bool {
        self.filter().is_none_or(Transport::is_established)
    }

    fn handshake(&mut self) -> io::Result<()> {
        any!(self, _s => Ok(()), tls => tls.handshake())
    }

    fn shutdown_write(&mut self) -> io::Result<()> {
        any!(self, s => s.shutdown(Shutdown::Write), tls => tls.shutdown_write())
    }

    fn connect_result(&mut self) -> io::Result<()> {
        let error = any!(self, s => s.take_error()?, tls => return tls.connect_result());
        match error {
            Some(error) => Err(error),
            // Writable without an error can still be too early (mio's documentation); getpeername(2) decides.
            None => match self {
                Stream::Tcp(s) => s.peer_addr().map(|_| ()),
                Stream::Unix(s) => s.peer_addr().map(|_| ()),
                Stream::Tls(_) => Ok(()),
            },
        }
    }

    fn reset_on_close(&mut self) {
        // A failure leaves an orderly close, which is all a broken socket can do.
        let _ = any!(self, s => SockRef::from(&*s).set_linger(Some(Duration::ZERO)), tls => {
            tls.reset_on_close();
            return;
        });
    }

    fn short_recv_is_empty(&self) -> bool {
        match self {
            Stream::Tcp(_) => true,
            Stream::Unix(_) => false,
            Stream::Tls(tls) => tls.short_recv_is_empty(),
        }
    }

    fn new_pipe() -> io::Result<Pipe> {
        Pipe::new()
    }

    fn can_splice(&self) -> bool {
        matches!(self, Stream::Tcp(_))
    }

    fn splice_in(&mut self, pipe: &mut Pipe, most: usize) -> io::Result<usize> {
        any!(self, s => pipe.take_from(s.as_raw_fd(), most), tls => tls.splice_in(pipe, most))
    }

    fn splice_out(&mut self, pipe: &mut Pipe, held: usize) -> io::Result<usize> {
        any!(self, s => pipe.give_to(s.as_raw_fd(), held), tls => tls.splice_out(pipe, held))
    }

    fn unacknowledged(&self) -> usize {
        any!(self, s => super::queue::unacknowledged(s.as_raw_fd()), tls => tls.unacknowledged())
    }

    fn farewell(&mut self) -> bool {
        any!(self, _s => true, tls => tls.farewell())
    }

    fn start_tls(&mut self, received: &[u8]) -> io::Result<bool> {
        any!(self, _s => Ok(false), tls => tls.start_tls(received))
    }

    fn send_before_tls(&mut self, bytes: &[u8]) -> bool {
        any!(self, _s => false, tls => tls.send_before_tls(bytes))
    }

    fn has_answered(&self) -> bool {
        self.filter().is_some_and(Transport::has_answered)
    }

    fn lacks_tls(&self) -> bool {
        self.filter().is_some_and(Transport::lacks_tls)
    }

    fn tls(&self) -> Option<&Rc<TlsInfo>> {
        self.filter()?.tls()
    }

    fn was_truncated(&self) -> bool {
        self.filter().is_some_and(Transport::was_truncated)
    }

    fn local_address(&self) -> Option<SocketAddr> {
        match self {
            Stream::Tcp(s) => s.local_addr().ok().map(unmapped),
            Stream::Unix(_) => None,
            Stream::Tls(tls) => tls.local_address(),
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
        stream.watch(&self.registry, token as usize)
    }

    /// Watches a new connection to a server, which begins with a handshake if that has TLS.
    fn begin(&self, mut stream: Stream, to: &Endpoint, token: u64) -> io::Result<Stream> {
        self.register(&mut stream, token)?;
        match &to.tls {
            None => Ok(stream),
            Some(client) => Tls::client(stream, client).map(|tls| Stream::Tls(Box::new(tls))),
        }
    }
}

impl Network for Kernel {
    type Stream = Stream;

    fn connect(&mut self, to: &Endpoint, token: u64) -> io::Result<Stream> {
        let stream = match open(to) {
            Err(error) if is_shortage(&error) => {
                self.short = true;
                self.reserve.help(|| open(to))?
            }
            other => other?,
        };
        self.begin(stream, to, token)
    }

    fn connect_spare(&mut self, to: &Endpoint, token: u64) -> io::Result<Stream> {
        self.begin(open(to)?, to, token)
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
    wanted::stop_pacing_within_machine(SockRef::from(&socket), address);
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
    fn connections_to_servers_within_the_machine_are_not_paced() {
        let server = TcpListener::bind("127.0.0.1:0").unwrap();
        let stream = open_tcp(server.local_addr().unwrap(), &SocketOptions::default()).unwrap();
        assert!(!SockRef::from(&stream).tcp_congestion().unwrap().starts_with(b"bbr"));
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
