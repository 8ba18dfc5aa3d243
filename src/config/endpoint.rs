//! Where connections to a server go, and all that has to be known to make one.

use super::{Address, PoolConfig, ProxyVersion, ServerConfig, SocketOptions};

/// Where a server's connections go, and what has to be the same for one to be used again.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Endpoint {
    pub address: Address,
    /// As written in the config: `Host` where the client sent none.
    pub written: String,
    pub sockets: SocketOptions,
    pub send_proxy: Option<ProxyVersion>,
    pub strict: bool,
}

impl Endpoint {
    pub fn of(server: &ServerConfig, pool: &PoolConfig) -> Endpoint {
        let looked_up = server.looked_up.map(Address::Ip);
        Endpoint {
            address: looked_up.unwrap_or_else(|| server.address.clone()),
            written: server.written.clone(),
            sockets: pool.sockets,
            send_proxy: pool.send_proxy,
            strict: pool.strict,
        }
    }
}
