//! The text of `/metrics`, in the format of Prometheus (text, version 0.0.4).

use std::fmt::{Display, Write};

use super::process::ProcessFacts;
use super::{View, seconds};
use crate::balance::{HedgeEnd, MirrorEnd, PoolTotals, REQUEST_BOUNDS, ServerState, ServerTotals};
use crate::base::buffer_memory::BodyOf;
use crate::base::cells::{CLASSES, Spread};
use crate::config::PoolConfig;
use crate::control::errors;
use crate::exchange::counters::{Counters, Handler, Handshake, SCRIPT_BOUNDS, ScriptFailure};
use crate::store::StoreCounts;

/// Every metric with its kind and what it says.
pub const METRICS: &[(&str, &str, &str)] = &[
    (
        "rsp_requests_total",
        "counter",
        "Requests by the server whose response the client got; without labels for what rsp answered itself.",
    ),
    ("rsp_request_seconds", "histogram", "From the first byte of a request to its end, but for tunnels."),
    ("rsp_bytes_total", "counter", "Bytes that rsp received (in) and sent (out), inside of TLS."),
    ("rsp_host_requests_total", "counter", "Requests of the busiest hosts, and of the others together."),
    ("rsp_client_connections", "gauge", "Clients that are connected."),
    ("rsp_server_connections", "gauge", "Connections to servers, busy and idle."),
    ("rsp_server_up", "gauge", "1 while the server takes requests of everybody."),
    ("rsp_server_in_flight", "gauge", "Requests that the server works on."),
    ("rsp_server_state_changes_total", "counter", "How often the server came into a state."),
    ("rsp_queue_length", "gauge", "Requests that wait for a server of the pool."),
    ("rsp_retries_total", "counter", "Requests that were sent again."),
    ("rsp_hedges_total", "counter", "Requests sent to a second server, by whose response the client got."),
    ("rsp_mirrors_total", "counter", "Requests that were to be copied, by what became of the copy."),
    ("rsp_buffer_memory_bytes", "gauge", "Memory that held request bodies and responses read ahead take."),
    (
        "rsp_buffer_memory_short_total",
        "counter",
        "Bodies that were passed on as they came, since buffer_memory was used up.",
    ),
    ("rsp_ends_total", "counter", "How requests ended, and connections without one."),
    ("rsp_script_seconds", "histogram", "Time of calls of the script's functions."),
    ("rsp_script_failures_total", "counter", "Calls of the script's functions that failed."),
    (
        "rsp_log_lines_dropped_total",
        "counter",
        "Lines that a log lost since it could not be written fast enough.",
    ),
    ("rsp_shared_entries", "gauge", "Keys that scripts keep with rsp.shared, rsp.rate and rsp.concurrency."),
    (
        "rsp_shared_evicted_total",
        "counter",
        "Keys that were forgotten before their time, since there were too many.",
    ),
    ("rsp_limit_refused_total", "counter", "Requests over a limit of rsp.rate or rsp.concurrency."),
    ("rsp_certificate_expiry_timestamp_seconds", "gauge", "When a certificate ends, in seconds since 1970."),
    ("rsp_tls_handshakes_total", "counter", "TLS handshakes with clients."),
    ("rsp_config_generation", "gauge", "The number of the config in use."),
    ("rsp_config_last_reload_successful", "gauge", "1 unless the last reload failed."),
    ("rsp_build_info", "gauge", "The version that runs."),
    ("process_cpu_seconds_total", "counter", "CPU time of the process."),
    ("process_resident_memory_bytes", "gauge", "Memory of the process in RAM."),
    ("process_virtual_memory_bytes", "gauge", "Address space of the process."),
    ("process_open_fds", "gauge", "Descriptors in use."),
    ("process_max_fds", "gauge", "The most descriptors that may be in use."),
    ("process_threads", "gauge", "Threads of the process."),
    ("process_start_time_seconds", "gauge", "When the process started, in seconds since 1970."),
];

/// Classes that are told even without a request, so that alerts have a zero to begin with.
const ALWAYS: std::ops::RangeInclusive<usize> = 2..=5;

#[derive(Default)]
struct Text(String);

