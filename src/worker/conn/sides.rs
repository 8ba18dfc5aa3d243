//! What a connection is for, on each side, and the pair that joins a client to a backend for one exchange.

use std::net::{IpAddr, SocketAddr};

use crate::balance::Tried;
use crate::config::{PoolId, ServerId};
use crate::exchange::{Exchange, Failure};
use crate::h1;
use crate::route::Route;
use crate::worker::backend::dedicated::Dedicated;
use crate::worker::backend::redial::QueueWait;
use crate::worker::conn::connection::Connection;
use crate::worker::conn::linger::Lingering;
use crate::worker::pair::answer_body::AnswerBody;
use crate::worker::time::min_rate::RateWindow;

pub type Client<S> = Connection<S, ClientSide>;
pub type Backend<S> = Connection<S, BackendSide>;

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
}

/// Where a client's connection comes from, as far as that is believed.
#[derive(Clone, Copy, Debug)]
pub struct Peer {
    /// The socket's, or what a PROXY header said. `None` on a Unix socket. Without the scope and the flow of an IPv6
    /// address, which would take as much memory again.
    ip: Option<IpAddr>,
    port: u16,
    /// Its forwarding headers are believed.
    pub trusted: bool,
}

impl Peer {
    pub fn new(address: Option<SocketAddr>, trusted: bool) -> Peer {
        Peer { ip: address.map(|a| a.ip()), port: address.map_or(0, |a| a.port()), trusted }
    }

    pub fn address(&self) -> Option<SocketAddr> {
        self.ip.map(|ip| SocketAddr::new(ip, self.port))
    }
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

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum BackendState {
    Connecting,
    Busy,
    /// TimeLimits for its next request.
    Idle,
}

pub struct BackendSide {
    pub codec: h1::BackendCodec,
    pub pool: PoolId,
    pub server: ServerId,
    pub state: BackendState,
    pub pair: Option<u32>,
    /// Set where a PROXY header made it one client's own.
    pub dedicated: Option<Box<Dedicated>>,
    /// When it reached its state.
    pub since: u64,
    /// Bytes of the present request went to the socket.
    pub wrote: bool,
    /// The server keeps the connection after its present response.
    pub keep_alive: bool,
    /// Writing failed: the response, if there is one, is still worth reading.
    pub write_failed: bool,
}

/// One exchange with its two connections and what was tried for it.
#[derive(Default)]
pub struct Pair {
    pub exchange: Exchange,
    pub client: u32,
    pub backend: Option<u32>,
    pub route: Option<Route>,
    /// Chosen for the present try.
    pub server: Option<ServerId>,
    pub tried: Tried,
    /// Connections that were tried.
    pub tries: u8,
    /// Why the last try failed.
    pub last_failure: Option<Failure>,
    /// Set while it waits for a server with room, and kept after that.
    pub queue_wait: Option<QueueWait>,
    pub pace: RateWindow,
    /// What the client has yet to get of a large answer of the script's.
    pub answer: Option<Box<AnswerBody>>,
}

impl Pair {
    /// Bytes it takes, its head's storage included.
    pub fn footprint(&self) -> usize {
        size_of::<Pair>() + self.exchange.head.fields.footprint()
    }

    /// Begins with a new request, whose head stands in the exchange already.
    pub fn begin(&mut self, client: u32, whole: bool, start: u64) {
        let Pair {
            exchange,
            client: of,
            backend,
            route,
            server,
            tried,
            tries,
            last_failure,
            queue_wait,
            pace,
            answer,
        } = self;
        exchange.begin(whole, start);
        *of = client;
        (*backend, *route, *server) = (None, None, None);
        (*last_failure, *queue_wait) = (None, None);
        (*tried, *tries, *pace) = (Tried::default(), 0, RateWindow::default());
        debug_assert!(answer.is_none(), "left by the exchange before");
    }
}

/// Lanes that wait for their request.
#[derive(Default)]
pub struct Scratch {
    /// The pair of the next request that comes, whoever sends it: its head is read into its place.
    pub next: Box<Pair>,
    /// Lanes whose exchange ended, for the next ones.
    #[expect(clippy::vec_box, reason = "the boxes go into the slab as they are: a pair is not moved")]
    pub spare: Vec<Box<Pair>>,
}
