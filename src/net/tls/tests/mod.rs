//! The filter over a wire in memory that hands out as few bytes as it likes, against itself and against rustls.

mod bytes;
mod sessions;

use std::cell::RefCell;
use std::collections::VecDeque;
use std::io::{self, ErrorKind, IoSlice};
use std::rc::Rc;
use std::sync::Arc;

use rustls::ClientConnection;
use rustls::time_provider::{DefaultTimeProvider, TimeProvider};

use super::Tls;
use crate::net::Transport;
use crate::tls::tests::{Kind, pem};
use crate::tls::{
    Authorities, Certificate, Client, ClientAuth, ClientOptions, MinVersion, Server, ServerOptions,
    TicketKeys, Verify,
};

#[derive(Default)]
struct Direction {
    bytes: VecDeque<u8>,
    closed: bool,
}

/// One end of a connection.
struct Wire {
    incoming: Rc<RefCell<Direction>>,
    outgoing: Rc<RefCell<Direction>>,
    /// Bytes of one read or write.
    most: usize,
    /// Bytes that the other direction holds.
    room: usize,
    /// A write that finds no room fails.
    broken: bool,
}

/// Both ends of a connection whose reads and writes have at most so many bytes.
fn wires(most: usize) -> (Wire, Wire) {
    let (there, back) = (Rc::<RefCell<Direction>>::default(), Rc::<RefCell<Direction>>::default());
    let end = |incoming: &Rc<_>, outgoing: &Rc<_>| Wire {
        incoming: Rc::clone(incoming),
        outgoing: Rc::clone(outgoing),
        most,
        room: usize::MAX,
        broken: false,
    };
    (end(&back, &there), end(&there, &back))
}

impl Transport for Wire {
    type Pipe = ();

    fn recv(&mut self, space: &mut [u8]) -> io::Result<usize> {
        let mut incoming = self.incoming.borrow_mut();
        let n = incoming.bytes.len().min(space.len()).min(self.most);
        for (to, from) in space.iter_mut().zip(incoming.bytes.drain(..n)) {
            *to = from;
        }
        if n == 0 && !incoming.closed { Err(ErrorKind::WouldBlock.into()) } else { Ok(n) }
    }

    fn send(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut outgoing = self.outgoing.borrow_mut();
        let n = bytes.len().min(self.most).min(self.room.saturating_sub(outgoing.bytes.len()));
        outgoing.bytes.extend(&bytes[..n]);
        match n {
            0 if self.broken => Err(ErrorKind::ConnectionReset.into()),
            0 => Err(ErrorKind::WouldBlock.into()),
            n => Ok(n),
        }
    }

    fn send_parts(&mut self, parts: &[IoSlice<'_>]) -> io::Result<usize> {
        self.send(&parts.iter().flat_map(|part| part.to_vec()).collect::<Vec<u8>>())
    }

    fn shutdown_write(&mut self) -> io::Result<()> {
        self.outgoing.borrow_mut().closed = true;
        Ok(())
    }

    fn connect_result(&mut self) -> io::Result<()> {
        Ok(())
    }

    fn reset_on_close(&mut self) {}

    fn short_recv_is_empty(&self) -> bool {
        true
    }

    fn new_pipe() -> io::Result<()> {
        Ok(())
    }

    fn can_splice(&self) -> bool {
        true
    }

    fn splice_in(&mut self, (): &mut (), _: usize) -> io::Result<usize> {
        unreachable!("bytes would pass TLS unseen")
    }

    fn splice_out(&mut self, (): &mut (), _: usize) -> io::Result<usize> {
        unreachable!("bytes would pass TLS unseen")
    }

    fn unacknowledged(&self) -> usize {
        self.outgoing.borrow().bytes.len()
    }
}

/// A listener's side and what a client needs to know of it.
struct Side {
    server: Server,
    ca: String,
}

fn side(name: &str, min_version: MinVersion, client_auth: Option<ClientAuth<'_>>) -> Side {
    side_with(name, min_version, client_auth, Arc::new(DefaultTimeProvider))
}

fn side_with(
    name: &str,
    min_version: MinVersion,
    client_auth: Option<ClientAuth<'_>>,
    time: Arc<dyn TimeProvider>,
) -> Side {
    let (cert, key) = pem(&["a.example"], Kind::Ecdsa, None);
    let certificate = Certificate::new(cert.as_bytes(), key.as_bytes(), None).unwrap();
    let options = ServerOptions {
        name,
        certificates: vec![certificate],
        min_version,
        client_auth,
        tickets: TicketKeys::Random,
        keylog: false,
    };
    Side { server: Server::with_clock(options, time).unwrap(), ca: cert }
}

fn plain_side() -> Side {
    side("a", MinVersion::Tls12, None)
}

fn client(ca: &str, identity: Option<(&str, &str)>) -> Client {
    let made = |(cert, key): (&str, &str)| Certificate::new(cert.as_bytes(), key.as_bytes(), None).unwrap();
    let (ca, identity) = (authorities(ca), identity.map(made));
    let options = ClientOptions { name: "a.example", verify: Verify::By(&ca), identity: identity.as_ref() };
    Client::new(&options).unwrap()
}

fn authorities(pem: &str) -> Authorities {
    Authorities::new(pem.as_bytes()).unwrap()
}

fn of(result: io::Result<()>) -> bool {
    match result {
        Ok(()) => true,
        Err(error) if error.kind() == ErrorKind::WouldBlock => false,
        Err(error) => panic!("{error}"),
    }
}

/// Both ends of a connection after their handshake.
fn connected(server: &Server, client: &Client, most: usize) -> (Tls<Wire>, Tls<Wire>) {
    let (near, far) = wires(most);
    let (mut ours, mut theirs) =
        (Tls::server(far, server, false).unwrap(), Tls::client(near, client).unwrap());
    while !(of(theirs.handshake()) & of(ours.handshake())) {}
    assert!(ours.is_established() && theirs.is_established());
    (ours, theirs)
}

/// Sends everything, with a reader that takes it meanwhile.
fn pass(from: &mut Tls<Wire>, to: &mut Tls<Wire>, mut bytes: &[u8]) -> Vec<u8> {
    let (wanted, mut space, mut got) = (bytes.len(), vec![0; 5000], Vec::new());
    while got.len() < wanted {
        match from.wants_write() {
            true => _ = of(from.flush()),
            false if bytes.is_empty() => {}
            false => bytes = &bytes[from.send(bytes).unwrap()..],
        }
        match to.recv(&mut space) {
            Ok(0) => panic!("the end after {} of {wanted} bytes", got.len()),
            Ok(n) => got.extend_from_slice(&space[..n]),
            Err(error) => {
                assert!(matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted), "{error}")
            }
        }
    }
    got
}

fn long() -> Vec<u8> {
    (0..300_000u32).map(|i| (i % 251) as u8).collect()
}
