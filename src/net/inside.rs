//! In-process connections: an internal request (a health check, a script's request) uses the same code as any other,
//! over a connection without a socket. It provides the request's bytes and collects the response's, up to a bound.
//!
//! They are kept in a per-thread table and known by number, like sockets in the kernel, so that a connection object is
//! no larger than one with a socket.

use std::cell::RefCell;
use std::io::{self, ErrorKind, IoSlice};
use std::net::SocketAddr;
use std::rc::Rc;

use slab::Slab;

use super::{TlsInfo, Transport};

thread_local! {
    static TABLE: RefCell<Slab<Entry>> = const { RefCell::new(Slab::new()) };
}

struct Entry {
    request: Vec<u8>,
    /// Bytes read so far.
    read: usize,
    response: Vec<u8>,
    /// The maximum length of the response with head and framing, in bytes.
    most: usize,
    /// The response exceeded it.
    too_long: bool,
    /// Of a response that nobody reads, only the length is kept.
    counted: Option<usize>,
}

/// The number of an in-process connection; dropping it closes the connection.
pub struct Inside(u32);

/// The bytes collected on an in-process connection.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Collected {
    /// Encoded as HTTP/1.1, as far as received and within the bound.
    pub bytes: Vec<u8>,
    pub too_long: bool,
}

impl Inside {
    /// Creates a connection that provides `request` and collects at most `most` bytes.
    pub fn new(request: Vec<u8>, most: usize) -> Inside {
        Inside::of(Entry { request, read: 0, response: Vec::new(), most, too_long: false, counted: None })
    }

    /// Creates a connection that provides nothing, and drops a response of at most `most` bytes.
    pub fn dropping(most: usize) -> Inside {
        let (request, response) = (Vec::new(), Vec::new());
        Inside::of(Entry { request, read: 0, response, most, too_long: false, counted: Some(0) })
    }

    fn of(entry: Entry) -> Inside {
        TABLE.with_borrow_mut(|table| Inside(table.insert(entry) as u32))
    }

    fn with<R>(&self, work: impl FnOnce(&mut Entry) -> R) -> R {
        TABLE.with_borrow_mut(|table| work(&mut table[self.0 as usize]))
    }

    /// Takes the collected bytes.
    pub fn collect(&self) -> Collected {
        self.with(|entry| Collected { bytes: std::mem::take(&mut entry.response), too_long: entry.too_long })
    }

    #[inline(never)]
    fn recv(&self, space: &mut [u8]) -> io::Result<usize> {
        self.with(|entry| {
            let rest = &entry.request[entry.read..];
            let n = rest.len().min(space.len());
            space[..n].copy_from_slice(&rest[..n]);
            entry.read += n;
            // It never reads as closed, which would look like an aborting client.
            if n == 0 { Err(ErrorKind::WouldBlock.into()) } else { Ok(n) }
        })
    }

    #[inline(never)]
    fn send(&self, bytes: &[u8]) -> io::Result<usize> {
        self.with(|entry| {
            let before = entry.counted.unwrap_or(entry.response.len());
            let n = bytes.len().min(entry.most - before);
            match &mut entry.counted {
                Some(counted) => *counted += n,
                None => entry.response.extend_from_slice(&bytes[..n]),
            }
            entry.too_long |= n < bytes.len();
            if entry.too_long { Err(ErrorKind::FileTooLarge.into()) } else { Ok(n) }
        })
    }
}

impl Drop for Inside {
    fn drop(&mut self) {
        TABLE.with_borrow_mut(|table| table.try_remove(self.0 as usize));
    }
}

/// A socket or an in-process connection.
pub enum Either<S> {
    Socket(S),
    Inside(Inside),
}

impl<S> Either<S> {
    pub fn inside(&self) -> Option<&Inside> {
        match self {
            Either::Socket(_) => None,
            Either::Inside(inside) => Some(inside),
        }
    }
}

impl<S: Transport> Transport for Either<S> {
    type Pipe = S::Pipe;

    // `always`, as those of a socket with the branch to TLS: the compiler would call them.
    #[inline(always)]
    fn recv(&mut self, space: &mut [u8]) -> io::Result<usize> {
        match self {
            Either::Socket(socket) => socket.recv(space),
            Either::Inside(inside) => inside.recv(space),
        }
    }