impl Text {
    /// Begins a metric.
    fn metric(&mut self, name: &str) {
        let known = METRICS.iter().find(|(known, ..)| *known == name);
        debug_assert!(known.is_some(), "{name}");
        if let Some((_, kind, help)) = known {
            // Writing to a String cannot fail.
            let _ = writeln!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}");
        }
    }

    fn sample(&mut self, name: &str, labels: &[(&str, &str)], value: impl Display) {
        self.0.push_str(name);
        for (at, (label, text)) in labels.iter().enumerate() {
            let _ = write!(self.0, "{}{label}=\"{}\"", if at == 0 { '{' } else { ',' }, escaped(text));
        }
        let _ = writeln!(self.0, "{} {value}", if labels.is_empty() { "" } else { "}" });
    }

    /// A metric without labels.
    fn single(&mut self, name: &str, value: impl Display) {
        self.metric(name);
        self.sample(name, &[], value);
    }

    fn optional(&mut self, name: &str, value: Option<impl Display>) {
        if let Some(value) = value {
            self.single(name, value);
        }
    }

    /// `unit`: how many of the bounds' units are a second.
    fn histogram(&mut self, name: &str, label: (&str, &str), spread: &Spread, bounds: &[u64], unit: f64) {
        let (bucket, mut within) = (format!("{name}_bucket"), 0);
        for (at, bound) in bounds.iter().enumerate() {
            within += spread.counts.get(at).copied().unwrap_or_default();
            let bound = (*bound as f64 / unit).to_string();
            self.sample(&bucket, &[label, ("le", &bound)], within);
        }
        self.sample(&bucket, &[label, ("le", "+Inf")], spread.count());
        self.sample(&format!("{name}_sum"), &[label], spread.sum as f64 / unit);
        self.sample(&format!("{name}_count"), &[label], spread.count());
    }

    fn classes(&mut self, name: &str, labels: &[(&str, &str)], classes: &[u64; CLASSES]) {
        for (class, count) in classes.iter().enumerate() {
            if *count == 0 && !ALWAYS.contains(&class) {
                continue;
            }
            let class = format!("{class}xx");
            let labels = [labels, &[("class", class.as_str())]].concat();
            self.sample(name, &labels, count);
        }
    }
}

