//! Accounting for an ended request: its counters, and a record for the access log.

use super::{Origin, Pair};
use crate::exchange::record::{Load, NEVER, Record};
use crate::exchange::{Exchange, Failure};
use crate::http::{Name, Scheme, Version};
use crate::net::Network;
use crate::worker::core::Core;

impl<N: Network> Core<N> {
    pub(crate) fn record(&mut self, pair: &mut Pair) {
        if pair.is_inside() {
            return self.note_inside_end(pair);
        }
        self.counters.ended(pair.exchange.end);
        if self.observed {
            self.count(pair);
        }
        if let Some(access) = &mut self.access
            && access.wants(is_error(&pair.exchange))
        {
            self.write_record(pair);
        }
    }

    #[cold]
    fn note_inside_end(&mut self, pair: &Pair) {
        if self.observed && pair.origin == Origin::Copy {
            self.count_copy(pair);
        }
        let inside = self.clients.get_mut(pair.client).and_then(|client| client.role.inside_mut());
        if let Some(inside) = inside {
            inside.ends(pair.exchange.end, pair.exchange.failure);
        }
    }

    fn write_record(&mut self, pair: &mut Pair) {
        let number = self.clients.get(pair.client).map_or(0, |client| client.role.listener);
        let adds = self.sites.current.routes.config.on_log
            && self.access.as_ref().is_some_and(|access| access.takes_fields);
        if adds {
            self.ask_on_log(pair);
        }
        let Some(access) = &mut self.access else { return };
        let mut record = record_of(pair);
        record.times.end = pair.exchange.elapsed(self.tools.now);
        if record.listener.is_empty() {
            let name = self.listener_names.get(usize::from(number));
            record.listener = name.map_or("", |name| name).as_bytes();
        }
        if access.shows_load {
            let [process, listener] = self.connections.sums(number);
            record.load = Load { process, listener, ..load_of(pair) };
        }
        if adds {
            record.added = &access.fields;
        }
        record.write(access.records.buffer());
        access.records.note();
    }
}

/// What the pair knows: all but the time of the end, what else went on, and the names of simple listeners.
fn record_of(pair: &Pair) -> Record<'_> {
    let x = &pair.exchange;
    let context = x.listener_context.as_deref();
    let tls = context.and_then(|context| context.tls.as_deref());
    let text = |tag| x.head.fields.get(tag).unwrap_or_default();
    // The script may have replaced them.
    let (target, host) = x.head.original_target_and_host();
    // Of a connection that is passed through, the name in its hello is all that there is of a request.
    let hello = if x.head.method_text.is_empty() { text(Name::Host) } else { b"" };
    Record {
        client: x.client.map(|client| client.ip.to_canonical()),
        client_port: x.client.map_or(0, |client| client.port),
        status: x.logged_status(),
        end: x.end,
        phase: x.phase,
        version: version_of(x),
        retries: x.tries.retries,
        https: x.scheme == Scheme::Https,
        reused: (x.times.connected != NEVER).then_some(x.tries.reused),
        times: x.times,
        sent_heads: x.sent_heads,
        sent: x.sent,
        received: x.received,
        method: x.head.method_text(),
        target,
        host,
        referer: text(Name::Referer),
        user_agent: text(Name::UserAgent),
        pool: pair.route.as_ref().map_or(b"", |route| route.pool.config.name.as_bytes()),
        server: pair.server.as_ref().map_or(b"", |server| server.name().as_bytes()),
        id: x.id.as_bytes(),
        left: &x.attempts,
        detail: x.failure.and_then(Failure::detail).unwrap_or_default().as_bytes(),
        listener: context.map_or(b"", |context| context.listener.name.as_bytes()),
        tls_version: tls.map_or(b"", |tls| tls.version.as_bytes()),
        sni: tls.and_then(|tls| tls.sni.as_deref()).map_or(hello, str::as_bytes),
        ..Record::default()
    }
}

/// Such a request is logged whatever the sample.
fn is_error(x: &Exchange) -> bool {
    !x.end.is_normal() || x.logged_status() >= 400
}

/// What the request's pool and server have to do. The request itself is counted no more, and belongs to it.
fn load_of(pair: &Pair) -> Load {
    let [server_queue, pool_queue] = pair.exchange.waited_behind.map(u32::from);
    let pool = pair.route.as_ref().map_or(0, |route| {
        let state = &route.pool.state;
        state.in_flight() + u32::try_from(state.queue.count()).unwrap_or(u32::MAX - 1) + 1
    });
    let connected = pair.server.as_ref().filter(|_| pair.exchange.times.connected != NEVER);
    let server = connected.map_or(0, |server| {
        // The next request may have its place already.
        (server.shared().in_flight() + 1).min(server.shared().limit())
    });
    Load { pool, server, server_queue, pool_queue, ..Load::default() }
}

/// Returns 0 if no request could be read.
fn version_of(x: &Exchange) -> u8 {
    match (x.head.method_text.is_empty(), x.head.version) {
        (true, _) => 0,
        (false, Version::Http10) => 10,
        (false, Version::Http11) => 11,
    }
}
