//! Floor 2: the configuration, typed and checked. Nothing is left to interpret: addresses are parsed, times are
//! durations, pools are indices. The script floor builds it; everything else reads it.

mod access_log;
mod address;
mod admin;
mod certificate_files;
mod endpoint;
mod health;
mod pool;
mod script_limits;
mod sockets;
mod stores;
mod timeouts;
mod tls;
mod trusted;

pub use access_log::{AccessLog, JSON_KEYS, LogFormat, LogTarget, Sample};
pub use address::Address;
pub use admin::{Admin, Control, ControlLevel};
pub use certificate_files::{CertificateFiles, FileProblem, Stamp};
pub use endpoint::Endpoint;
pub use health::{Eject, Health, HealthKind, HttpCheck, StatusRanges};
pub use pool::{
    Balance, HashBy, Hedge, HedgeAfter, Mirror, PoolConfig, ProxyVersion, Queue, ServerConfig, Sticky,
};
pub use script_limits::ScriptLimits;
pub use sockets::{BACKLOG, SocketOptions};
pub use stores::{ConcurrencyConfig, Part, RateConfig, SharedConfig, SplitBy, SplitConfig};
pub use timeouts::{PoolTimeouts, Timeouts};
pub use tls::{ListenerTls, SeenFiles};
pub use trusted::Trusted;

use std::fmt;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// Below this, the two more system calls of splice cost more than the copy it saves.
pub const SPLICE_FROM: u64 = 64 * 1024;

/// Index of a pool in `Config::pools`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub struct PoolId(pub u32);

/// Index of a server in `Pool::servers`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash, Default)]
pub struct ServerId(pub u32);

/// Index of a listener's `sni` function among those of the config.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub struct SniId(pub u32);

/// The complete configuration.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Config {
    pub listeners: Vec<ListenerConfig>,
    pub pools: Vec<Arc<PoolConfig>>,
    pub settings: Settings,
    /// Set if the three globals of the original program were used instead of `rsp.*`: `listenPort` as written.
    pub classic: Option<String>,
    /// The script set `rsp.on_request`.
    pub on_request: bool,
    /// The script set `rsp.on_response`.
    pub on_response: bool,
    /// The same for the functions of other phases.
    pub on_answer: bool,
    pub on_log: bool,
    pub on_connect: bool,
    pub on_start: bool,
    /// The periods of each `rsp.every`, in order.
    pub every: Vec<Duration>,
    /// The `client_header`s of all listeners: nobody else may send these fields.
    pub client_headers: Vec<String>,
    /// What scripts share between workers, and the files they look things up in, in the order of their calls.
    pub parts: Vec<Part>,
    /// What is probably a mistake, but can be run.
    pub warnings: Vec<Warning>,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Warning {
    /// `FILE:LINE`.
    pub position: String,
    /// `KEY: what is wrong, what was expected`.
    pub text: String,
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.position, self.text)
    }
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ListenerConfig {
    pub address: Address,
    /// The given name, or the address as written.
    pub name: String,
    /// Clients speak TLS.
    pub tls: Option<Arc<ListenerTls>>,
    /// Every request is answered with a redirect to https on this port.
    pub redirect: Option<u16>,
    /// Clients speak TLS that passes through: this function finds the pool by the name in their hello.
    pub sni: Option<SniId>,
    /// Where files answer ACME challenges: `acme_challenge_dir`, unless clients speak TLS.
    pub challenges: Option<Arc<Path>>,
    /// Every connection begins with a PROXY header; only trusted addresses may connect.
    pub proxy_protocol: bool,
    /// Length of the kernel's accept queue.
    pub backlog: u32,
    /// TCP_DEFER_ACCEPT: accept a connection when its first bytes have arrived.
    pub defer_accept: bool,
    pub sockets: SocketOptions,
}

impl Config {
    /// The `sni` function of this listener of an earlier config, if it has one here too.
    pub fn sni_of(&self, listener: &ListenerConfig) -> Option<SniId> {
        let same = |other: &&ListenerConfig| other.address == listener.address && other.name == listener.name;
        let mut all = self.listeners.iter().filter(same);
        // Several of any free port look alike; the position tells them apart, unless they have changed.
        let first = all.clone().next();
        all.find(|other| other.sni == listener.sni).or(first)?.sni
    }
}

impl ListenerConfig {
    /// A listener with default options.
    pub fn at(address: Address) -> ListenerConfig {
        ListenerConfig {
            name: address.to_string(),
            address,
            tls: None,
            redirect: None,
            sni: None,
            challenges: None,
            proxy_protocol: false,
            backlog: BACKLOG,
            defer_accept: false,
            sockets: SocketOptions::default(),
        }
    }
}

