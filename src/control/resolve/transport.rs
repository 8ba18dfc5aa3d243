//! Asks one name server, over UDP, and over TCP for what UDP does not hold. Every question has a socket, a port and an
//! id of its own, all chosen at random, so that nobody who cannot see the question can answer it.

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};
use std::io::{self, ErrorKind, Read, Write};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, UdpSocket};
use std::time::{Duration, Instant};

use crate::control::resolve::ResolveError;
use crate::control::resolve::message::{Decoded, Question, Reply, decode};

/// More than we say we take, for servers that do not listen.
const UDP_BUFFER: usize = 4096;
/// The shortest wait that a socket takes: the answer may be there already.
const MIN_WAIT: Duration = Duration::from_millis(1);

const FORMAT_ERROR: u16 = 1;
const NOT_IMPLEMENTED: u16 = 4;

/// How long to wait.
#[derive(Clone, Copy)]
pub struct Patience {
    /// For one answer.
    pub timeout: Duration,
    /// For all of them.
    pub deadline: Instant,
}

impl Patience {
    fn until(self) -> Instant {
        (Instant::now() + self.timeout).min(self.deadline)
    }
}

/// Asks all questions at once; the replies in their order.
pub fn ask(
    server: SocketAddr,
    questions: &[&Question],
    patience: Patience,
) -> Vec<Result<Reply, ResolveError>> {
    let until = patience.until();
    let sent: Vec<_> = questions.iter().map(|question| Sent::new(server, question, true)).collect();
    sent.into_iter().map(|sent| sent?.reply(until, patience)).collect()
}

/// A question on its way.
struct Sent<'a> {
    server: SocketAddr,
    question: &'a Question,
    id: u16,
    edns: bool,
    message: Vec<u8>,
    socket: UdpSocket,
}

impl<'a> Sent<'a> {
    fn new(server: SocketAddr, question: &'a Question, edns: bool) -> Result<Sent<'a>, ResolveError> {
        let id = random_id();
        let message = question.encode(id, edns)?;
        let socket = send(server, &message).map_err(|error| ResolveError::io(server, &error))?;
        Ok(Sent { server, question, id, edns, message, socket })
    }

    fn reply(self, until: Instant, patience: Patience) -> Result<Reply, ResolveError> {
        let server = self.server;
        match self.receive(until)? {
            Decoded::Truncated => self.reply_over_tcp(patience),
            // Older servers do not know EDNS.
            Decoded::Failure(FORMAT_ERROR | NOT_IMPLEMENTED) if self.edns => {
                Sent::new(server, self.question, false)?.reply(patience.until(), patience)
            }
            decoded => outcome(server, decoded),
        }
    }

    fn receive(&self, until: Instant) -> Result<Decoded, ResolveError> {
        let mut buffer = [0; UDP_BUFFER];
        loop {
            match self.receive_one(&mut buffer, until) {
                Ok(length) => match decode(&buffer[..length], self.id, self.question) {
                    Decoded::NotOurs if Instant::now() >= until => break,
                    Decoded::NotOurs => {}
                    decoded => return Ok(decoded),
                },
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if is_timeout(&error) => break,
                Err(error) => return Err(ResolveError::io(self.server, &error)),
            }
        }
        Err(ResolveError::Timeout { server: self.server })
    }

    fn receive_one(&self, buffer: &mut [u8], until: Instant) -> io::Result<usize> {
        let left = until.saturating_duration_since(Instant::now());
        self.socket.set_read_timeout(Some(left.max(MIN_WAIT)))?;
        self.socket.recv(buffer)
    }

    fn reply_over_tcp(&self, patience: Patience) -> Result<Reply, ResolveError> {
        let server = self.server;
        match exchange_over_tcp(server, &self.message, patience.until()) {
            Ok(bytes) => outcome(server, decode(&bytes, self.id, self.question)),
            Err(error) if is_timeout(&error) => Err(ResolveError::Timeout { server }),
            Err(error) => Err(ResolveError::io(server, &error)),
        }
    }
}

fn outcome(server: SocketAddr, decoded: Decoded) -> Result<Reply, ResolveError> {
    match decoded {
        Decoded::Reply(reply) => Ok(reply),
        Decoded::Failure(code) => Err(ResolveError::ServerFailure { server, code }),
        Decoded::NotOurs | Decoded::Malformed | Decoded::Truncated => Err(ResolveError::Malformed { server }),
    }
}

/// The kernel picks a random port, and, the socket being connected, drops what others than the server send.
fn send(server: SocketAddr, message: &[u8]) -> io::Result<UdpSocket> {
    let socket = match server {
        SocketAddr::V4(_) => UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?,
        SocketAddr::V6(_) => UdpSocket::bind((Ipv6Addr::UNSPECIFIED, 0))?,
    };
    socket.connect(server)?;
    socket.send(message)?;
    Ok(socket)
}

fn random_id() -> u16 {
    // The standard library seeds its hash keys from the operating system.
    RandomState::new().build_hasher().finish() as u16
}

fn is_timeout(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut)
}

/// Messages have their length in front of them.
fn exchange_over_tcp(server: SocketAddr, message: &[u8], until: Instant) -> io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect_timeout(&server, left(until)?)?;
    let length = u16::try_from(message.len()).map_err(|_| ErrorKind::InvalidInput)?;
    stream.set_write_timeout(Some(left(until)?))?;
    stream.write_all(&[&length.to_be_bytes(), message].concat())?;
    let mut length = [0; 2];
    read_exact(&mut stream, &mut length, until)?;
    let mut bytes = vec![0; usize::from(u16::from_be_bytes(length))];
    read_exact(&mut stream, &mut bytes, until)?;
    Ok(bytes)
}

/// With a deadline for the whole: a byte now and then does not prolong it.
fn read_exact(stream: &mut TcpStream, mut bytes: &mut [u8], until: Instant) -> io::Result<()> {
    while !bytes.is_empty() {
        stream.set_read_timeout(Some(left(until)?))?;
        match stream.read(bytes) {
            Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
            Ok(count) => bytes = &mut bytes[count..],
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

fn left(until: Instant) -> io::Result<Duration> {
    match until.saturating_duration_since(Instant::now()) {
        Duration::ZERO => Err(ErrorKind::TimedOut.into()),
        left => Ok(left.max(MIN_WAIT)),
    }
}
