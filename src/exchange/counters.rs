//! Counters of each end, one set a worker, written by it alone and read by any thread. Besides the ends of requests
//! they count connections that rsp closed without a request.

use std::sync::atomic::{AtomicU64, Ordering};

use super::end::End;

/// Why rsp closed a connection without a request, other than by its idle timeout.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum ConnectionEnd {
    /// No byte of a first request arrived in time.
    Silent,
    /// The client kept sending after its last answer.
    Lingered,
    /// The address exceeds `max_connections_per_client`.
    TooMany,
    /// The address exceeds `new_connections_per_client`.
    TooOften,
    /// Missing or malformed PROXY header.
    Proxy,
    /// Its TLS handshake failed or took too long.
    Handshake,
    /// No descriptor was free; the connection stays in the accept queue and may be served later.
    AcceptFailed,
}

impl ConnectionEnd {
    pub const ALL: [ConnectionEnd; 7] = [
        ConnectionEnd::Silent,
        ConnectionEnd::Lingered,
        ConnectionEnd::TooMany,
        ConnectionEnd::TooOften,
        ConnectionEnd::Proxy,
        ConnectionEnd::Handshake,
        ConnectionEnd::AcceptFailed,
    ];

    pub fn text(self) -> &'static str {
        match self {
            ConnectionEnd::Silent => "client-silent",
            ConnectionEnd::Lingered => "client-lingered",
            ConnectionEnd::TooMany => "client-too-many",
            ConnectionEnd::TooOften => "client-too-often",
            ConnectionEnd::Proxy => "proxy-refused",
            ConnectionEnd::Handshake => "tls-handshake",
            ConnectionEnd::AcceptFailed => "accept-failed",
        }
    }
}

#[derive(Default)]
pub struct Counters {
    ends: [AtomicU64; End::ALL.len()],
    connection_ends: [AtomicU64; ConnectionEnd::ALL.len()],
    stale: AtomicU64,
}

/// A connection to a server that was used again and turned out dead: the request is sent on a new one.
const STALE: &str = "reused-stale";

impl Counters {
    pub fn ended(&self, end: End) {
        add_one(&self.ends[end as usize]);
    }

    pub fn connection_ended(&self, end: ConnectionEnd) {
        add_one(&self.connection_ends[end as usize]);
    }

    /// A reused connection died under a request that was then sent on a new one.
    pub fn stale(&self) {
        add_one(&self.stale);
    }

    /// How many did.
    pub fn stale_count(&self) -> u64 {
        read(&self.stale)
    }

    /// The sums over several workers.
    pub fn total<'a>(counters: impl IntoIterator<Item = &'a Counters>) -> Counters {
        let sum = Counters::default();
        for counters in counters {
            add(&sum.ends, &counters.ends);
            add(&sum.connection_ends, &counters.connection_ends);
            sum.stale.store(read(&sum.stale) + read(&counters.stale), Ordering::Relaxed);
        }
        sum
    }

    /// The count of this end.
    pub fn of(&self, end: End) -> u64 {
        read(&self.ends[end as usize])
    }

    /// Every reason with its count, including 0.
    pub fn all(&self) -> impl Iterator<Item = (&'static str, u64)> + '_ {
        let ends = End::ALL.iter().map(|end| (end.text(), read(&self.ends[*end as usize])));
        let connection_ends =
            ConnectionEnd::ALL.iter().map(|p| (p.text(), read(&self.connection_ends[*p as usize])));
        ends.chain(connection_ends).chain([(STALE, read(&self.stale))])
    }

    /// The abnormal ends as one phrase: `2 client-cut-request, 1 server-closed`. Empty if there were none.
    pub fn troubles(&self) -> String {
        let normal = [End::Complete.text(), End::Answered.text(), STALE];
        let told = self.all().filter(|(word, count)| *count > 0 && !normal.contains(word));
        told.map(|(word, count)| format!("{count} {word}")).collect::<Vec<_>>().join(", ")
    }
}

fn add(sums: &[AtomicU64], counts: &[AtomicU64]) {
    for (sum, count) in sums.iter().zip(counts) {
        sum.store(read(sum) + read(count), Ordering::Relaxed);
    }
}

/// There is only one writer, so a load and a store suffice.
fn add_one(count: &AtomicU64) {
    count.store(read(count) + 1, Ordering::Relaxed);
}

fn read(count: &AtomicU64) -> u64 {
    count.load(Ordering::Relaxed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_ends_are_counted_and_only_abnormal_ones_listed() {
        let counters = Counters::default();
        for end in [End::Complete, End::Complete, End::Answered] {
            counters.ended(end);
        }
        assert_eq!(counters.troubles(), "");
        counters.ended(End::ServerClosed);
        counters.ended(End::ClientCutRequest);
        counters.ended(End::ClientCutRequest);
        counters.connection_ended(ConnectionEnd::TooMany);
        assert_eq!(counters.troubles(), "2 client-cut-request, 1 server-closed, 1 client-too-many");
        assert_eq!((counters.of(End::ClientCutRequest), counters.of(End::Stopped)), (2, 0));
        assert!(counters.all().any(|count| count == ("complete", 2)));
    }

    #[test]
    fn counters_of_workers_are_summed() {
        let counters = [Counters::default(), Counters::default()];
        counters.iter().for_each(|counters| counters.ended(End::ServerClosed));
        counters[1].connection_ended(ConnectionEnd::Silent);
        assert_eq!(Counters::total(&counters).troubles(), "2 server-closed, 1 client-silent");
    }

    #[test]
    fn every_connection_end_has_a_counter() {
        for (i, end) in ConnectionEnd::ALL.iter().enumerate() {
            assert_eq!(*end as usize, i);
        }
    }
}
