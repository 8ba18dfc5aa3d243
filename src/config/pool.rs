//! A pool and its servers: how one is chosen, how many requests may wait, and how often a request is tried.

use std::sync::Arc;
use std::time::Duration;

use super::{Address, Eject, Health, PoolId, PoolTimeouts, SocketOptions};
use crate::tls::Client;

#[derive(Clone, PartialEq, Debug)]
pub struct PoolConfig {
    pub name: String,
    pub servers: Vec<ServerConfig>,
    pub balance: Balance,
    /// The key of `Balance::Hash`; set whenever that is.
    pub hash_by: Option<HashBy>,
    /// How long the share of a server that came back grows to its full weight.
    pub slow_start: Option<Duration>,
    /// Idle connections to a server that a worker keeps at most.
    pub max_idle: u32,
    /// Connections to a server that a worker opens before they are needed; never more than `max_idle`.
    pub min_idle: u32,
    pub sticky: Option<Sticky>,
    /// Active checks.
    pub health: Option<Health>,
    /// Passive checks, from the results of real traffic.
    pub eject: Option<Eject>,
    /// Other servers that a request may be tried on.
    pub retries: u8,
    /// Retries as a share of the requests of the pool.
    pub retry_budget: f64,
    pub queue: Queue,
    /// Connections to these servers begin with a PROXY header with the client's address.
    pub send_proxy: Option<ProxyVersion>,
    /// A client that closes its sending side while it waits for a response has left: its request is aborted.
    pub abort_on_close: bool,
    /// No leniency for malformed responses of its servers.
    pub strict: bool,
    /// For TCP connections to its servers.
    pub sockets: SocketOptions,
    /// A request's body is held up to so many bytes before the request goes to a server.
    pub buffer_request: Option<u64>,
    /// A response is read up to so many bytes before its client takes them.
    pub buffer_response: Option<u64>,
    /// A request that waits long for its response is sent to another server too.
    pub hedge: Option<Hedge>,
    /// Copies of requests go to another pool.
    pub mirror: Option<Mirror>,
    /// Request trailers are forwarded to these servers.
    pub trailers: bool,
    pub timeouts: PoolTimeouts,
}

impl PoolConfig {
    /// Something in a request may tie it to a server, its body is held first, or it is copied.
    pub fn binds(&self) -> bool {
        self.sticky.is_some()
            || self.buffer_request.is_some()
            || self.mirror.is_some()
            || matches!(self.balance, Balance::Hash | Balance::SourceHash)
    }

    /// Functions of the script choose its servers, or what to hash.
    pub fn calls_script(&self) -> bool {
        self.balance == Balance::Function || self.hash_by == Some(HashBy::Function)
    }

    /// The balancing reads the servers' latency.
    pub fn reads_latency(&self) -> bool {
        matches!(self.balance, Balance::LeastLatency | Balance::Function)
    }

    /// A pool with default options and no servers.
    pub fn named(name: String, balance: Balance) -> PoolConfig {
        PoolConfig {
            name,
            servers: Vec::new(),
            balance,
            hash_by: None,
            slow_start: None,
            max_idle: 64,
            min_idle: 0,
            sticky: None,
            health: None,
            eject: Some(Eject::default()),
            retries: 2,
            retry_budget: 0.2,
            queue: Queue::default(),
            send_proxy: None,
            abort_on_close: false,
            strict: false,
            sockets: SocketOptions::default(),
            buffer_request: None,
            buffer_response: None,
            hedge: None,
            mirror: None,
            trailers: false,
            timeouts: PoolTimeouts::default(),
        }
    }
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ServerConfig {
    /// The given name, or the address as written.
    pub name: String,
    pub address: Address,
    /// The address as written in the config, without `https://`: for log lines, and for `Host` if the client sent none.
    pub written: String,
    /// Its share of the requests among its pool's servers. 0: only sticky requests and those that name it.
    pub weight: u32,
    /// Requests in flight of all workers; `None`: no limit.
    pub max_connections: Option<u32>,
    /// Used only while no other server is available.
    pub backup: bool,
    /// Not used.
    pub disabled: bool,
    /// How often a name is resolved again; `None`: when its record expires.
    pub resolve: Option<Duration>,
    /// Connections speak TLS (`https://`).
    pub tls: Option<Arc<Client>>,
}

impl ServerConfig {
    pub const MOST_WEIGHT: u32 = 256;

    /// A server with default options.
    pub fn new(name: String, address: Address, written: String) -> ServerConfig {
        ServerConfig {
            name,
            address,
            written,
            weight: 1,
            max_connections: None,
            backup: false,
            disabled: false,
            resolve: None,
            tls: None,
        }
    }

    /// Whether its addresses have to be resolved.
    pub fn is_name(&self) -> bool {
        self.address.is_name()
    }
}

/// How the server of a request is chosen.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Balance {
    /// Smooth weighted.
    RoundRobin,
    /// The fewest requests in flight for its weight.
    LeastConnections,
    /// The shortest time to the first byte (peak EWMA).
    LeastLatency,
    /// The better of two random ones.
    Random,
    /// The first one that is not at its `max_connections`.
    First,
    /// By the client's address.
    SourceHash,
    /// By `PoolConfig::hash_by`.
    Hash,
    /// The Lua function given for this pool.
    Function,
}

impl Balance {
    /// As the config names it.
    pub fn text(self) -> &'static str {
        match self {
            Balance::RoundRobin => "round_robin",
            Balance::LeastConnections => "least_connections",
            Balance::LeastLatency => "least_latency",
            Balance::Random => "random",
            Balance::First => "first",
            Balance::SourceHash => "source_hash",
            Balance::Hash => "hash",
            Balance::Function => "function",
        }
    }
}

/// What requests of one server have in common.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum HashBy {
    Path,
    /// The name as written; header names ignore case.
    Header(String),
    Cookie(String),
    /// An argument of the query.
    Query(String),
    /// The Lua function given for this pool.
    Function,
}

/// Sessions that stay with a server by a cookie of rsp's.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Sticky {
    pub cookie: String,
    /// Signs the cookie's value.
    pub secret: String,
    /// `None`: until the browser is closed.
    pub max_age: Option<Duration>,
}

/// Requests that wait for a server below its `max_connections`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Queue {
    pub most: u32,
    pub timeout: Duration,
}

impl Default for Queue {
    fn default() -> Queue {
        Queue { most: 1000, timeout: Duration::from_secs(5) }
    }
}

/// Second tries of requests whose first server takes long.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Hedge {
    pub after: HedgeAfter,
    /// Second tries as a share of the requests of the pool.
    pub budget: f64,
}

/// How long the first server may take.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum HedgeAfter {
    /// As long as 95 of 100 responses took lately.
    P95,
    Time(Duration),
}

impl Default for Hedge {
    fn default() -> Hedge {
        Hedge { after: HedgeAfter::P95, budget: 0.02 }
    }
}

/// Copies of requests for another pool, whose responses nobody gets.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Mirror {
    pub pool: PoolId,
    /// The share of the requests that is copied.
    pub share: f64,
}

/// Version of the PROXY protocol.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ProxyVersion {
    /// A line of text.
    V1,
    /// A binary block.
    V2,
}
