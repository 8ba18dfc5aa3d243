//! Names of servers become addresses here, on threads of their own: a name server may take seconds to answer, and
//! no event loop may wait for it. `std`'s resolver is not used: it gives no TTL and no SRV records, and its waits
//! cannot be bounded.
//!
//! ```text
//! watch ─ due, in turn ─► files: /etc/hosts, resolv.conf        schedule: when again, what to tell
//!    └── helper thread ─► lookup ─► name_servers ─► transport ─► message
//! ```
//!
//! [`resolve`] looks a name up once and waits for it; [`Resolver`] watches names and tells of changes.

mod error;
mod files;
mod hosts;
mod lookup;
mod message;
mod name_servers;
mod resolv_conf;
mod schedule;
mod transport;
mod watch;

#[cfg(test)]
mod tests;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

pub use error::ResolveError;
pub use schedule::{Change, Update};
pub use watch::Resolver;

use files::Files;
use lookup::Lookup;
use name_servers::NameServers;

/// Further servers of one name are left out.
const MAX_SERVERS: usize = 256;
/// TTLs are kept between these: the shortest protects the name server, the longest lets a mistake end.
const MIN_TTL: Duration = Duration::from_secs(1);
const MAX_TTL: Duration = Duration::from_secs(3600);

/// What is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Query {
    /// Addresses of a host; an address in place of the name is its own answer.
    Host { name: String, port: u16 },
    /// `_http._tcp.app.internal`: SRV records, and the addresses of their targets.
    Srv(String),
}

/// One server of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Resolved {
    pub address: SocketAddr,
    /// Of the SRV record.
    pub weight: Option<u16>,
    /// Of the SRV record, where a lower one comes first; 0 for hosts.
    pub priority: u16,
}

/// The servers of a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// By priority and address; no address twice; never empty.
    pub servers: Vec<Resolved>,
    /// The least of all records that led here; `None` if no name server was asked.
    pub ttl: Option<Duration>,
    /// The name server did not answer for IPv4 addresses, so that there may be more than these.
    pub v4_failed: bool,
    /// The same for IPv6.
    pub v6_failed: bool,
}

impl Answer {
    fn new(mut servers: Vec<Resolved>, ttl: Option<Duration>) -> Answer {
        servers.sort_by_key(|server| (server.address, server.priority, std::cmp::Reverse(server.weight)));
        servers.dedup_by_key(|server| server.address);
        servers.sort_by_key(|server| (server.priority, server.address));
        servers.truncate(MAX_SERVERS);
        Answer { servers, ttl, v4_failed: false, v6_failed: false }
    }
}

/// Whom to ask.
#[derive(Clone, Debug)]
pub struct ResolverConfig {
    /// Asked in place of those in `resolv_conf`, unless empty.
    pub servers: Vec<SocketAddr>,
    /// How long to wait for one answer, in place of what `resolv_conf` says.
    pub timeout: Option<Duration>,
    pub hosts: PathBuf,
    pub resolv_conf: PathBuf,
}

impl Default for ResolverConfig {
    fn default() -> ResolverConfig {
        ResolverConfig {
            servers: Vec::new(),
            timeout: None,
            hosts: PathBuf::from("/etc/hosts"),
            resolv_conf: PathBuf::from("/etc/resolv.conf"),
        }
    }
}

/// Looks a name up; waits for name servers, at most `lookup::TOTAL`.
pub fn resolve(query: &Query, config: &ResolverConfig) -> Result<Answer, ResolveError> {
    let files = Files::new(config.clone());
    Lookup::new(&files, &NameServers::default()).resolve(query)
}
