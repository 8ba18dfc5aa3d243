//! Where connections to a server go, and all that has to be known to make one.

use std::sync::Arc;

use super::{Address, PoolConfig, ProxyVersion, ServerConfig, SocketOptions};
use crate::tls::Client;

/// Where a server's connections go, and what has to be the same for one to be used again.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Endpoint {
    pub address: Address,
    /// As written in the config: `Host` where the client sent none.
    pub written: String,
    pub sockets: SocketOptions,
    pub send_proxy: Option<ProxyVersion>,
    pub strict: bool,
    /// Connections speak TLS.
    pub tls: Option<Arc<Client>>,
}

impl Endpoint {
    /// The same with another port, where its address has one.
    pub fn with_port(&self, port: u16) -> Endpoint {
        let mut other = self.clone();
        if let Address::Ip(address) = &mut other.address {
            address.set_port(port);
        }
        other
    }

    /// The same for bytes that are passed as they come: what a client sends is TLS already.
    pub fn without_tls(&self) -> Endpoint {
        Endpoint { tls: None, ..self.clone() }
    }

    /// The `Host` of a request that names none.
    pub fn host(&self) -> &str {
        if self.written.starts_with("unix:") { "localhost" } else { &self.written }
    }

    pub fn of(server: &ServerConfig, pool: &PoolConfig) -> Endpoint {
        Endpoint {
            address: server.address.clone(),
            written: server.written.clone(),
            sockets: pool.sockets,
            send_proxy: pool.send_proxy,
            strict: pool.strict,
            tls: server.tls.clone(),
        }
    }
}