/// Number of worker threads, each with its own event loop.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Workers {
    Number(usize),
    /// One per core available to the process.
    Auto,
}

impl Workers {
    pub const MOST: usize = 256;
}

/// What the client gets when `on_response` fails.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum OnResponseError {
    /// A 500 generated by rsp.
    Answer,
    /// The server's response unchanged.
    Pass,
}

#[derive(Clone, PartialEq, Debug)]
pub struct Settings {
    pub workers: Workers,
    /// Limit on client connections.
    pub max_connections: usize,
    /// Set by the operator: lowering it is worth a warning.
    pub max_connections_is_set: bool,
    /// Limits per client address.
    pub per_client: PerClient,
    /// Limit on the bytes of a request body.
    pub max_body: Option<u64>,
    /// Memory for held bodies, of the process, in bytes.
    pub buffer_memory: u64,
    /// Limits on the bytes and fields of a request head; twice that for a response.
    pub max_head: u32,
    pub max_fields: u32,
    /// Minimum rate of a request body in bytes a second, averaged over `timeouts.rate`; 0 for none.
    pub min_request_rate: u64,
    /// Minimum rate at which a client reads a response in bytes a second, averaged over the longer of `timeouts.rate`
    /// and `timeouts.write`; 0 for none.
    pub min_response_rate: u64,
    pub access_log: Option<AccessLog>,
    /// Peers whose forwarding headers and PROXY headers are trusted.
    pub trusted: Trusted,
    /// The pool for requests whose script failed.
    pub fallback: Option<PoolId>,
    /// How long a stop waits for running requests.
    pub drain_timeout: Duration,
    /// How long rsp goes on as before after it was told to stop.
    pub drain_delay: Duration,
    /// The drain timeout of a process that handed its sockets to a new one; `None`: `drain_timeout`.
    pub upgrade_drain_timeout: Option<Duration>,
    pub admin: Option<Admin>,
    pub control: Option<Control>,
    /// How many hosts are told in the metrics; `None`: none.
    pub hosts: Option<u32>,
    /// Who the process runs as once everything is open, and its group; `None`: as whoever started it.
    pub user: Option<Account>,
    pub group: Option<Account>,
    /// The name server; `None`: those of /etc/resolv.conf.
    pub resolver: Option<SocketAddr>,
    /// What happens to a response when `on_response` fails.
    pub on_response_error: OnResponseError,
    pub script: ScriptLimits,
    /// A request without a valid `traceparent` gets one.
    pub trace: bool,
    /// Pseudonym in `Via`; without it none is added.
    pub via: Option<String>,
    /// Protocols, in lower case, that a client may switch to with `Upgrade`.
    pub upgrades: Vec<String>,
    /// Bodies with at least so many bytes left are spliced; `None`: never.
    pub splice: Option<u64>,
    pub timeouts: Timeouts,
    /// Where files answer ACME challenges, as written.
    pub acme_challenge_dir: Option<String>,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            workers: Workers::Number(1),
            max_connections: 10_000,
            max_connections_is_set: false,
            per_client: PerClient::default(),
            max_body: None,
            buffer_memory: 256 << 20,
            max_head: 16 << 10,
            max_fields: 100,
            min_request_rate: 100,
            min_response_rate: 50,
            access_log: None,
            trusted: Trusted::default(),
            fallback: None,
            drain_timeout: Duration::from_secs(30),
            drain_delay: Duration::ZERO,
            upgrade_drain_timeout: None,
            admin: None,
            control: None,
            hosts: None,
            user: None,
            group: None,
            resolver: None,
            on_response_error: OnResponseError::Answer,
            script: ScriptLimits::default(),
            trace: false,
            via: None,
            upgrades: vec!["websocket".into()],
            splice: Some(SPLICE_FROM),
            timeouts: Timeouts::default(),
            acme_challenge_dir: None,
        }
    }
}

impl Settings {
    /// Whether somebody may read what workers count.
    pub fn is_observed(&self) -> bool {
        self.admin.is_some() || self.control.is_some()
    }
}

/// A user or a group of the system.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Account {
    Name(String),
    Number(u32),
}

impl fmt::Display for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Account::Name(name) => name.fmt(f),
            Account::Number(number) => number.fmt(f),
        }
    }
}

/// Limits per client address. Off by default: a whole company may share one address.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct PerClient {
    /// Concurrent connections (`max_connections_per_client`).
    pub connections: Option<usize>,
    /// New connections a second (`new_connections_per_client`).
    pub new_a_second: Option<u32>,
}

impl PerClient {
    /// Whether there is any limit.
    pub fn any(&self) -> bool {
        self.connections.is_some() || self.new_a_second.is_some()
    }
}
