//! `/api/state`: what the dashboard shows, as JSON. Its shape is in the manual, `control`.

use std::time::{Duration, Instant, SystemTime};

use serde_json::{Map, Value, json};

use super::process::ProcessFacts;
use super::recent::{PoolSample, Sample};
use super::{ListenerTotals, View, seconds};
use crate::balance::{Administrative, PoolState, REQUEST_BOUNDS, Server, ServerTotals};
use crate::base::buffer_memory::BodyOf;
use crate::base::cells::{CLASSES, Spread};
use crate::config::PoolConfig;
use crate::control::errors;
use crate::control::haproxy::errors::Told;
use crate::exchange::counters::{Counters, Handler, Handshake, SCRIPT_BOUNDS, ScriptFailure};
use crate::worker::Malformed;

/// What was counted some seconds ago; nothing, and no seconds, right after the start.
struct Before<'a> {
    ago: f64,
    sample: Option<&'a Sample>,
}

impl Before<'_> {
    /// How many a second since then.
    fn rate(&self, count: u64) -> f64 {
        if self.ago > 0.0 { round(count as f64 / self.ago) } else { 0.0 }
    }

    fn pool(&self, name: &str) -> PoolSample {
        self.sample.map(|sample| sample.pool(name)).unwrap_or_default()
    }
}

pub fn json(view: &View<'_>, now: Instant) -> Value {
    let (ago, sample) =
        view.stats.recent.before(now).map_or((0.0, None), |(ago, sample)| (ago, Some(sample)));
    let before = Before { ago, sample };
    let present = view.sample();
    let pools: Vec<Value> =
        view.process.pools().iter().map(|state| pool(view, state, &present, &before)).collect();
    json!({
        "version": env!("CARGO_PKG_VERSION"),
        "pid": std::process::id(),
        "time": seconds(SystemTime::now()),
        "started": seconds(view.stats.started),
        "uptime_seconds": round(view.stats.started.elapsed().unwrap_or_default().as_secs_f64()),
        "stage": view.stage,
        "ready": view.ready,
        "workers": view.process.workers,
        "window_seconds": round(before.ago),
        "config": config(view),
        "totals": totals(view, &present, &before),
        "listeners": listeners(view, &before),
        "pools": pools,
        "hosts": hosts(view),
        "ends": ends(view),
        "errors": malformed(view),
        "script": script(view),
        "certificates": certificates(view),
        "tls_handshakes": handshakes(view),
        "buffers": buffers(view),
        "logs": { "access_dropped": view.process.lost_lines(), "error_dropped": errors::dropped() },
        "process": process(),
    })
}

fn config(view: &View<'_>) -> Value {
    let reload = |reload: &super::ReloadRecord| {
        json!({
            "at": seconds(reload.at),
            "successful": reload.error.is_none(),
            "generation": reload.generation,
            "error": reload.error,
        })
    };
    json!({
        "generation": view.process.generation,
        "last_reload_successful": view.stats.last_reload_succeeded(),
        "reloads": view.stats.reloads.iter().rev().map(reload).collect::<Vec<_>>(),
        "can_change": view.process.stated.settings.admin.as_ref().is_some_and(|admin| admin.token.is_some()),
    })
}

fn totals(view: &View<'_>, present: &Sample, before: &Before<'_>) -> Value {
    let (now, then) = (present.answers(), before.sample.map(Sample::answers).unwrap_or_default());
    let (mut seconds, mut recent) = (Spread::default(), Spread::default());
    for (name, pool) in &present.pools {
        seconds.add(&pool.totals.seconds);
        recent.add(&pool.totals.seconds.since(&before.pool(name).totals.seconds));
    }
    let connections: u64 = view.stats.listeners().iter().map(|(_, totals)| totals.connections).sum();
    let traffic = |sample: &Sample| sample.traffic;
    let (bytes, old) = (traffic(present), before.sample.map(traffic).unwrap_or_default());
    json!({
        "requests": sum(&now),
        "classes": classes(&now),
        "own": classes(&present.own),
        "rates": rates(&now, &then, before),
        "latency_ms": latency(&recent),
        "latency_since_start_ms": latency(&seconds),
        "client_connections": connections,
        "in_flight": view.process.pools().iter().map(|pool| u64::from(pool.in_flight())).sum::<u64>(),
        "queue": view.process.pools().iter().map(|pool| pool.queue.count() as u64).sum::<u64>(),
        "bytes": {
            "client_in": bytes.client_in, "client_out": bytes.client_out,
            "server_in": bytes.server_in, "server_out": bytes.server_out,
            "client_in_rate": before.rate(bytes.client_in.saturating_sub(old.client_in)),
            "client_out_rate": before.rate(bytes.client_out.saturating_sub(old.client_out)),
        },
    })
}

