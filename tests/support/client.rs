//! A raw HTTP client: sends exactly the given bytes and returns exactly what came back.

use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::time::Duration;

use socket2::{Domain, SockAddr, Socket, Type};

use super::message::{Head, Message, response_framing};
use super::wait::DEADLINE;
use super::wire::Wire;

pub struct Client {
    pub wire: Wire,
}

/// One request on a connection of its own.
pub fn get(address: &str, path: &str) -> Message {
    Client::connect(address).get(path)
}

impl Client {
    /// `address` is `ip:port` or `unix:path`.
    pub fn connect(address: &str) -> Client {
        Client::try_connect(address, None)
            .unwrap_or_else(|error| panic!("cannot connect to {address}: {error}"))
    }

    /// A client at another address of this machine, such as 127.0.0.2, to be untrusted.
    pub fn connect_from(source: &str, address: &str) -> Client {
        let (domain, target) = socket_address(address).expect("an address");
        let socket = Socket::new(domain, Type::STREAM, None).expect("a socket");
        let source: std::net::IpAddr = source.parse().expect("an address");
        socket.bind(&SocketAddr::new(source, 0).into()).expect("an address of this machine");
        socket.connect(&target).unwrap_or_else(|error| panic!("connecting to {address}: {error}"));
        Client { wire: Wire::new(socket) }
    }

    /// The client's own address, as its server sees it.
    pub fn address(&self) -> SocketAddr {
        let local = self.wire.socket.local_addr().expect("an address");
        local.as_socket().expect("no unix socket")
    }

    /// A client whose kernel buffers next to nothing.
    pub fn connect_with_small_buffer(address: &str) -> Client {
        Client::try_connect(address, Some(4096))
            .unwrap_or_else(|error| panic!("connecting to {address}: {error}"))
    }

    /// Enlarges the receive buffer again: with the small one, every other KiB needs a round of the event loop.
    pub fn widen(&self) {
        self.wire.socket.set_recv_buffer_size(1 << 20).expect("a larger buffer");
    }

    pub fn try_connect(address: &str, receive_buffer: Option<usize>) -> io::Result<Client> {
        let (domain, target) = socket_address(address)?;
        let socket = Socket::new(domain, Type::STREAM, None)?;
        if let Some(size) = receive_buffer {
            socket.set_recv_buffer_size(size)?;
        }
        match domain {
            Domain::UNIX => socket.connect(&target)?,
            _ => socket.connect_timeout(&target, DEADLINE)?,
        }
        Ok(Client { wire: Wire::new(socket) })
    }

    pub fn send(&mut self, bytes: impl AsRef<[u8]>) -> &mut Client {
        self.wire.send(bytes).unwrap_or_else(|error| panic!("cannot send: {error}"));
        self
    }

    /// Sends a GET without reading its response.
    pub fn ask(&mut self, path: &str) -> &mut Client {
        self.send(format!("GET {path} HTTP/1.1\r\nHost: example.com\r\n\r\n"))
    }

    pub fn get(&mut self, path: &str) -> Message {
        self.ask(path).response()
    }

    pub fn post(&mut self, path: &str, body: impl AsRef<[u8]>) -> Message {
        let body = body.as_ref();
        let head =
            format!("POST {path} HTTP/1.1\r\nHost: example.com\r\nContent-Length: {}\r\n\r\n", body.len());
        self.send(head).send(body).response()
    }

    /// The response to a request that was not HEAD.
    pub fn response(&mut self) -> Message {
        self.response_to("GET")
    }

    pub fn response_to(&mut self, method: &str) -> Message {
        self.try_response_to(method).unwrap_or_else(|error| panic!("no whole response: {error}"))
    }

    pub fn try_response(&mut self) -> io::Result<Message> {
        self.try_response_to("GET")
    }

    pub fn try_response_to(&mut self, method: &str) -> io::Result<Message> {
        let head = self.wire.head()?.ok_or(ErrorKind::UnexpectedEof)?;
        let framing = response_framing(&head, method);
        let mut body = Vec::new();
        let trailers = self.wire.body(framing, &mut |bytes| body.extend_from_slice(bytes))?;
        Ok(Message { head, framing, body, trailers })
    }

    /// A head alone: of an interim response, or to read the body in another way.
    pub fn head(&mut self) -> Head {
        let head = self.wire.head().unwrap_or_else(|error| panic!("no head: {error}"));
        head.expect("a head, but the connection was closed")
    }

    /// Asserts that no more bytes come and the connection ends (by FIN or RST).
    pub fn expect_end(&mut self) {
        let mut byte = [0; 256];
        match self.wire.read_some(&mut byte) {
            Ok(0) => {}
            Ok(n) => panic!("more bytes instead of the end: {:?}", String::from_utf8_lossy(&byte[..n])),
            Err(error) if error.kind() == ErrorKind::ConnectionReset => {}
            Err(error) => panic!("the connection did not end: {error}"),
        }
    }

    /// Whether the connection stays quiet and open for a while.
    pub fn stays_open(&mut self, time: Duration) -> bool {
        self.wire.socket.set_read_timeout(Some(time)).expect("a read timeout");
        let result = self.wire.read_some(&mut [0; 1]);
        self.wire.socket.set_read_timeout(Some(DEADLINE)).expect("a read timeout");
        matches!(result, Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut))
    }
}

pub fn socket_address(address: &str) -> io::Result<(Domain, SockAddr)> {
    if let Some(path) = address.strip_prefix("unix:") {
        return Ok((Domain::UNIX, SockAddr::unix(path)?));
    }
    let address: SocketAddr =
        address.parse().map_err(|_| io::Error::new(ErrorKind::InvalidInput, address))?;
    Ok((Domain::for_address(address), address.into()))
}
