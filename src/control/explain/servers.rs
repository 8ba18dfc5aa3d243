//! The servers of the pool that takes a request: their states, what the algorithm compares, and the one that is picked.

use crate::balance::algorithm::Candidate;
use crate::balance::{Pool, WorkerServer};
use crate::config::{Balance, Config, HedgeAfter, PoolConfig, Settings};
use crate::control::explain::{Explanation, ServerReport};
use crate::route::{Binding, Route};

/// Why it goes to this pool, and how it is bound to a server.
pub(super) fn why(route: &Route, by_script: bool) -> String {
    let pool = &route.pool.config.name;
    let chose = if by_script { "on_request chose" } else { "there is only" };
    let server = route.server.as_ref().map(|server| server.name());
    match (server, route.binding) {
        (None, _) => format!("{chose} pool {pool}"),
        (Some(server), Binding::Session) => format!("{chose} pool {pool}, its session is at {server}"),
        (Some(server), Binding::Preferred) => format!("{chose} pool {pool}, server {server} before others"),
        (Some(server), _) => format!("{chose} pool {pool}, server {server} and no other"),
    }
}

pub(super) fn describe(pool: &Pool, now: u64, report: &mut Explanation) {
    let balance = pool.config.balance;
    report.balance = Some(name(balance).to_owned());
    report.score = meaning(balance).map(str::to_owned);
    report.servers = pool.servers(now).iter().map(|server| one(server, balance, now)).collect();
    if balance == Balance::RoundRobin && report.servers.len() > 1 {
        report.notes.push("servers take turns in each worker: this is the first turn".into());
    }
}

/// Where else it may be sent.
pub(super) fn notes(config: &Config, route: &Route) -> Vec<String> {
    let pool = &route.pool.config;
    let hedge = pool.hedge.map(|hedge| {
        let after = match hedge.after {
            HedgeAfter::P95 => "what is usual (p95)".to_owned(),
            HedgeAfter::Time(time) => format!("{time:?}"),
        };
        format!("hedge: if it may be sent twice, a second server is tried after {after}")
    });
    let mirror = pool.mirror.and_then(|mirror| {
        let to = config.pools.get(mirror.pool.0 as usize)?;
        Some(format!(
            "mirror: a copy goes to pool {} for a share of {} of the requests",
            to.name, mirror.share
        ))
    });
    hedge.into_iter().chain(mirror).collect()
}

fn one(server: &WorkerServer, balance: Balance, now: u64) -> ServerReport {
    ServerReport {
        name: server.name().to_owned(),
        address: server.endpoint().written.clone(),
        state: server.state().text().to_owned(),
        weight: server.shared().weight(),
        in_flight: server.shared().in_flight(),
        backup: server.is_backup(),
        score: score(server, balance, now),
        picked: false,
    }
}

pub(super) fn picked(server: &WorkerServer, report: &mut Explanation) {
    report.server = Some(server.name().to_owned());
    for one in &mut report.servers {
        one.picked = one.name == server.name();
    }
}

fn name(balance: Balance) -> &'static str {
    match balance {
        Balance::Function => "a function",
        named => named.text(),
    }
}

fn meaning(balance: Balance) -> Option<&'static str> {
    match balance {
        Balance::LeastConnections | Balance::Random => Some("requests in flight by weight"),
        Balance::LeastLatency => Some("seconds to the first byte × (requests in flight + 1) by weight"),
        _ => None,
    }
}

/// As the algorithms compare servers.
fn score(server: &WorkerServer, balance: Balance, now: u64) -> Option<f64> {
    let by_weight = |load: f64| load / f64::from(server.shared().weight().max(1));
    let in_flight = f64::from(server.shared().in_flight());
    match balance {
        Balance::LeastConnections | Balance::Random => Some(by_weight(in_flight)),
        Balance::LeastLatency => {
            let latency = Candidate::latency(server, now)? as f64 / 1e6;
            Some(by_weight(latency * (in_flight + 1.0)))
        }
        _ => None,
    }
}

/// Those that will apply, in seconds.
pub(super) fn timeouts(settings: &Settings, pool: &PoolConfig) -> Vec<(String, f64)> {
    let (client, server) = (&settings.timeouts, &pool.timeouts);
    [
        ("body", client.body),
        ("queue", pool.queue.timeout),
        ("connect", server.connect),
        ("response", server.response),
        ("gap", server.gap),
        ("write", client.write),
        ("idle", client.idle),
    ]
    .map(|(name, time)| (name.to_owned(), time.as_secs_f64()))
    .into()
}