fn listeners(view: &View<'_>, before: &Before<'_>) -> Vec<Value> {
    let listener = |(name, totals): (String, ListenerTotals)| {
        let then = before.sample.and_then(|sample| sample.listeners.get(&name)).copied().unwrap_or_default();
        json!({
            "name": name,
            "connections": totals.connections,
            "accepted": totals.accepted,
            "requests": sum(&totals.answers),
            "classes": classes(&totals.answers),
            "rates": rates(&totals.answers, &then.answers, before),
            "byte_rates": byte_rates((totals.received, totals.sent), (then.received, then.sent), before),
            "bytes_in": totals.received,
            "bytes_out": totals.sent,
        })
    };
    view.stats.listeners().into_iter().map(listener).collect()
}

fn pool(view: &View<'_>, state: &PoolState, present: &Sample, before: &Before<'_>) -> Value {
    let (now, then) = (present.pool(state.name()), before.pool(state.name()));
    let (answers, earlier) = (now.answers(), then.answers());
    let config = state.config();
    let members = state.members();
    let servers: Vec<Value> =
        members.iter().map(|of| server(view, state, of, &then.server(of.name()), before)).collect();
    json!({
        "name": state.name(),
        "balance": config.as_ref().map(|config| config.balance.text()),
        "health": config.as_ref().is_some_and(|config| config.health.is_some()),
        "requests": sum(&answers),
        "classes": classes(&answers),
        "rates": rates(&answers, &earlier, before),
        "byte_rates": byte_rates(now.bytes(), then.bytes(), before),
        "latency_ms": latency(&now.totals.seconds.since(&then.totals.seconds)),
        "latency_since_start_ms": latency(&now.totals.seconds),
        "in_flight": state.in_flight(),
        "queue": state.queue.count(),
        "queue_most": config.as_ref().map(|config| config.queue.most),
        "queue_timeout_seconds": config.as_ref().map(|config| config.queue.timeout.as_secs_f64()),
        "retries": now.totals.retries,
        "retry_rate": before.rate(now.totals.retries.saturating_sub(then.totals.retries)),
        "servers": servers,
    })
}

fn server(
    view: &View<'_>,
    pool: &PoolState,
    server: &Server,
    then: &ServerTotals,
    before: &Before<'_>,
) -> Value {
    let (totals, changed, by_hand) = (server.totals(), server.history.last(), pool.by_hand(server.name()));
    let latency = server.latency.at(view.process.clock.zero.elapsed().as_micros() as u64);
    let reads_latency =
        pool.config().is_some_and(|config: std::sync::Arc<PoolConfig>| config.reads_latency());
    json!({
        "name": server.name(),
        "address": server.endpoint().written,
        "state": server.state().word(),
        "reason": changed.reason,
        "since": seconds(changed.at),
        "down_seconds": round(changed.down.as_secs_f64()),
        "weight": server.weight(),
        "configured_weight": server.configured_weight(),
        "by_hand": { "state": by_hand.state.map(Administrative::text), "weight": by_hand.weight },
        "backup": server.is_backup(),
        "checked": server.check_result(),
        "failed_checks": server.history.failed_checks(),
        "in_flight": totals.in_flight,
        "max_connections": server.max_connections(),
        "connections": { "busy": totals.connections.saturating_sub(totals.idle), "idle": totals.idle },
        "requests": sum(&totals.answers),
        "tries": totals.tries,
        "classes": classes(&totals.answers),
        "rates": rates(&totals.answers, &then.answers, before),
        "byte_rates": byte_rates((totals.received, totals.sent), (then.received, then.sent), before),
        "connect_errors": totals.connect_errors,
        "response_errors": totals.response_errors,
        "latency_ms": latency.filter(|_| reads_latency).map(|micros| round(micros as f64 / 1e3)),
        "bytes_in": totals.received,
        "bytes_out": totals.sent,
    })
}

fn hosts(view: &View<'_>) -> Value {
    if view.process.config.settings.hosts.is_none() {
        return Value::Null;
    }
    let (told, others) = view.stats.hosts.told();
    let host = |(host, counts): (&str, &[u64; CLASSES])| json!({ "host": host, "requests": sum(counts), "classes": classes(counts) });
    told.into_iter().chain([("other", others)]).map(host).collect()
}

fn ends(view: &View<'_>) -> Value {
    let total = Counters::total(view.stats.counters.iter().map(|counters| &**counters));
    total.all().map(|(reason, count)| (reason.to_owned(), count.into())).collect::<Map<_, _>>().into()
}