    #[inline(always)]
    fn send(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Either::Socket(socket) => socket.send(bytes),
            Either::Inside(inside) => inside.send(bytes),
        }
    }

    fn send_parts(&mut self, parts: &[IoSlice<'_>]) -> io::Result<usize> {
        match self {
            Either::Socket(socket) => socket.send_parts(parts),
            Either::Inside(inside) => parts.iter().try_fold(0, |sum, part| Ok(sum + inside.send(part)?)),
        }
    }

    fn wants_write(&self) -> bool {
        matches!(self, Either::Socket(socket) if socket.wants_write())
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Either::Socket(socket) => socket.flush(),
            Either::Inside(_) => Ok(()),
        }
    }

    fn is_established(&self) -> bool {
        match self {
            Either::Socket(socket) => socket.is_established(),
            Either::Inside(_) => true,
        }
    }

    fn handshake(&mut self) -> io::Result<()> {
        match self {
            Either::Socket(socket) => socket.handshake(),
            Either::Inside(_) => Ok(()),
        }
    }

    fn shutdown_write(&mut self) -> io::Result<()> {
        match self {
            Either::Socket(socket) => socket.shutdown_write(),
            Either::Inside(_) => Ok(()),
        }
    }

    fn connect_result(&mut self) -> io::Result<()> {
        match self {
            Either::Socket(socket) => socket.connect_result(),
            Either::Inside(_) => Ok(()),
        }
    }

    fn reset_on_close(&mut self) {
        if let Either::Socket(socket) = self {
            socket.reset_on_close();
        }
    }

    fn short_recv_is_empty(&self) -> bool {
        matches!(self, Either::Socket(socket) if socket.short_recv_is_empty())
    }

    fn new_pipe() -> io::Result<S::Pipe> {
        S::new_pipe()
    }

    fn can_splice(&self) -> bool {
        matches!(self, Either::Socket(socket) if socket.can_splice())
    }

    fn splice_in(&mut self, pipe: &mut S::Pipe, most: usize) -> io::Result<usize> {
        match self {
            Either::Socket(socket) => socket.splice_in(pipe, most),
            Either::Inside(_) => Err(ErrorKind::Unsupported.into()),
        }
    }

    fn splice_out(&mut self, pipe: &mut S::Pipe, held: usize) -> io::Result<usize> {
        match self {
            Either::Socket(socket) => socket.splice_out(pipe, held),
            Either::Inside(_) => Err(ErrorKind::Unsupported.into()),
        }
    }

    fn unacknowledged(&self) -> usize {
        match self {
            Either::Socket(socket) => socket.unacknowledged(),
            Either::Inside(_) => 0,
        }
    }

    fn farewell(&mut self) -> bool {
        match self {
            Either::Socket(socket) => socket.farewell(),
            Either::Inside(_) => true,
        }
    }

    fn start_tls(&mut self, received: &[u8]) -> io::Result<bool> {
        match self {
            Either::Socket(socket) => socket.start_tls(received),
            Either::Inside(_) => Ok(false),
        }
    }

    fn send_before_tls(&mut self, bytes: &[u8]) -> bool {
        match self {
            Either::Socket(socket) => socket.send_before_tls(bytes),
            Either::Inside(_) => false,
        }
    }

    fn has_answered(&self) -> bool {
        matches!(self, Either::Socket(socket) if socket.has_answered())
    }

    fn lacks_tls(&self) -> bool {
        matches!(self, Either::Socket(socket) if socket.lacks_tls())
    }

    fn tls(&self) -> Option<&Rc<TlsInfo>> {
        match self {
            Either::Socket(socket) => socket.tls(),
            Either::Inside(_) => None,
        }
    }

    fn was_truncated(&self) -> bool {
        matches!(self, Either::Socket(socket) if socket.was_truncated())
    }

    fn local_address(&self) -> Option<SocketAddr> {
        match self {
            Either::Socket(socket) => socket.local_address(),
            Either::Inside(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::Stream;

    #[test]
    fn the_request_is_read_and_the_response_collected_up_to_its_bound() {
        let mut connection: Either<Stream> = Either::Inside(Inside::new(b"request".to_vec(), 10));
        let mut space = [0; 4];
        assert_eq!((connection.recv(&mut space).unwrap(), &space), (4, b"requ"));
        assert_eq!((connection.recv(&mut space).unwrap(), &space[..3]), (3, &b"est"[..]));
        assert_eq!(connection.recv(&mut space).unwrap_err().kind(), ErrorKind::WouldBlock);
        let parts = [&b"head"[..], b"body"].map(IoSlice::new);
        assert_eq!(connection.send_parts(&parts).unwrap(), 8);
        assert!(connection.send(b"more").is_err());
        let collected = connection.inside().unwrap().collect();
        assert_eq!(collected, Collected { bytes: b"headbodymo".to_vec(), too_long: true });
        drop(connection);
        assert!(TABLE.with_borrow(Slab::is_empty), "nothing of it is left");
    }

    #[test]
    fn a_response_that_nobody_reads_is_counted_and_dropped() {
        let mut connection: Either<Stream> = Either::Inside(Inside::dropping(10));
        assert_eq!(connection.recv(&mut [0; 4]).unwrap_err().kind(), ErrorKind::WouldBlock);
        assert_eq!(connection.send(b"a response").unwrap(), 10);
        assert!(connection.send(b"!").is_err());
        let collected = connection.inside().unwrap().collect();
        assert_eq!(collected, Collected { bytes: Vec::new(), too_long: true });
    }

    #[test]
    fn in_process_connections_do_not_enlarge_sockets() {
        assert_eq!(size_of::<Either<Stream>>(), size_of::<Stream>());
    }
}
