//! How many clients the process has descriptors for.

use log::Level;

use crate::base::counted::counted;
use crate::base::os_error::os_error;
use crate::config::Config;
use crate::control::run_error::RunError;
use crate::control::sockets::CONNECTIONS;
use crate::{net, worker};

/// Descriptors that are not connections: logs, epoll, the reserve, the odd file.
const SPARE_DESCRIPTORS: u64 = 80;
/// Descriptors of a worker besides connections and listeners: two epolls and a waker.
const PER_WORKER: u64 = 3;
/// Descriptors for splice pipes; with a low limit, pipes are given up first.
const PIPES: u64 = 256;

/// A client needs at least two descriptors: its own and its server's. The returned line is logged once everything
/// runs; a warning if the operator asked for more.
pub fn fit(config: &mut Config, workers: usize) -> Option<(Level, String)> {
    let limit = match net::raise_descriptor_limit() {
        Ok(limit) => limit,
        Err(error) => {
            return Some((
                Level::Warn,
                format!("cannot raise the limit of open files: {}", os_error(&error)),
            ));
        }
    };
    let of_workers = workers as u64 * (PER_WORKER + 2 * config.listeners.len() as u64);
    let spare = SPARE_DESCRIPTORS + of_operators(config) + PIPES.min(limit / 8) + of_workers;
    // With PROXY headers, connections to servers belong to one client and are kept with it.
    let kept = if config.pools.iter().any(|pool| pool.send_proxy.is_some()) { worker::KEPT } else { 1 };
    let possible = (limit.saturating_sub(spare) / (1 + kept as u64)).max(1);
    let wanted = config.settings.max_connections as u64;
    if wanted <= possible {
        return None;
    }
    config.settings.max_connections = possible as usize;
    let taken_by_workers = taken_by_workers(workers, of_workers);
    Some(match config.settings.max_connections_is_set {
        true => (
            Level::Warn,
            format!(
                "max_connections lowered from {wanted} to {possible}: the limit of open files is {limit} \
                 (ulimit -Hn){taken_by_workers}"
            ),
        ),
        false => (
            Level::Info,
            format!(
                "room for {} with {limit} open files (ulimit -Hn){taken_by_workers}",
                counted(possible, "client")
            ),
        ),
    })
}

/// Descriptors of the control socket and the admin address, with their connections.
fn of_operators(config: &Config) -> u64 {
    let sockets = u64::from(config.settings.admin.is_some()) + u64::from(config.settings.control.is_some());
    sockets * (1 + CONNECTIONS as u64)
}

/// Everything is open now but what workers open later. Without this check rsp would run and accept nobody.
pub fn has_room_for_a_client(workers: usize) -> Result<(), RunError> {
    let Some((lacking, error)) = net::lacks_for_a_client(workers * PER_WORKER as usize) else {
        return Ok(());
    };
    let limit = net::raise_descriptor_limit().unwrap_or_default();
    Err(RunError::Start(format!(
        "{}: the limit is {limit} (ulimit -Hn), and rsp needs {} to serve a client",
        os_error(&error),
        limit + lacking as u64
    )))
}

/// The descriptors that several workers need, for the log line.
fn taken_by_workers(workers: usize, descriptors: u64) -> String {
    if workers == 1 { String::new() } else { format!(", and {workers} workers take {descriptors} of it") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn descriptors_of_several_workers_are_mentioned() {
        assert_eq!(taken_by_workers(1, 4), "");
        assert_eq!(taken_by_workers(64, 256), ", and 64 workers take 256 of it");
    }
}