fn escaped(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

pub fn text(view: &View<'_>) -> String {
    let mut text = Text::default();
    requests(&mut text, view);
    connections(&mut text, view);
    servers(&mut text, view);
    pools(&mut text, view);
    buffers(&mut text, view);
    ends(&mut text, view);
    script(&mut text, view);
    store(&mut text, view);
    rest(&mut text, view);
    process(&mut text, view);
    text.0
}

fn requests(text: &mut Text, view: &View<'_>) {
    const NAME: &str = "rsp_requests_total";
    text.metric(NAME);
    for pool in view.process.pools() {
        for server in pool.members().iter() {
            let labels = [("pool", pool.name()), ("server", server.name())];
            text.classes(NAME, &labels, &server.totals().answers);
        }
    }
    for (pool, server, totals) in view.process.servers.others(view.process.pools()).servers {
        if totals.answers != [0; CLASSES] {
            text.classes(NAME, &[("pool", &pool), ("server", &server)], &totals.answers);
        }
    }
    text.classes(NAME, &[("pool", ""), ("server", "")], &view.stats.own());
    if view.process.config.settings.hosts.is_some() {
        const HOSTS: &str = "rsp_host_requests_total";
        text.metric(HOSTS);
        let (told, others) = view.stats.hosts.told();
        told.into_iter().for_each(|(host, counts)| text.classes(HOSTS, &[("host", host)], counts));
        text.classes(HOSTS, &[("host", "other")], others);
    }
}

fn connections(text: &mut Text, view: &View<'_>) {
    const BYTES: &str = "rsp_bytes_total";
    text.metric(BYTES);
    let sum = |of: fn(&Counters) -> u64| view.stats.sum(of);
    for (side, direction, bytes) in [
        ("client", "in", sum(|counters| counters.traffic().client_in)),
        ("client", "out", sum(|counters| counters.traffic().client_out)),
        ("server", "in", sum(|counters| counters.traffic().server_in)),
        ("server", "out", sum(|counters| counters.traffic().server_out)),
    ] {
        text.sample(BYTES, &[("side", side), ("direction", direction)], bytes);
    }
    const CLIENTS: &str = "rsp_client_connections";
    text.metric(CLIENTS);
    for (name, totals) in view.stats.listeners() {
        let is_there = view.process.config.listeners.iter().any(|listener| listener.name == name);
        if is_there || totals.connections > 0 {
            text.sample(CLIENTS, &[("listener", &name)], totals.connections);
        }
    }
}

fn servers(text: &mut Text, view: &View<'_>) {
    let all: Vec<_> = view.process.pools().iter().flat_map(|pool| pool.members().to_vec()).collect();
    let totals: Vec<ServerTotals> = all.iter().map(|server| server.totals()).collect();
    let names: Vec<(String, &str)> = all.iter().map(|s| (s.pool_name().to_owned(), s.name())).collect();
    let labels = |at: usize| [("pool", names[at].0.as_str()), ("server", names[at].1)];
    text.metric("rsp_server_connections");
    for (at, totals) in totals.iter().enumerate() {
        let busy = totals.connections.saturating_sub(totals.idle);
        for (state, number) in [("busy", busy), ("idle", totals.idle)] {
            let [pool, server] = labels(at);
            text.sample("rsp_server_connections", &[pool, server, ("state", state)], number);
        }
    }
    text.metric("rsp_server_up");
    for (at, server) in all.iter().enumerate() {
        text.sample("rsp_server_up", &labels(at), u8::from(server.state() == ServerState::Up));
    }
    text.metric("rsp_server_in_flight");
    for (at, totals) in totals.iter().enumerate() {
        text.sample("rsp_server_in_flight", &labels(at), totals.in_flight);
    }
    const CHANGES: &str = "rsp_server_state_changes_total";
    text.metric(CHANGES);
    for (at, server) in all.iter().enumerate() {
        for state in ServerState::ALL {
            let [pool, name] = labels(at);
            text.sample(CHANGES, &[pool, name, ("to", state.word())], server.history.count(state));
        }
    }
}

fn pools(text: &mut Text, view: &View<'_>) {
    const SECONDS: &str = "rsp_request_seconds";
    const RETRIES: &str = "rsp_retries_total";
    let present = view.process.pools().iter().map(|pool| (pool.name().to_owned(), pool.totals()));
    let others = view.process.servers.others(view.process.pools()).pools.into_iter();
    let all: Vec<_> = present.chain(others.filter(|(_, totals)| totals.seconds.count() > 0)).collect();
    text.metric(SECONDS);
    for (pool, totals) in &all {
        text.histogram(SECONDS, ("pool", pool), &totals.seconds, &REQUEST_BOUNDS, 1e6);
    }
    text.metric("rsp_queue_length");
    for pool in view.process.pools() {
        text.sample("rsp_queue_length", &[("pool", pool.name())], pool.queue.count());
    }
    text.metric(RETRIES);
    for (pool, totals) in &all {
        text.sample(RETRIES, &[("pool", pool)], totals.retries);
    }
    twice(text, view, &all);
}

/// Requests that are sent to two servers.
fn twice(text: &mut Text, view: &View<'_>, all: &[(String, PoolTotals)]) {
    let configured = |name: &str, has: fn(&PoolConfig) -> bool| {
        let pools = &view.process.config.pools;
        pools.iter().any(|pool| pool.name == name && has(pool))
    };
    let is_told = |name: &str, counts: &[u64], has| counts.iter().any(|n| *n > 0) || configured(name, has);
    const HEDGES: &str = "rsp_hedges_total";
    text.metric(HEDGES);
    for (pool, totals) in all.iter().filter(|(n, t)| is_told(n, &t.hedges, |pool| pool.hedge.is_some())) {
        for (won, count) in HedgeEnd::ALL.iter().zip(totals.hedges) {
            text.sample(HEDGES, &[("pool", pool), ("won", won.text())], count);
        }
    }
    const MIRRORS: &str = "rsp_mirrors_total";
    text.metric(MIRRORS);
    for (pool, totals) in all.iter().filter(|(n, t)| is_told(n, &t.mirrors, |pool| pool.mirror.is_some())) {
        for (result, count) in MirrorEnd::ALL.iter().zip(totals.mirrors) {
            text.sample(MIRRORS, &[("pool", pool), ("result", result.text())], count);
        }
    }
}

fn buffers(text: &mut Text, view: &View<'_>) {
    const SHORT: &str = "rsp_buffer_memory_short_total";
    text.single("rsp_buffer_memory_bytes", view.stats.buffers.used());
    text.metric(SHORT);
    for of in BodyOf::ALL {
        text.sample(SHORT, &[("body", of.text())], view.stats.buffers.short(of));
    }
}

fn ends(text: &mut Text, view: &View<'_>) {
    const ENDS: &str = "rsp_ends_total";
    text.metric(ENDS);
    for (reason, count) in Counters::total(view.stats.counters.iter().map(|counters| &**counters)).all() {
        text.sample(ENDS, &[("reason", reason)], count);
    }
}

fn script(text: &mut Text, view: &View<'_>) {
    const SECONDS: &str = "rsp_script_seconds";
    const FAILURES: &str = "rsp_script_failures_total";
    text.metric(SECONDS);
    for handler in Handler::ALL {
        let spread = view.stats.script(handler);
        text.histogram(SECONDS, ("handler", handler.text()), &spread, &SCRIPT_BOUNDS, 1e9);
    }
    text.metric(FAILURES);
    for handler in Handler::ALL {
        for why in ScriptFailure::ALL {
            let labels = [("handler", handler.text()), ("reason", why.text())];
            text.sample(FAILURES, &labels, view.stats.script_failures(handler, why));
        }
    }
}

/// What scripts share.
fn store(text: &mut Text, view: &View<'_>) {
    let counts = view.process.store.counts();
    let labels =
        |one: &StoreCounts| [("kind", one.kind), ("name", &one.name)].map(|(k, v)| (k, v.to_owned()));
    let mut write = |metric: &str, of: &dyn Fn(&StoreCounts) -> Option<u64>| {
        text.metric(metric);
        for one in &counts {
            let Some(value) = of(one) else { continue };
            let labels = labels(one);
            text.sample(metric, &labels.each_ref().map(|(name, value)| (*name, value.as_str())), value);
        }
    };
    write("rsp_shared_entries", &|one| Some(one.entries as u64));
    write("rsp_shared_evicted_total", &|one| (one.kind != "concurrency").then_some(one.evicted));
    write("rsp_limit_refused_total", &|one| (one.kind != "shared").then_some(one.refused + one.would_refuse));
}

fn rest(text: &mut Text, view: &View<'_>) {
    const LOGS: &str = "rsp_log_lines_dropped_total";
    text.metric(LOGS);
    text.sample(LOGS, &[("log", "access")], view.process.lost_lines());
    text.sample(LOGS, &[("log", "error")], errors::dropped());
    const CERTIFICATES: &str = "rsp_certificate_expiry_timestamp_seconds";
    text.metric(CERTIFICATES);
    for (name, until) in view.certificates() {
        text.sample(CERTIFICATES, &[("name", &name)], until);
    }
    const HANDSHAKES: &str = "rsp_tls_handshakes_total";
    text.metric(HANDSHAKES);
    for kind in Handshake::ALL {
        let count = view.stats.sum(|counters| counters.handshakes(kind));
        text.sample(HANDSHAKES, &[("kind", kind.text())], count);
    }
    text.single("rsp_config_generation", view.process.generation);
    text.single("rsp_config_last_reload_successful", u8::from(view.stats.last_reload_succeeded()));
    text.metric("rsp_build_info");
    text.sample("rsp_build_info", &[("version", env!("CARGO_PKG_VERSION"))], 1);
}

fn process(text: &mut Text, view: &View<'_>) {
    let facts = ProcessFacts::read();
    text.optional("process_cpu_seconds_total", facts.cpu_seconds);
    text.optional("process_resident_memory_bytes", facts.resident_bytes);
    text.optional("process_virtual_memory_bytes", facts.virtual_bytes);
    text.optional("process_open_fds", facts.open_fds);
    text.optional("process_max_fds", facts.max_fds);
    text.optional("process_threads", facts.threads);
    text.single("process_start_time_seconds", seconds(view.stats.started));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_escaped() {
        let mut text = Text::default();
        text.sample("a", &[("b", "x\"y\\z\n"), ("c", "")], 1);
        text.sample("d", &[], 0.5);
        assert_eq!(text.0, "a{b=\"x\\\"y\\\\z\\n\",c=\"\"} 1\nd 0.5\n");
    }

    #[test]
    fn the_buckets_of_a_histogram_add_up() {
        let mut text = Text::default();
        let spread = Spread { counts: vec![1, 2, 3], sum: 4_500 };
        text.histogram("h", ("p", "x"), &spread, &[500, 1_000], 1e6);
        assert_eq!(
            text.0,
            "h_bucket{p=\"x\",le=\"0.0005\"} 1\nh_bucket{p=\"x\",le=\"0.001\"} 3\n\
             h_bucket{p=\"x\",le=\"+Inf\"} 6\nh_sum{p=\"x\"} 0.0045\nh_count{p=\"x\"} 6\n"
        );
    }
}
