//! What the kernel does not give although the config asks for it: said once at the start, since everything works
//! without it, only not as somebody meant it to.

use crate::config::{Address, Config};
use crate::net;

/// One line each.
pub fn of(config: &Config) -> Vec<String> {
    let backlog = config.listeners.iter().map(|listener| listener.backlog).max();
    let mut lines: Vec<String> = backlog.and_then(net::short_backlog).into_iter().collect();
    for listener in &config.listeners {
        let Address::Ip(address) = listener.address else { continue };
        lines.extend(net::shortfalls(&listener.sockets).into_iter().map(|line| format!("{address}: {line}")));
    }
    for pool in &config.pools {
        let name = &pool.name;
        lines.extend(net::shortfalls(&pool.sockets).into_iter().map(|line| format!("pool {name}: {line}")));
    }
    lines
}