fn malformed(view: &View<'_>) -> Vec<Value> {
    let one = |one: &Malformed| {
        let told = Told::of(one);
        json!({
            "at": seconds(told.at),
            "side": told.side,
            "peer": one.client.map(|(ip, _)| ip.to_string()),
            "pool": one.server.as_ref().map(|(pool, _)| pool),
            "server": one.server.as_ref().map(|(_, server)| server),
            "what": told.what,
            "line": told.line(),
        })
    };
    view.malformed.all().1.iter().rev().map(one).collect()
}

fn script(view: &View<'_>) -> Value {
    let of = |handler: Handler| {
        let spread = view.stats.script(handler);
        let quantile = |share| spread.quantile(&SCRIPT_BOUNDS, share).map(|nanos| round(nanos / 1e3));
        let mean = (spread.count() > 0).then(|| round(spread.sum as f64 / spread.count() as f64 / 1e3));
        let failures = ScriptFailure::ALL
            .map(|why| (why.text().to_owned(), view.stats.script_failures(handler, why).into()));
        let value = json!({
            "calls": spread.count(),
            "mean_us": mean,
            "p50_us": quantile(0.5), "p95_us": quantile(0.95), "p99_us": quantile(0.99),
            "failures": failures.into_iter().collect::<Map<String, Value>>(),
        });
        (handler.text().to_owned(), value)
    };
    Handler::ALL.into_iter().map(of).collect::<Map<_, _>>().into()
}

fn buffers(view: &View<'_>) -> Value {
    let memory = &view.stats.buffers;
    json!({
        "bytes": memory.used(),
        "most": view.process.config.settings.buffer_memory,
        "short": { "request": memory.short(BodyOf::Request), "response": memory.short(BodyOf::Response) },
    })
}

fn certificates(view: &View<'_>) -> Vec<Value> {
    let now = seconds(SystemTime::now());
    let one = |(name, until): (String, u64)| {
        let days = (until as f64 - now) / Duration::from_secs(86_400).as_secs_f64();
        json!({ "name": name, "expires": until, "days_left": round(days) })
    };
    view.certificates().into_iter().map(one).collect()
}

fn handshakes(view: &View<'_>) -> Value {
    let of = |kind: Handshake| {
        (kind.text().to_owned(), view.stats.sum(|counters| counters.handshakes(kind)).into())
    };
    Handshake::ALL.into_iter().map(of).collect::<Map<String, Value>>().into()
}

fn process() -> Value {
    let facts = ProcessFacts::read();
    json!({
        "cpu_seconds": facts.cpu_seconds,
        "resident_bytes": facts.resident_bytes,
        "virtual_bytes": facts.virtual_bytes,
        "open_fds": facts.open_fds,
        "max_fds": facts.max_fds,
        "threads": facts.threads,
    })
}

fn sum(classes: &[u64; CLASSES]) -> u64 {
    classes.iter().sum()
}

/// Only those that there are, and the usual ones.
fn classes(classes: &[u64; CLASSES]) -> Value {
    let told = classes.iter().enumerate().filter(|(class, count)| **count > 0 || (2..=5).contains(class));
    told.map(|(class, count)| (format!("{class}xx"), (*count).into())).collect::<Map<_, _>>().into()
}

fn rates(now: &[u64; CLASSES], then: &[u64; CLASSES], before: &Before<'_>) -> Value {
    let since = |class: usize| now[class].saturating_sub(then[class]);
    let all: u64 = (0..CLASSES).map(since).sum();
    json!({ "requests": before.rate(all), "4xx": before.rate(since(4)), "5xx": before.rate(since(5)) })
}

/// What is received and what is sent.
fn byte_rates(now: (u64, u64), then: (u64, u64), before: &Before<'_>) -> Value {
    json!({
        "in": before.rate(now.0.saturating_sub(then.0)),
        "out": before.rate(now.1.saturating_sub(then.1)),
    })
}

fn latency(spread: &Spread) -> Value {
    let quantile = |share| spread.quantile(&REQUEST_BOUNDS, share).map(|micros| round(micros / 1e3));
    let mean = (spread.count() > 0).then(|| round(spread.sum as f64 / spread.count() as f64 / 1e3));
    json!({
        "p50": quantile(0.5), "p90": quantile(0.9), "p95": quantile(0.95), "p99": quantile(0.99), "mean": mean,
        "count": spread.count(),
    })
}

/// To thousandths.
fn round(value: f64) -> f64 {
    (value * 1e3).round() / 1e3
}
