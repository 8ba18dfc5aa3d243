//! Per-connection state of a client connection, besides the socket and its buffers.

use std::net::SocketAddr;
use std::rc::Rc;

use super::connection::{Connection, CountsTraffic};
use super::linger::Lingering;
use crate::base::buffer::Traffic;
use crate::exchange::{ListenerContext, Peer};
use crate::h1;
use crate::net::Either;
use crate::worker::pair::inside::{InsideSide, InsideTarget};
use crate::worker::pair::table::PairKey;

pub type Client<S> = Connection<Either<S>, ClientSide>;

/// `head_since` while no head has begun: an `Option` would take twice the memory in every idle client.
pub const NO_HEAD: u64 = u64::MAX;

/// Instead of the number of a listener that the config does not have any more: the client's next response is the last.
pub const REMOVED_LISTENER: u8 = u8::MAX;

pub struct ClientSide {
    pub codec: h1::ClientCodec,
    pub peer: Peer,
    pub arrival: Arrival,
    /// The exchange in progress. HTTP/1 has one at a time.
    pub pair: Option<PairKey>,
    /// When the present head's first byte arrived, in microseconds; `NO_HEAD` if none has.
    pub head_since: u64,
    /// A request was answered on this connection.
    pub served: bool,
    /// Counted against the limits of its address.
    pub counted: bool,
    /// The number of its listener, or `REMOVED_LISTENER`.
    pub listener: u8,
    /// State that few clients need.
    extras: Option<Box<ClientExtras>>,
}

/// Rare state behind one pointer, so that idle clients stay small.
#[derive(Default)]
struct ClientExtras {
    relayed: Option<SocketAddr>,
    lingering: Option<Lingering>,
    inside: Option<InsideSide>,
    listener_context: Option<Rc<ListenerContext>>,
}

/// How a client connected.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Arrival {
    /// Through a proxy; its PROXY header has not arrived yet.
    ExpectsProxyHeader,
    /// Its ClientHello, by which it is passed through, has not arrived yet.
    Hello,
    /// Directly.
    Direct,
    /// Through a proxy whose PROXY header named the client.
    Proxied,
    /// A request made by this process: no client.
    Inside,
}

impl Arrival {
    /// Something comes before any request.
    pub fn is_before_requests(self) -> bool {
        matches!(self, Arrival::ExpectsProxyHeader | Arrival::Hello)
    }
}

impl CountsTraffic for ClientSide {
    fn received(&self, bytes: usize, traffic: &mut Traffic) {
        if self.arrival != Arrival::Inside {
            traffic.client_in += bytes as u64;
        }
    }

    fn sent(&mut self, bytes: usize, traffic: &mut Traffic) {
        if self.arrival != Arrival::Inside {
            traffic.client_out += bytes as u64;
        }
    }
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
            listener: 0,
            extras: None,
        }
    }

    /// Returns the destination address from the PROXY header, if it had one.
    pub fn relayed(&self) -> Option<SocketAddr> {
        self.extras.as_ref()?.relayed
    }

    pub fn set_relayed(&mut self, destination: SocketAddr) {
        self.extras.get_or_insert_default().relayed = Some(destination);
    }

    /// Returns its listener, if that does more than accept clients.
    pub fn listener_context(&self) -> Option<&Rc<ListenerContext>> {
        self.extras.as_ref()?.listener_context.as_ref()
    }

    pub fn set_listener_context(&mut self, context: Rc<ListenerContext>) {
        self.extras.get_or_insert_default().listener_context = Some(context);
    }

    /// An internal request that ends when the connection to the server is established.
    pub fn only_connects(&self) -> bool {
        matches!(
            self.inside(),
            Some(InsideSide { target: InsideTarget::Check { only_connects: true, .. }, .. })
        )
    }

    /// The port that a check goes to instead of the server's.
    pub fn check_port(&self) -> Option<u16> {
        match self.inside()?.target {
            InsideTarget::Check { port, .. } => port,
            InsideTarget::Pool | InsideTarget::Fetch(_) | InsideTarget::Copy | InsideTarget::Hedge { .. } => {
                None
            }
        }
    }

    /// Returns the request this connection was made for, if it is internal.
    pub fn inside(&self) -> Option<&InsideSide> {
        self.extras.as_ref()?.inside.as_ref()
    }

    pub fn inside_mut(&mut self) -> Option<&mut InsideSide> {
        self.extras.as_mut()?.inside.as_mut()
    }

    pub fn set_inside(&mut self, inside: InsideSide) {
        self.extras.get_or_insert_default().inside = Some(inside);
    }

    pub fn take_inside(&mut self) -> Option<InsideSide> {
        self.extras.as_mut()?.inside.take()
    }

    /// Returns the state of a lingering close: the response is written, and input is read and dropped so that a reset
    /// does not destroy the response (RFC 9112 section 9.6).
    pub fn lingering(&self) -> Option<&Lingering> {
        self.extras.as_ref()?.lingering.as_ref()
    }

    pub fn lingering_mut(&mut self) -> Option<&mut Lingering> {
        self.extras.as_mut()?.lingering.as_mut()
    }

    pub fn set_lingering(&mut self, lingering: Lingering) {
        self.extras.get_or_insert_default().lingering = Some(lingering);
    }
}
