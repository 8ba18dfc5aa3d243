//! Accounting for an ended request: its counter, and a record for the access log.

use super::Pair;
use crate::exchange::record::Record;
use crate::exchange::{Exchange, Failure};
use crate::http::{Name, Version};
use crate::net::Network;
use crate::worker::core::Core;

impl<N: Network> Core<N> {
    pub(crate) fn record(&mut self, pair: &Pair) {
        if pair.inside {
            return self.note_inside_end(pair);
        }
        self.counters.ended(pair.exchange.end);
        if self.access.is_some() {
            self.write_record(pair);
        }
    }

    fn note_inside_end(&mut self, pair: &Pair) {
        let inside = self.clients.get_mut(pair.client).and_then(|client| client.role.inside_mut());
        if let Some(inside) = inside {
            inside.ends(pair.exchange.end, pair.exchange.failure);
        }
    }

    fn write_record(&mut self, pair: &Pair) {
        let x = &pair.exchange;
        let Some(access) = &mut self.access else { return };
        let mut times = x.times;
        times.end = x.elapsed(self.tools.now);
        let pool = pair.route.as_ref().map(|route| &route.pool.config);
        let text = |tag| x.head.fields.get(tag).unwrap_or_default();
        let record = Record {
            client: x.client.map(|client| client.ip.to_canonical()),
            client_port: x.client.map_or(0, |client| client.port),
            status: x.logged_status(),
            end: x.end,
            phase: x.phase,
            version: version_of(x),
            retries: x.tries.retries,
            times,
            sent: x.sent,
            received: x.received,
            method: x.head.method_text(),
            target: x.head.target(),
            host: text(Name::Host),
            referer: text(Name::Referer),
            user_agent: text(Name::UserAgent),
            pool: pool.map_or(b"", |p| p.name.as_bytes()),
            server: pair.server.as_ref().map_or(b"", |server| server.name().as_bytes()),
            id: x.id.as_bytes(),
            left: &x.left,
            detail: x.failure.and_then(Failure::detail).unwrap_or_default().as_bytes(),
        };
        record.write(access.buffer());
        access.note();
    }
}

/// Returns 0 if no request could be read.
fn version_of(x: &Exchange) -> u8 {
    match (x.head.method_text.is_empty(), x.head.version) {
        (true, _) => 0,
        (false, Version::Http10) => 10,
        (false, Version::Http11) => 11,
    }
}
