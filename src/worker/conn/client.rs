//! A client's connection: what is known of it besides the socket and its buffers.

use std::net::SocketAddr;

use super::connection::Connection;
use super::linger::Lingering;
use crate::exchange::Peer;
use crate::h1;
use crate::net::Either;
use crate::worker::pair::inside::InsideSide;

pub type Client<S> = Connection<Either<S>, ClientSide>;

/// The time at which no head has begun: an `Option` would take twice the memory in every idle client.
pub const NO_HEAD: u64 = u64::MAX;

pub struct ClientSide {
    pub codec: h1::ClientCodec,
    pub peer: Peer,
    pub arrival: Arrival,
    /// The exchange that is under way. HTTP/1 has one at a time.
    pub pair: Option<u32>,
    /// When the head that is being read began; `NO_HEAD` while there is none.
    pub head_since: u64,
    /// A request was answered on this connection.
    pub served: bool,
    /// It counts against the limits of its address.
    pub counted: bool,
    /// What few clients have.
    rare: Option<Box<Rare>>,
}

/// One pointer in every client for all that few of them have.
#[derive(Default)]
struct Rare {
    relayed: Option<SocketAddr>,
    lingering: Option<Lingering>,
    inside: Option<InsideSide>,
}

/// By which way a client came.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Arrival {
    /// By itself.
    Direct,
    /// Through a proxy whose PROXY header has yet to come.
    Awaited,
    /// Through a proxy that said for whom.
    Relayed,
    /// From this process: there is no client.
    Inside,
}

impl ClientSide {
    pub fn new(peer: Peer, arrival: Arrival, counted: bool) -> ClientSide {
        ClientSide {
            codec: h1::ClientCodec::default(),
            peer,
            arrival,
            pair: None,
            head_since: NO_HEAD,
            served: false,
            counted,
            rare: None,
        }
    }

    /// Where it connected to on the side of the proxy it came through, where that was said.
    pub fn relayed(&self) -> Option<SocketAddr> {
        self.rare.as_ref()?.relayed
    }

    pub fn set_relayed(&mut self, destination: SocketAddr) {
        self.rare.get_or_insert_default().relayed = Some(destination);
    }

    /// The request that this connection was made for, if it came from inside.
    pub fn inside(&self) -> Option<&InsideSide> {
        self.rare.as_ref()?.inside.as_ref()
    }

    pub fn inside_mut(&mut self) -> Option<&mut InsideSide> {
        self.rare.as_mut()?.inside.as_mut()
    }

    pub fn set_inside(&mut self, inside: InsideSide) {
        self.rare.get_or_insert_default().inside = Some(inside);
    }

    pub fn take_inside(&mut self) -> Option<InsideSide> {
        self.rare.as_mut()?.inside.take()
    }

    /// All is written; what the client still sends is read and dropped for a moment, so that the answer is not
    /// lost to a reset (RFC 9112 section 9.6).
    #[inline]
    pub fn lingering(&self) -> Option<&Lingering> {
        self.rare.as_ref()?.lingering.as_ref()
    }

    pub fn lingering_mut(&mut self) -> Option<&mut Lingering> {
        self.rare.as_mut()?.lingering.as_mut()
    }

    pub fn set_lingering(&mut self, lingering: Lingering) {
        self.rare.get_or_insert_default().lingering = Some(lingering);
    }
}
