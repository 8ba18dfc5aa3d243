//! What an operator should know of a config where it runs, beyond what is odd in the file itself.

use crate::config::{Address, Config, ListenerConfig};
use crate::net;

/// One line each.
pub fn of(config: &Config) -> Vec<String> {
    [sockets(config), keylog(config)].concat()
}

/// Secrets of sessions are written where `keylog` is on and the environment names a file.
fn keylog(config: &Config) -> Vec<String> {
    let with = config.listeners.iter().filter(|listener| listener.tls.as_ref().is_some_and(|tls| tls.keylog));
    let file = std::env::var_os("SSLKEYLOGFILE").map(|file| file.display().to_string());
    let line = |listener: &ListenerConfig| match &file {
        Some(file) => {
            format!(
                "listener {}: keylog: whoever reads {file} can read what clients send and get",
                listener.name
            )
        }
        None => format!("listener {}: keylog: nothing is written, SSLKEYLOGFILE is not set", listener.name),
    };
    with.map(line).collect()
}

/// Socket options that the kernel did not grant: one warning each, since everything works without them.
fn sockets(config: &Config) -> Vec<String> {
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
